"""BLEU by the length of the source, as a chart and a table: where a model without attention falls behind.

It is the picture of Bahdanau et al. (2015, figure 2). A point stands at the middle of its group's lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from malgil.report.page import grid, text
from malgil.report.svg import Series, line_chart
from malgil.report.words import Words


class Metric(Protocol):
    """A score in 0 .. 100, and what it was computed with."""

    @property
    def score(self) -> float: ...
    @property
    def signature(self) -> str: ...


class Scored(Protocol):
    """Translations that were scored; a row is (shortest, longest, sentences, BLEU)."""

    @property
    def sentences(self) -> int: ...
    @property
    def bleu(self) -> Metric: ...
    @property
    def chrf(self) -> Metric: ...
    @property
    def by_length(self) -> Sequence[tuple[int, int, int, float]]: ...


def length_section(score: Scored, words: Words) -> str:
    """The HTML of a section: both scores with their signatures, the chart, and the table behind it."""
    rows = score.by_length
    chart = line_chart(
        [Series("validation", [(low + high) / 2 for low, high, _, _ in rows], [row[3] for row in rows], dots=True)],
        title=words("by length"),
        description="; ".join(f"{_span(low, high)}: {bleu:.1f}" for low, high, _, bleu in rows),
        x_label=words("source words"),
        height=260,
        from_zero=True,
    )
    table = grid(
        [words("source words"), words("pairs"), "BLEU"],
        [(_span(low, high), f"{sentences:,}", f"{bleu:.2f}") for low, high, sentences, bleu in rows],
        words("by length"),
    )
    metrics = (("BLEU", score.bleu), ("chrF", score.chrf))
    lines = "".join(f'<p class="note">{name} {m.score:.2f} ({text(m.signature)})</p>' for name, m in metrics)
    return (
        f'<figure class="chart"><figcaption>BLEU</figcaption><div class="plot">{chart}</div></figure>'
        f'<p class="note">{text(words("by length note", n=f"{score.sentences:,}"))}</p>{lines}'
        f"<details><summary>{text(words('by length'))} ({len(rows)})</summary>{table}</details>"
    )


def _span(low: int, high: int) -> str:
    return f"{low}" if low == high else f"{low}–{high}"
