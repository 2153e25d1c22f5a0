"""Answers against a search through everything; over windows, without an answer, and back to characters."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from malgil.data.answer_store import AnswerStore, answer_store
from malgil.data.label_records import Answer, Question
from malgil.evaluation import answering
from malgil.evaluation.answering import AnswerEvaluator, best_stretches, find_answers
from malgil.models import build_model, family
from malgil.models.base import Encoder, Output
from malgil.objectives.answering import HEAD, Answering, collate_answers, place_log_probs
from malgil.objectives.base import Assembled
from malgil.runtime.device import Precision
from malgil.text.settings import TokenizerSettings
from malgil.text.tokenizer import Tokenizer
from malgil.text.training import train_tokenizer

FP32 = Precision("fp32")
LONG = "물은 흐르고 산은 높다. " * 6 + "말길은 [서울]에서 왔다. " + "새벽이 온다. " * 4
PLAIN = "물은 흐르고 산은 높다."
LETTERS = LONG + PLAIN + "어디?"


class Brackets(Encoder):
    """A reader of brackets: an answer begins behind [ and ends before ]; the begin token is worth 2 x `none`."""

    def __init__(self, tokenizer: Tokenizer, none: float) -> None:
        super().__init__()
        self.d_model, self.vocab_size, self.context = 2, tokenizer.vocab_size, None
        self.embedding = nn.Embedding(tokenizer.vocab_size, 2)
        self.open, self.close = (tokenizer.encode(sign)[0] for sign in "[]")
        self.none, self.begin = none, tokenizer.begin_id

    def head_weight(self) -> Tensor:
        return self.embedding.weight

    def forward(
        self,
        tokens: Tensor,
        *,
        token_mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        type_ids: Tensor | None = None,
    ) -> Output:
        starts, ends = torch.zeros(2, *tokens.shape)
        starts[:, 1:] = 5.0 * (tokens[:, :-1] == self.open)
        ends[:, :-1] = 5.0 * (tokens[:, 1:] == self.close)
        starts[:, 0] = ends[:, 0] = self.none
        return Output(torch.stack([starts, ends], -1))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([LETTERS], TokenizerSettings(kind="char"))


def reader(tokenizer: Tokenizer, none: float = 3.0) -> Assembled:
    body = Brackets(tokenizer, none)
    parts = Answering().parts(body)
    with torch.no_grad():
        parts[HEAD].linear.weight.copy_(torch.eye(2))
    return Assembled(body, parts)


def questions() -> list[Question]:
    start = LONG.index("서울")
    return [
        Question("long", LONG, "어디?", (Answer("서울", start),)),
        Question("none", PLAIN, "어디?", ()),
        Question("short", "산은 [높다]", "어디?", (Answer("높다", 4),)),
    ]


def evaluator(store: AnswerStore, longest: int = 9, threshold: float | None = 0.0) -> AnswerEvaluator:
    return AnswerEvaluator(store, FP32, longest, threshold)


def test_the_best_stretch_is_that_of_a_search_through_all() -> None:
    torch.manual_seed(0)
    for longest in (1, 2, 5, 40):
        log_probs = torch.randn(7, 11, 2)
        log_probs[torch.rand(7, 11, 2) < 0.4] = -math.inf
        log_probs[:, 0] = torch.randn(7, 2)
        log_probs[3, 1:] = -math.inf
        found = best_stretches(log_probs, longest)
        for row in range(7):
            spans = [(i, j) for i, j in itertools.product(range(1, 11), repeat=2) if 0 <= j - i < longest]
            best = max(spans, key=lambda ij: float(log_probs[row, ij[0], 0] + log_probs[row, ij[1], 1]))
            value = float(log_probs[row, best[0], 0] + log_probs[row, best[1], 1])
            none = float(log_probs[row, 0].sum())
            assert float(found.odds[row]) == pytest.approx(value - none, rel=1e-5)
            assert found.log_probs[row].tolist() == pytest.approx([value, none], rel=1e-5)
            if value > -math.inf:
                assert tuple(found.places[row].tolist()) == best


def test_an_answer_in_a_later_window_is_found(tokenizer: Tokenizer) -> None:
    store = answer_store(questions(), tokenizer, longest=40)
    holding = [row for row in range(len(store.rows)) if store.rows.places(row) != (0, 0)]
    assert holding[0] >= 2
    found = find_answers(reader(tokenizer), evaluator(store)).answers
    start = LONG.index("서울")
    assert (found[0].text, found[0].start, found[0].end) == ("서울", start, start + 2)
    assert (found[1].text, found[1].start, found[1].end) == ("", None, None)
    assert (found[2].text, found[2].start, found[2].end) == ("높다", 4, 6)
    score = evaluator(store)(reader(tokenizer))
    assert (score.exact_match, score.f1, score.character_f1) == (1.0, 1.0, 1.0)
    assert (score.answerable_f1, score.unanswerable) == (1.0, 1.0)


def test_probabilities_and_loss_are_those_of_a_plain_sum(tokenizer: Tokenizer) -> None:
    store = answer_store(questions()[1:], tokenizer, longest=40)
    found = find_answers(reader(tokenizer), evaluator(store))
    letters = len(PLAIN.replace(" ", ""))
    nothing = math.exp(3) / (math.exp(3) + letters)
    assert found.answers[0].score == pytest.approx(nothing**2, rel=1e-5)
    letters = len("산은[높다]")
    there = math.exp(5) / (math.exp(5) + math.exp(3) + letters - 1)
    assert found.answers[1].score == pytest.approx(there**2, rel=1e-5)
    assert found.answers[1].odds == pytest.approx(2 * (5 - 3), rel=1e-5)
    assert found.answers[0].odds == pytest.approx(2 * (0 - 3), rel=1e-5)
    assert found.loss == pytest.approx((-math.log(nothing) - math.log(there)) / 2, rel=1e-5)


def test_the_threshold_decides_between_an_answer_and_none(tokenizer: Tokenizer) -> None:
    store = answer_store(questions(), tokenizer, longest=40)
    model = reader(tokenizer)
    always = find_answers(model, evaluator(store, threshold=None)).answers
    assert all(one.text for one in always)
    assert always[1].text in PLAIN
    strict = find_answers(model, evaluator(store, threshold=4.5)).answers
    assert [one.text for one in strict] == ["", "", ""]
    lax = find_answers(reader(tokenizer, none=5.5), evaluator(store, threshold=-1.5)).answers
    assert [one.text for one in lax] == ["서울", "", "높다"]
    short = find_answers(model, evaluator(store, longest=1)).answers
    assert all(len(one.text) <= 1 for one in short)


def test_a_text_of_white_space_has_no_answer(tokenizer: Tokenizer) -> None:
    store = answer_store([Question("1", "   ", "어디?", ())], tokenizer, longest=40)
    (found,) = find_answers(reader(tokenizer), evaluator(store, threshold=None)).answers
    assert (found.text, found.start, found.odds) == ("", None, -math.inf)
    assert found.score == pytest.approx(1.0)


@pytest.mark.parametrize("kind", ["char", "bpe", "wordpiece", "unigram"])
def test_answers_do_not_depend_on_what_shares_a_batch(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = train_tokenizer([LETTERS * 3], TokenizerSettings(kind=kind, vocab_size=300))
    torch.manual_seed(4)
    config = family("bert").config(n_layers=1, n_heads=2, d_model=12, max_len=32)
    body = build_model("bert", config, chosen.vocab_size)
    model = Assembled(body, Answering().parts(body))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    store = answer_store(questions(), chosen, longest=32)
    how = evaluator(store, threshold=None)
    together = find_answers(model, how)
    monkeypatch.setattr(answering, "TOKENS_PER_BATCH", {"cpu": 1})
    alone = find_answers(model, how)
    for one, other, question in zip(together.answers, alone.answers, questions(), strict=True):
        assert (one.text, one.start, one.end) == (other.text, other.start, other.end)
        assert one.score == pytest.approx(other.score, rel=1e-4)
        assert one.start is not None
        assert question.context[one.start : one.end] == one.text
        assert one.text == one.text.strip() != ""
    assert together.loss == pytest.approx(alone.loss, rel=1e-5)
    # the best of all windows, each searched by itself
    best = -math.inf
    with torch.no_grad():
        for row in range(len(store.rows)):
            if store.rows.question[row] == 0:
                log_probs = place_log_probs(model.eval(), collate_answers(store.rows, [row]))
                best = max(best, float(best_stretches(log_probs, 9).odds[0]))
    assert together.answers[0].odds == pytest.approx(best, rel=1e-4)
    cut = replace(store, longest=None)
    assert len(cut.rows) == 3
