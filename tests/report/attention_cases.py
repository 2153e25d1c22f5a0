"""An attention view of odd, distinct sizes, with Hangul on its edges."""

from __future__ import annotations

import numpy as np

from malgil.report.attention import AttentionGroup, AttentionView

SOURCE = ["옛", "날", "에", "·호랑이", "$가$", "</s>"]
TARGET = ["once", "·upon", "·a", "·time", "</s>"]


def maps(n_layers: int, heads: int, rows: int, columns: int, *, causal: bool = False) -> list[np.ndarray]:
    scores = np.random.default_rng(rows).normal(size=(n_layers, heads, rows, columns)) * 2
    weights = np.exp(scores) * (np.tril(np.ones((rows, columns))) if causal else 1)
    return list((weights / weights.sum(-1, keepdims=True)).astype(np.float32))


def view() -> AttentionView:
    return AttentionView(
        "옛날에 → once upon a time",
        "Transformer",
        3_210_000,
        [
            AttentionGroup("cross", TARGET, SOURCE, maps(2, 3, 5, 6)),
            AttentionGroup("encoder self", SOURCE, SOURCE, maps(1, 3, 6, 6)),
            AttentionGroup("decoder self", ["<s>", *TARGET[:-1]], ["<s>", *TARGET[:-1]], maps(1, 3, 5, 5, causal=True)),
        ],
    )
