"""Masked language modelling: -log p(x_i | a text in which x_i and others are hidden) (Devlin et al. 2019, 3.1).

Sequences are packed into rows, and only hidden places go through the output layer:

    text          <|> 물 이 흘 러 <|> <|> 산 은 높 다 <|>          <|> begins and ends a document
    tokens        <|> 물 이 [] 러 <|> <|> 산 은 [] 다 <|> .        [] is the mask
    segment_ids     1  1  1  1  1  1    2  2  2  2  2  2  0
    positions                3                   9                 in all rows, laid out flat
    targets                 흘                   높

Recurrent encoders read a sequence a row, with `token_mask`. Which tokens are hidden: see `objectives.masking`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from malgil.data.epochs import Epochs, Int64s
from malgil.data.sequences import Rows, Sequences
from malgil.data.store import TokenStore
from malgil.models.base import Encoder, Model, Output, State
from malgil.objectives.base import Assembled, Batches, BatchPlan, Objective
from malgil.objectives.masking import Masking


@dataclass(frozen=True)
class MaskedBatch:
    """Rows of tokens, some of them hidden.

    Attributes:
        tokens: (B, T) int64.
        positions: (N,) int64, the hidden places in (B, T) laid out flat.
        targets: (N,) int64, what stood there.
        segment_ids: (B, T) int64, 0 = padding; None where a row is a sequence.
        token_mask: (B, T) bool, True = real; None where rows are packed, or all of one length.
    """

    tokens: Tensor
    positions: Tensor
    targets: Tensor
    segment_ids: Tensor | None = None
    token_mask: Tensor | None = None

    def to(self, device: torch.device) -> MaskedBatch:
        if self.tokens.device == device:
            return self
        moved = {name: value.to(device, non_blocking=True) for name, value in vars(self).items() if value is not None}
        return replace(self, **moved)


def collate_masked(
    sequences: Sequences,
    rows: Sequence[Int64s],
    epochs: Sequence[int],
    masking: Masking,
    *,
    room: int | None,
    seed: int,
) -> MaskedBatch:
    """Rows of sequences as one right-padded batch.

    Args:
        rows: the numbers of each row's sequences.
        epochs: of each row.
        room: tokens of a packed row: one size for all batches, so that compiled models need not be compiled anew;
            None: a row holds one sequence and no more padding than the longest asks for.
    """
    numbers, in_row = np.concatenate(rows), np.array([len(row) for row in rows])
    lengths = sequences.lengths[numbers]
    ids = np.concatenate([sequences.ids(int(number)) for number in numbers])
    seen, hidden = masking.hide(ids, lengths, numbers, np.repeat(np.array(epochs), in_row), seed=seed)
    sizes = np.add.reduceat(lengths, np.cumsum(in_row) - in_row)  # tokens of each row
    real = np.arange(room or sizes.max()) < sizes[:, None]  # (B, T)
    tokens, segments = np.zeros(real.shape, dtype=np.int64), np.zeros(real.shape, dtype=np.int64)
    tokens[real] = seen
    segments[real] = np.repeat(np.arange(len(numbers)) - np.repeat(np.cumsum(in_row) - in_row, in_row) + 1, lengths)
    return MaskedBatch(
        tokens=torch.from_numpy(tokens),
        positions=torch.from_numpy(np.flatnonzero(real)[hidden]),
        targets=torch.from_numpy(ids[hidden]),
        segment_ids=None if room is None else torch.from_numpy(segments),
        token_mask=None if room is not None or real.all() else torch.from_numpy(real),
    )


class MaskedBatches:
    """Rows of sequences, step after step and epoch after epoch, as `WindowBatches` takes windows.

    Args:
        room: tokens of a row; None: a sequence is a row.
    """

    def __init__(self, sequences: Sequences, masking: Masking, plan: BatchPlan, room: int | None) -> None:
        self.sequences, self.masking, self.plan, self.room = sequences, masking, plan, room
        self._epochs = Epochs(Rows(sequences.lengths, room, seed=plan.seed).epoch)
        self.steps_per_epoch = len(self._epochs(0)) / plan.rows
        self.tokens_per_step = max(1, round(int(sequences.lengths.sum()) / self.steps_per_epoch))

    def __reduce__(self) -> tuple[type[MaskedBatches], tuple[object, ...]]:
        return MaskedBatches, (self.sequences, self.masking, self.plan, self.room)

    def __call__(self, step: int) -> list[MaskedBatch]:
        first = step * self.plan.rows
        return [self._batch(range(first + rows.start, first + rows.stop)) for rows in self.plan.micro_batches()]

    def tokens(self, step: int) -> int:
        first = step * self.plan.rows
        rows = [self._epochs.group(number) for number in range(first, first + self.plan.rows)]
        return int(self.sequences.lengths[np.concatenate(rows)].sum())

    def _batch(self, numbers: range) -> MaskedBatch:
        rows = [self._epochs.group(number) for number in numbers]
        epochs = [self._epochs.place(number)[0] for number in numbers]
        return collate_masked(self.sequences, rows, epochs, self.masking, room=self.room, seed=self.plan.seed)


class MaskedLanguageModelling(Objective[MaskedBatch]):
    """-log p(hidden token), summed."""

    requires = Encoder
    terms: ClassVar[dict[str, float]] = {"mlm": 1.0}

    def __init__(self, masking: Masking) -> None:
        self.masking = masking

    def training_batches(self, store: TokenStore, body: Model, length: int, plan: BatchPlan) -> Batches:
        """Batches of rows of at most `length` tokens; sequences are no longer.

        Raises:
            ConfigError: rows of fewer than three tokens.
            DataError: there is no text.
        """
        room = None if body.context is None else length
        return MaskedBatches(Sequences(store, length), self.masking, plan, room)

    def counts(self, batch: MaskedBatch) -> dict[str, int]:
        return {"mlm": len(batch.positions)}

    def loss(self, model: Assembled, batch: MaskedBatch, carry: State | None) -> tuple[dict[str, Tensor], State | None]:
        body = model.body
        assert isinstance(body, Encoder)
        return {"mlm": body.nll(hidden_vectors(body, batch), batch.targets).sum()}, None


def hidden_vectors(body: Encoder, batch: MaskedBatch) -> Tensor:
    """(N, D): what the model makes of the hidden places."""
    output: Output = body(batch.tokens, token_mask=batch.token_mask, segment_ids=batch.segment_ids)
    return output.hidden.flatten(0, 1).index_select(0, batch.positions)
