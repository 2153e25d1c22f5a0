"""Files -> a training part and a validation part, neither of which is read into memory.

What is held out follows from the data alone, never from the seed, so that runs can be compared:

    one text file          its last 10 % of characters, contiguous: the first int(0.9 n) train
    one file of rows       its last 10 % of rows
    several files          whole files with about 10 % of the bytes together, at least one, never all
    builtin                whole documents, chosen by a hash of their names
    --data.validation      exactly what it names
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from malgil.data.builtin import builtin_documents, held_out
from malgil.data.cache import remembered
from malgil.data.readers import Tally, cut_chunks, read_documents
from malgil.data.settings import OF_LABELS, OF_PAIRS, DataSettings
from malgil.data.sources import BUILTIN, find_files, format_of
from malgil.errors import DataError, InputError
from malgil.runtime.files import sha256

T = TypeVar("T")


@dataclass(frozen=True)
class Facts:
    """What a pass over a file found; `skipped` rows are not among the others."""

    sha256: str
    n_documents: int
    n_characters: int
    n_bytes: int
    skipped: int
    surrogates: int


@dataclass(frozen=True)
class Span:
    """A stretch of a file: characters of a text, rows of any other, from `start` to before `stop`."""

    path: Path
    text_field: str | None
    skip_bad: int
    start: int
    stop: int
    n_characters: int
    n_bytes: int
    stamp: tuple[int, int]
    identity: tuple[str, str, str | None]

    def documents(self) -> Iterator[Iterator[str]]:
        """The documents of the stretch, as chunks of text.

        Raises:
            DataError: the file has changed since the corpus was opened.
        """
        refuse_change(self.path, self.stamp)
        documents = read_documents(self.path, self.text_field, Tally(self.skip_bad))
        if _is_text(self.path):
            for chunks in documents:
                yield _characters(chunks, self.start, self.stop)
        else:
            yield from itertools.islice(documents, self.start, self.stop)


@dataclass(frozen=True)
class Builtin:
    """Some of the built-in documents."""

    indices: tuple[int, ...]

    def documents(self) -> Iterator[Iterator[str]]:
        """The documents, as chunks of text."""
        everything = builtin_documents()
        for index in self.indices:
            yield cut_chunks([everything[index].text])


@dataclass(frozen=True)
class Part:
    """Some documents, read anew at every pass.

    Args:
        n_bytes: UTF-8 bytes of the text, as it was written.
        fingerprint: SHA-256 of the content and of what is taken from it; where the files lie does not matter.
    """

    pieces: tuple[Span | Builtin, ...]
    n_documents: int
    n_characters: int
    n_bytes: int
    fingerprint: str

    def documents(self) -> Iterator[Iterator[str]]:
        """Each document as an iterator of chunks; take a document's chunks before asking for the next document."""
        for piece in self.pieces:
            yield from piece.documents()

    def describe(self) -> str:
        """One line for people: where the text comes from and how much it is."""
        names = [BUILTIN if isinstance(piece, Builtin) else piece.path.name for piece in self.pieces]
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        documents = f"{self.n_documents:,} document{'s' if self.n_documents != 1 else ''}"
        return f"{shown}: {documents}, {self.n_characters:,} characters, {self.n_bytes:,} bytes"


@dataclass(frozen=True)
class Corpus:
    """What `open_corpus` found. `notes` are sentences a person should see: rows skipped, characters replaced."""

    train: Part
    validation: Part
    notes: tuple[str, ...]


def open_corpus(settings: DataSettings) -> Corpus:
    """The two parts that the settings describe; reads each file once, or not at all when the cache knows it.

    Raises:
        DataError: nothing to read, a file that cannot be used, or too little text to hold some out.
        InputError: a validation file that is also training data.
        ConfigError: settings of pairs or labels.
        NotFoundError: no column with the name that was given.
    """
    files, notes = _named_files(settings)
    given, more = find_files(settings.validation, "--data.validation")
    notes += more
    refuse_overlap(files, given, settings)
    tally = Tally(settings.skip_bad)
    facts = {path: _facts(path, settings, tally) for path in [*files, *given]}
    notes += tolerated(tally)
    builtin = tuple(range(len(builtin_documents()))) if BUILTIN in settings.paths else ()

    if settings.validation:
        train = [_whole(path, facts[path], settings) for path in files]
        validation = [_whole(path, facts[path], settings) for path in given]
        held = tuple(range(len(builtin_documents()))) if BUILTIN in settings.validation else ()
    else:
        train, validation = _hold_out(files, facts, settings)
        held = tuple(i for i in builtin if held_out(builtin_documents()[i].name, settings.holdout))
        builtin = tuple(i for i in builtin if i not in set(held))
    return Corpus(part_of(train, builtin), part_of(validation, held), tuple(notes))


