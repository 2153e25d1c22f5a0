"""Masked language modelling: -log p(x_i | a text in which x_i and others are hidden) (Devlin et al. 2019, 3.1).

Sequences are packed into rows, and only hidden places go through the output layer:

    text          <|> 물 이 흘 러 <|> <|> 산 은 높 다 <|>          <|> begins and ends a document
    tokens        <|> 물 이 [] 러 <|> <|> 산 은 [] 다 <|> .        [] is the mask
    segment_ids     1  1  1  1  1  1    2  2  2  2  2  2  0
    positions                3                   9                 in all rows, laid out flat
    targets                 흘                   높

Recurrent encoders read a sequence a row, with `token_mask`. Which tokens are hidden: see `objectives.masking`. What is
read may also be pairs of texts, for objectives that ask for more than hidden tokens: see `objectives.sentence_pairs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from malgil.data.epochs import Epochs, Int64s
from malgil.data.sequences import Readings, Rows, Sequences
from malgil.data.shuffle import uniforms
from malgil.data.store import TokenStore
from malgil.layers.heads import IGNORED
from malgil.models.base import Encoder, Model, Output, State
from malgil.objectives.base import Assembled, Batches, BatchPlan, Objective
from malgil.objectives.masking import Masking
from malgil.objectives.texts import freeze_unread, token_vectors

_NOISE = 21  # tells these draws from others with the same seed and epoch


@dataclass(frozen=True)
class MaskedBatch:
    """Rows of tokens, some of them hidden.

    Attributes:
        tokens: (B, T) int64.
        positions: (N,) int64, the hidden places in (B, T) laid out flat.
        targets: (N,) int64, what stood there.
        real: (R,) int64, the places of all tokens that are no padding, laid out flat.
        segment_ids: (B, T) int64, 0 = padding; None where a row is a sequence.
        token_mask: (B, T) bool, True = real; None where rows are packed, or all of one length.
        type_ids: (B, T) int64, which text of a pair a token belongs to; None where no pairs are read.
        begins: (M,) int64, the first places of the pairs of which something is asked, laid out flat; None as above.
        labels: (M,) int64, what is asked of them; None as above.
        noise: (N,) float64 in [0, 1), by which a token is drawn for each hidden place; None where none is drawn.
    """

    tokens: Tensor
    positions: Tensor
    targets: Tensor
    real: Tensor
    segment_ids: Tensor | None = None
    token_mask: Tensor | None = None
    type_ids: Tensor | None = None
    begins: Tensor | None = None
    labels: Tensor | None = None
    noise: Tensor | None = None

    def to(self, device: torch.device) -> MaskedBatch:
        if self.tokens.device == device:
            return self
        moved = {name: value.to(device, non_blocking=True) for name, value in vars(self).items() if value is not None}
        return replace(self, **moved)


def collate_masked(
    readings: Readings,
    rows: Sequence[Int64s],
    epochs: Sequence[int],
    masking: Masking,
    *,
    room: int | None,
    seed: int,
    noisy: bool = False,
) -> MaskedBatch:
    """Rows of sequences or pairs as one right-padded batch.

    Args:
        rows: the numbers of each row's sequences.
        epochs: of each row.
        room: tokens of a packed row: one size for all batches, so that compiled models need not be compiled anew;
            None: a row holds one sequence and no more padding than the longest asks for.
        noisy: whether there is `noise`.
    """
    read = [readings.in_epoch(epoch) for epoch in epochs]
    numbers, in_row = np.concatenate(rows), np.array([len(row) for row in rows])
    when = np.repeat(np.array(epochs), in_row)
    lengths = np.concatenate([one.lengths[row] for one, row in zip(read, rows, strict=True)])
    first_lengths = np.concatenate([one.first_lengths[row] for one, row in zip(read, rows, strict=True)])
    ids = np.concatenate([one.ids(int(number)) for one, row in zip(read, rows, strict=True) for number in row])
    seen, hidden = masking.hide(ids, lengths, numbers, when, seed=seed, first_lengths=first_lengths)
    sizes = np.add.reduceat(lengths, np.cumsum(in_row) - in_row)  # tokens of each row
    real = np.arange(room or sizes.max()) < sizes[:, None]  # (B, T)
    begins = np.cumsum(lengths) - lengths
    sequence = np.repeat(np.arange(len(numbers)), lengths)
    tokens, segments = np.zeros(real.shape, dtype=np.int64), np.zeros(real.shape, dtype=np.int64)
    tokens[real] = seen
    segments[real] = (np.arange(len(numbers)) - np.repeat(np.cumsum(in_row) - in_row, in_row) + 1)[sequence]
    places = np.flatnonzero(real)
    batch = MaskedBatch(
        tokens=torch.from_numpy(tokens),
        positions=torch.from_numpy(places[hidden]),
        targets=torch.from_numpy(ids[hidden]),
        real=torch.from_numpy(places),
        segment_ids=None if room is None else torch.from_numpy(segments),
        token_mask=None if room is not None or real.all() else torch.from_numpy(real),
    )
    within = np.arange(len(ids)) - begins[sequence]
    if noisy:
        where = (when[sequence][hidden], numbers[sequence][hidden], within[hidden])
        batch = replace(batch, noise=torch.from_numpy(uniforms((seed, _NOISE), *where)))
    if read[0].labels is None:
        return batch
    types = np.zeros(real.shape, dtype=np.int64)
    types[real] = within >= first_lengths[sequence]
    labels = np.concatenate([one.labels[row] for one, row in zip(read, rows, strict=True) if one.labels is not None])
    asked = labels != IGNORED
    return replace(
        batch,
        type_ids=torch.from_numpy(types),
        begins=torch.from_numpy(places[begins[asked]]),
        labels=torch.from_numpy(labels[asked]),
    )


class MaskedBatches:
    """Rows of sequences, step after step and epoch after epoch, as `WindowBatches` takes windows.

    Args:
        room: tokens of a row; None: a sequence is a row.
        noisy: see `collate_masked`.
    """

    def __init__(
        self, readings: Readings, masking: Masking, plan: BatchPlan, room: int | None, *, noisy: bool = False
    ) -> None:
        self.readings, self.masking, self.plan, self.room, self.noisy = readings, masking, plan, room, noisy
        self._epochs = Epochs(lambda epoch: Rows(readings.in_epoch(epoch).lengths, room, seed=plan.seed).epoch(epoch))
        self.steps_per_epoch = len(self._epochs(0)) / plan.rows
        self.tokens_per_step = max(1, round(int(readings.in_epoch(0).lengths.sum()) / self.steps_per_epoch))

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(MaskedBatches, noisy=self.noisy), (self.readings, self.masking, self.plan, self.room)

    def __call__(self, step: int) -> list[MaskedBatch]:
        first = step * self.plan.rows
        return [self._batch(range(first + rows.start, first + rows.stop)) for rows in self.plan.micro_batches()]

    def tokens(self, step: int) -> int:
        first = step * self.plan.rows
        rows = [self._row(number) for number in range(first, first + self.plan.rows)]
        return sum(int(self.readings.in_epoch(epoch).lengths[row].sum()) for row, epoch in rows)

    def _row(self, number: int) -> tuple[Int64s, int]:
        """The sequences of a row of the endless row of rows, and its epoch."""
        return self._epochs.group(number), self._epochs.place(number)[0]

    def _batch(self, numbers: range) -> MaskedBatch:
        rows, epochs = zip(*(self._row(number) for number in numbers), strict=True)
        return collate_masked(
            self.readings, rows, epochs, self.masking, room=self.room, seed=self.plan.seed, noisy=self.noisy
        )


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
        return MaskedBatches(self.readings(store, length, plan.seed), self.masking, plan, row_room(body, length))

    def readings(self, store: TokenStore, length: int, seed: int) -> Readings:
        """What is read of a store, in texts of at most `length` tokens."""
        return Sequences(store, length)

    def begin(self, body: Model) -> None:
        freeze_unread(body, lambda body, texts: body.logits(token_vectors(body, texts)))

    def counts(self, batch: MaskedBatch) -> dict[str, int]:
        return {"mlm": len(batch.positions)}

    def loss(self, model: Assembled, batch: MaskedBatch, carry: State | None) -> tuple[dict[str, Tensor], State | None]:
        hidden = hidden_vectors(model.body, batch).index_select(0, batch.positions)
        return {"mlm": model.body.nll(hidden, batch.targets).sum()}, None


def hidden_vectors(body: Model, batch: MaskedBatch) -> Tensor:
    """(B T, D): what the model makes of all places, laid out flat."""
    output: Output = body(
        batch.tokens, token_mask=batch.token_mask, segment_ids=batch.segment_ids, type_ids=batch.type_ids
    )
    return output.hidden.flatten(0, 1)


def row_room(body: Model, length: int) -> int | None:
    """The room of a row of at most `length` tokens: none in recurrent families, where a sequence is a row."""
    return None if body.context is None else length
