"""Vectors that depend on nothing but their texts, and searches against a plain sort."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from malgil.evaluation.vectors import Embedder, Hit, Index, nearest, unit
from malgil.models import build_model, family
from malgil.models.base import Encoder
from malgil.runtime.device import Precision
from malgil.text.settings import TokenizerSettings
from malgil.text.training import train_tokenizer

SMALL: dict[str, dict[str, Any]] = {
    "bert": {"n_layers": 2, "n_heads": 3, "d_model": 15, "max_len": 12, "pooler": True},
    "albert": {"n_layers": 2, "n_heads": 3, "d_model": 15, "d_embedding": 6, "max_len": 12},
    "modernbert": {"n_layers": 2, "n_heads": 3, "d_model": 18, "max_len": 12, "window": 4},
    "birnn": {"n_layers": 1, "d_model": 9},
}
TEXTS = ["산은 높다", "a river of light", "", "물이 흐른다 그리고", "산은 높다", "강", "ㅋㅋ 새벽"]
TOKENIZER = train_tokenizer(["".join(TEXTS)], TokenizerSettings(kind="char"))
every_family = pytest.mark.parametrize("name", SMALL)


def embedder(name: str = "bert", pooling: str = "mean", normalize: bool = True, longest: int | None = 12) -> Embedder:
    model = build_model(name, family(name).config(**SMALL[name]), TOKENIZER.vocab_size).eval()
    assert isinstance(model, Encoder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return Embedder(model, TOKENIZER, pooling, normalize, longest, Precision("fp32"))


def by_hand(made: Embedder, text: str) -> np.ndarray:
    """One text, no batch."""
    ids = [TOKENIZER.begin_id, *TOKENIZER.encode(text)[: (made.longest or 99) - 2], TOKENIZER.end_id]
    with torch.no_grad():
        hidden = made.model(torch.tensor([ids])).hidden[0]
        vector = made.model.pooled(hidden[0]) if made.pooling == "first" else sum(hidden) / len(hidden)
    return (vector / vector.norm() if made.normalize else vector).numpy()


@every_family
@pytest.mark.parametrize("pooling", ["mean", "first"])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_vector_is_that_of_the_text_alone(name: str, pooling: str, normalize: bool) -> None:
    """Whatever the batch, in the order given."""
    made = embedder(name, pooling, normalize)
    vectors = made(TEXTS)
    assert vectors.shape == (7, made.model.d_model)
    assert vectors.dtype == np.float32
    for vector, text in zip(vectors, TEXTS, strict=True):
        np.testing.assert_allclose(vector, by_hand(made, text), atol=1e-6)
        np.testing.assert_allclose(vector, made([text])[0], atol=1e-6)
    np.testing.assert_allclose(made(TEXTS[::-1]), vectors[::-1], atol=1e-6)
    np.testing.assert_allclose(made(TEXTS * 200)[-7:], vectors, atol=1e-6)
    assert normalize == bool(np.allclose(np.linalg.norm(vectors, axis=1), 1))


def test_what_is_too_long_is_cut_and_counted() -> None:
    made = embedder()
    vectors, cut = made.read(["강", "a river of light"])
    assert cut.tolist() == [0, 6]
    np.testing.assert_allclose(vectors[1], made(["a river of"])[0], atol=1e-6)
    assert embedder("birnn", longest=None).read(["a river of light" * 9])[1].tolist() == [0]


def test_no_texts() -> None:
    assert embedder()([]).shape == (0, 15)
    assert Index(embedder(), []).search(["강"], 3) == [[]]
    assert Index(embedder(), TEXTS).search([], 3) == []


def test_the_nearest_are_those_of_a_sort() -> None:
    made = embedder(normalize=False)
    index = Index(made, TEXTS)
    for query, hits in zip(TEXTS, index.search(TEXTS, 3), strict=True):
        asked = by_hand(made, query)
        cosines = [
            float(asked @ v / np.linalg.norm(asked) / np.linalg.norm(v)) for v in (by_hand(made, t) for t in TEXTS)
        ]
        best = sorted(range(7), key=lambda i: (-round(cosines[i], 5), i))[:3]
        assert [hit.index for hit in hits] == best
        assert [hit.text for hit in hits] == [TEXTS[i] for i in best]
        np.testing.assert_allclose([hit.score for hit in hits], [cosines[i] for i in best], atol=1e-5)
    assert [hit.index for hit in index.search(["산은 높다"], 2)[0]] == [0, 4]
    assert len(index.search(["강"], 99)[0]) == 7


def test_vectors_may_be_given() -> None:
    made = embedder()
    index = Index(made, TEXTS, 3 * made(TEXTS)[::-1])
    assert index.search(["물이 흐른다 그리고"], 1)[0] == [Hit(3, pytest.approx(1.0, abs=1e-6), TEXTS[3])]


@pytest.mark.parametrize("top", [1, 4, 50, 99])
def test_nearest(top: int) -> None:
    scores = np.round(np.random.default_rng(0).standard_normal(50), 1).astype(np.float32)  # with equal ones
    expected = sorted(range(50), key=lambda i: (-scores[i], i))[:top]
    assert nearest(scores, top).tolist() == expected


def test_unit() -> None:
    assert unit(np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32)).tolist() == [
        [pytest.approx(0.6), pytest.approx(0.8)],
        [0, 0],
    ]
