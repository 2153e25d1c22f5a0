"""Correlations against their definitions in exact fractions, and what has no value."""

from __future__ import annotations

import doctest
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malgil.errors import InputError
from malgil.metrics import correlation as module
from malgil.metrics.correlation import pearson, ranks, spearman

POINTS = st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=15)


def slow_pearson(x: list, y: list) -> float:
    n = len(x)
    cov = [
        n * sum(Fraction(a) * Fraction(b) for a, b in zip(u, v, strict=True))
        - sum(map(Fraction, u)) * sum(map(Fraction, v))
        for u, v in ((x, y), (x, x), (y, y))
    ]
    return float(cov[0]) / math.sqrt(cov[1] * cov[2]) if cov[1] * cov[2] else 0.0


def slow_ranks(values: list) -> list[Fraction]:
    """The mean of the places that a value could take among the sorted ones."""
    return [Fraction(2 * sum(w < v for w in values) + sum(w == v for w in values) + 1, 2) for v in values]


@given(POINTS)
def test_correlations_are_their_definitions(points: list[tuple[int, int]]) -> None:
    x, y = map(list, zip(*points, strict=True))
    assert pearson(x, y) == pytest.approx(slow_pearson(x, y), abs=1e-12)
    assert ranks(x).tolist() == [float(r) for r in slow_ranks(x)]
    assert spearman(x, y) == pytest.approx(slow_pearson(slow_ranks(x), slow_ranks(y)), abs=1e-12)
    assert spearman(x, y) == spearman([math.exp(v) for v in x], y)  # whatever the scale


def test_without_ties_spearman_is_the_formula_of_differences() -> None:
    x, y = [0.3, 2.0, 7.5, 1.1, 4.0], [10, 30, 20, 50, 40]
    squares = sum((a - b) ** 2 for a, b in zip(ranks(x), ranks(y), strict=True))
    assert spearman(x, y) == pytest.approx(1 - 6 * squares / (5 * 24))


def test_scale_does_not_matter_to_pearson() -> None:
    x, y = [1.0, 2.0, 4.0, 4.5], [0.1, 0.4, 0.35, 0.8]
    expected = pearson(x, y)
    for factor, shift in ((1e-300, 0), (3.0, 1e6), (-2.0, 5)):
        scaled = [factor * value + shift for value in x]
        assert pearson(scaled, y) == pytest.approx(math.copysign(1, factor) * expected, rel=1e-6)
    assert pearson([-1.7e308, 0.0, 1.7e308], [1, 2, 3]) == pytest.approx(1)


@pytest.mark.parametrize("constant", [[0.1] * 7, [0.0] * 7, [5e-324, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
def test_a_constant_correlates_with_nothing(constant: list[float]) -> None:
    assert pearson(constant, [3, 1, 2, 5, 4, 9, 8]) == 0
    assert spearman([0.1] * 7, [3, 1, 2, 5, 4, 9, 8]) == 0
    assert pearson([2], [3]) == spearman([2], [3]) == 0


@pytest.mark.parametrize("measure", [pearson, spearman])
def test_what_cannot_be_correlated_is_refused(measure) -> None:
    with pytest.raises(InputError, match="2 with 1 numbers"):
        measure([1, 2], [1])
    with pytest.raises(InputError, match="0 with 0 numbers"):
        measure([], [])
    with pytest.raises(InputError, match="a correlation of nan; item 1"):
        measure([1, 2], [1, math.nan])


def test_doctests() -> None:
    result = doctest.testmod(module)
    assert result.attempted >= 3
    assert result.failed == 0
