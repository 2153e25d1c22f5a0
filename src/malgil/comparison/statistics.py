"""Means of a few seeds with their intervals, and which differences are none.

    mean ± t(0.975, n - 1) x s / sqrt(n)                       Student 1908
    a - b ± t(0.975, v) x sqrt(s_a² / n_a + s_b² / n_b)        Welch 1947, v by Satterthwaite's formula

An interval of 95 % that holds zero is a tie. One seed has no interval; then differences below `CLOSE` are called too
close to tell, which is a rule of thumb and no statistic.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

#: share of the figure by which models with one seed each may differ and still count as even
CLOSE = 0.01
#: with more degrees of freedom Student's distribution is the normal one to three digits
_MOST_FREEDOM = 2000.0
_POINTS = 600


class Interval(NamedTuple):
    """A mean, and half the width of its 95 % interval; None with a single value."""

    mean: float
    half: float | None


class Difference(NamedTuple):
    """`a - b` with half the width of its 95 % interval (None where either has one value), and whether it is a tie."""

    mean: float
    half: float | None
    tie: bool


def interval(values: Sequence[float]) -> Interval:
    """Of one value or more."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean, None)
    return Interval(mean, student(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values)))


def difference(a: Sequence[float], b: Sequence[float]) -> Difference:
    """Whether two models differ, by Welch's interval."""
    mean = statistics.fmean(a) - statistics.fmean(b)
    if min(len(a), len(b)) < 2:
        return Difference(mean, None, abs(mean) <= CLOSE * abs(statistics.fmean([*a, *b])))
    parts = [statistics.variance(values) / len(values) for values in (a, b)]
    spread = sum(parts)
    if spread == 0:
        return Difference(mean, 0.0, mean == 0)
    freedom = spread**2 / sum(p**2 / (len(values) - 1) for p, values in zip(parts, (a, b), strict=True))
    half = student(freedom) * math.sqrt(spread)
    return Difference(mean, half, abs(mean) <= half)


@lru_cache
def student(freedom: float, level: float = 0.95) -> float:
    """The t that a variable of Student's distribution stays within, on both sides of zero, with that probability.

    Args:
        freedom: degrees of freedom, 1 or more, also between whole numbers.

    >>> round(student(1), 3), round(student(2), 3), round(student(9), 3)
    (12.706, 4.303, 2.262)
    """
    freedom = min(freedom, _MOST_FREEDOM)
    # with t = sqrt(v) tan(a) the density becomes cos(a)^(v - 1), which is smooth and bounded
    whole = _area(math.pi / 2, freedom)
    low, high = 0.0, math.pi / 2
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _area(middle, freedom) < level * whole else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def _area(end: float, freedom: float) -> float:
    """The integral of cos(a)^(v - 1) from 0 to `end`, by Simpson's rule."""
    step = end / _POINTS
    heights: list[float] = [max(math.cos(i * step), 0.0) ** (freedom - 1) for i in range(_POINTS + 1)]
    return step / 3 * (heights[0] + heights[-1] + 4 * sum(heights[1:-1:2]) + 2 * sum(heights[2:-1:2]))
