"""Tags and entities against a loop over sentences; the same whatever shares a batch; a tiny set learnt by heart."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from malgil.data.label_records import Tagged
from malgil.data.tag_store import TagStore, tag_store
from malgil.evaluation import tagging
from malgil.evaluation.tagging import TagEvaluator, predict_tags
from malgil.models import build_model, family
from malgil.objectives.base import Assembled, BatchPlan
from malgil.objectives.tagging import HEAD, Tagging
from malgil.runtime.device import Precision
from malgil.text.settings import TokenizerSettings
from malgil.text.tokenizer import Tokenizer
from malgil.text.training import train_tokenizer

NAMES = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
SENTENCES = [
    ("민수 가 서울 에 간다", "B-PER O B-LOC O O"),
    ("말길", "O"),
    ("김 지영 은 한강 공원 을 걷고 제주 를 그린다 .", "B-PER I-PER O B-LOC I-LOC O O B-LOC O O O"),
    ("새벽 이 온다", "O O O"),
    ("New York 과 제주 는 멀다", "B-LOC I-LOC O B-LOC O O"),
    ("서울 의 지영 과 부산 의 민수", "B-LOC O B-PER O B-LOC O B-PER"),
]
FP32 = Precision("fp32")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([f"{words}\n" for words, _ in SENTENCES] * 2, TokenizerSettings(kind="bpe", vocab_size=290))


@pytest.fixture(scope="module")
def store(tokenizer: Tokenizer) -> TagStore:
    records = [Tagged(tuple(words.split()), tuple(tags.split())) for words, tags in SENTENCES]
    return tag_store(records, tokenizer, NAMES, longest=24)


def assembled(tokenizer: Tokenizer, shake: float = 0.4) -> Assembled:
    torch.manual_seed(2)
    config = family("bert").config(n_layers=2, n_heads=2, d_model=16, max_len=24, dropout=0.3)
    body = build_model("bert", config, tokenizer.vocab_size)
    model = Assembled(body, Tagging(NAMES, 0.3).parts(body))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(shake * torch.randn_like(parameter))
    return model


def test_tags_and_loss_are_those_of_each_row_by_itself(store: TagStore, tokenizer: Tokenizer) -> None:
    model = assembled(tokenizer).eval()
    tags, nll = [], 0.0
    with torch.no_grad():
        for row in range(len(store.rows)):
            hidden = model.body(torch.from_numpy(store.rows.ids(row))[None]).hidden[0]
            for place, right in zip(store.rows.places(row), store.rows.tags(row), strict=True):
                scores = model.parts[HEAD].linear(hidden[int(place)]).tolist()
                tags.append(max(range(len(NAMES)), key=scores.__getitem__))
                nll += math.log(sum(map(math.exp, scores))) - scores[int(right)]
    model.train()
    found = predict_tags(model, store, FP32)
    assert model.training
    assert found.numbers.tolist() == tags
    score = TagEvaluator(store, FP32)(model)
    assert score.loss == pytest.approx(nll / len(tags), rel=1e-5)
    assert score.accuracy == pytest.approx(np.mean(np.array(tags) == store.tags))
    assert (score.sentences, score.words, score.unknown_tags) == (6, len(tags), 0)


def test_what_shares_a_batch_changes_nothing(
    store: TagStore, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = assembled(tokenizer)
    together = predict_tags(model, store, FP32)
    monkeypatch.setattr(tagging, "TOKENS_PER_BATCH", {"cpu": 1})
    calls: list[int] = []
    alone = predict_tags(model, store, FP32, lambda: calls.append(1))
    assert len(calls) == len(store.rows) > len(store)
    assert alone.numbers.tolist() == together.numbers.tolist()
    np.testing.assert_allclose(alone.probabilities, together.probabilities, rtol=1e-5)


def test_an_i_that_continues_nothing_begins_an_entity(store: TagStore) -> None:
    """The right entities, but written with I throughout where none touches another: all are found."""
    right = np.where(store.tags % 2 == 1, store.tags + 1, store.tags)
    right = np.where(store.tags == 0, 0, right)
    predicted = tagging.PredictedTags(store, right, np.ones(len(right)), 0.0, len(right))
    score = tagging.score_predicted(predicted)
    assert (score.precision, score.recall, score.f1) == (1.0, 1.0, 1.0)
    assert score.accuracy < 0.8
    assert {name: row.support for name, row in score.types.items()} == {"LOC": 7, "PER": 4}
    none = tagging.PredictedTags(store, 0 * right, np.ones(len(right)), 0.0, len(right))
    assert tagging.score_predicted(none).f1 == 0.0


def test_tags_that_the_model_does_not_know_are_wrong_and_no_part_of_the_loss(
    store: TagStore, tokenizer: Tokenizer
) -> None:
    known = tag_store(store.records, tokenizer, NAMES[:3], longest=24)
    predicted = tagging.PredictedTags(known, np.maximum(known.tags, 0), np.ones(len(known.tags)), 3.0, 28)
    score = tagging.score_predicted(predicted)
    assert score.unknown_tags == len(known.tags) - 28
    assert score.loss == pytest.approx(3.0 / 28)
    assert score.types["LOC"].f1 == 1.0
    assert score.types["PER"].recall == 0.0
    assert 0 < score.recall < 1


def test_no_sentence_at_all(tokenizer: Tokenizer) -> None:
    nothing = tag_store([Tagged((), ())], tokenizer, NAMES, longest=24)
    found = predict_tags(assembled(tokenizer), nothing, FP32)
    assert found.tags(0) == []


def test_a_tiny_set_is_learnt_by_heart(store: TagStore, tokenizer: Tokenizer) -> None:
    model, objective = assembled(tokenizer, shake=0.0), Tagging(NAMES)
    whole = replace(store, longest=16)  # the longest sentences in parts
    assert len(whole.rows) > len(store)
    before = TagEvaluator(store, FP32)(model).f1
    assert before < 0.5
    batches = objective.training_batches(whole, model.body, 16, BatchPlan(8))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for step in range(100):
        (batch,) = batches(step)
        loss = objective.loss(model, batch, None)[0]["tags"] / batch.count
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    score = TagEvaluator(whole, FP32)(model)
    assert score.f1 == score.accuracy == 1.0
    assert score.loss < 0.1
