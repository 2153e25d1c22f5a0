"""One text into another: -log p(y_t | y_<t, x), the objective of Seq2Seq models and of the Transformer alike.

The decoder is given the right beginning at every position ("teacher forcing"); targets are shifted by one:

    source    Go . <|>                 <|> begins and ends a text
    tokens    <|> 가 .
    targets    가 .  <|>

Rows are padded on the right, and only real targets go through the output layer. With label smoothing (Szegedy et al.
2016, section 7; Vaswani et al. 2017, section 5.4) the target is a distribution, and the loss the cross-entropy with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from malgil.data.buckets import Buckets
from malgil.data.epochs import Epochs
from malgil.data.pair_store import PairStore
from malgil.errors import ContextLengthError
from malgil.layers.heads import IGNORED
from malgil.models.base import EncoderDecoder, Model, State
from malgil.objectives.base import Assembled, Batches, BatchPlan, Objective, Specials

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PairBatch:
    """Rows of sources and targets.

    Attributes:
        source: (B, S) int64.
        tokens: (B, T) int64, what the decoder reads.
        targets: (B, T) int64, already shifted; -100 where nothing counts.
        n_targets: how many count.
        source_mask: (B, S) bool, or None where every source token is real.
        token_mask: (B, T) bool, or None where every target token is real.
        positions: (N,) int64, the places of real targets in (B, T) laid out flat; None where all are real.
    """

    source: Tensor
    tokens: Tensor
    targets: Tensor
    n_targets: int
    source_mask: Tensor | None = None
    token_mask: Tensor | None = None
    positions: Tensor | None = None

    def to(self, device: torch.device) -> PairBatch:
        if self.tokens.device == device:
            return self
        moved = {
            name: value.to(device, non_blocking=True)
            for name in ("source", "tokens", "targets", "source_mask", "token_mask", "positions")
            if (value := getattr(self, name)) is not None
        }
        return replace(self, **moved)


def collate_pairs(pairs: Sequence[tuple[Ids, Ids]], specials: Specials, source_specials: Specials) -> PairBatch:
    """Pairs of ids, without begin and end, as one right-padded batch.

    >>> pairs = [(np.array([5, 6]), np.array([7])), (np.array([8]), np.array([9, 4]))]
    >>> batch = collate_pairs(pairs, Specials(1, 2), Specials(0, 0))
    >>> batch.source.tolist(), batch.tokens.tolist(), batch.targets.tolist(), batch.positions.tolist()
    ([[5, 6, 0], [8, 0, 0]], [[1, 7, 0], [1, 9, 4]], [[7, 2, -100], [9, 4, 2]], [0, 1, 3, 4, 5])
    """
    begin, end, source_end = (np.array([id_]) for id_ in (specials.begin_id, specials.end_id, source_specials.end_id))
    source, source_mask = _padded([(s, source_end) for s, _ in pairs])
    tokens, token_mask = _padded([(begin, t) for _, t in pairs])
    targets, _ = _padded([(t, end) for _, t in pairs])
    if token_mask is None:
        return PairBatch(source, tokens, targets, targets.numel(), source_mask)
    positions = token_mask.flatten().nonzero().squeeze(1)
    targets = targets.masked_fill(~token_mask, IGNORED)
    return PairBatch(source, tokens, targets, len(positions), source_mask, token_mask, positions)


class BucketBatches:
    """Pairs of similar length, batch after batch and epoch after epoch.

    A step takes the next `accumulate` batches of that endless row; the pairs of a batch are dealt out to the ranks, and
    one that gets none works on a pair that does not count, so that nobody waits for it.

        accumulate 2, 3 batches an epoch:    step      0     1     2
                                             epoch    0 0   0 1   1 1
                                             batch    0 1   2 0   1 2
    """

    def __init__(self, store: PairStore, specials: Specials, source_specials: Specials, plan: BatchPlan) -> None:
        self.store, self.specials, self.source_specials, self.plan = store, specials, source_specials, plan
        buckets = Buckets(
            store.source_lengths + 1,
            store.target_lengths + 1,
            batch_tokens=plan.batch_tokens,
            batch_size=plan.batch_size,
            seed=plan.seed,
        )
        self._epochs = Epochs(buckets.epoch)
        self.steps_per_epoch = len(self._epochs(0)) / plan.accumulate
        n_tokens = int(store.source_lengths.sum() + store.target_lengths.sum()) + 2 * len(store)
        self.tokens_per_step = round(n_tokens / self.steps_per_epoch)

    def __reduce__(self) -> tuple[type[BucketBatches], tuple[object, ...]]:
        return BucketBatches, (self.store, self.specials, self.source_specials, self.plan)

    def __call__(self, step: int) -> list[PairBatch]:
        rank, world = self.plan.rank, self.plan.world
        return [self._batch(rows[rank::world], rows) for rows in self._rows(step)]

    def tokens(self, step: int) -> int:
        lengths = (self.store.source_lengths, self.store.target_lengths)
        return sum(int(side[rows].sum()) + len(rows) for rows in self._rows(step) for side in lengths)

    def _batch(self, own: Ids, rows: Ids) -> PairBatch:
        pairs = [self.store.pair(int(row)) for row in (own if len(own) else rows[:1])]
        batch = collate_pairs(pairs, self.specials, self.source_specials)
        if len(own):
            return batch
        return replace(batch, targets=torch.full_like(batch.targets, IGNORED), n_targets=0)

    def _rows(self, step: int) -> list[Ids]:
        """The pairs (B,) of each of the step's batches, of all processes."""
        first = step * self.plan.accumulate
        return [self._epochs.group(number) for number in range(first, first + self.plan.accumulate)]


