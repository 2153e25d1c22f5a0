"""Rows in, rows with what a model found in them out: what `malgil predict` and `Run.predict` do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from malgil.errors import InputError
from malgil.objectives.base import Assembled
from malgil.runs.labelled import LabelTask
from malgil.runs.recipe import Settings
from malgil.runs.task import Tokenizers

#: a text, or names and values such as `{"text": "비가 온다", "pair": "비가 내린다"}`
Row = str | Mapping[str, Any]


def predictions(
    task: LabelTask,
    assembled: Assembled,
    settings: Settings,
    tokenizers: Tokenizers,
    rows: Iterable[Row],
    batch: int,
) -> Iterator[dict[str, Any]]:
    """Each row with what was found in it, in the order of the rows.

    Args:
        rows: as they come; read `batch` at a time.

    Raises:
        InputError: a row that the task cannot read, with its number from 1; rows of batches before it are answered.
    """
    number = 0
    for some in _batched(rows, batch):
        checked = []
        for row in some:
            number += 1
            checked.append(_checked(task, settings, row, number))
        yield from task.predict(assembled, settings, tokenizers, checked)


def row_of(line: str, number: int) -> Row:
    """A line of text, or the JSON object that it holds.

    Raises:
        InputError: it begins as an object and is none.
    """
    if not line.lstrip().startswith("{"):
        return line
    try:
        row = json.loads(line)
    except ValueError as error:
        why = f"{error.msg} at character {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        fix = 'mend it; a text that begins with { is written {"text": "{ ..."}'
        raise InputError(f"not a JSON object: {why}", f"line {number}", fix) from None
    return dict(row)


def _checked(task: LabelTask, settings: Settings, row: Row, number: int) -> dict[str, Any]:
    where = f"line {number}"
    if isinstance(row, str):
        row = {"text": row}
    if not isinstance(row, Mapping):
        raise InputError(f"a row of type {type(row).__name__}", where, 'give a text, or {"text": "..."}')
    fault = task.fault(row, settings)
    if fault is not None:
        raise InputError(fault[0], where, fault[1])
    return dict(row)


def _batched(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    """So many at a time."""
    some: list[Row] = []
    for row in rows:
        some.append(row)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some
