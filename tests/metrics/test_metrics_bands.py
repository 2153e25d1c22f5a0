"""Bands against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from malgil.metrics.bands import PLACES, RARITY, banded


@pytest.mark.parametrize("edges", [RARITY, PLACES, (3, 5), (0,)])
def test_bands_are_means_of_what_lies_between_edges(edges: tuple[int, ...]) -> None:
    draw = np.random.default_rng(0)
    keys, values = draw.integers(0, 3000, 700), draw.normal(5, 2, 700).astype(np.float32)
    expected = []
    for low, high in zip(edges, (*edges[1:], None), strict=True):
        inside = [v for k, v in zip(keys, values, strict=True) if k >= low and (high is None or k < high)]
        if len(inside) >= 7:
            expected.append((low, None if high is None else high - 1, len(inside), pytest.approx(np.mean(inside))))
    assert [tuple(band) for band in banded(keys, values, edges, least=7)] == expected


def test_small_bands_are_left_out() -> None:
    keys, values = np.array([0, 0, 1, 50]), np.array([1.0, 3.0, 5.0, 7.0])
    assert [band.low for band in banded(keys, values, (0, 1, 10), least=2)] == [0]
    assert banded(keys[:0], values[:0], (0, 1)) == []
