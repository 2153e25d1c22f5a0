"""Labelled files -> a training part and a validation part of records: classification, scores, tags, questions.

    open_labelled_data(settings, LABELLED)   texts with one label or several      label_rows
    open_labelled_data(settings, SCORED)     texts with a number                  label_rows
    open_labelled_data(settings, TAGGED)     words with tags                      label_tags
    open_labelled_data(settings, QUESTIONS)  questions about texts                label_answers
    open_labelled_data(settings, ALIKE)      texts that belong together           label_alike

Labels are made by people, so the sets are small enough for memory and have faults: what is left out or looks wrong is
said in one line each. What is held out follows from the texts alone: by a hash of each, so that equal ones stay
together and more data moves none from one part to the other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

from malgil.data.builtin import builtin_labels, held_out
from malgil.data.corpus import refuse_overlap, tolerated
from malgil.data.label_alike import Alike, judge_alike, read_alike
from malgil.data.label_answers import read_questions
from malgil.data.label_checks import (
    judge_labelled,
    judge_questions,
    judge_scored,
    judge_tagged,
    label_names,
    listed,
    tag_names,
)
from malgil.data.label_records import Findings, Labelled, Record
from malgil.data.label_rows import Located, read_labelled, read_scored
from malgil.data.label_tags import read_tagged
from malgil.data.readers import Tally, cut_chunks
from malgil.data.settings import DataSettings
from malgil.data.sources import BUILTIN, find_files
from malgil.errors import DataError

R = TypeVar("R", bound=Record)
Reader: TypeAlias = Callable[[Path, DataSettings, Tally, Findings], tuple[str, Iterator[Located[R]]]]


@dataclass(frozen=True)
class Kind(Generic[R]):
    """A kind of labelled data.

    Args:
        noun: what its records are called, in the plural.
        read: opens a file; see `label_rows.read_labelled`.
        judge: notes on records that are to be trained on; refuses those from which nothing can be learnt.
        names: what there is to predict, in the order of its numbers; none where that is no choice among names.
        builtin: the set that needs no file, if there is one.
        json: whether files may be .json.
    """

    noun: str
    read: Reader[R]
    judge: Callable[[Sequence[Located[R]]], list[str]]
    names: Callable[[Iterable[R]], tuple[str, ...]]
    builtin: Callable[[], list[Located[R]]] | None = None
    json: bool = False


@dataclass(frozen=True)
class LabelledPart(Generic[R]):
    """Some records.

    Args:
        source: the files and what was read of them, for people.
        noun: what the records are called, in the plural.
    """

    records: tuple[R, ...]
    source: str
    noun: str

    def __len__(self) -> int:
        return len(self.records)

    @property
    def n_documents(self) -> int:
        return len(self._texts)

    @cached_property
    def n_characters(self) -> int:
        """Of the different texts."""
        return sum(map(len, self._texts))

    @cached_property
    def n_bytes(self) -> int:
        """UTF-8 bytes of the different texts."""
        return sum(len(text.encode("utf-8")) for text in self._texts)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the records; where they lie does not matter."""
        digest = hashlib.sha256()
        for record in self.records:
            digest.update(json.dumps(_values(record)).encode())
        return digest.hexdigest()

    def documents(self) -> Iterator[Iterator[str]]:
        """Each different text once, as an iterator of chunks: what a tokenizer is trained on."""
        for text in self._texts:
            yield cut_chunks([text])

    def describe(self) -> str:
        """One line for people: where the records come from and how many they are."""
        return f"{self.source}: {len(self):,} {self.noun}, {self.n_characters:,} characters, {self.n_bytes:,} bytes"

    @cached_property
    def _texts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(text for record in self.records for text in record.texts))


@dataclass(frozen=True)
class LabelledData(Generic[R]):
    """What `open_labelled_data` found. `notes` are sentences a person should see.

    Args:
        names: the labels, numbers in their order and names in that of the alphabet; of tagged words the tags, O first.
    """

    train: LabelledPart[R]
    validation: LabelledPart[R]
    notes: tuple[str, ...]
    names: tuple[str, ...]


def open_labelled_data(settings: DataSettings, kind: Kind[R]) -> LabelledData[R]:
    """The two parts that the settings describe.

    Raises:
        DataError: nothing to read, a file that cannot be used, too little to hold some out, or nothing to learn: one
            class alone, a label for each text.
        InputError: a validation file that is also training data, or settings that contradict each other.
        NotFoundError: no column with the name or number that was given.
    """
    tally, findings = Tally(settings.skip_bad), Findings()
    found = _read(settings.paths, "--data", settings, kind, tally, findings)
    judged = kind.judge(found.rows)
    if settings.validation:
        given = _read(settings.validation, "--data.validation", settings, kind, tally, findings)
        refuse_overlap(found.files, given.files, settings)
        train, validation = found.part(kind), given.part(kind)
        judged += _seen(train, validation)
        notes = [*found.notes, *given.notes]
    else:
        train, validation = _hold_out(found, settings.holdout, kind)
        notes = found.notes
    judged += _unseen(train, validation, kind)
    names = kind.names([*train.records, *validation.records])
    return LabelledData(train, validation, (*notes, *tolerated(tally), *findings.notes(), *judged), names)


