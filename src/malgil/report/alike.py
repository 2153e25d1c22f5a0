"""Sections on embeddings: texts whose partner was not the nearest, and pairs whose cosine does not fit their score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from malgil.report.page import grid, text
from malgil.report.words import Words

_LONGEST = 300  # characters of a text that are shown


class Missed(Protocol):
    """A text, its partner, and the stranger that was nearer."""

    @property
    def text(self) -> str: ...
    @property
    def partner(self) -> str: ...
    @property
    def cosine(self) -> float: ...
    @property
    def nearest(self) -> str: ...
    @property
    def nearest_cosine(self) -> float: ...


def missed_section(missed: Sequence[Missed], share: str, candidates: int, words: Words) -> str:
    """The HTML of a section.

    Args:
        missed: those to show.
        share: how many texts have their partner as the nearest, as a percentage.
        candidates: of how many.
    """
    head = [words("text"), words("partner"), words("cosine"), words("nearest"), words("cosine")]
    rows = [
        (_cut(one.text), _cut(one.partner), f"{one.cosine:.3f}", _cut(one.nearest), f"{one.nearest_cosine:.3f}")
        for one in missed
    ]
    note = words("partners note", share=share, n=f"{candidates:,}")
    return f'<p class="note">{text(note)}</p>{grid(head, rows, words("missed")) if rows else ""}'


def scored_section(rows: Sequence[tuple[str, str, float, float]], spearman: float, words: Words) -> str:
    """The HTML of a section.

    Args:
        rows: texts, second texts, scores of the data and cosines.
    """
    head = [words("text"), words("second text"), words("in the data"), words("cosine")]
    shown = [(_cut(first), _cut(second), f"{score:g}", f"{cosine:.3f}") for first, second, score, cosine in rows]
    note = words("cosines note", spearman=f"{spearman:.4f}")
    return f'<p class="note">{text(note)}</p>{grid(head, shown, words("misplaced"))}'


def _cut(shown: str) -> str:
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."
