"""Questions and windows on texts: layout by hand, characters to tokens and back, and no answer lost between windows."""

from __future__ import annotations

import doctest
import pickle
import random
import unicodedata

import numpy as np
import pytest

from malgil.data import answer_store as module
from malgil.data.answer_store import Context, answer_store, composed, windows
from malgil.data.label_records import Answer, Question
from malgil.errors import ConfigError
from malgil.text.settings import KINDS, TokenizerSettings
from malgil.text.tokenizer import Tokenizer
from malgil.text.training import train_tokenizer

TEXT = "말길은 서울에서 왔다. The river Han flows through it, 3.14 km wide 🙂 éa."


def tokenizer(kind: str = "char") -> Tokenizer:
    return train_tokenizer([f"{TEXT} 어디서 왔니?\n" * 9], TokenizerSettings(kind=kind, vocab_size=330))


def question(context: str, answer: str | None, asked: str = "어디?") -> Question:
    answers = () if answer is None else (Answer(answer, context.index(answer)),)
    return Question("1", context, asked, answers)


def test_examples() -> None:
    assert doctest.testmod(module).failed == 0


def test_a_row_is_the_question_and_the_text() -> None:
    chosen = tokenizer()
    store = answer_store([question("말길 은", "은", asked="왔니"), question("말길 은", None, asked="왔니")], chosen)
    (mark,) = {chosen.begin_id, chosen.end_id}
    expected = [mark, *chosen.encode("왔니"), mark, *chosen.encode("말길 은"), mark]
    for row in range(2):
        assert store.rows.ids(row).tolist() == expected
        assert store.rows.types(row).tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1]
        # an answer begins and ends neither in the question nor at a space nor at the end
        assert store.rows.visible(row).tolist() == [False] * 4 + [True, True, False, True, False]
    assert store.rows.places(0) == (7, 7)
    assert store.rows.places(1) == (0, 0)
    assert store.lengths.tolist() == store.rows.lengths.tolist() == [9, 9]
    assert len(store.contexts) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_answers_become_tokens_and_tokens_characters(kind: str) -> None:
    chosen = tokenizer(kind)
    for start in range(len(TEXT)):
        for stop in range(start + 1, min(start + 9, len(TEXT) + 1)):
            wanted = TEXT[start:stop]
            if not wanted.strip():
                continue
            ((ids, spans),) = chosen.encode_spans([TEXT])
            context = Context.of(TEXT, ids, spans)
            found = context.tokens_of(Answer(wanted, start))
            assert found is not None
            begin, end = context.characters(*found)
            bare = start + len(wanted) - len(wanted.lstrip()), stop - len(wanted) + len(wanted.rstrip())
            # the characters of the tokens that the answer touches: it, and what of its first and last token is more
            assert begin <= bare[0]
            assert end >= bare[1]
            if kind in ("char", "byte"):
                assert (begin, end) == bare
            touched = [
                span for span in context.spans.tolist() if span[0] < stop and span[1] > start and span[0] < span[1]
            ]
            assert (begin, end) == (min(span[0] for span in touched), max(span[1] for span in touched))


def test_windows_are_even_and_hold_every_answer_of_half_their_size() -> None:
    for count in (0, 1, 7, 8, 9, 30, 31):
        for room in (1, 2, 5, 8):
            found = windows(count, room)
            assert found[0][0] == 0
            assert found[-1][1] == count
            if count > room:
                assert all(stop - start == room for start, stop in found)
                assert len(set(found)) == len(found)
            half = max(room // 2, 1)
            for start in range(count - half + 1):
                if room > 1:
                    assert any(a <= start and start + half <= b for a, b in found)


def test_an_answer_stands_in_the_windows_that_hold_it_whole() -> None:
    draw = random.Random(0)
    context = "".join(draw.choices("가나다라마바사", k=70))
    start = 31
    record = Question("q", context, "어디?", (Answer(context[start : start + 4], start),))
    chosen = train_tokenizer([context + "어디?"], TokenizerSettings(kind="char"))
    store = answer_store([record], chosen, longest=20)
    rows = store.rows
    assert len(rows) > 5
    assert int(rows.lengths.max()) <= 20
    held = 0
    for row in range(len(rows)):
        begin, stop = rows.windows[row].tolist()
        first, last = rows.places(row)
        assert ((first, last) != (0, 0)) == (begin <= start and start + 4 <= stop)
        if first:
            held += 1
            assert chosen.decode(rows.ids(row)[first : last + 1].tolist()) == context[start : start + 4]
        assert chosen.decode(rows.ids(row)[rows.first(row) : -1].tolist()) == context[begin:stop]
    assert held >= 2
    assert rows.notes() == [
        f"1 of 1 questions are about texts too long for 20 tokens, read in overlapping windows ({len(rows)} in all)"
    ]


def test_what_does_not_fit_is_said() -> None:
    chosen = tokenizer()
    long = question(TEXT, TEXT[:20], asked="어디서 " * 9)
    store = answer_store([long, question(TEXT, "서울")], chosen, longest=23)
    assert store.rows.notes()[1:] == [
        "1 of 2 questions were cut to half of a row",
        "1 answers fit no window: they are longer than half of one",
    ]
    assert store.rows.first(0) == 2 + 10
    assert store.notes() == []  # each character is a token
    words = answer_store([question(TEXT, "서울"), question(TEXT, "왔다"), question(TEXT, None)], tokenizer("word"))
    assert words.notes() == ["1 answers (50 %) begin or end inside a token; whole tokens stand for them"]
    with pytest.raises(ConfigError, match="no room for a question and a text"):
        answer_store([long], chosen, longest=7).rows  # noqa: B018


def test_decomposed_texts_are_given_back_as_they_were() -> None:
    for text in (TEXT, "", "한강 공원", "é" * 3):
        for form in ("NFC", "NFD"):
            raw = unicodedata.normalize(form, text)
            whole, places = composed(raw)
            assert whole == unicodedata.normalize("NFC", raw)
            assert len(places) == len(whole) + 1
            for number, character in enumerate(whole):
                piece = raw[places[number] : places[number + 1]]
                assert unicodedata.normalize("NFC", piece) == character


def test_rows_travel_to_other_processes() -> None:
    rows = answer_store([question(TEXT, "서울"), question("말길 은", None)], tokenizer(), longest=20).rows
    again = pickle.loads(pickle.dumps(rows))
    assert all(np.array_equal(again.ids(row), rows.ids(row)) for row in range(len(rows)))
    assert again.question.tolist() == rows.question.tolist()