def open_all_labelled_data(settings: DataSettings, kind: Kind[R]) -> tuple[LabelledPart[R], tuple[str, ...]]:
    """All the records that `settings.paths` names as one part, nothing held out, and the notes.

    Raises:
        DataError, InputError, NotFoundError: as `open_labelled_data`; one class alone is fine.
    """
    tally, findings = Tally(settings.skip_bad), Findings()
    found = _read(settings.paths, "--data", settings, kind, tally, findings)
    return found.part(kind), (*found.notes, *tolerated(tally), *findings.notes())


# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Found(Generic[R]):
    """The records of some files with their places."""

    rows: list[Located[R]]
    files: list[Path]
    source: str
    notes: list[str]

    def part(self, kind: Kind[R], keep: Callable[[R], bool] | None = None) -> LabelledPart[R]:
        records = tuple(record for _, record in self.rows if keep is None or keep(record))
        return LabelledPart(records, self.source, kind.noun)


def _read(
    names: Sequence[str], where: str, settings: DataSettings, kind: Kind[R], tally: Tally, findings: Findings
) -> _Found[R]:
    """What the names of a part name."""
    files, notes = find_files(names, where, json=kind.json)
    rows: list[Located[R]] = []
    labels = []
    for path in files:
        label, located = kind.read(path, settings, tally, findings)
        before = len(rows)
        rows.extend(located)
        labels.append(label)
        if len(rows) == before:
            left_out = "; ".join(findings.notes())
            raise DataError(f"no {kind.noun} that can be used", str(path), left_out or "give a file with some")
    if BUILTIN in names:
        if kind.builtin is None:
            raise DataError(
                f"there are no built-in {kind.noun}", where, "give a file; 'builtin' has texts with a label"
            )
        rows.extend(kind.builtin())
        labels.append(BUILTIN)
    if not rows:
        raise DataError("no data was named", where, f"give {where} a file with {kind.noun}")
    shown = ", ".join(labels[:3]) + (f" and {len(labels) - 3} more" if len(labels) > 3 else "")
    return _Found(rows, files, shown, notes)


def _hold_out(found: _Found[R], share: float, kind: Kind[R]) -> tuple[LabelledPart[R], LabelledPart[R]]:
    """Two parts by the hash of each group; neither is empty."""
    groups = {record.group for _, record in found.rows}
    if len(groups) < 2:
        fix = "give more, or name a validation part"
        raise DataError("too little data to hold some out: 1 of at least 2 different texts", found.source, fix)
    order = sorted(groups, key=lambda group: hashlib.sha256(group.encode()).digest())
    count = sum(held_out(group, share) for group in order)  # those that come first
    held = set(order[: min(max(count, 1), len(order) - 1)])
    return found.part(kind, lambda r: r.group not in held), found.part(kind, lambda r: r.group in held)


def _unseen(train: LabelledPart[R], validation: LabelledPart[R], kind: Kind[R]) -> list[str]:
    """A note on labels that training never shows."""
    known = set(kind.names(train.records))
    new = [name for name in kind.names(validation.records) if name not in known]
    return [f"the validation part has labels that training never shows: {listed(new)}"] if new else []


def _seen(train: LabelledPart[R], validation: LabelledPart[R]) -> list[str]:
    """A note on a validation part that was named, some of which is in the training part too."""
    seen = {record.texts for record in train.records}
    both = sum(record.texts in seen for record in validation.records)
    if not both:
        return []
    share = 100 * both / len(validation)
    return [f"{both:,} of the {validation.noun} for validation ({share:.3g} %) are in the training part too"]


def _values(record: Record) -> list[Any]:
    return [getattr(record, field.name) for field in fields(record)]


def _builtin_labelled() -> list[Located[Labelled]]:
    return [(BUILTIN, Labelled(text, None, (module,))) for text, module in builtin_labels()]


def _builtin_alike() -> list[Located[Alike]]:
    return [(BUILTIN, Alike(text)) for text, _ in builtin_labels()]


def _no_names(records: Iterable[Record]) -> tuple[str, ...]:
    return ()


LABELLED = Kind("texts", read_labelled, judge_labelled, label_names, builtin=_builtin_labelled)
SCORED = Kind("scored texts", read_scored, judge_scored, _no_names)
TAGGED = Kind("sentences", read_tagged, judge_tagged, tag_names)
QUESTIONS = Kind("questions", read_questions, judge_questions, _no_names, json=True)
ALIKE = Kind("texts or pairs of texts", read_alike, judge_alike, _no_names, builtin=_builtin_alike)
