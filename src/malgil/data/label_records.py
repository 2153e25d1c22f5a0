"""Labelled examples of four kinds, and what was met while they were read.

    Labelled   말길이 참 좋다 -> 1                       a text, or two, and its labels
    Scored     비가 온다 | 비가 내린다 -> 4.8             a text, or two, and a number
    Tagged     서울 B-LOC, 에 O, 간다 O                  words, each with a tag
    Question   어디서? in 말길은 서울에서 ... -> 서울@4    a question, a text, and where in it the answers stand

Texts are in NFC, in which a Hangul syllable is one character, however they were written.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from malgil.data.readers import Tally, text_cell


class Record(Protocol):
    """What all kinds, which are dataclasses, have."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def texts(self) -> tuple[str, ...]:
        """What a model reads."""

    @property
    def group(self) -> str:
        """Records of one group stay in one part, so that no validation text was seen in training."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text, or two, and its labels by name: one, or in data of several labels any number in the order given."""

    text: str
    pair: str | None
    labels: tuple[str, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        return (self.text,) if self.pair is None else (self.text, self.pair)

    @property
    def group(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Scored:
    """A text, or two, and a finite number."""

    text: str
    pair: str | None
    score: float

    @property
    def texts(self) -> tuple[str, ...]:
        return (self.text,) if self.pair is None else (self.text, self.pair)

    @property
    def group(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Tagged:
    """The words of a sentence and as many tags in IOB2: `O`, `B-TYPE` where an entity begins, `I-TYPE` inside."""

    tokens: tuple[str, ...]
    tags: tuple[str, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        return (" ".join(self.tokens),)

    @property
    def group(self) -> str:
        return " ".join(self.tokens)


@dataclass(frozen=True, slots=True)
class Answer:
    """A stretch of a context that begins at character `start`."""

    text: str
    start: int

    @property
    def stop(self) -> int:
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a context, and its right answers: `context[a.start : a.stop] == a.text`; none: unanswerable."""

    id: str
    context: str
    question: str
    answers: tuple[Answer, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        return self.question, self.context

    @property
    def group(self) -> str:
        return self.context


class Findings:
    """What was met and put right or left out: how often, and where first."""

    def __init__(self) -> None:
        self._met: dict[str, tuple[int, str]] = {}

    def add(self, what: str, where: str) -> None:
        """Once more.

        Args:
            what: a sentence with `{s}` and `{were}` where it depends on the number: "row{s} {were} left out".
        """
        count, first = self._met.get(what, (0, where))
        self._met[what] = count + 1, first

    def notes(self) -> list[str]:
        """A sentence of each kind."""
        return [
            f"{count:,} {what.format(s='s' if count > 1 else '', were='were' if count > 1 else 'was')} (first: {where})"
            for what, (count, where) in self._met.items()
        ]


def nfc(text: str) -> str:
    """Composed: ᄒ + ᅡ + ᆫ becomes 한."""
    return unicodedata.normalize("NFC", text)


def text_of(row: dict[str, object], column: str, where: str, tally: Tally) -> str | None:
    """The text of a cell in NFC, empty where the row has none; None where it is something else and may be skipped.

    Raises:
        DataError: it is something else, beyond what the tally allows.
    """
    if row.get(column) is None:
        return ""
    value = text_cell(row, column, where, tally)
    return value if value is None else nfc(value)
