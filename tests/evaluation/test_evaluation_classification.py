"""Scores of labels and of numbers: the same whatever shares a batch, and right where they are computed by hand."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from malgil.data.label_records import Labelled, Scored
from malgil.data.label_store import label_store
from malgil.evaluation import texts as reading
from malgil.evaluation.classification import LabelEvaluator, LabelScore, worst_mistakes
from malgil.evaluation.regression import RegressionEvaluator
from malgil.evaluation.texts import batches_by_length, read_all
from malgil.models import build_model, family
from malgil.objectives.base import Assembled
from malgil.objectives.classification import Classification
from malgil.objectives.regression import Regression
from malgil.runtime.device import Precision
from malgil.text.settings import TokenizerSettings
from malgil.text.tokenizer import Tokenizer
from malgil.text.training import train_tokenizer

LABELS = ("나쁨", "좋음")
TEXTS = ["말길이 참 좋다", "물", "산은 높고 물은 깊다 그리고 길은 멀다", "the river carries light", "책"]
FP32 = Precision("fp32")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS, TokenizerSettings(kind="char"))


def records(labels: list[tuple[str, ...]]) -> list[Labelled]:
    return [Labelled(TEXTS[i % 5] + "!" * i, None, names) for i, names in enumerate(labels)]


def model(made: Any, tokenizer: Tokenizer) -> Assembled:
    torch.manual_seed(3)
    config = family("bert").config(n_layers=1, n_heads=2, d_model=8, max_len=40, dropout=0.5)
    body = build_model("bert", config, tokenizer.vocab_size)
    assembled = Assembled(body, made.parts(body))
    for parameter in assembled.parts.parameters():
        torch.nn.init.normal_(parameter)
    return assembled.train()


def scored(made: Classification, rows: list[Labelled], tokenizer: Tokenizer) -> LabelScore:
    score: LabelScore = LabelEvaluator(made, label_store(rows, tokenizer, 40), FP32)(model(made, tokenizer))
    return score


ONE = records([("좋음",), ("나쁨",), ("좋음",), ("좋음",), ("나쁨",), ("나쁨",), ("좋음",)])


def test_figures_of_one_label_are_those_by_hand(tokenizer: Tokenizer) -> None:
    made = Classification(LABELS, dropout=0.5, smoothing=0.2, balanced=True)
    score, assembled = scored(made, ONE, tokenizer), model(made, tokenizer).eval()
    store = label_store(ONE, tokenizer, 40)
    loss, right = 0.0, 0
    for i, record in enumerate(ONE):
        hidden = assembled.body(torch.from_numpy(store.ids(i))[None]).hidden[0].mean(0)
        p = assembled.parts["labels"](hidden).softmax(0).tolist()
        assert score.probabilities[i].tolist() == pytest.approx(p, abs=1e-6)
        loss -= math.log(p[LABELS.index(record.labels[0])]) / len(ONE)
        right += LABELS[p.index(max(p))] == record.labels[0]
    assert score.loss == pytest.approx(loss, rel=1e-5)
    told = score.to_dict()
    assert told["accuracy"] == told["micro_f1"] == right / len(ONE)
    assert told["f1"] == told["macro_f1"] == score.f1
    assert told["texts"] == 7
    assert sum(map(sum, told["confusion"])) == 7
    assert told["by_label"]["좋음"]["support"] == 4
    assert "unknown_labels" not in told
    json.dumps(told, allow_nan=False)


def test_neither_the_batch_nor_training_mode_matters(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    made, store = Classification(LABELS), label_store(ONE, tokenizer, 40)
    assembled = model(made, tokenizer)
    together = read_all(assembled, store, made.logits, FP32)
    assert assembled.training
    monkeypatch.setattr(reading, "TOKENS_PER_BATCH", {"cpu": 1})
    calls: list[int] = []
    alone = read_all(assembled, store, made.logits, FP32, lambda: calls.append(1))
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)
    assert len(calls) == len(ONE)


def test_a_check_that_raises_leaves_the_model_as_it_was(tokenizer: Tokenizer) -> None:
    made = Classification(LABELS)
    assembled = model(made, tokenizer)

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LabelEvaluator(made, label_store(ONE, tokenizer, 40), FP32)(assembled, stop)
    assert assembled.training


def test_labels_that_the_model_does_not_know_are_wrong(tokenizer: Tokenizer) -> None:
    made = Classification(LABELS)
    rows = [*ONE, *records([("모름",), ("모름",)])]
    score, known = scored(made, rows, tokenizer), scored(made, ONE, tokenizer)
    assert score.labels == ("나쁨", "좋음", "모름")
    assert score.loss == pytest.approx(known.loss)
    told = score.to_dict()
    assert told["accuracy"] == pytest.approx(known.to_dict()["accuracy"] * 7 / 9)
    assert told["unknown_labels"] == ["모름"]
    assert told["by_label"]["모름"]["recall"] == 0


def test_several_labels(tokenizer: Tokenizer) -> None:
    made = Classification(LABELS, several=True)
    rows = records([("좋음",), (), ("좋음", "나쁨"), ("나쁨",)])
    score = scored(made, rows, tokenizer)
    loss, hits = 0.0, 0
    for p, record in zip(score.probabilities.tolist(), rows, strict=True):
        truth = [name in record.labels for name in LABELS]
        loss -= sum(math.log(q if yes else 1 - q) for q, yes in zip(p, truth, strict=True)) / 4
        hits += truth == [q >= 0.5 for q in p]
    assert score.loss == pytest.approx(loss, rel=1e-5)
    assert score.to_dict()["exact_match"] == hits / 4
    assert score.f1 == score.to_dict()["micro_f1"]
    assert "confusion" not in score.to_dict()


def test_the_worst_mistakes_come_first() -> None:
    rows = records([("좋음",), ("나쁨",), ("나쁨",), ("좋음",)])
    probabilities = np.array([[0.1, 0.9], [0.4, 0.6], [0.01, 0.99], [0.7, 0.3]], dtype=np.float32)
    found = worst_mistakes(probabilities, LABELS, rows, several=False)
    assert [(one.shown, one.right, one.predicted) for one in found] == [
        (rows[2].text, ("나쁨",), ("좋음",)),
        (rows[3].text, ("좋음",), ("나쁨",)),
        (rows[1].text, ("나쁨",), ("좋음",)),
    ]
    assert [one.confidence for one in found] == pytest.approx([0.99, 0.7, 0.6])
    pair = [Labelled("비가 온다", "땅이 젖는다", ("좋음", "나쁨"))]
    (missed,) = worst_mistakes(np.array([[0.8, 0.1]], dtype=np.float32), LABELS, pair, several=True)
    assert (missed.shown, missed.predicted) == ("비가 온다 | 땅이 젖는다", ("나쁨",))
    assert missed.confidence == pytest.approx(0.9)


def test_scores_are_in_the_units_of_the_data(tokenizer: Tokenizer) -> None:
    made = Regression(3.0, 0.5)
    rows = [Scored(record.text, None, 2.0 + i / 3) for i, record in enumerate(ONE)]
    assembled = model(made, tokenizer)
    score = RegressionEvaluator(made, label_store(rows, tokenizer, 12), FP32)(assembled)
    right = np.array([row.score for row in rows])
    assert score.cut == sum(length > 10 for length in map(len, (row.text for row in rows))) > 0
    assert score.mse == pytest.approx(float(((score.predicted - right) ** 2).mean()))
    assert score.loss == pytest.approx(score.mse / 0.25)
    assert score.pearson == pytest.approx(np.corrcoef(score.predicted, right)[0, 1])
    assert set(score.to_dict()) == {"loss", "mse", "pearson", "spearman", "texts", "cut"}
    store = label_store(rows, tokenizer, 12)
    hidden = assembled.eval().body(torch.from_numpy(store.ids(2))[None]).hidden[0].mean(0)
    assert score.predicted[2] == pytest.approx(3 + 0.5 * assembled.parts["score"](hidden).item(), rel=1e-5)


def test_batches_hold_each_record_once_and_no_more_than_fits() -> None:
    lengths = np.array([3, 50, 4, 4, 9, 3, 200])
    batches = batches_by_length(lengths, 20)
    assert sorted(np.concatenate(batches).tolist()) == list(range(7))
    assert all(len(rows) * lengths[rows].max() <= 20 or len(rows) == 1 for rows in batches)
