"""Pairs of texts -> a training part and a validation part, neither of which is read into memory.

What is held out follows from the data alone, as in `corpus`:

    one file, or two aligned ones    the last 10 % of the pairs
    several                          whole files with about 10 % of the bytes together, at least one, never all
    builtin                          numbers, chosen by a hash
    a validation part that is named  exactly that

A pair with a side without text is left out and counted: nothing can be learnt from it, and nothing scored.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from malgil.data.builtin import held_out
from malgil.data.cache import remembered
from malgil.data.corpus import choose_files, refuse_change, refuse_overlap, stamp_of, tolerated
from malgil.data.numerals import english, korean, numerals
from malgil.data.pair_rows import Aligned, Pair, Table, find_table
from malgil.data.readers import Tally, cut_chunks
from malgil.data.settings import OF_LABELS, OF_TEXT, DataSettings
from malgil.data.sources import BUILTIN, find_files
from malgil.errors import DataError, InputError
from malgil.runtime.files import sha256

PairFile: TypeAlias = Table | Aligned


class Counts(NamedTuple):
    """Of some pairs, in the order of the files (`--data.reverse` swaps later).

    `empty` pairs, which have a side without text, are in none of the other numbers.
    """

    n_pairs: int = 0
    empty: int = 0
    first_characters: int = 0
    second_characters: int = 0
    first_bytes: int = 0
    second_bytes: int = 0

    def plus(self, other: Counts) -> Counts:
        return Counts(*map(operator.add, self, other))

    def minus(self, other: Counts) -> Counts:
        return Counts(*map(operator.sub, self, other))


@dataclass(frozen=True)
class Facts:
    """What a pass over a file, or two aligned ones, found; `skipped` rows are not among the counts."""

    sha256: tuple[str, ...]
    counts: Counts
    skipped: int
    surrogates: int


@dataclass(frozen=True)
class PairSpan:
    """The pairs of a file from `start` to before `stop`, empty ones not counted."""

    file: PairFile
    skip_bad: int
    start: int
    stop: int
    counts: Counts
    stamps: tuple[tuple[int, int], ...]
    sha256: tuple[str, ...]

    @property
    def identity(self) -> str:
        return json.dumps([*self.sha256, *self.file.identity, self.start, self.stop])

    def pairs(self) -> Iterator[Pair]:
        """The pairs, in the order of the file.

        Raises:
            DataError: a file has changed since it was opened.
        """
        for path, stamp in zip(self.file.files, self.stamps, strict=True):
            refuse_change(path, stamp)
        rows = self.file.rows(Tally(self.skip_bad))
        return itertools.islice(filter(_filled, rows), self.start, self.stop)

    def label(self, reverse: bool) -> str:
        return self.file.label(reverse)


@dataclass(frozen=True)
class Numerals:
    """Some of the built-in numbers, each read in Korean and in English."""

    numbers: tuple[int, ...]

    @property
    def counts(self) -> Counts:
        return counted(self.pairs())

    @property
    def identity(self) -> str:
        return json.dumps(list(self.pairs()))

    def pairs(self) -> Iterator[Pair]:
        for number in self.numbers:
            yield f"ko {number}", korean(number)
            yield f"en {number}", english(number)

    def label(self, reverse: bool) -> str:
        return BUILTIN


@dataclass(frozen=True)
class PairPart:
    """Some pairs, read anew at every pass.

    Args:
        reverse: whether what stands second is the source.
        content: SHA-256 of what is read, in the order of the files; where they lie does not matter.
    """

    pieces: tuple[PairSpan | Numerals, ...]
    reverse: bool
    counts: Counts
    content: str

    @property
    def n_pairs(self) -> int:
        return self.counts.n_pairs

    @property
    def n_documents(self) -> int:
        return self.counts.n_pairs

    @property
    def n_characters(self) -> int:
        """Of both sides."""
        return self.counts.first_characters + self.counts.second_characters

    @property
    def n_bytes(self) -> int:
        """UTF-8 bytes of both sides, as they were written."""
        return self.counts.first_bytes + self.counts.second_bytes

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the pairs and their direction."""
        return hashlib.sha256(f"{self.content} {self.reverse}".encode()).hexdigest()

    def pairs(self) -> Iterator[Pair]:
        """(source, target), both with text."""
        for piece in self.pieces:
            for first, second in piece.pairs():
                yield (second, first) if self.reverse else (first, second)

    def side(self, name: Literal["source", "target"]) -> PairSide:
        """One side as documents, a text each: what `token_store` takes."""
        return PairSide(self, second=(name == "target") != self.reverse)

    def describe(self) -> str:
        """One line for people: where the pairs come from and how many they are."""
        names = [piece.label(self.reverse) for piece in self.pieces]
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        pairs = f"{self.n_pairs:,} pair{'s' if self.n_pairs != 1 else ''}"
        source, target = self.side("source"), self.side("target")
        return (
            f"{shown}: {pairs}, {source.n_characters:,} -> {target.n_characters:,} characters, {self.n_bytes:,} bytes"
        )


