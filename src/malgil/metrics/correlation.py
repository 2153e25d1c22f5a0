"""Whether numbers go up and down together: for similarities and other scores.

    Pearson    cov(x, y) / (σ_x σ_y): how near the points lie to a straight line
    Spearman   Pearson of the ranks: how nearly the order is the same, whatever the scale (Spearman 1904)

Both lie in -1 .. 1. Where one side is constant, so also for a single pair, they have no value; 0 is given, since a
constant says nothing about the other side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from malgil.errors import InputError

Numbers: TypeAlias = Sequence[float] | npt.NDArray[np.float64]


def pearson(x: Numbers, y: Numbers) -> float:
    """The linear correlation of pairs (x_i, y_i).

    >>> round(pearson([1, 2, 3], [2, 4, 7]), 4)
    0.9934

    Raises:
        InputError: no numbers, not as many of both, or one that is not finite.
    """
    first, second = (_centred(values) for values in _checked(x, y))
    lengths = np.linalg.norm(first) * np.linalg.norm(second)
    return float(np.clip(first @ second / lengths, -1, 1)) if lengths else 0.0


def spearman(x: Numbers, y: Numbers) -> float:
    """The correlation of the ranks of x with those of y; equal values share the mean of their ranks.

    >>> round(spearman([0.1, 0.2, 9.0], [1, 2, 3]), 4)
    1.0

    Raises:
        InputError: as `pearson`.
    """
    first, second = _checked(x, y)
    return pearson(ranks(first), ranks(second))


def ranks(values: Numbers) -> npt.NDArray[np.float64]:
    """(n,) from 1 for the smallest; equal values share the mean of the places they take.

    >>> ranks([5, 3, 5, 9]).tolist()
    [2.5, 1.0, 2.5, 4.0]
    """
    _, which, counts = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean_rank: npt.NDArray[np.float64] = last - (counts - 1) / 2
    return mean_rank[which]


# ---------------------------------------------------------------------------------------------


def _checked(x: Numbers, y: Numbers) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    if len(x) != len(y) or not len(x):
        raise InputError(f"a correlation of {len(x)} with {len(y)} numbers", fix="give as many of both, at least one")
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    for values in (first, second):
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            raise InputError(f"a correlation of {values[bad[0]]}", f"item {bad[0]}", "give finite numbers")
    return first, second


def _centred(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Deviations from the mean on a scale of their own, so that neither huge nor tiny numbers leave the range.

    Exactly 0 where all values are equal, whose computed mean may miss them by a rounding error.
    """
    scaled: npt.NDArray[np.float64] = (
        values / 2 - values.min() / 2
    )  # halves: the whole range may be more than a float holds
    largest = scaled.max()
    if not largest:
        return scaled
    scaled /= largest
    centred: npt.NDArray[np.float64] = scaled - scaled.mean()
    return centred
