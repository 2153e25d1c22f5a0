"""Texts that belong together: lines of text, or rows of a table with two texts, and perhaps how alike they are.

    texts     말길은 글이 가는 길이다.                      each is its own partner
    pairs     비가 온다 | 비가 내린다                       they belong together
    scored    비가 온다 | 땅이 젖는다 -> 2.6                 the higher the number, the more alike

Columns are given by name or number, or found by the names that they usually have, as in `label_rows`. A label beside
two texts is never guessed at: it may say that they contradict each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from malgil.data.columns import find_column, first_cells, table_columns
from malgil.data.label_records import Findings, nfc, text_of
from malgil.data.label_rows import LABEL_NAMES, PAIR_NAMES, TEXT_NAMES, Located, number_of
from malgil.data.readers import Tally, first_rows, is_prose, read_lines, read_table
from malgil.data.settings import DataSettings
from malgil.data.sources import format_of
from malgil.errors import DataError, InputError

_PAIRS = (
    *PAIR_NAMES,
    *(("anchor", "positive"), ("query", "positive"), ("query", "passage"), ("query", "document")),
    *(("question", "answer"), ("title", "body"), ("질문", "답변"), ("제목", "본문")),
)
_SCORES = ("score", "similarity", "similarity_score", "점수", "유사도")
_NAMES = {*TEXT_NAMES, *LABEL_NAMES, *_SCORES, *(name for names in _PAIRS for name in names)}


@dataclass(frozen=True, slots=True)
class Alike:
    """A text; or two that belong together; or two and how alike they are, a finite number."""

    text: str
    pair: str | None = None
    score: float | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        return (self.text,) if self.pair is None else (self.text, self.pair)

    @property
    def group(self) -> str:
        return self.text


def read_alike(
    path: Path, settings: DataSettings, tally: Tally, findings: Findings
) -> tuple[str, Iterator[Located[Alike]]]:
    """A text file, a text a line, or a table: what to call it, and its records, read as they are asked for.

    Raises:
        DataError: no row, no telling which column is which, or a label that may mean anything.
        InputError: one column for two things.
        NotFoundError: no column of that name or number.
    """
    if format_of(path)[0] == "text":
        return path.name, _lines(path)
    columns = find_alike_columns(path, settings, tally)
    return columns.name, columns.records(tally, findings)


def judge_alike(rows: Sequence[Located[Alike]]) -> list[str]:
    """How many records there are of which form.

    Raises:
        DataError: of several forms, or scores that are all the same.
    """
    forms = {_form(record): where for where, record in rows}
    if len(forms) > 1:
        (first, here), (second, there), *_ = forms.items()
        raise DataError(f"both {first} and {second}", f"{here} and {there}", "give data of one form")
    scores = [record.score for _, record in rows if record.score is not None]
    if not scores:
        return [f"{len(rows):,} {next(iter(forms))}"]
    if min(scores) == max(scores):
        raise DataError(f"every score is {scores[0]:g}", rows[0][0], "give pairs with different scores")
    return [
        f"{len(rows):,} scored pairs: {min(scores):g} to {max(scores):g}, {sum(scores) / len(scores):.3g} on average"
    ]


@dataclass(frozen=True)
class AlikeColumns:
    """A table and which of its columns hold the text, the second text and the score, if there are such.

    Args:
        header: whether the first row of csv and tsv names the columns; without one they are numbers from 1.
    """

    path: Path
    text: str
    pair: str | None
    score: str | None
    header: bool

    @property
    def name(self) -> str:
        """The file and its columns, for people."""
        texts = self.text if self.pair is None else f"{self.text} + {self.pair}"
        return f"{self.path.name} ({texts}{'' if self.score is None else f' -> {self.score}'})"

    def records(self, tally: Tally, findings: Findings) -> Iterator[Located[Alike]]:
        """The rows that have all texts."""
        texts = [column for column in (self.text, self.pair) if column is not None]
        columns = texts if self.score is None else [*texts, self.score]
        for line, row in read_table(self.path, tally, columns, header=self.header):
            where = f"{self.path}:{line}"
            found = [text_of(row, column, where, tally) for column in texts]
            if not all(text and text.strip() for text in found):
                if None not in found:
                    findings.add("row{s} without text {were} left out", where)
                continue
            first, *second = (text for text in found if text)
            score = None if self.score is None else number_of(row.get(self.score))
            if self.score is not None and score is None:
                what = f"'{self.score}' holds {row.get(self.score)!r:.40}, which is no finite number"
                tally.skip(what, where, "mend the row, or name the column with --data.label-field")
                continue
            yield where, Alike(first, second[0] if second else None, score)


def find_alike_columns(path: Path, settings: DataSettings, tally: Tally) -> AlikeColumns:
    """The columns that the settings name, else those with usual names, else the first ones.

    Raises:
        DataError, InputError, NotFoundError: as `read_alike`.
    """
    fields = (settings.text_field, settings.pair_field, settings.label_field)
    header, columns = table_columns(path, fields, tally, _NAMES)
    text, pair, score = (None if field is None else find_column(path, field, columns) for field in fields)
    free = [name for name in columns if name not in (text, pair, score)]
    if not header:
        text = text or free.pop(0)
        if pair is None and free and (score is not None or settings.text_field is None):
            pair = free.pop(0)
        if score is None and pair is not None and settings.pair_field is None and _is_number(path, free, tally):
            score = free[0]
    else:
        text, pair, score = _by_name(path, tally, free, text, pair, score)
    if pair is None and score is not None:
        raise DataError(
            f"a score of a single text: '{score}'", str(path), "name the second text with --data.pair-field"
        )
    given = [name for name in (text, pair, score) if name is not None]
    if len(set(given)) < len(given):
        fix = "give --data.text-field, --data.pair-field and, for a score, --data.label-field"
        raise InputError("one column is given for two things", f"{path}, {', '.join(given)}", fix)
    return AlikeColumns(path, text, pair, score, header)


# ---------------------------------------------------------------------------------------------


def _by_name(
    path: Path, tally: Tally, free: list[str], text: str | None, pair: str | None, score: str | None
) -> tuple[str, str | None, str | None]:
    """The columns of a table that names them, of which some may be given."""
    by_name = {name.strip().lower(): name for name in free}
    named = text is not None and pair is not None
    if text is None and pair is None:
        text, pair = next(((by_name[a], by_name[b]) for a, b in _PAIRS if {a, b} <= set(by_name)), (None, None))
    if text is None:
        text = next((by_name[name] for name in TEXT_NAMES if name in by_name), None)
    if text is None:
        prose = [name for name in free if any(is_prose(row.get(name)) for row in first_rows(path, tally))]
        if pair is None and len(prose) == 2:
            text, pair = prose
        elif len(prose) == 1:
            (text,) = prose
        else:
            fix = (
                f"name it with --data.text-field, and a second text with --data.pair-field; columns: {', '.join(free)}"
            )
            raise DataError("cannot tell which column is the text", str(path), fix)
    if pair is None or score is not None:
        return text, pair, score
    score = next((by_name[name] for name in _SCORES if name in by_name), None)
    label = next((by_name[name] for name in LABEL_NAMES if name in by_name and by_name[name] not in (text, pair)), None)
    if score is None and label is not None and not named:
        raise DataError(
            f"pairs with a label, '{label}': it may say that they belong together, or that they do not",
            str(path),
            "name it with --data.label-field if a higher number means more alike; if all of them belong together, "
            f"--data.text-field {text} --data.pair-field {pair}",
        )
    return text, pair, score


def _lines(path: Path) -> Iterator[Located[Alike]]:
    for number, line in enumerate(read_lines(path), 1):
        if line.strip():
            yield f"{path}:{number}", Alike(nfc(line.strip()))


def _is_number(path: Path, free: Sequence[str], tally: Tally) -> bool:
    """Whether the first of some columns without names holds numbers."""
    if not free:
        return False
    (cells,) = first_cells(path, 1, tally)
    return number_of(cells[int(free[0]) - 1]) is not None


def _form(record: Alike) -> str:
    if record.score is not None:
        return "scored pairs"
    return "texts" if record.pair is None else "pairs of texts"
