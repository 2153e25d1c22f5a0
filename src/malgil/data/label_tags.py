"""Words with tags, a sentence a record.

CoNLL    서울   NNP  B-LOC        a word a line, its tag in the last column; an empty line after each sentence.
         에     JKB  O            Columns are parted by tabs if there is one in the line, else by spaces;
                                  `-DOCSTART-` lines, and comments (`# ...`) before a sentence, are passed over.
Rows     {"tokens": ["서울", "에"], "tags": ["B-LOC", "O"]}              a jsonl or parquet file

IOB1, BIOES and BILOU are brought to IOB2, entity by entity; see `metrics.tagging.entities`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeGuard

from malgil.data.columns import find_column, table_columns
from malgil.data.label_records import Findings, Tagged, nfc
from malgil.data.label_rows import Located
from malgil.data.readers import Tally, read_lines, read_table
from malgil.data.settings import DataSettings
from malgil.data.sources import format_of
from malgil.errors import NotFoundError
from malgil.metrics.tagging import iob2

_TOKENS = ("tokens", "words", "sentence", "text")
_TAGS = ("tags", "ner_tags", "labels", "label", "ner")
_TAG = re.compile(r"O|[BIESUL](-.+)?")
_BAD_TAG = "write O for no entity, B-TYPE where one begins and I-TYPE inside"


def read_tagged(
    path: Path, settings: DataSettings, tally: Tally, findings: Findings
) -> tuple[str, Iterator[Located[Tagged]]]:
    """A file of tagged sentences: what to call it, and its sentences, read as they are asked for.

    A sentence with a malformed line is malformed, since it would have a hole.

    Raises:
        DataError: no row, or no column with tokens or tags.
        NotFoundError: no column of that name.
    """
    if format_of(path)[0] not in ("jsonl", "parquet"):
        return path.name, _checked(_sentences(path, tally), tally, findings)
    tokens, tags = _columns(path, settings, tally)
    return f"{path.name} ({tokens} -> {tags})", _checked(_rows(path, tokens, tags, tally), tally, findings)


# ---------------------------------------------------------------------------------------------


def _checked(
    sentences: Iterator[Located[tuple[Sequence[str], Sequence[str]]]], tally: Tally, findings: Findings
) -> Iterator[Located[Tagged]]:
    """Those with proper tags, in IOB2."""
    for where, (tokens, tags) in sentences:
        bad = next((tag for tag in tags if not _TAG.fullmatch(tag)), None)
        if bad is not None:
            tally.skip(f"'{bad}' is no tag of an entity", where, _BAD_TAG)
            continue
        right = iob2(tags)
        if right != list(tags):
            findings.add("sentence{s} whose entities do not begin with B (IOB1, BIOES) {were} brought to IOB2", where)
        yield where, Tagged(tuple(map(nfc, tokens)), tuple(right))


def _sentences(path: Path, tally: Tally) -> Iterator[Located[tuple[list[str], list[str]]]]:
    """(place of the first line, words and tags) of a file in CoNLL's form."""
    tokens: list[str] = []
    tags: list[str] = []
    start, malformed = 0, False
    for number, line in enumerate(_ending(read_lines(path)), 1):
        fields = _fields(line)
        if not fields or fields[0] == "-DOCSTART-":
            if tokens and not malformed:
                yield f"{path}:{start}", (tokens, tags)
            tokens, tags, malformed = [], [], False
        elif not (tokens or malformed) and line.startswith("#") and not _TAG.fullmatch(fields[-1]):
            continue  # a comment
        elif malformed:
            continue
        elif len(fields) < 2 or not fields[0] or not fields[-1]:
            tally.skip("no word and tag in the line", f"{path}:{number}", "write them with a tab between")
            malformed = True
        else:
            start = start if tokens else number
            tokens.append(fields[0])
            tags.append(fields[-1])


def _ending(lines: Iterator[str]) -> Iterator[str]:
    """The lines without their ends, and an empty one that closes the last sentence."""
    for line in lines:
        yield line.rstrip("\r\n")
    yield ""


def _fields(line: str) -> list[str]:
    """The columns of a line; none of one that is empty."""
    if not line.strip():
        return []
    return line.split("\t") if "\t" in line else re.split(" +", line.strip(" "))


def _rows(
    path: Path, tokens_column: str, tags_column: str, tally: Tally
) -> Iterator[Located[tuple[list[str], list[str]]]]:
    for line, row in read_table(path, tally, [tokens_column, tags_column]):
        where = f"{path}:{line}"
        tokens, tags = row.get(tokens_column), row.get(tags_column)
        if not _words(tokens) or not _words(tags):
            tally.skip(f"'{tokens_column}' and '{tags_column}' are not two lists of words", where, _BAD_TAG)
        elif len(tokens) != len(tags):
            tally.skip(f"{len(tokens)} tokens but {len(tags)} tags", where, "give a tag for each token")
        elif tokens:
            yield where, (tokens, tags)


def _words(value: object) -> TypeGuard[list[str]]:
    """Whether it is a list of words that UTF-8 can hold, none of them empty."""
    return isinstance(value, list) and all(
        isinstance(word, str) and word and not re.search("[\ud800-\udfff]", word) for word in value
    )


def _columns(path: Path, settings: DataSettings, tally: Tally) -> tuple[str, str]:
    """The columns with tokens and tags."""
    _, columns = table_columns(path, (), tally, ())
    found = []
    for field, usual, option in (
        (settings.text_field, _TOKENS, "--data.text-field"),
        (settings.label_field, _TAGS, "--data.label-field"),
    ):
        column = next((name for name in usual if name in columns), None)
        if field is not None:
            column = find_column(path, field, columns)
        if column is None:
            raise NotFoundError(
                f"no column '{usual[0]}'", str(path), f"name it with {option}; columns: {', '.join(columns)}"
            )
        found.append(column)
    return found[0], found[1]