def open_whole(settings: DataSettings) -> tuple[Part, tuple[str, ...]]:
    """All the text that `settings.paths` names as one part, nothing held out, and the notes.

    Raises:
        DataError, ConfigError, NotFoundError: as `open_corpus`.
    """
    files, notes = _named_files(settings)
    tally = Tally(settings.skip_bad)
    facts = {path: _facts(path, settings, tally) for path in files}
    builtin = tuple(range(len(builtin_documents()))) if BUILTIN in settings.paths else ()
    spans = [_whole(path, facts[path], settings) for path in files]
    return part_of(spans, builtin), (*notes, *tolerated(tally))


def choose_files(files: Mapping[T, tuple[str, int]], share: float) -> set[T]:
    """Whole files whose bytes come close to the share: taken in the order of a hash of their content.

    By content, so that the choice is the same wherever the files lie and in whatever order they are named.

    Args:
        files: of each its content's fingerprint and its bytes.
    """
    target = share * sum(size for _, size in files.values())
    order = sorted(files, key=lambda file: (hashlib.sha256(files[file][0].encode()).hexdigest(), str(file)))
    held: set[T] = set()
    total = 0
    for file in order:
        size = files[file][1]
        if abs(total + size - target) < abs(total - target) and len(held) < len(files) - 1:
            held.add(file)
            total += size
    if files and not held:
        held.add(min(order, key=lambda file: files[file][1]))
    return held


def refuse_overlap(files: Iterable[Path], given: Iterable[Path], settings: DataSettings) -> None:
    """No file may be in both parts, and `builtin` neither.

    Raises:
        InputError: one is.
    """
    both = sorted({path.resolve() for path in files} & {path.resolve() for path in given})
    names = [str(path) for path in both]
    if BUILTIN in settings.paths and BUILTIN in settings.validation:
        names.append(BUILTIN)
    if names:
        raise InputError(
            "the validation part is also in the training data", ", ".join(names[:3]), "name it in one place only"
        )


def tolerated(tally: Tally) -> list[str]:
    """Sentences about what was met and passed over."""
    notes = []
    if tally.skipped:
        notes.append(f"{tally.skipped:,} malformed row{'s were' if tally.skipped > 1 else ' was'} skipped")
    if tally.surrogates:
        notes.append(
            f"{tally.surrogates:,} lone surrogate{'s were' if tally.surrogates > 1 else ' was'} replaced by U+FFFD"
        )
    return notes


