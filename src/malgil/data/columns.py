"""Which columns of a table are meant: by name, by number, or by names that such columns usually have."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from pathlib import Path

from malgil.data.readers import Tally, first_rows, no_column, read_table
from malgil.data.sources import format_of
from malgil.errors import DataError, NotFoundError


def table_columns(
    path: Path, fields: Sequence[str | None], tally: Tally, usual: Collection[str]
) -> tuple[bool, list[str]]:
    """Whether the first row of csv or tsv names the columns, and their names, or else their numbers.

    Args:
        fields: the columns that a person gave, by name or number.
        usual: names in small letters; a first row with two of them is no data although nobody gave a name.

    Raises:
        DataError: no row.
    """
    if format_of(path)[0] in ("jsonl", "parquet"):
        return True, named_columns(path, tally)
    (cells,) = first_cells(path, 1, tally)
    by_name = any(field is not None and not field.isdecimal() for field in fields)
    if by_name or sum(cell.strip().lower() in usual for cell in cells) >= 2:
        return True, cells
    return False, [str(number) for number in range(1, len(cells) + 1)]


def named_columns(path: Path, tally: Tally) -> list[str]:
    """The columns of a jsonl or parquet file, judged by its first rows.

    Raises:
        DataError: no row.
    """
    return list(dict.fromkeys(itertools.chain.from_iterable(first_rows(path, tally))))


def first_cells(path: Path, count: int, tally: Tally) -> list[list[str]]:
    """The first rows of a csv or tsv file, at most so many, whatever they are.

    Raises:
        DataError: no row.
    """
    table = read_table(path, Tally(tally.allowed - tally.skipped), header=False)
    rows = [list(row.values()) for _, row in itertools.islice(table, count)]
    if not rows:
        raise DataError("no row of data", str(path), "give a file with at least one row")
    return rows


def find_column(path: Path, field: str, columns: Sequence[str]) -> str:
    """The column that a person gave by its name or its number from 1.

    Raises:
        NotFoundError: there is none.
    """
    if field in columns:
        return field
    if not field.isdecimal():
        raise no_column(path, field, columns)
    if not 1 <= int(field) <= len(columns):
        raise NotFoundError(f"no column {field}", str(path), f"columns are counted from 1 to {len(columns)}")
    return columns[int(field) - 1]