@dataclass(frozen=True)
class PairSide:
    """One side of a part as documents. A side's store serves both directions, so only the column identifies it.

    Args:
        second: whether it is the texts that stand second in the files.
    """

    part: PairPart
    second: bool

    @property
    def n_documents(self) -> int:
        return self.part.n_pairs

    @property
    def n_characters(self) -> int:
        return self.part.counts.second_characters if self.second else self.part.counts.first_characters

    @property
    def n_bytes(self) -> int:
        return self.part.counts.second_bytes if self.second else self.part.counts.first_bytes

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.part.content} {int(self.second)}".encode()).hexdigest()

    def documents(self) -> Iterator[Iterator[str]]:
        """Each text as an iterator of chunks."""
        for piece in self.part.pieces:
            for pair in piece.pairs():
                yield cut_chunks([pair[self.second]])


@dataclass(frozen=True)
class PairCorpus:
    """What `open_pairs` found. `notes` are sentences a person should see."""

    train: PairPart
    validation: PairPart
    notes: tuple[str, ...]


def open_pairs(settings: DataSettings) -> PairCorpus:
    """The two parts that the settings describe; reads each file once, or not at all when the cache knows it.

    Raises:
        DataError: nothing to read, a file that cannot be used, aligned files of different length, or too few pairs to
            hold some out.
        InputError: a validation file that is also training data, or settings that contradict each other.
        ConfigError: settings of text or labels.
        NotFoundError: no column with the name or number that was given.
    """
    tally = Tally(settings.skip_bad)
    files, notes = _training_files(settings, tally)
    given, more = _files(settings, tally, validation=True)
    refuse_overlap(_paths(files), _paths(given), settings)
    facts = {file: _facts(file, tally) for file in [*files, *given]}
    numbers = numerals() if BUILTIN in settings.paths else ()

    if given or BUILTIN in settings.validation:
        train = [_whole(file, facts[file], settings) for file in files]
        validation = [_whole(file, facts[file], settings) for file in given]
        held = numerals() if BUILTIN in settings.validation else ()
    else:
        train, validation = _hold_out(files, facts, settings)
        held = tuple(n for n in numbers if held_out(str(n), settings.holdout))
        numbers = tuple(n for n in numbers if n not in set(held))
    parts = (pair_part_of(train, numbers, settings.reverse), pair_part_of(validation, held, settings.reverse))
    return PairCorpus(*parts, (*notes, *more, *tolerated(tally)))


def open_all_pairs(settings: DataSettings) -> tuple[PairPart, tuple[str, ...]]:
    """All the pairs that the settings name for training as one part, nothing held out, and the notes.

    Raises:
        DataError, InputError, NotFoundError: as `open_pairs`.
    """
    tally = Tally(settings.skip_bad)
    files, notes = _training_files(settings, tally)
    spans = [_whole(file, _facts(file, tally), settings) for file in files]
    numbers = numerals() if BUILTIN in settings.paths else ()
    return pair_part_of(spans, numbers, settings.reverse), (*notes, *tolerated(tally))


def counted(rows: Iterable[Pair], most: int | None = None) -> Counts:
    """The numbers of the rows, or of those up to so many pairs with text."""
    n_pairs = empty = first_characters = second_characters = first_bytes = second_bytes = 0
    for first, second in rows:
        if not _filled((first, second)):
            empty += 1
            continue
        n_pairs += 1
        first_characters += len(first)
        second_characters += len(second)
        first_bytes += len(first.encode("utf-8"))
        second_bytes += len(second.encode("utf-8"))
        if n_pairs == most:
            break
    return Counts(n_pairs, empty, first_characters, second_characters, first_bytes, second_bytes)


def pair_part_of(spans: Sequence[PairSpan], numbers: tuple[int, ...], reverse: bool) -> PairPart:
    """Stretches of files and built-in numbers as one part."""
    pieces: tuple[PairSpan | Numerals, ...] = (*spans, *([Numerals(numbers)] if numbers else []))
    digest = hashlib.sha256()
    counts = Counts()
    for piece in pieces:
        digest.update(piece.identity.encode())
        counts = counts.plus(piece.counts)
    return PairPart(pieces, reverse, counts, digest.hexdigest())


# ---------------------------------------------------------------------------------------------


def _filled(pair: Pair) -> bool:
    """Whether there is text on both sides."""
    return bool(pair[0].strip()) and bool(pair[1].strip())


