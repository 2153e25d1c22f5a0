"""Rows of a table -> texts with a label, several labels, or a number.

    id  document          label                premise     hypothesis      gold_label
    7   말길이 참 좋다    1                    비가 온다.  땅이 젖는다.    entailment

Columns are given by name or number, or found by the names that they usually have.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from malgil.data.columns import find_column, table_columns
from malgil.data.label_records import Findings, Labelled, Scored, nfc, text_of
from malgil.data.readers import Tally, read_table
from malgil.data.settings import DataSettings
from malgil.errors import DataError, InputError

R = TypeVar("R")
#: a record and its place, `file:line`
Located: TypeAlias = tuple[str, R]
#: names that columns usually have, in small letters, the likeliest first
TEXT_NAMES = (
    *("text", "document", "sentence", "review", "comment", "comments", "content", "tweet", "utterance", "title"),
    *("문장", "본문", "내용", "리뷰", "댓글"),
)
PAIR_NAMES = (
    *(("text", "pair"), ("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2")),
    *(("text1", "text2"), ("text_a", "text_b"), ("문장1", "문장2")),
)
LABEL_NAMES = (
    *("label", "labels", "class", "target", "category", "gold_label", "sentiment", "topic", "intent"),
    *("라벨", "레이블", "분류", "감정"),
)
_SCORES = ("score", "similarity", "label", "rating", "target", "점수", "유사도")
_LONGEST = 40  # characters of a cell in a message


@dataclass(frozen=True)
class Columns:
    """A file and which of its columns hold the text, the second text if there is one, and the label or score.

    Args:
        header: whether the first row of csv and tsv names the columns; without one they are numbers from 1.
    """

    path: Path
    text: str
    pair: str | None
    label: str
    header: bool

    @property
    def name(self) -> str:
        """The file and its columns, for people."""
        texts = self.text if self.pair is None else f"{self.text} + {self.pair}"
        return f"{self.path.name} ({texts} -> {self.label})"

    def cells(
        self, tally: Tally, findings: Findings, *, blank: bool = False
    ) -> Iterator[tuple[str, str, str | None, Any]]:
        """(place, text, second text, what stands under the label) of each row that has all of them.

        Args:
            blank: whether a cell without a label says that there is none, rather than that nobody knows.

        Raises:
            DataError: as `readers.read_documents`.
        """
        columns = [column for column in (self.text, self.pair, self.label) if column is not None]
        for line, row in read_table(self.path, tally, columns, header=self.header):
            where = f"{self.path}:{line}"
            texts = [text_of(row, column, where, tally) for column in columns[:-1]]
            if not all(text and text.strip() for text in texts):
                if None not in texts:
                    findings.add("row{s} without text {were} left out", where)
                continue
            first, *second = (text for text in texts if text)
            value = row.get(self.label)
            if value is None or (isinstance(value, str) and not value.strip() and not blank):
                findings.add("row{s} without a label {were} left out", where)
                continue
            yield where, first, second[0] if second else None, value


def read_labelled(
    path: Path, settings: DataSettings, tally: Tally, findings: Findings
) -> tuple[str, Iterator[Located[Labelled]]]:
    """A table of classification: what to call it, and its rows, read as they are asked for.

    A label is text, an integer, or true or false; a list in JSON, or cells under `label_separator`, hold any number.

    Raises:
        DataError: no row, or no telling which column is which.
        InputError: one column for two things, or an empty separator.
        NotFoundError: no column of that name or number.
    """
    separator = settings.label_separator
    if separator == "":
        raise InputError(
            "an empty separator of labels", "data.label_separator", "give what stands between, such as ','"
        )
    columns = find_columns(path, settings, tally, LABEL_NAMES)

    def rows() -> Iterator[Located[Labelled]]:
        for where, text, pair, value in columns.cells(tally, findings, blank=separator is not None):
            try:
                labels = _labels(value, separator)
            except ValueError as error:
                tally.skip(f"'{columns.label}' holds {error}", where, "a label is text, a whole number, true or false")
                continue
            yield where, Labelled(text, pair, labels)

    return columns.name, rows()


def read_scored(
    path: Path, settings: DataSettings, tally: Tally, findings: Findings
) -> tuple[str, Iterator[Located[Scored]]]:
    """A table of similarity or regression: what to call it, and its rows, read as they are asked for.

    Without names, two columns are a text and a number, three or more two texts and a number.

    Raises:
        DataError, InputError, NotFoundError: as `read_labelled`.
    """
    columns = find_columns(path, settings, tally, _SCORES, paired=True)

    def rows() -> Iterator[Located[Scored]]:
        for where, text, pair, value in columns.cells(tally, findings):
            score = number_of(value)
            if score is None:
                fix = "mend the row, or name the column with --data.label-field"
                tally.skip(f"'{columns.label}' holds {_shown(value)}, which is no finite number", where, fix)
            else:
                yield where, Scored(text, pair, score)

    return columns.name, rows()


def find_columns(
    path: Path, settings: DataSettings, tally: Tally, usual: Sequence[str], *, paired: bool = False
) -> Columns:
    """The columns that the settings name, else those with usual names, else the first ones.

    Columns that have names are not guessed by their order unless there are just as many as are needed.

    Args:
        usual: names of the column with the label, the likeliest first.
        paired: whether a table without names has two texts if it has columns for them.

    Raises:
        DataError, InputError, NotFoundError: as `read_labelled`.
    """
    fields = (settings.text_field, settings.pair_field, settings.label_field)
    known = {*TEXT_NAMES, *usual, *(name for names in PAIR_NAMES for name in names)}
    header, columns = table_columns(path, fields, tally, known)
    text, pair, label = (None if field is None else find_column(path, field, columns) for field in fields)
    by_name = {name.strip().lower(): name for name in columns if name not in (text, pair, label)} if header else {}
    if text is None and pair is None:
        text, pair = next(((by_name[a], by_name[b]) for a, b in PAIR_NAMES if {a, b} <= set(by_name)), (None, None))
    text = text or _first(TEXT_NAMES, by_name)
    label = label or _first(usual, by_name)
    free = [name for name in columns if name not in (text, pair, label)]
    missing = [role for role, column in (("text", text), ("label", label)) if column is None]
    if len(free) < len(missing) or (header and len(free) > len(missing) > 0):
        raise _cannot_tell(path, missing, columns)
    if text is None:
        text = free.pop(0)
    if pair is None and paired and not header and len(free) > (label is None):
        pair = free.pop(0)
    if label is None:
        label = free.pop(0)
    if len({text, pair, label}) < 3:
        raise InputError(
            "one column is given for two things",
            f"{path}, {', '.join(name for name in (text, pair, label) if name)}",
            "give --data.text-field, --data.label-field and, for a second text, --data.pair-field",
        )
    return Columns(path, text, pair, label, header)


# ---------------------------------------------------------------------------------------------


def _first(names: Sequence[str], by_name: dict[str, str]) -> str | None:
    return next((by_name[name] for name in names if name in by_name), None)


def _cannot_tell(path: Path, missing: Sequence[str], columns: Sequence[str]) -> DataError:
    options = " and ".join(f"--data.{role}-field" for role in missing)
    return DataError(
        f"cannot tell which column is the {' and which the '.join(missing)}",
        str(path),
        f"name it with {options}; columns: {', '.join(_shortened(name) for name in columns)}",
    )


def _labels(value: Any, separator: str | None) -> tuple[str, ...]:
    """The labels of a cell by name, each once.

    Raises:
        ValueError: a value that names no label.
    """
    if isinstance(value, str) and separator is not None:
        value = value.split(separator)
    if not isinstance(value, list):
        return (_label(value),)
    return tuple(dict.fromkeys(name for name in map(_label, value) if name))


def _label(value: Any) -> str:
    """The name: `1` for 1 and 1.0, `true` as JSON spells it, text without the space around it."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, str)):
        return nfc(str(value).strip().encode("utf-8", "replace").decode("utf-8"))
    raise ValueError(_shown(value))


def number_of(value: Any) -> float | None:
    """The finite number that a cell holds, as a number or as text; None where it holds none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _shown(value: Any) -> str:
    return _shortened(repr(value))


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
