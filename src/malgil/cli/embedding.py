"""What `malgil embed` prints or writes: a vector for each line, or the lines of a file that are nearest to it."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from malgil.cli.writing import lines_of
from malgil.data.readers import Tally, read_lines, read_texts
from malgil.data.sources import format_of
from malgil.errors import DataError, InputError
from malgil.evaluation.vectors import Embedder, Index
from malgil.runs.attention import check_files
from malgil.runs.predicting import row_of
from malgil.runs.run import PREDICTED_TOGETHER
from malgil.runtime.files import atomic_write

#: digits of a cosine that are printed
_DIGITS = 6


def write_embeddings(embedder: Embedder, lines: BinaryIO | None, *, batch: int | None) -> None:
    """A JSON object for every line of input, as soon as its batch is there: what the line held, and `embedding`.

    Args:
        lines: standard input; None where it is closed.
        batch: lines at a time; None = 1,024 of a file, one of what comes as it is written.

    Raises:
        InputError: there is no standard input, or a line cannot be read.
    """
    for first, rows in _batches(lines, batch):
        vectors = _read(embedder, rows, first)
        for row, vector in zip(rows, vectors, strict=True):
            numbers = [float(str(number)) for number in vector]  # no more digits than a float32 has
            print(json.dumps({**row, "embedding": numbers}, ensure_ascii=False))
        sys.stdout.flush()


def write_vectors(embedder: Embedder, lines: BinaryIO | None, out: Path, *, batch: int | None) -> None:
    """A .npy file (lines, D) of float32, and a line that says so.

    Raises:
        InputError: there is no standard input, a line cannot be read, or `out` cannot be a file.
    """
    check_files(out, None)
    parts = [_read(embedder, rows, first) for first, rows in _batches(lines, batch or PREDICTED_TOGETHER)]
    vectors = np.concatenate([np.zeros((0, embedder.model.d_model), dtype=np.float32), *parts])
    buffer = io.BytesIO()
    np.save(buffer, vectors, allow_pickle=False)
    atomic_write(out, buffer.getvalue())
    print(f"{out}: {len(vectors):,} vectors of {vectors.shape[1]:,} numbers")


def write_found(embedder: Embedder, lines: BinaryIO | None, corpus: Path, top: int, *, batch: int | None) -> None:
    """A JSON object for every line of input: what the line held, and `found`: the nearest lines of a file.

    Raises:
        DataError: the file cannot be read, or holds no text.
        InputError: there is no standard input, or a line cannot be read.
    """
    numbers, texts = _corpus(corpus)
    index = Index(embedder, texts)
    for _, rows in _batches(lines, batch):
        for row, hits in zip(rows, index.search([row["text"] for row in rows], top), strict=True):
            found = [{"text": hit.text, "score": round(hit.score, _DIGITS), "line": numbers[hit.index]} for hit in hits]
            print(json.dumps({**row, "found": found}, ensure_ascii=False))
        sys.stdout.flush()


def _corpus(path: Path) -> tuple[list[int], list[str]]:
    """The texts of a file that are not empty and their lines (rows of parquet), counted from 1."""
    numbered = enumerate(read_lines(path), 1) if format_of(path)[0] == "text" else read_texts(path, None, Tally())
    found = [(number, text.strip()) for number, text in numbered if text.strip()]
    if not found:
        raise DataError("no text to search", str(path), "give a file with a text a line")
    numbers, texts = zip(*found, strict=True)
    return list(numbers), list(texts)


def _read(embedder: Embedder, rows: list[dict[str, Any]], first: int) -> Any:
    """The vectors of some rows, of which the first is line `first`; what is cut is said."""
    vectors, cut = embedder.read([row["text"] for row in rows])
    for number, left_out in enumerate(cut.tolist(), first):
        if left_out:
            said = f"line {number} is longer than the model reads: {left_out:,} of its tokens were left out"
            print(f"warning: {said}", file=sys.stderr)
    return vectors


def _batches(lines: BinaryIO | None, batch: int | None) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """The number of the first line, from 1, and the rows of some lines."""
    if lines is None:
        raise InputError("there is no standard input", "malgil embed", "give it lines: ... < FILE")
    if batch is None:
        batch = PREDICTED_TOGETHER if stat.S_ISREG(os.fstat(lines.fileno()).st_mode) else 1
    rows = (_row(line, number) for number, line in enumerate(lines_of(lines), 1))
    first = 1
    while some := list(islice(rows, batch)):
        yield first, some
        first += len(some)


def _row(line: str, number: int) -> dict[str, Any]:
    row = row_of(line, number)
    row = {"text": row} if isinstance(row, str) else row
    if not isinstance(row, Mapping) or not isinstance(row.get("text"), str):
        raise InputError("no 'text' in the object", f"line {number}", 'write {"text": "..."}')
    return dict(row)
