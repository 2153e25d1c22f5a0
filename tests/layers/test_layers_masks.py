"""Masks against the rule written out in loops: who may attend to whom."""

from __future__ import annotations

import torch

from malgil.layers import masks

SEGMENTS = torch.tensor([[1, 1, 1, 2, 2, 0, 0], [1, 2, 2, 2, 3, 3, 3], [4, 4, 4, 4, 4, 4, 0]])


def test_causal() -> None:
    mask = masks.causal(5)
    assert mask.shape == (1, 1, 5, 5)
    assert mask.dtype == torch.bool
    assert all(bool(mask[0, 0, q, k]) == (k <= q) for q in range(5) for k in range(5))


def test_causal_segments() -> None:
    mask = masks.causal_segments(SEGMENTS)
    assert mask.shape == (3, 1, 7, 7)
    for b, row in enumerate(SEGMENTS.tolist()):
        for q in range(7):
            for k in range(7):
                assert bool(mask[b, 0, q, k]) == (k <= q and row[q] == row[k])
    assert mask.any(-1).all()  # padding too sees a key


def test_segments_in_both_directions() -> None:
    mask = masks.segments(SEGMENTS)
    assert mask.shape == (3, 1, 7, 7)
    for b, row in enumerate(SEGMENTS.tolist()):
        for q in range(7):
            for k in range(7):
                assert bool(mask[b, 0, q, k]) == (row[q] == row[k])


def test_prefixes() -> None:
    mask = masks.prefixes(torch.tensor([3, 0, 5]), 5)
    assert mask.shape == (3, 1, 1, 5)
    assert mask.dtype == torch.bool
    assert mask[:, 0, 0].tolist() == [[True, True, True, False, False], [False] * 5, [True] * 5]


def test_window() -> None:
    mask = masks.window(7, 2)
    assert mask.shape == (1, 1, 7, 7)
    assert all(bool(mask[0, 0, q, k]) == (abs(q - k) <= 2) for q in range(7) for k in range(7))
    assert masks.window(4, 0)[0, 0].tolist() == torch.eye(4, dtype=torch.bool).tolist()


def test_positions_restart_at_each_document() -> None:
    assert masks.segment_positions(SEGMENTS).tolist() == [
        [0, 1, 2, 0, 1, 0, 1],
        [0, 0, 1, 2, 0, 1, 2],
        [0, 1, 2, 3, 4, 5, 0],
    ]


def test_cached_rows_of_different_lengths() -> None:
    positions = torch.tensor([[2, 3], [0, 1], [4, 5]])
    mask = masks.cached(positions, n_keys=6)
    assert mask.shape == (3, 1, 2, 6)
    assert mask.sum(-1).squeeze(1).tolist() == [[3, 4], [1, 2], [5, 6]]
    assert mask[0, 0, 0].tolist() == [True, True, True, False, False, False]
