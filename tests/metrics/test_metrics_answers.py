"""Answers as SQuAD and KorQuAD score them: values worked out by hand from their definitions."""

from __future__ import annotations

import doctest
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malgil.errors import InputError
from malgil.metrics import answers as module
from malgil.metrics.answers import (
    character_f1,
    exact_match,
    korean_exact_match,
    normalize,
    normalize_korean,
    score_answers,
    word_f1,
)

TEXT = st.text(alphabet="말길 은the.a《》", max_size=12)


def test_normal_forms() -> None:
    assert normalize("  The Cat, the\tAn-imal of a theme. ") == "cat animal of theme"
    assert normalize("《말길》은") == "《말길》은"  # SQuAD knows ASCII punctuation alone
    assert normalize_korean("'말길'(2026년), 〈길〉의 The ‘말’") == "말길 2026년 길 의 the 말"


@given(TEXT)
def test_normal_forms_stay(text: str) -> None:
    assert normalize_korean(normalize_korean(text)) == normalize_korean(text)
    assert exact_match(text, [text]) == word_f1(text, [text]) == korean_exact_match(text, [text]) == 1


@given(TEXT, TEXT)
def test_f1_is_symmetric_and_one_for_the_same_bag(a: str, b: str) -> None:
    for measure in (word_f1, character_f1):
        assert 0 <= measure(a, [b]) <= 1
        assert measure(a, [b]) == measure(b, [a])
        assert measure(a, [a]) == 1


def test_words_in_common_count_as_often_as_they_stand_in_both() -> None:
    # 2 of 3 predicted words are right, 2 of 4 right ones were found
    assert word_f1("말 말 길", ["말 말 은 는"]) == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))
    assert word_f1("산", ["물"]) == 0
    assert exact_match("the River", ["river!", "강"]) == 1
    assert exact_match("rivers", ["river", "강"]) == 0


def test_characters_forgive_particles() -> None:
    assert word_f1("서울에서", ["서울"]) == 0
    assert character_f1("서울에서", ["서울"]) == pytest.approx(2 * (2 / 4) * 1 / (2 / 4 + 1))
    assert character_f1("서 울", ["서울"]) == 1
    assert korean_exact_match("《서울》", ["서울"]) == 1


def test_the_best_of_several_answers_counts() -> None:
    assert word_f1("말길 책", ["길", "책", "말길 책이"]) == pytest.approx(2 / 3)
    assert character_f1("말길", ["산", "말길은"]) == pytest.approx(0.8)


def test_unanswerable_questions_want_silence() -> None:
    for measure in (exact_match, word_f1, korean_exact_match, character_f1):
        assert measure("", []) == 1
        assert measure("서울", []) == 0
        assert measure("", ["서울"]) == 0
        assert measure("...", []) == 1  # nothing once normalised
        assert measure("", ["..."]) == 1  # an answer of nothing is none, as in SQuAD 2.0
        assert measure("서울", ["...", "서울"]) == 1


def test_means() -> None:
    score = score_answers(["서울에", "", "부산", "the sea"], [["서울"], [], [], ["sea", "바다"]])
    assert (score.exact_match, score.f1) == (0.5, 0.5)
    assert (score.korean_exact_match, score.questions) == (0.25, 4)
    assert score.character_f1 == pytest.approx((0.8 + 1 + 0 + 2 * 3 / 9) / 4)
    assert (score.answerable_f1, score.unanswerable) == (0.5, 0.5)
    json.dumps(score.to_dict(), allow_nan=False)
    assert score_answers(["a"], [["b"]]).unanswerable is None
    assert score_answers([""], [[]]).answerable_f1 is None


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(InputError, match="1 predictions for 2 questions"):
        score_answers(["말"], [["말"], []])
    with pytest.raises(InputError, match="0 predictions for 0 questions"):
        score_answers([], [])


def test_doctests() -> None:
    result = doctest.testmod(module)
    assert result.attempted >= 4
    assert result.failed == 0
