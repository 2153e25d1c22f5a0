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
        rows = first_rows(path, tally)
        return True, list(dict.fromkeys(itertools.chain.from_iterable(rows)))
    _, first = next(read_table(path, Tally(tally.allowed - tally.skipped), header=False), (0, None))
    if first is None:
        raise DataError("no row of data", str(path), "give a file with at least one row")
    cells = list(first.values())
    by_name = any(field is not None and not field.isdecimal() for field in fields)
    if by_name or sum(cell.strip().lower() in usual for cell in cells) >= 2:
        return True, cells
    return False, list(first)


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
