"""Scores of embeddings against plain loops: fixed groups, known partners, and scored pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from malgil.data.alike_store import alike_store
from malgil.data.label_alike import Alike
from malgil.evaluation import alike as module
from malgil.evaluation.alike import AlikeEvaluator, AlikeScore, found, groups
from malgil.evaluation.vectors import Embedder
from malgil.metrics.correlation import pearson, spearman
from malgil.models import build_model, family
from malgil.models.base import Encoder
from malgil.objectives.base import Assembled
from malgil.objectives.contrastive import Contrastive, cosent
from malgil.runtime.device import Precision
from malgil.text.settings import TokenizerSettings
from malgil.text.training import train_tokenizer

WORDS = ("산은", "높고", "river", "빛을", "carries", "물이", "흐른다")
TOKENIZER = train_tokenizer([" ".join([*WORDS, "0123456789"])], TokenizerSettings(kind="char"))
T = 0.2


def text(number: int) -> str:
    random = np.random.default_rng(number)
    return f"{number} " + " ".join(random.choice(WORDS, random.integers(1, 5)))


def assembled(dropout: float = 0.0) -> Assembled:
    config: Any = family("bert").config(n_layers=1, n_heads=3, d_model=15, max_len=40, dropout=dropout)
    model = build_model("bert", config, TOKENIZER.vocab_size)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return Assembled(model, {})


def scored(model: Assembled, records: list[Alike], **settings: Any) -> AlikeScore:
    store = alike_store(records, TOKENIZER, 40)
    return AlikeEvaluator(store, Contrastive(temperature=T, **settings), Precision("fp32"))(model)


def vectors(model: Assembled, texts: list[str]) -> torch.Tensor:
    assert isinstance(model.body, Encoder)
    return torch.from_numpy(Embedder(model.body, TOKENIZER, "mean", True, 40, Precision("fp32"))(texts))


@pytest.fixture
def _small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROUP", 5)


@pytest.mark.usefixtures("_small_groups")
def test_pairs_by_hand() -> None:
    """A loop over the groups, one candidate after another."""
    model = assembled().eval()
    records = [Alike(text(i), text(100 + i // 2 if i < 6 else 100 + i)) for i in range(17)]  # some share a partner
    score = scored(model, records)
    first, second = (vectors(model, [r.texts[side] for r in records]) for side in (0, 1))
    loss, right, candidates = 0.0, 0, 0
    for rows in groups(17):
        for i in rows:
            rivals = [j for j in rows if j == i or records[j].pair != records[i].pair]
            cosines = torch.stack([first[i] @ second[j] for j in rivals])
            mine = float(first[i] @ second[i])
            loss += float((cosines / T).logsumexp(0)) - mine / T
            right += sum(float(c) >= mine for c in cosines) == 1
            candidates += len(rivals)
    assert score.loss == pytest.approx(loss / 17, abs=1e-4)
    assert score.accuracy_at_1 == pytest.approx(right / 17)
    assert len(score.missed) == 17 - right
    worst = score.missed[0]
    assert worst.nearest_cosine - worst.cosine == max(m.nearest_cosine - m.cosine for m in score.missed) >= 0
    pair = next(r for r in records if r.text == worst.text)
    assert worst.partner == pair.pair != worst.nearest
    a, b, c = vectors(model, [worst.text, worst.partner, worst.nearest])
    assert [worst.cosine, worst.nearest_cosine] == pytest.approx([float(a @ b), float(a @ c)], abs=1e-5)
    assert 0 < right < 17
    assert score.candidates == candidates / 17
    assert score.spearman is None
    assert score.texts == 17
    assert "spearman" not in score.to_dict()


@pytest.mark.usefixtures("_small_groups")
def test_scored_pairs_by_hand() -> None:
    model = assembled().eval()
    records = [Alike(text(i), text(100 + i), float(i % 4)) for i in range(17)]
    score = scored(model, records)
    first, second = (vectors(model, [r.texts[side] for r in records]) for side in (0, 1))
    cosines, scores = (first * second).sum(1), torch.tensor([r.score or 0.0 for r in records])
    expected = sum(
        len(rows) * float(cosent(cosines[rows], scores[rows], T)) for rows in map(torch.from_numpy, groups(17))
    )
    assert score.loss == pytest.approx(expected / 17, rel=1e-4)
    assert score.spearman == pytest.approx(spearman(cosines.tolist(), scores.tolist()), abs=1e-9)
    assert score.pearson == pytest.approx(pearson(cosines.tolist(), scores.tolist()), abs=1e-6)
    assert score.accuracy_at_1 is None
    assert score.missed == []
    np.testing.assert_allclose(score.cosines, cosines, atol=1e-6)
    assert {"loss", "spearman", "pearson", "texts", "cut", "tokens", "bytes", "unknown"} == set(score.to_dict())


def test_texts_alone_are_read_twice_with_dropout_that_is_always_the_same() -> None:
    model, records = assembled(dropout=0.3), [Alike(text(i)) for i in range(20)]
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = scored(model, records, dropout=0.3)
    assert torch.equal(torch.get_rng_state(), before)  # training's dropout is as if nothing had been asked
    torch.manual_seed(2)
    assert scored(model, records, dropout=0.3).to_dict() == first.to_dict()
    assert model.training
    assert 0.0 < (first.accuracy_at_1 or 0.0) <= 1.0
    same = scored(assembled(dropout=0.0), records)
    assert same.accuracy_at_1 == 1.0


def test_the_mode_is_kept_and_a_check_may_stop_it() -> None:
    model, records = assembled(dropout=0.5).train(), [Alike(text(i), text(100 + i)) for i in range(9)]
    assert scored(model, records).to_dict() == scored(model.eval(), records).to_dict()
    assert not model.training

    def stop() -> None:
        raise KeyboardInterrupt

    store = alike_store(records, TOKENIZER, 40)
    with pytest.raises(KeyboardInterrupt):
        AlikeEvaluator(store, Contrastive(), Precision("fp32"))(model.train(), stop)
    assert model.training


@pytest.mark.parametrize("n", [1, 2, 63, 96, 97, 200])
def test_groups(n: int) -> None:
    made = groups(n)
    assert sorted(np.concatenate(made)) == list(range(n))
    assert max(map(len, made)) - min(map(len, made)) <= 1
    assert len(made) == max(1, round(n / 64))
    assert all(np.array_equal(a, b) for a, b in zip(made, groups(n), strict=True))


def test_a_tie_is_not_found() -> None:
    cosines = torch.tensor([[0.5, 0.5, 0.1], [0.9, 0.8, 0.1], [0.2, 0.1, 0.3]])
    apart = ~torch.eye(3, dtype=torch.bool)
    assert found(cosines, apart).tolist() == [False, False, True]
    apart[1, 0] = False
    assert found(cosines, apart).tolist() == [False, True, True]