def _training_files(settings: DataSettings, tally: Tally) -> tuple[list[PairFile], list[str]]:
    settings.refuse(
        (*OF_TEXT, *OF_LABELS),
        "pairs are read here, and this setting is of text or labels",
        "name columns with --data.source-field and --data.target-field",
    )
    if not (settings.paths or settings.source or settings.target):
        raise DataError(
            "no data was named", "data.paths", "give --data FILE, --source FILE --target FILE, or --data builtin"
        )
    return _files(settings, tally, validation=False)


def _files(settings: DataSettings, tally: Tally, *, validation: bool) -> tuple[list[PairFile], list[str]]:
    """The tables and the aligned files of a part, and notes on what was named twice."""
    if validation:
        names, sources, targets = settings.validation, settings.validation_source, settings.validation_target
        where = ("--data.validation", "--validation-source", "--validation-target")
    else:
        names, sources, targets = settings.paths, settings.source, settings.target
        where = ("--data", "--source", "--target")
    tables, notes = find_files(names, where[0])
    found: list[PairFile] = [find_table(path, settings.source_field, settings.target_field, tally) for path in tables]
    firsts, more = find_files(sources, where[1])
    seconds, yet_more = find_files(targets, where[2])
    if len(firsts) != len(seconds):
        raise InputError(
            f"{len(firsts)} source and {len(seconds)} target files",
            f"{where[1]}, {where[2]}",
            "give as many of one as of the other",
        )
    found += [Aligned(first, second) for first, second in zip(firsts, seconds, strict=True)]
    return found, [*notes, *more, *yet_more]


def _paths(files: Iterable[PairFile]) -> list[Path]:
    return [path for file in files for path in file.files]


def _facts(file: PairFile, tally: Tally) -> Facts:
    """One pass over a file. What it tolerated is added to `tally`, which is shared by all files."""
    allowance = tally.allowed - tally.skipped

    def find() -> dict[str, list[int] | list[str] | int]:
        own = Tally(allowance)
        counts = counted(file.rows(own))
        hashes = [sha256(path) for path in file.files]
        return {"sha256": hashes, "counts": list(counts), "skipped": own.skipped, "surrogates": own.surrogates}

    known = remembered(file.files[0], json.dumps(["pairs", *file.identity, allowance]), find, *file.files[1:])
    facts = Facts(tuple(known["sha256"]), Counts(*known["counts"]), known["skipped"], known["surrogates"])
    if not facts.counts.n_pairs:
        raise DataError("no pair with text on both sides", file.label(False), "give a file with pairs")
    tally.skipped += facts.skipped
    tally.surrogates += facts.surrogates
    return facts


def _hold_out(
    files: Sequence[PairFile], facts: dict[PairFile, Facts], settings: DataSettings
) -> tuple[list[PairSpan], list[PairSpan]]:
    if len(files) == 1:
        return _cut_one(files[0], facts[files[0]], settings)
    sizes = {f: (" ".join(facts[f].sha256), facts[f].counts.first_bytes + facts[f].counts.second_bytes) for f in files}
    held = choose_files(sizes, settings.holdout)
    train = [_whole(file, facts[file], settings) for file in files if file not in held]
    return train, [_whole(file, facts[file], settings) for file in files if file in held]


def _cut_one(file: PairFile, facts: Facts, settings: DataSettings) -> tuple[list[PairSpan], list[PairSpan]]:
    """The first and the last pairs of a single file."""
    size = facts.counts.n_pairs
    if size < 2:
        raise DataError(
            "too little data to hold some out: 1 of at least 2 pairs",
            file.label(False),
            "give more, or name a validation part",
        )
    cut = min(max(int((1 - settings.holdout) * size), 1), size - 1)
    question = json.dumps(["pairs", *file.identity, settings.skip_bad, "before", cut])
    known = remembered(
        file.files[0],
        question,
        lambda: {"counts": list(counted(file.rows(Tally(settings.skip_bad)), cut))},
        *file.files[1:],
    )
    before = Counts(*known["counts"])
    first = _span(file, facts, settings, 0, cut, before)
    return [first], [_span(file, facts, settings, cut, size, facts.counts.minus(before))]


def _whole(file: PairFile, facts: Facts, settings: DataSettings) -> PairSpan:
    return _span(file, facts, settings, 0, facts.counts.n_pairs, facts.counts)


def _span(file: PairFile, facts: Facts, settings: DataSettings, start: int, stop: int, counts: Counts) -> PairSpan:
    stamps = tuple(stamp_of(path) for path in file.files)
    return PairSpan(file, settings.skip_bad, start, stop, counts, stamps, facts.sha256)
