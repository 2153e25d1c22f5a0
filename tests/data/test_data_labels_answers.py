"""Questions: SQuAD's files and JSON rows, offsets that are wrong, and questions without an answer."""

from __future__ import annotations

import gzip
import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malgil.data.label_answers import _find
from malgil.data.label_records import Answer, Question
from malgil.data.labels import QUESTIONS, LabelledData, open_all_labelled_data, open_labelled_data
from malgil.data.settings import DataSettings
from malgil.errors import DataError

CONTEXT = "말길은 서울에서 시작해 부산에서 끝난다."
SEOUL = {"text": "서울", "answer_start": 4}


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def squad(path: Path, *questions: dict[str, Any], context: str = CONTEXT) -> Path:
    paragraphs = [{"context": context, "qas": list(questions)}]
    return write(path, json.dumps({"version": "KorQuAD_v1.0", "data": [{"title": "길", "paragraphs": paragraphs}]}))


def rows(path: Path, *answers: Any, context: str = CONTEXT) -> Path:
    lines = ({"context": context, "question": f"어디 {i}?", "answers": a} for i, a in enumerate(answers))
    return write(path, "\n".join(map(json.dumps, lines)))


def whole(path: Path, **settings: Any) -> tuple[tuple[Question, ...], tuple[str, ...]]:
    part, notes = open_all_labelled_data(DataSettings(paths=[str(path)], **settings), QUESTIONS)
    return part.records, notes


def opened(path: Path, **settings: Any) -> LabelledData[Question]:
    return open_labelled_data(DataSettings(paths=[str(path)], **settings), QUESTIONS)


def test_squad(tmp_path: Path) -> None:
    path = squad(
        tmp_path / "a.json",
        {"id": "q1", "question": "어디서?", "answers": [SEOUL, SEOUL, {"text": "서울에서", "answer_start": 4}]},
        {"id": "q2", "question": "왜?", "answers": [], "is_impossible": True, "plausible_answers": [SEOUL]},
    )
    expected = (
        Question("q1", CONTEXT, "어디서?", (Answer("서울", 4), Answer("서울에서", 4))),
        Question("q2", CONTEXT, "왜?", ()),
    )
    assert whole(path) == (expected, ())
    assert whole(write(tmp_path / "b.json.gz", gzip.compress(path.read_bytes())))[0] == expected


def test_forms_of_rows(tmp_path: Path) -> None:
    forms = [
        [SEOUL],
        SEOUL,
        {"text": ["서울"], "answer_start": [4]},
        {"text": ["서울"]},
        [{"text": "서울"}],
        [],
        {"text": []},
    ]
    found, notes = whole(rows(tmp_path / "a.jsonl", *forms))
    assert [question.answers for question in found] == [(Answer("서울", 4),)] * 5 + [()] * 2
    assert [question.id for question in found] == ["1", "2", "3", "4", "5", "6", "7"]
    assert notes == ()


def test_answers_are_found_near_a_wrong_offset(tmp_path: Path) -> None:
    context = "길 " * 100 + "서울 서울 " + "길 " * 100 + "부산" + " 길" * 10
    given_ = [
        [{"text": "서울", "answer_start": 204}],
        [{"text": "서울", "answer_start": 198}],
        [{"text": "부산", "answer_start": 3}],
        [{"text": "서울", "answer_start": 0}],
        [{"text": "대전", "answer_start": 5}],
        [{"text": "부산", "answer_start": -402}],
        [{"text": "대전", "answer_start": 5}, {"text": "서울", "answer_start": 203}],
    ]
    path = rows(tmp_path / "a.jsonl", *given_, context=context)
    found, notes = whole(path)
    starts = {question.id: [answer.start for answer in question.answers] for question in found}
    # of two places the nearer; far away only where there is one place; nowhere
    assert starts == {"1": [203], "2": [200], "3": [406], "6": [406], "7": [203]}
    assert f"4 answers that did not stand at the offset were found nearby (first: {path}:1)" in notes
    assert f"3 answers that were not found in the text were left out (first: {path}:4)" in notes
    assert f"2 questions none of whose answers stands in the text were left out (first: {path}:4)" in notes


TEXT = st.text(alphabet="서울 길", min_size=1, max_size=30)


