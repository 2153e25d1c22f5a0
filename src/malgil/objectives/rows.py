"""Rows of labelled data in batches: those of similar length together, padded on the right."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from malgil.data.epochs import Int64s
from malgil.objectives.base import BatchPlan
from malgil.objectives.texts import RecordBatches


class Collate(Protocol):
    """Makes a batch of some rows of a store, by their numbers; picklable for worker processes."""

    def __call__(self, rows: Any, numbers: Sequence[int], *, counted: bool = True) -> Any: ...


class RowBatches(RecordBatches[Any]):
    """Rows as `RecordBatches` takes records, where `collate` knows by itself what it means that nothing counts.

    Args:
        rows: what `collate` makes batches of.
        lengths: (rows,) tokens of each.
    """

    def __init__(self, rows: Any, lengths: Int64s, collate: Collate, plan: BatchPlan) -> None:
        super().__init__(lengths, partial(collate, rows), plan)
        self.rows, self.collate_rows = rows, collate

    def __reduce__(self) -> tuple[type[RowBatches], tuple[Any, ...]]:
        return RowBatches, (self.rows, self.lengths, self.collate_rows, self.plan)

    def _batch(self, own: Int64s, rows: Int64s) -> Any:
        chosen = own if len(own) else rows[:1]
        return self.collate_rows(self.rows, chosen.tolist(), counted=len(own) > 0)


def padded(rows: Sequence[npt.NDArray[Any]], fill: Any = 0) -> tuple[Tensor, Tensor | None]:
    """Rows (t,) as (rows, longest), `fill` behind each, and True where a row is; None in its place: everywhere.

    >>> values, real = padded([np.array([5, 6]), np.array([7])])
    >>> values.tolist(), real.tolist()
    ([[5, 6], [7, 0]], [[True, True], [True, False]])
    """
    lengths = np.array([len(row) for row in rows])
    real = np.arange(lengths.max()) < lengths[:, None]
    values = np.full(real.shape, fill, dtype=rows[0].dtype)
    values[real] = np.concatenate(rows)
    return torch.from_numpy(values), None if real.all() else torch.from_numpy(real)
