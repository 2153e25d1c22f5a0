"""Numbers by coordinates: the same in any company, uniform, and different wherever something differs."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from malgil.data import shuffle
from malgil.data.shuffle import uniforms


def test_doctests() -> None:
    result = doctest.testmod(shuffle)
    assert result.attempted >= 4
    assert result.failed == 0


def test_a_number_depends_on_its_key_and_coordinates_alone() -> None:
    rows, places = np.divmod(np.arange(600), 20)
    together = uniforms((3, 1), rows, places)
    alone = [uniforms((3, 1), rows[i : i + 1], places[i : i + 1])[0] for i in range(600)]
    assert together.tolist() == alone
    assert len(set(together)) == 600
    for other in (uniforms((4, 1), rows, places), uniforms((3, 2), rows, places), uniforms((3, 1), places, rows)):
        assert (other == together).mean() < 0.1
    assert not np.array_equal(uniforms((3,), np.array([0, 1]), np.array([1, 0])), uniforms((3,), np.array([1, 0])))


def test_numbers_are_uniform_and_neighbours_unlike() -> None:
    rows, places = np.divmod(np.arange(40_000), 200)
    draws = uniforms((0, 0), rows, places)
    assert 0 <= draws.min() < draws.max() < 1
    counts = np.bincount((draws * 10).astype(int), minlength=10)
    assert ((counts - 4000) ** 2 / 4000).sum() < 30  # chi squared, 9 degrees of freedom: 1 in 2,000
    for shift in (1, 200):  # the next place, the next row
        assert np.corrcoef(draws[:-shift], draws[shift:])[0, 1] == pytest.approx(0, abs=0.02)
