"""Next-token prediction: -log p(x_t | x_<t), the objective of RNN language models and of GPT alike.

A window of text becomes inputs and targets, shifted by one; documents in a row do not see one another:

    window       <|> 말 길 은 <|> 산 은      <|> begins and ends a document
    tokens       <|> 말 길 은 <|> 산
    targets       말 길 은 <|>  산 은
    segment_ids    1  1  1  1   2  2

Attention models read windows in random order; recurrent models read streams: lane b of a step goes on where
lane b of the step before stopped, and the state is carried along without its gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from malgil.data.lanes import Lanes
from malgil.data.store import TokenStore
from malgil.data.windows import Windows, generator
from malgil.models.base import CausalLM, Model, State
from malgil.objectives.base import Assembled, Batches, BatchPlan, Objective, Specials

IGNORED = -100
#: the share of a stream's rows that begin anew at a step
RESTARTS = 1 / 32
_RESTART = 7  # tells these draws from others with the same key
Window = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class TokenBatch:
    """Rows of tokens and what comes next.

    Attributes:
        tokens: (B, T) int64.
        targets: (B, T) int64, already shifted; -100 where nothing counts.
        n_targets: how many count.
        segment_ids: (B, T) int64, or None where every row is one piece of text.
        token_mask: (B, T) bool, or None where every token is real.
        stream: the rows go on from the previous batch; `fresh`: unless this is the first.
        restarts: (B,) bool, rows of a stream that begin anew, or None.
    """

    tokens: Tensor
    targets: Tensor
    n_targets: int
    segment_ids: Tensor | None = None
    token_mask: Tensor | None = None
    stream: bool = False
    fresh: bool = False
    restarts: Tensor | None = None

    def to(self, device: torch.device) -> TokenBatch:
        if self.tokens.device == device:
            return self
        moved = {
            name: value.to(device, non_blocking=True)
            for name in ("tokens", "targets", "segment_ids", "token_mask", "restarts")
            if (value := getattr(self, name)) is not None
        }
        return replace(self, **moved)


def collate(windows: Sequence[Window], specials: Specials, *, respect: bool) -> TokenBatch:
    """Windows of ids and document starts, each (T + 1,) or shorter, as one right-padded batch.

    With `respect`, documents get segment ids. Where begin and end are different tokens nothing is asked of
    the end token: what follows it is another document.

    >>> starts = np.array([True, False, False, True, False])
    >>> batch = collate([(np.array([0, 5, 6, 0, 7]), starts)], Specials(0, 0), respect=True)
    >>> batch.tokens.tolist(), batch.targets.tolist(), batch.segment_ids.tolist()
    ([[0, 5, 6, 0]], [[5, 6, 0, 7]], [[1, 1, 1, 2]])
    """
    lengths = [len(ids) - 1 for ids, _ in windows]
    longest = max(lengths)
    shape = (len(windows), longest)
    padded = min(lengths) < longest
    if padded:
        ids = np.zeros((len(windows), longest + 1), dtype=np.int64)
        starts = np.zeros(ids.shape, dtype=bool)
        for row, (row_ids, row_starts) in enumerate(windows):
            ids[row, : len(row_ids)], starts[row, : len(row_starts)] = row_ids, row_starts
    else:
        ids, starts = np.stack([w[0] for w in windows]), np.stack([w[1] for w in windows])
    tokens, targets = torch.from_numpy(ids[:, :-1].copy()), torch.from_numpy(ids[:, 1:].copy())
    mask = torch.from_numpy(np.arange(longest) < np.array(lengths)[:, None]) if padded else None
    segments = None
    if respect and starts[:, 1:-1].any():  # a start at the first place needs no border
        segments = torch.from_numpy(starts[:, :-1].cumsum(axis=1) + (~starts[:, :1])).to(torch.int64)
        if mask is not None:
            segments = segments.masked_fill(~mask, 0)
    if mask is not None:
        targets = targets.masked_fill(~mask, IGNORED)
    if specials.begin_id != specials.end_id:
        targets = targets.masked_fill(torch.from_numpy(starts[:, 1:].copy()), IGNORED)
    n_targets = shape[0] * shape[1]
    if padded or specials.begin_id != specials.end_id:
        n_targets = int((targets != IGNORED).sum())
    return TokenBatch(tokens, targets, n_targets, segments, mask)


class WindowBatches:
    """Batches of independent windows, shuffled.

    A step takes the next rows of an endless sequence of epochs, so that batches may straddle two of them and
    every window comes exactly once an epoch:

        step            0            1            2
        row       0  1  2  3   4  5  6  7   8  9 10 11      4 rows a step
        epoch     0  0  0  0   0  0  0  1   1  1  1  1      7 windows an epoch
        index     0  1  2  3   4  5  6  0   1  2  3  4
    """

    def __init__(self, windows: Windows, specials: Specials, plan: BatchPlan, *, respect: bool) -> None:
        self.windows, self.specials, self.plan, self.respect = windows, specials, plan, respect
        self.steps_per_epoch = len(windows) / plan.rows
        self.tokens_per_step = plan.rows * windows.length

    def __call__(self, step: int) -> list[TokenBatch]:
        first = step * self.plan.rows
        batches = []
        for rows in self.plan.micro_batches():
            windows = [self.windows.window(*divmod(first + row, len(self.windows))) for row in rows]
            batches.append(collate(windows, self.specials, respect=self.respect))
        return batches

    def tokens(self, step: int) -> int:
        return self.tokens_per_step


class StreamBatches:
    """Batches whose row b goes on where row b of the step before stopped.

    Now and then a row begins anew, from an empty state, and every other time with the token that begins a document.
    Otherwise a model would hardly know either: a single long text has that token once, but every prompt begins with
    it; and evaluation reads windows that begin anywhere.

    Args:
        restarts: the share of rows that begin anew at a step; drawn from (seed, epoch, row, column).
    """

    def __init__(self, lanes: Lanes, specials: Specials, plan: BatchPlan, *, restarts: float = 0.0) -> None:
        self.lanes, self.specials, self.plan, self.restarts = lanes, specials, plan, restarts
        self.steps_per_epoch = float(lanes.columns)
        self.tokens_per_step = plan.rows * lanes.length

    def __call__(self, step: int) -> list[TokenBatch]:
        epoch, column = divmod(step, self.lanes.columns)
        batches = []
        for rows in self.plan.micro_batches():
            windows = [self.lanes.window(epoch, lane, column) for lane in rows]
            batch = collate(windows, self.specials, respect=False)
            draws = torch.tensor([self._draw(epoch, lane, column) for lane in rows])
            anew = draws < self.restarts
            batch.tokens[draws < self.restarts / 2, 0] = self.specials.begin_id
            batches.append(replace(batch, stream=True, fresh=column == 0, restarts=anew if anew.any() else None))
        return batches

    def tokens(self, step: int) -> int:
        return self.tokens_per_step

    def _draw(self, epoch: int, lane: int, column: int) -> float:
        return float(generator(self.plan.seed, epoch, lane, column, _RESTART).random()) if self.restarts else 1.0


class CausalLanguageModelling(Objective[TokenBatch]):
    """-log p(next token), summed."""

    requires = CausalLM
    terms: ClassVar[dict[str, float]] = {"nll": 1.0}

    def __init__(self, specials: Specials, *, boundaries: str = "respect", sampling: str = "shuffle") -> None:
        self.specials, self.respect, self.sampling = specials, boundaries == "respect", sampling

    def training_batches(self, store: TokenStore, body: Model, length: int, plan: BatchPlan) -> Batches:
        if body.context is None:
            lanes = Lanes(store, plan.rows, length, seed=plan.seed)
            return StreamBatches(lanes, self.specials, plan, restarts=RESTARTS)
        windows = Windows(store, length, seed=plan.seed, sampling=self.sampling)
        return WindowBatches(windows, self.specials, plan, respect=self.respect)

    def counts(self, batch: TokenBatch) -> dict[str, int]:
        return {"nll": batch.n_targets}

    def loss(self, model: Assembled, batch: TokenBatch, carry: State | None) -> tuple[dict[str, Tensor], State | None]:
        body = model.body
        assert isinstance(body, CausalLM)
        state = None
        if batch.stream:
            state = body.init_state(*batch.tokens.shape) if batch.fresh or carry is None else carry
            if batch.restarts is not None:
                state = _emptied(state, batch.restarts)
        mask = batch.token_mask if state is not None or body.context is None else None
        output = body(batch.tokens, token_mask=mask, segment_ids=batch.segment_ids, state=state)
        nll = body.nll(output.hidden.flatten(0, 1), batch.targets.flatten())
        return {"nll": nll.sum()}, output.state.detach() if output.state is not None else None


def _emptied(state: State, rows: Tensor) -> State:
    """The state with the given rows (B,) bool at zero, as `init_state` has them."""
    shape = [-1 if dim == state.row_dim else 1 for dim in range(state.tensors()[0].dim())]
    return state.with_tensors([t.masked_fill(rows.view(shape), 0) for t in state.tensors()])
