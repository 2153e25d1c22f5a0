"""Questions about texts, whose answers are stretches of these texts.

SQuAD   {"data": [{"paragraphs": [{"context": ..., "qas": [{"id": ..., "question": ...,
         "answers": [{"text": ..., "answer_start": 4}], "is_impossible": false}]}]}]}         a .json file; also KorQuAD
Rows    {"context": ..., "question": ..., "answers": [{"text": ..., "answer_start": 4}]}      a jsonl or parquet file

An empty list of answers means that the text has none (SQuAD 2.0). Offsets count characters, which not everybody does:
an answer that does not stand at its offset is looked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from malgil.data.label_records import Answer, Findings, Question, nfc, text_of
from malgil.data.label_rows import Located
from malgil.data.readers import Tally, first_rows, read_table, read_text
from malgil.data.settings import DataSettings
from malgil.data.sources import format_of
from malgil.errors import DataError

_NEARBY = 64  # characters within which an answer that is not at its offset is still the one that was meant
_ROW = '{"context": ..., "question": ..., "answers": [{"text": ..., "answer_start": ...}]}'


def read_questions(
    path: Path, settings: DataSettings, tally: Tally, findings: Findings
) -> tuple[str, Iterator[Located[Question]]]:
    """A file of questions: what to call it, and the questions, read as they are asked for.

    Raises:
        DataError: another format, no row, or JSON that is none.
    """
    kind = format_of(path)[0]
    if kind == "json":
        rows = _squad(path)
    elif kind in ("jsonl", "parquet"):
        first_rows(path, tally)
        rows = ((f"{path}:{line}", row) for line, row in read_table(path, tally))
    else:
        raise DataError("questions are read from .json (SQuAD) and .jsonl", str(path), f"write rows: {_ROW}")
    return path.name, _questions(rows, tally, findings)


# ---------------------------------------------------------------------------------------------


def _squad(path: Path) -> Iterator[Located[dict[str, Any]]]:
    """The questions of a file in SQuAD's form as rows; their places are their numbers."""
    text = "".join(read_text(path))
    try:
        tree = json.loads(text)
        paragraphs = [paragraph for article in tree["data"] for paragraph in article["paragraphs"]]
        questions = [{**qa, "context": paragraph["context"]} for paragraph in paragraphs for qa in paragraph["qas"]]
    except json.JSONDecodeError as error:
        raise DataError(f"not JSON ({error.msg})", f"{path}:{error.lineno}", "mend the file") from None
    except (ValueError, TypeError, KeyError, RecursionError):
        fix = f'SQuAD has {{"data": [{{"paragraphs": [{{"context": ..., "qas": [...]}}]}}]}}; or write rows: {_ROW}'
        raise DataError("JSON without questions in SQuAD's form", str(path), fix) from None
    if not questions:
        raise DataError("no row of data", str(path), "give a file with at least one question")
    for number, row in enumerate(questions, 1):
        yield f"{path}, question {number}", row


def _questions(
    rows: Iterator[Located[dict[str, Any]]], tally: Tally, findings: Findings
) -> Iterator[Located[Question]]:
    for number, (where, row) in enumerate(rows, 1):
        question, context = text_of(row, "question", where, tally), text_of(row, "context", where, tally)
        if question is None or context is None:
            continue
        if not question.strip() or not context.strip():
            findings.add("question{s} without a text or words {were} left out", where)
            continue
        try:
            given = [] if row.get("is_impossible") is True else _given(row.get("answers"))
        except ValueError:
            tally.skip("'answers' is no list of answers", where, f"write {_ROW}")
            continue
        answers = _placed(context, row["context"], given, where, findings)
        if given and not answers:
            findings.add("question{s} none of whose answers stands in the text {were} left out", where)
            continue
        name = str(row.get("id") or number).encode("utf-8", "replace").decode("utf-8")
        yield where, Question(name, context, question, answers)


def _given(value: Any) -> list[tuple[str, int | None]]:
    """(text, offset if there is one) of answers: a list of them, a single one, or lists of texts and of offsets.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(value, Mapping):
        texts, starts = value.get("text"), value.get("answer_start")
        if isinstance(texts, list):
            starts = starts if isinstance(starts, list) else [None] * len(texts)
            value = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
        else:
            value = [value]
    if not isinstance(value, list):
        raise ValueError
    return [_one(answer) for answer in value]


def _one(answer: Any) -> tuple[str, int | None]:
    text, start = (answer.get("text"), answer.get("answer_start")) if isinstance(answer, Mapping) else (None, None)
    if not isinstance(text, str) or not text.strip() or not (start is None or type(start) is int):
        raise ValueError
    return text, start


def _placed(
    context: str, written: str, given: list[tuple[str, int | None]], where: str, findings: Findings
) -> tuple[Answer, ...]:
    """The answers that stand in the context, each once.

    Args:
        written: the context before it was brought to NFC, to which the offsets belong.
    """
    answers = []
    for text, start in given:
        wanted = nfc(text)
        expected = len(nfc(written[:start])) if start is not None and start >= 0 else None
        place = _find(context, wanted, expected)
        if place is None:
            findings.add("answer{s} that {were} not found in the text {were} left out", where)
            continue
        if start is not None and place != expected:
            findings.add("answer{s} that did not stand at the offset {were} found nearby", where)
        answers.append(Answer(wanted, place))
    return tuple(dict.fromkeys(answers))


def _find(context: str, text: str, start: int | None) -> int | None:
    """Where a text stands: at its offset, else nearest to it within reach, else at the only place there is."""
    if start is not None:
        before, after = context.rfind(text, 0, start + len(text)), context.find(text, start)
        near = [place for place in (before, after) if place >= 0 and abs(place - start) <= _NEARBY]
        if near:
            return min(near, key=lambda place: abs(place - start))
    only = context.find(text)
    return only if only >= 0 and only == context.rfind(text) else None