class SequenceToSequence(Objective[PairBatch]):
    """-log p(target | source), summed.

    Args:
        specials: of the target's tokenizer.
        source_specials: of the source's; None: the same.
        label_smoothing: the probability that is shared among all tokens, 0 to below 1.
    """

    requires = EncoderDecoder
    terms: ClassVar[dict[str, float]] = {"nll": 1.0}

    def __init__(
        self, specials: Specials, source_specials: Specials | None = None, *, label_smoothing: float = 0.0
    ) -> None:
        self.specials, self.source_specials = specials, source_specials or specials
        self.label_smoothing = label_smoothing

    def training_batches(self, store: PairStore, body: Model, length: int, plan: BatchPlan) -> Batches:
        """Batches of whole pairs; `length` cuts nothing.

        Raises:
            ContextLengthError: a pair does not fit the model.
        """
        assert isinstance(body, EncoderDecoder)
        _refuse_too_long("source", store.source_lengths, body.source_context)
        _refuse_too_long("target", store.target_lengths, body.context)
        return BucketBatches(store, self.specials, self.source_specials, plan)

    def counts(self, batch: PairBatch) -> dict[str, int]:
        return {"nll": batch.n_targets}

    def loss(self, model: Assembled, batch: PairBatch, carry: State | None) -> tuple[dict[str, Tensor], State | None]:
        body = model.body
        assert isinstance(body, EncoderDecoder)
        memory = body.encode(batch.source, source_mask=batch.source_mask)
        hidden = body(batch.tokens, token_mask=batch.token_mask, memory=memory).hidden.flatten(0, 1)
        targets = batch.targets.flatten()
        if batch.positions is not None:
            hidden, targets = hidden[batch.positions], targets[batch.positions]
        return {"nll": body.nll(hidden, targets, self.label_smoothing).sum()}, None


# ---------------------------------------------------------------------------------------------


def _padded(rows: Sequence[tuple[Ids, Ids]]) -> tuple[Tensor, Tensor | None]:
    """Rows, each in two pieces, as (rows, longest) padded with 0, and True where a token is real, or None: all are."""
    lengths = np.array([len(first) + len(second) for first, second in rows])
    ids = np.zeros((len(rows), lengths.max()), dtype=np.int64)
    real = np.arange(ids.shape[1]) < lengths[:, None]
    ids[real] = np.concatenate(list(chain.from_iterable(rows)))
    return torch.from_numpy(ids), None if real.all() else torch.from_numpy(real)


def _refuse_too_long(side: str, lengths: Ids, context: int | None) -> None:
    longest = int(lengths.max()) + 1  # the token that begins or ends it has a place too
    if context is not None and longest > context:
        raise ContextLengthError(
            f"a {side} of {longest:,} tokens where the model takes {context:,}",
            "data.max_pair_len",
            f"lower it to at most {context - 1:,}, or raise model.max_len",
        )
