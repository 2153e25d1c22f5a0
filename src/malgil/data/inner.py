"""A second split inside the training part, so that settings can be chosen on text that no result is reported for.

    whole      | training                            | validation |
    inner      | training            | choosing      |              the validation part is not touched

Each kind of data is parted as it was the first time: a single file at its end, several by whole files, built-in
documents and labelled texts by a hash, which is another one here.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import singledispatch
from typing import Any

from malgil.data.builtin import builtin_documents, held_out
from malgil.data.corpus import Builtin, Part, Span, choose_files, part_of
from malgil.data.labels import LabelledPart
from malgil.data.pairs import Numerals, PairPart, PairSpan, counted, pair_part_of
from malgil.errors import DataError

_FIX = "give more data, or compare without tuning"


def inner_split(data: Any, share: float) -> Any:
    """The same data with the training part parted once more, in place of its two parts.

    Args:
        data: a `Corpus`, a `PairCorpus` or a `LabelledData`.
        share: of the training part that is held out.

    Raises:
        DataError: too little to hold some out.
    """
    train, validation = split(data.train, share)
    return replace(data, train=train, validation=validation)


@singledispatch
def split(part: Any, share: float) -> tuple[Any, Any]:
    """A part as two, of which the second has about so much of it; see the module's picture."""
    raise TypeError(f"no way to part a {type(part).__name__}")


@split.register
def _(part: Part, share: float) -> tuple[Part, Part]:
    spans = [piece for piece in part.pieces if isinstance(piece, Span)]
    documents = [i for piece in part.pieces if isinstance(piece, Builtin) for i in piece.indices]
    held = [i for i in documents if _hashed(builtin_documents()[i].name, share)]
    if len(spans) == 1:
        train, validation = _cut_span(spans[0], share)
    else:
        sizes = {span: (" ".join(map(str, span.identity)), span.n_bytes) for span in spans}
        chosen = choose_files(sizes, share)
        train, validation = [s for s in spans if s not in chosen], [s for s in spans if s in chosen]
    kept = tuple(i for i in documents if i not in set(held))
    return part_of(train, kept), part_of(validation, tuple(held))


@split.register
def _(part: PairPart, share: float) -> tuple[PairPart, PairPart]:
    spans = [piece for piece in part.pieces if isinstance(piece, PairSpan)]
    numbers = [n for piece in part.pieces if isinstance(piece, Numerals) for n in piece.numbers]
    held = tuple(n for n in numbers if _hashed(str(n), share))
    if len(spans) == 1:
        train, validation = _cut_pairs(spans[0], share)
    else:
        sizes = {s: (" ".join(s.sha256), s.counts.first_bytes + s.counts.second_bytes) for s in spans}
        chosen = choose_files(sizes, share)
        train, validation = [s for s in spans if s not in chosen], [s for s in spans if s in chosen]
    kept = tuple(n for n in numbers if n not in set(held))
    return pair_part_of(train, kept, part.reverse), pair_part_of(validation, held, part.reverse)


@split.register(LabelledPart)
def _(part: LabelledPart[Any], share: float) -> tuple[LabelledPart[Any], LabelledPart[Any]]:
    groups = sorted({record.group for record in part.records}, key=lambda group: _digest(f"inner {group}"))
    if len(groups) < 2:
        raise DataError("too little training data to hold some of it out", part.source, _FIX)
    held = set(groups[: min(max(sum(_hashed(group, share) for group in groups), 1), len(groups) - 1)])
    kept = tuple(record for record in part.records if record.group not in held)
    return replace(part, records=kept), replace(part, records=tuple(r for r in part.records if r.group in held))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _hashed(name: str, share: float) -> bool:
    """Another draw than that of the first split."""
    return held_out(f"inner {name}", share)


def _cut(start: int, stop: int, share: float, where: str) -> int:
    if stop - start < 2:
        raise DataError("too little training data to hold some of it out", where, _FIX)
    return min(max(start + int((1 - share) * (stop - start)), start + 1), stop - 1)


def _cut_span(span: Span, share: float) -> tuple[list[Span], list[Span]]:
    cut = _cut(span.start, span.stop, share, str(span.path))
    first = replace(span, stop=cut)
    lengths = [(len(chunk), len(chunk.encode("utf-8"))) for document in first.documents() for chunk in document]
    characters, n_bytes = sum(n for n, _ in lengths), sum(n for _, n in lengths)
    first = replace(first, n_characters=characters, n_bytes=n_bytes)
    left, left_bytes = span.n_characters - characters, span.n_bytes - n_bytes
    return [first], [replace(span, start=cut, n_characters=left, n_bytes=left_bytes)]


def _cut_pairs(span: PairSpan, share: float) -> tuple[list[PairSpan], list[PairSpan]]:
    cut = _cut(span.start, span.stop, share, span.label(False))
    first = replace(span, stop=cut)
    counts = counted(first.pairs())
    return [replace(first, counts=counts)], [replace(span, start=cut, counts=span.counts.minus(counts))]
