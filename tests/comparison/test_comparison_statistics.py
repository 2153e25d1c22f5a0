"""Intervals and ties, against published tables and numbers computed another way."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from malgil.comparison.statistics import CLOSE, difference, interval, student

#: two-sided 5 % points of Student's t, from the usual table
TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 7: 2.365, 10: 2.228, 20: 2.086, 30: 2.042, 120: 1.980}


@pytest.mark.parametrize("freedom, expected", TABLE.items())
def test_student_is_that_of_the_table(freedom: int, expected: float) -> None:
    assert student(freedom) == pytest.approx(expected, abs=6e-4)


def test_student_becomes_normal_and_knows_other_levels() -> None:
    assert student(1e5) == pytest.approx(1.95996, abs=2e-3)
    assert student(3, 0.9) == pytest.approx(2.353, abs=6e-4)
    assert student(1.5) > student(2) > student(2.5)


def test_interval_is_that_of_the_textbook() -> None:
    values = [2.31, 2.35, 2.30, 2.38, 2.29]
    found = interval(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.half == pytest.approx(2.776445 * np.std(values, ddof=1) / math.sqrt(5), rel=1e-5)


def test_one_value_has_no_interval() -> None:
    assert interval([2.5]) == (2.5, None)


def test_intervals_hold_the_mean_as_often_as_they_say() -> None:
    draw, held = random.Random(0), 0
    for _ in range(400):
        found = interval([draw.gauss(5, 2) for _ in range(3)])
        assert found.half is not None
        held += abs(found.mean - 5) <= found.half
    assert 0.92 < held / 400 < 0.98


def test_difference_is_welchs() -> None:
    # a worked example: means 20.0 and 23.0, variances 4 and 9 over 2, with 4 and 6 values
    a, b = [18.0, 19.0, 21.0, 22.0], [20.0, 22.0, 23.0, 23.0, 24.0, 26.0]
    va, vb = np.var(a, ddof=1) / 4, np.var(b, ddof=1) / 6
    freedom = (va + vb) ** 2 / (va**2 / 3 + vb**2 / 5)
    found = difference(a, b)
    assert found.mean == pytest.approx(-3.0)
    assert found.half == pytest.approx(student(freedom) * math.sqrt(va + vb))
    assert not found.tie
    assert difference(b, a).mean == pytest.approx(3.0)


def test_a_difference_within_its_interval_is_a_tie() -> None:
    assert difference([2.0, 2.2, 2.4], [2.1, 2.3, 2.5]).tie
    assert not difference([2.0, 2.01, 2.02], [2.4, 2.41, 2.42]).tie


def test_equal_values_are_a_tie_without_a_spread() -> None:
    assert difference([2.0, 2.0], [2.0, 2.0]) == (0.0, 0.0, True)
    assert difference([2.0, 2.0], [2.5, 2.5]) == (-0.5, 0.0, False)


def test_one_seed_is_judged_by_a_rule_of_thumb() -> None:
    assert difference([2.0], [2.0 * (1 + CLOSE / 2)]).tie
    assert not difference([2.0], [2.0 * (1 + 3 * CLOSE)]).tie
    assert difference([2.0], [2.1]).half is None
    assert difference([2.0, 2.1], [2.2]).half is None
