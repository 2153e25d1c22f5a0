"""Answering: batches by hand, the loss against a plain loop, and that nothing outside the text can be chosen."""

from __future__ import annotations

import math

import pytest
import torch

from malgil.data.answer_store import AnswerStore, answer_store
from malgil.data.label_records import Answer, Question
from malgil.models import build_model, family
from malgil.objectives.answering import HEAD, Answering, collate_answers, place_log_probs
from malgil.objectives.base import Assembled, BatchPlan
from malgil.text.settings import TokenizerSettings
from malgil.text.tokenizer import Tokenizer
from malgil.text.training import train_tokenizer

CONTEXTS = ["말길은 서울에서 왔다. 물은 흐르고 산은 높다.", "Han 강"]
QUESTIONS = [
    Question("1", CONTEXTS[0], "어디?", (Answer("서울", 4), Answer("서울에서", 4))),
    Question("2", CONTEXTS[0], "누가?", ()),
    Question("3", CONTEXTS[1], "강은?", (Answer("Han", 0),)),
]
FAMILIES = {
    "bert": {"n_layers": 2, "n_heads": 3, "d_model": 15, "max_len": 20},
    "birnn": {"n_layers": 1, "d_model": 7},
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([*CONTEXTS, "어디누가?"], TokenizerSettings(kind="char"))


@pytest.fixture(scope="module")
def store(tokenizer: Tokenizer) -> AnswerStore:
    return answer_store(QUESTIONS, tokenizer, longest=20)


def assembled(name: str, tokenizer: Tokenizer) -> Assembled:
    torch.manual_seed(1)
    body = build_model(name, family(name).config(**FAMILIES[name], dropout=0.0), tokenizer.vocab_size)
    model = Assembled(body, Answering().parts(body))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def test_a_batch_by_hand(store: AnswerStore, tokenizer: Tokenizer) -> None:
    rows = store.rows
    row = rows.question.tolist().index(2)
    batch = collate_answers(rows, [0, row])
    mark = tokenizer.begin_id
    short = [mark, *tokenizer.encode("강은?"), mark, *tokenizer.encode("Han 강"), mark]
    assert batch.texts.tokens.tolist()[1] == short + [0] * 9
    assert batch.texts.type_ids is not None
    assert batch.texts.type_ids.tolist()[1] == [0] * 5 + [1] * 6 + [0] * 9
    assert batch.choices.tolist()[1] == [True] + [False] * 4 + [True, True, True, False, True] + [False] * 10
    assert batch.targets.tolist() == [[5 + 4, 5 + 5], [5, 7]]
    assert batch.count == 2
    nothing = collate_answers(rows, [0], counted=False)
    assert (nothing.count, nothing.targets.tolist()) == (0, [[-100, -100]])


@pytest.mark.parametrize("name", FAMILIES)
def test_the_loss_is_that_of_each_window_by_itself(name: str, store: AnswerStore, tokenizer: Tokenizer) -> None:
    model, objective, rows = assembled(name, tokenizer), Answering(), store.rows
    batch = collate_answers(rows, range(len(rows)))
    expected = [0.0, 0.0]
    with torch.no_grad():
        found, _ = objective.loss(model, batch, None)
        log_probs = place_log_probs(model, batch)
        for row in range(len(rows)):
            ids, types = (torch.from_numpy(x)[None] for x in (rows.ids(row), rows.types(row)))
            scores = model.parts[HEAD].linear(model.body(ids, type_ids=types).hidden[0])
            text = range(rows.first(row), ids.shape[1] - 1)
            allowed = [0, *(place for place in text if tokenizer.decode([int(ids[0, place])]).strip())]
            for side, target in enumerate(rows.places(row)):
                normaliser = math.log(sum(math.exp(float(scores[place, side])) for place in allowed))
                expected[side] += normaliser - float(scores[target, side])
                for place in range(batch.choices.shape[1]):
                    value = float(log_probs[row, place, side])
                    if place in allowed:
                        assert value == pytest.approx(float(scores[place, side]) - normaliser, abs=1e-5)
                    else:
                        assert value == -math.inf
    assert float(found["start"]) == pytest.approx(expected[0], rel=1e-5)
    assert float(found["end"]) == pytest.approx(expected[1], rel=1e-5)
    assert objective.counts(batch) == {"start": len(rows), "end": len(rows)}
    assert sum(place != (0, 0) for place in map(rows.places, range(len(rows)))) == 2
    assert rows.question.tolist() == [0, 0, 0, 1, 1, 1, 2]


def test_gradients_are_finite_and_nothing_counts_where_nothing_should(store: AnswerStore, tokenizer: Tokenizer) -> None:
    model, objective, rows = assembled("bert", tokenizer), Answering(), store.rows
    objective.begin(model.body)
    losses, _ = objective.loss(model, collate_answers(rows, range(len(rows))), None)
    sum(losses.values()).backward()  # type: ignore[union-attr]
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        assert parameter.grad is None or bool(parameter.grad.isfinite().all()), name
    assert model.body.type_embedding.weight.grad.abs().sum(1).min() > 0  # both kinds of text
    nothing, _ = objective.loss(model, collate_answers(rows, [0], counted=False), None)
    assert [value.item() for value in nothing.values()] == [0.0, 0.0]
    assert all(value.requires_grad for value in nothing.values())


def test_the_windows_of_a_question_are_rows_of_their_own(store: AnswerStore, tokenizer: Tokenizer) -> None:
    body = assembled("bert", tokenizer).body
    batches = Answering().training_batches(store, body, 20, BatchPlan(3, 1, seed=2))
    read = []
    for step in range(3):
        texts = batches(step)[0].texts
        mask = torch.ones_like(texts.tokens, dtype=torch.bool) if texts.token_mask is None else texts.token_mask
        read += [row[real].tolist() for row, real in zip(texts.tokens, mask, strict=True)]
    assert batches.steps_per_epoch == 3
    assert sorted(read) == sorted(store.rows.ids(row).tolist() for row in range(7))