@given(TEXT, st.integers(0, 29), st.integers(1, 5), st.integers(-34, 34))
def test_what_is_found_is_the_answer(context: str, start: int, length: int, error: int) -> None:
    start %= len(context)
    answer = context[start : start + length]
    assert _find(context, answer, start) == start
    found = _find(context, answer, max(start + error, 0))
    assert found is not None
    assert context[found : found + len(answer)] == answer
    places = [i for i in range(len(context)) if context.startswith(answer, i)]
    assert _find(context, answer, None) == (places[0] if len(places) == 1 else None)


def test_offsets_follow_the_composed_text(tmp_path: Path) -> None:
    written = unicodedata.normalize("NFD", CONTEXT)
    text = unicodedata.normalize("NFD", "부산")
    path = rows(tmp_path / "a.jsonl", [{"text": text, "answer_start": written.index(text)}], context=written)
    (question,), notes = whole(path)
    (answer,) = question.answers
    assert question.context == CONTEXT
    assert question.context[answer.start : answer.stop] == answer.text == "부산"
    assert notes == ()  # it stood where it was said to stand


def test_what_is_no_answer(tmp_path: Path) -> None:
    bad = [
        "서울",
        [4],
        [{"answer_start": 4}],
        [{"text": "서울", "answer_start": "4"}],
        [{"text": " "}],
        None,
        {"text": ["서울"], "answer_start": [4, 5]},
    ]
    for value in bad:
        path = rows(tmp_path / "a.jsonl", [SEOUL], value)
        with pytest.raises(DataError, match=r"'answers' is no list of answers; .*a\.jsonl:2; write .*skip-bad"):
            whole(path)
        assert len(whole(path, skip_bad=1)[0]) == 1
    path = squad(
        tmp_path / "a.json",
        {"id": 7, "question": 3, "answers": []},
        {"question": " ", "answers": []},
        {"id": 9, "question": "어디?", "answers": [SEOUL]},
    )
    with pytest.raises(DataError, match=r"'question' holds a number, not text; .*a\.json, question 1"):
        whole(path)
    (question,), notes = whole(path, skip_bad=1)
    assert question.id == "9"
    assert f"1 question without a text or words was left out (first: {path}, question 2)" in notes


@pytest.mark.parametrize(
    "content, message",
    [
        ('{"data": [\n{"paragraphs"]}', r"not JSON .*a\.json:2"),
        ('[{"question": "어디?"}]', "without questions in SQuAD's form"),
        ('{"data": {"paragraphs": []}}', "without questions in SQuAD's form"),
        ("[" * 100_000, r"(not JSON|without questions)"),
        ('{"data": []}', "no row of data"),
        ("", "not JSON"),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        whole(write(tmp_path / "a.json", content))


def test_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"questions are read from \.json \(SQuAD\) and \.jsonl; .*a\.tsv"):
        whole(write(tmp_path / "a.tsv", "어디?\t서울\n"))
    with pytest.raises(DataError, match=r"no row of data; .*a\.jsonl"):
        whole(write(tmp_path / "a.jsonl", "\n"))
    with pytest.raises(DataError, match=r"not UTF-8; .*b\.json at byte"):
        whole(write(tmp_path / "b.json", "서울".encode("cp949")))


def test_questions_of_one_text_stay_together(tmp_path: Path) -> None:
    paragraphs = []
    for i in range(40):
        answers = [{"text": "서울", "answer_start": 4 + len(f"{i}. ")}]
        asked = [{"id": f"{i}.{j}", "question": f"어디 {j}?", "answers": answers} for j in range(3)]
        paragraphs.append({"context": f"{i}. {CONTEXT}", "qas": asked})
    path = write(tmp_path / "a.json", json.dumps({"data": [{"paragraphs": paragraphs}]}))
    found = opened(path)
    train, held = ({record.context for record in part.records} for part in (found.train, found.validation))
    assert not train & held
    assert len(found.validation) == 3 * len(held)
    assert found.names == found.notes == ()
    texts = ["".join(chunks) for chunks in found.train.documents()]
    assert len(texts) == len(set(texts)) == len(train) + 3


def test_unanswerable_questions_are_counted(tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl", [SEOUL], [], [])
    other = rows(tmp_path / "v.jsonl", [SEOUL], context="길은 서울로, 서울로 간다.")
    assert "2 of 3 questions have no answer in their text" in opened(path, validation=[str(other)]).notes
    with pytest.raises(DataError, match="no question has an answer"):
        opened(rows(tmp_path / "b.jsonl", [], []))