def stamp_of(path: Path) -> tuple[int, int]:
    """Size and time of a file, by which a change is noticed.

    Raises:
        DataError: it cannot be looked at.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise DataError(f"cannot read: {error.strerror}", str(path), "check the file") from None
    return stat.st_size, stat.st_mtime_ns


def refuse_change(path: Path, stamp: tuple[int, int]) -> None:
    """What is read must be what was counted.

    Raises:
        DataError: the file is not as it was when `stamp` was taken.
    """
    if stamp_of(path) != stamp:
        raise DataError("the file has changed since it was opened", str(path), "start again with the file at rest")


def part_of(spans: list[Span], builtin: tuple[int, ...]) -> Part:
    """Stretches of files and built-in documents, by their numbers, as one part."""
    digest = hashlib.sha256()
    documents, characters, n_bytes = len(builtin), 0, 0
    for span in spans:
        digest.update(json.dumps([*span.identity, span.start, span.stop]).encode())
        documents += 1 if _is_text(span.path) else span.stop - span.start
        characters += span.n_characters
        n_bytes += span.n_bytes
    for index in builtin:
        document = builtin_documents()[index]
        digest.update(json.dumps([document.name, document.text]).encode())
        characters += len(document.text)
        n_bytes += len(document.text.encode("utf-8"))
    pieces: tuple[Span | Builtin, ...] = (*spans, *([Builtin(builtin)] if builtin else []))
    return Part(pieces, documents, characters, n_bytes, digest.hexdigest())


# ---------------------------------------------------------------------------------------------


def _named_files(settings: DataSettings) -> tuple[list[Path], list[str]]:
    """What `find_files` finds for `settings.paths`."""
    settings.refuse(
        (*OF_PAIRS, *OF_LABELS),
        "text is read here, and this setting is of pairs or labels",
        "give text with --data, or train a recipe of pairs, such as transformer or seq2seq",
    )
    if not settings.paths:
        raise DataError("no data was named", "data.paths", "give --data with files, folders, globs or 'builtin'")
    return find_files(settings.paths, "--data")


def _facts(path: Path, settings: DataSettings, tally: Tally) -> Facts:
    """One pass over a file. What it tolerated is added to `tally`, which is shared by all files."""

    def find() -> dict[str, str | int]:
        own = Tally(tally.allowed - tally.skipped)
        n_documents = n_characters = n_bytes = 0
        for document in read_documents(path, settings.text_field, own):
            n_documents += 1
            for chunk in document:
                n_characters += len(chunk)
                n_bytes += len(chunk) if chunk.isascii() else len(chunk.encode("utf-8"))
        counts = {"n_documents": n_documents, "n_characters": n_characters, "n_bytes": n_bytes}
        return {"sha256": sha256(path), **counts, "skipped": own.skipped, "surrogates": own.surrogates}

    # What may still be skipped is part of the question: the answer for a smaller allowance is an error.
    allowance = tally.allowed - tally.skipped
    question = json.dumps([*format_of(path), settings.text_field, allowance])
    facts = Facts(**remembered(path, question, find)) if stamp_of(path)[0] else None
    if facts is None or facts.n_characters == 0:
        raise DataError("the file is empty", str(path), "give a file with text")
    tally.skipped += facts.skipped
    tally.surrogates += facts.surrogates
    return facts


def _hold_out(files: list[Path], facts: dict[Path, Facts], settings: DataSettings) -> tuple[list[Span], list[Span]]:
    if len(files) == 1:
        return _cut_one(files[0], facts[files[0]], settings)
    held = choose_files({path: (facts[path].sha256, facts[path].n_bytes) for path in files}, settings.holdout)
    train = [_whole(path, facts[path], settings) for path in files if path not in held]
    return train, [_whole(path, facts[path], settings) for path in files if path in held]


def _cut_one(path: Path, facts: Facts, settings: DataSettings) -> tuple[list[Span], list[Span]]:
    """The first and the last stretch of a single file."""
    size, unit = (facts.n_characters, "characters") if _is_text(path) else (facts.n_documents, "rows")
    if size < 2:
        raise DataError(
            f"too little data to hold some out: {size} of at least 2 {unit}",
            str(path),
            "give more, or --data.validation",
        )
    cut = min(max(int((1 - settings.holdout) * size), 1), size - 1)

    def find() -> dict[str, int]:
        documents = _span(path, facts, settings, 0, cut, 0, 0).documents()
        lengths = [(len(chunk), len(chunk.encode("utf-8"))) for document in documents for chunk in document]
        return {"n_characters": sum(n for n, _ in lengths), "n_bytes": sum(n for _, n in lengths)}

    before = remembered(
        path, json.dumps([*format_of(path), settings.text_field, settings.skip_bad, "before", cut]), find
    )
    characters, n_bytes = before["n_characters"], before["n_bytes"]
    first = _span(path, facts, settings, 0, cut, characters, n_bytes)
    last = _span(path, facts, settings, cut, size, facts.n_characters - characters, facts.n_bytes - n_bytes)
    return [first], [last]


def _whole(path: Path, facts: Facts, settings: DataSettings) -> Span:
    stop = facts.n_characters if _is_text(path) else facts.n_documents
    return _span(path, facts, settings, 0, stop, facts.n_characters, facts.n_bytes)


def _span(
    path: Path, facts: Facts, settings: DataSettings, start: int, stop: int, characters: int, n_bytes: int
) -> Span:
    identity = (facts.sha256, format_of(path)[0], None if _is_text(path) else settings.text_field)
    skip = settings.skip_bad
    return Span(path, settings.text_field, skip, start, stop, characters, n_bytes, stamp_of(path), identity)


def _characters(chunks: Iterator[str], start: int, stop: int) -> Iterator[str]:
    """The characters [start, stop) of a text that comes in chunks."""
    position = 0
    for chunk in chunks:
        if position >= stop:
            return
        taken = chunk[max(start - position, 0) : stop - position]
        position += len(chunk)
        if taken:
            yield taken


def _is_text(path: Path) -> bool:
    return format_of(path)[0] == "text"
