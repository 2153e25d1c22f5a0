"""Bytes on disk -> documents of text, streamed: a file is never held whole, however large it is.

Plain text is one document in chunks; a row of jsonl, csv, tsv or parquet is a document of its own. Text is kept as it
is, line ends included, but for a leading byte-order mark and for lone surrogates, which UTF-8 cannot hold.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import itertools
import json
import re
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from malgil.config import nearest
from malgil.data.sources import format_of
from malgil.errors import DataError, NotFoundError
from malgil.runtime.files import storage_errors

CHUNK = (
    1 << 18
)  # characters of a document at a time: large enough to be fast, small enough to tokenise in little memory
_BLOCK = 1 << 20  # bytes read at a time
_LONGEST_FIELD = 1 << 28  # characters of a csv field; an unclosed quote would otherwise swallow the rest of the file
_SHOWN = 30  # characters of a column's name in a message; a first row that names none may hold whole texts
_PEEK = 100  # rows looked at to find the column with the text
_SURROGATE = re.compile("[\ud800-\udfff]")
Row = tuple[int, dict[str, Any]]
T = TypeVar("T")


@dataclass
class Tally:
    """What a pass over the data met and tolerated.

    Args:
        allowed: how many malformed rows may be skipped; the next one is an error.
    """

    allowed: int = 0
    skipped: int = 0
    surrogates: int = 0

    def skip(self, what: str, where: str, fix: str = "") -> None:
        """Counts a malformed row, or raises the `DataError` that names it."""
        if self.skipped >= self.allowed:
            allowance = f"or skip up to N such rows with --data.skip-bad N (now {self.allowed})"
            raise DataError(what, where, f"{fix or 'mend the row'}, {allowance}")
        self.skipped += 1


def read_documents(path: Path, text_field: str | None, tally: Tally) -> Iterator[Iterator[str]]:
    """The documents of a file, each as chunks of at most `CHUNK` characters; those without text are left out.

    A document's chunks must be taken before the next document is asked for.

    Raises:
        DataError: not UTF-8 (with the byte's offset), damaged, unreadable, or a malformed row beyond `tally.allowed`.
        NotFoundError: the file has no column `text_field`.
    """
    kind, _ = format_of(path)
    if kind == "text":
        chunks = cut_chunks(read_text(path))
        first = next(chunks, None)
        if first is not None:
            yield itertools.chain([first], chunks)
        return
    for text in read_rows(path, text_field, tally):
        if text:
            yield cut_chunks([text])


def read_text(path: Path) -> Iterator[str]:
    """A text file's characters in blocks of up to 1 MB, decoded strictly, without its byte-order mark."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset = 0
    at_start = True
    with _opened(path) as file:
        while True:
            block = _guarded(path, lambda: file.read(_BLOCK))
            pending = len(decoder.getstate()[0])
            try:
                text = decoder.decode(block, not block)
            except UnicodeDecodeError as error:
                raise _not_utf8(path, offset - pending + error.start, error.object) from None
            offset += len(block)
            if at_start and text:
                text = text.removeprefix("\ufeff")
                at_start = False
            if text:
                yield text
            if not block:
                return


def cut_chunks(blocks: Iterable[str]) -> Iterator[str]:
    """The same text in pieces of at most `CHUNK` characters, cut where a tokenizer sees no difference if it can be.

    Best is a line's end between two characters that are no white space, then any line's end, a space, anywhere.
    """
    rest = ""
    for block in blocks:
        rest += block
        start = 0
        while len(rest) - start > CHUNK:
            end = _cut(rest, start)
            yield rest[start:end]
            start = end
        rest = rest[start:]
    if rest:
        yield rest


def read_rows(path: Path, text_field: str | None, tally: Tally) -> Iterator[str]:
    """The text of each well-formed row of a jsonl, csv, tsv or parquet file, in order."""
    return (text for _, text in read_texts(path, text_field, tally))


def read_texts(path: Path, text_field: str | None, tally: Tally) -> Iterator[tuple[int, str]]:
    """The same with the line, or the row of parquet, that each stands in."""
    column = _text_column(path, text_field, first_rows(path, tally))
    for line, row in read_table(path, tally, [column]):
        text = text_cell(row, column, f"{path}:{line}", tally)
        if text is not None:
            yield line, text


def read_table(path: Path, tally: Tally, columns: Sequence[str] | None = None, *, header: bool = True) -> Iterator[Row]:
    """(line, cells by column) of each well-formed row of a jsonl, csv, tsv or parquet file, in order.

    Args:
        columns: the ones that are needed, where only these can be read (parquet).
        header: whether the first row of csv and tsv names the columns; without names they are '1', '2', ...
    """
    kind = format_of(path)[0]
    if kind == "jsonl":
        return _jsonl_rows(path, tally)
    if kind == "parquet":
        return _parquet_rows(path, columns)
    return _delimited_rows(path, tally, header)


def first_rows(path: Path, tally: Tally) -> list[dict[str, Any]]:
    """The rows by which columns are judged; what is skipped among them is not counted.

    Raises:
        DataError: there are none.
    """
    rows = [row for _, row in itertools.islice(read_table(path, Tally(tally.allowed - tally.skipped)), _PEEK)]
    if not rows:
        raise DataError("no row of data", str(path), "give a file with at least one row")
    return rows


def text_cell(row: dict[str, Any], column: str, where: str, tally: Tally) -> str | None:
    """The text in a column of a row; None where there is none and the tally allows it."""
    value = row.get(column)
    if isinstance(value, str):
        return _without_surrogates(value, tally)
    found = f"'{column}' holds {_kind(value)}, not text" if column in row else f"the row has no '{column}'"
    tally.skip(found, where)
    return None


def is_prose(value: object) -> bool:
    """Text that is no number: labels and ids are not what a language model learns."""
    if not isinstance(value, str) or not value.strip():
        return False
    try:
        float(value)
    except ValueError:
        return True
    return False


def no_column(path: Path, wanted: str, columns: Sequence[str]) -> NotFoundError:
    """The error for a column that a file does not have."""
    close = nearest(wanted, columns)
    shown = (name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..." for name in columns)
    fix = f"did you mean {' or '.join(close)}?" if close else f"columns: {', '.join(shown)}"
    return NotFoundError(f"no column '{wanted}'", str(path), fix, nearest=close)


def read_lines(path: Path) -> Iterator[str]:
    """Lines with their ends, split at newlines alone (text may hold U+2028 and its kin)."""
    held: list[str] = []
    for block in read_text(path):
        *whole, rest = block.split("\n")
        for line in whole:
            held.append(line)
            yield "".join(held) + "\n"
            held.clear()
        if rest:
            held.append(rest)
    if held:
        yield "".join(held)


# ---------------------------------------------------------------------------------------------


def _opened(path: Path) -> IO[bytes]:
    gzipped = format_of(path)[1]
    return _guarded(path, lambda: cast(IO[bytes], gzip.open(path, "rb") if gzipped else path.open("rb")))


def _guarded(path: Path, action: Callable[[], T]) -> T:
    """The action's result; a failure to read becomes a `DataError`."""
    try:
        return action()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"damaged gzip file ({error})", str(path), "download or pack it again") from None
    except OSError as error:
        raise DataError(
            f"cannot read: {error.strerror or error}", str(path), "check the file and its permissions"
        ) from None


def _not_utf8(path: Path, offset: int, around: bytes) -> DataError:
    inside = " of the unpacked text" if format_of(path)[1] else ""
    guess = "UTF-16" if offset == 0 and around[:2] in (b"\xff\xfe", b"\xfe\xff") else "CP949"
    fix = f"convert it, for example: iconv -f {guess} -t UTF-8 OLD > NEW"
    return DataError("text that is not UTF-8", f"{path} at byte {offset}{inside}", fix)


def _cut(text: str, start: int) -> int:
    """Where to end the chunk that begins at `start`; there are more than CHUNK characters from there."""
    stop = start + CHUNK
    newline = text.rfind("\n", start, stop)
    for _ in range(100):
        if newline <= start:
            break
        if not (text[newline - 1].isspace() or text[newline + 1].isspace()):
            return newline + 1
        newline = text.rfind("\n", start, newline)
    newline = text.rfind("\n", start, stop)
    if newline >= start:
        return newline + 1
    # A word begins with its space in most tokenizers, so the space goes to the next chunk.
    space = text.rfind(" ", start + 1, stop)
    return space if space > start else stop


def _jsonl_rows(path: Path, tally: Tally) -> Iterator[Row]:
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            tally.skip(f"not JSON ({reason})", f"{path}:{number}")
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            tally.skip(f"the row is {_kind(row)}, not an object", f"{path}:{number}", 'write {"text": "..."}')


def _delimited_rows(path: Path, tally: Tally, header: bool) -> Iterator[Row]:
    """Rows of csv, where a quoted field may hold commas and newlines, or of tsv, where a quote is a character."""
    csv.field_size_limit(_LONGEST_FIELD)
    quoting: dict[str, Any] = {} if format_of(path)[0] == "csv" else {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    reader = csv.reader(read_lines(path), strict=True, **quoting)
    names: list[str] = []
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            tally.skip(f"malformed row ({error})", f"{path}:{line}")
            continue
        if fields is None:
            return
        if not fields:  # a blank line
            continue
        if not names:
            names = fields if header else [str(number) for number in range(1, len(fields) + 1)]
            if len(set(names)) < len(names):
                raise DataError(
                    "two columns have the same name", f"{path}:{line}", "the first line must name the columns"
                )
            if header:
                continue
        if len(fields) == len(names):
            yield line, dict(zip(names, fields, strict=True))
        else:
            first = "header" if header else "first row"
            tally.skip(f"{len(fields)} fields where the {first} has {len(names)}", f"{path}:{line}")


def _parquet_rows(path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise DataError("reading parquet needs pyarrow", str(path), "pip install 'malgil[parquet]'") from None
    with _opened(path) as packed, tempfile.TemporaryFile() as unpacked:
        file: IO[bytes] = packed
        if format_of(path)[1]:  # parquet is read from its end, which gzip cannot do
            with storage_errors(Path(tempfile.gettempdir())):
                _guarded_copy(path, packed, unpacked)
            file = unpacked
        try:
            number = 0
            for batch in parquet.ParquetFile(file).iter_batches(batch_size=1000, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
        except (arrow.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(f"damaged parquet file ({reason})", str(path), "make or download it again") from None


def _guarded_copy(path: Path, packed: IO[bytes], unpacked: IO[bytes]) -> None:
    while block := _guarded(path, lambda: packed.read(_BLOCK)):
        unpacked.write(block)
    unpacked.seek(0)


def _text_column(path: Path, wanted: str | None, rows: list[dict[str, Any]]) -> str:
    """The column with the text, judged by the first rows."""
    columns = list(dict.fromkeys(itertools.chain.from_iterable(rows)))
    if wanted is not None:
        if wanted in columns:
            return wanted
        raise no_column(path, wanted, columns)
    if "text" in columns:
        return "text"
    candidates = [name for name in columns if any(is_prose(row.get(name)) for row in rows)]
    if len(candidates) == 1:
        return candidates[0]
    found = "several columns hold" if candidates else "no column holds"
    fix = f"name it with --data.text-field; columns: {', '.join(columns)}"
    raise DataError(f"cannot tell which column is the text: {found} text", str(path), fix)


def _without_surrogates(text: str, tally: Tally) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text, count = _SURROGATE.subn("\ufffd", text)
        tally.surrogates += count
    return text


def _kind(value: object) -> str:
    names = {type(None): "null", bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list"}
    return names.get(type(value), "an object")
