"""Files -> pairs of texts, streamed: a table whose rows hold both texts, or two files whose lines belong together.

Table      tatoeba.tsv     Go.<tab>가.            a jsonl, csv, tsv or parquet file; .txt is read as tsv
Aligned    train.en  Go.   train.ko  가.          line i of one belongs to line i of the other
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from malgil.data.columns import find_column
from malgil.data.pair_columns import advice, default_pair, pair_columns
from malgil.data.readers import Tally, read_lines, read_table, text_cell
from malgil.data.sources import format_of
from malgil.errors import DataError, InputError

Pair: TypeAlias = tuple[str, str]


@dataclass(frozen=True)
class Table:
    """A file each of whose rows holds a pair.

    Args:
        source, target: names of columns; numbers from 1 where the first row names none.
        header: whether the first row of csv and tsv names the columns.
    """

    path: Path
    source: str
    target: str
    header: bool

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    @property
    def identity(self) -> tuple[str, ...]:
        """What decides, beside the bytes of the file, which pairs are read."""
        return format_of(self.path)[0], self.source, self.target, str(self.header)

    def label(self, reverse: bool) -> str:
        """The file and the direction, for people."""
        first, second = (self.target, self.source) if reverse else (self.source, self.target)
        return f"{self.path.name} ({first} -> {second})"

    def rows(self, tally: Tally) -> Iterator[Pair]:
        """The pairs of the well-formed rows, in order, also those with an empty side.

        Raises:
            DataError: as `readers.read_documents`.
        """
        for line, row in read_table(self.path, tally, [self.source, self.target], header=self.header):
            where = f"{self.path}:{line}"
            source = text_cell(row, self.source, where, tally)
            if source is None:
                continue
            target = text_cell(row, self.target, where, tally)
            if target is not None:
                yield source, target


@dataclass(frozen=True)
class Aligned:
    """Two files of which line i of one belongs to line i of the other."""

    source: Path
    target: Path

    @property
    def files(self) -> tuple[Path, ...]:
        return self.source, self.target

    @property
    def identity(self) -> tuple[str, ...]:
        """What decides, beside the bytes of the files, which pairs are read."""
        return ("aligned",)

    def label(self, reverse: bool) -> str:
        """The files and the direction, for people."""
        first, second = (self.target, self.source) if reverse else (self.source, self.target)
        return f"{first.name} -> {second.name}"

    def rows(self, tally: Tally) -> Iterator[Pair]:
        """The lines without their ends (\\n or \\r\\n), also empty ones.

        Raises:
            DataError: as `readers.read_text`, or one file has more lines than the other.
        """
        sources, targets = read_lines(self.source), read_lines(self.target)
        for number, (source, target) in enumerate(itertools.zip_longest(sources, targets)):
            if source is None or target is None:
                longer = number + 1 + sum(1 for _ in itertools.chain(sources, targets))
                counts = (number, longer) if source is None else (longer, number)
                raise DataError(
                    f"aligned files of different length: {counts[0]:,} and {counts[1]:,} lines",
                    f"{self.source}, {self.target}",
                    "line i of one must belong to line i of the other; an empty line keeps the place of a missing text",
                )
            yield _without_end(source), _without_end(target)


def find_table(path: Path, source_field: str | None, target_field: str | None, tally: Tally) -> Table:
    """The columns of a file with pairs: those that were given, else those that `pair_columns` finds.

    Raises:
        DataError: no row, or no two columns with text.
        InputError: source and target are the same column.
        NotFoundError: no column of that name or number.
    """
    fields = (source_field, target_field)
    header, columns = pair_columns(path, [field for field in fields if field is not None], tally)
    if len(columns) < 2:
        raise DataError("one column where a pair needs two", str(path), advice(path))
    defaults = default_pair(path, header, columns, tally) if None in fields else columns[:2]
    source, target = (
        default if field is None else find_column(path, field, columns)
        for field, default in zip(fields, defaults, strict=True)
    )
    if source == target:
        raise InputError(
            f"source and target are both column '{source}'",
            str(path),
            "give --data.source-field and --data.target-field",
        )
    return Table(path, source, target, header)


# ---------------------------------------------------------------------------------------------


def _without_end(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")
