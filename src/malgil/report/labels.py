"""Sections on labels: who was called what, and the mistakes of which the model was surest.

A cell of the confusion matrix is the darker the larger its share of its row is; the diagonal is what is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from malgil.report.page import grid, text
from malgil.report.words import Words

#: labels whose matrix is shown; more have their figures alone
MOST_LABELS = 24
_LONGEST = 300  # characters of a text that are shown


class LabelFigures(Protocol):
    """What predictions of a label are worth, each 0 to 1 but for the counts."""

    @property
    def precision(self) -> float: ...
    @property
    def recall(self) -> float: ...
    @property
    def f1(self) -> float: ...
    @property
    def support(self) -> int: ...
    @property
    def predicted(self) -> int: ...


@dataclass(frozen=True)
class Mistake:
    """Something that was said of a text, otherwise than in the data.

    Attributes:
        shown: the text, or both, or the question.
        right, predicted: what the data say and what the model said: labels, entities in words, or answers.
        confidence: the probability of what is wrong.
    """

    shown: str
    right: Sequence[str]
    predicted: Sequence[str]
    confidence: float


def figures_table(labels: Sequence[str], figures: Sequence[LabelFigures], words: Words) -> str:
    """The HTML of a table: precision, recall and F1 of each label."""
    head = [words("label"), words("precision"), words("recall"), "F1", words("support"), words("predicted")]
    rows = [
        (label, *(f"{v:.3f}" for v in (row.precision, row.recall, row.f1)), f"{row.support:,}", f"{row.predicted:,}")
        for label, row in zip(labels, figures, strict=True)
    ]
    return grid(head, rows, words("by label"))


def confusion_table(labels: Sequence[str], confusion: Sequence[Sequence[int]], words: Words) -> str:
    """The HTML of a confusion matrix: a row is what texts are, a column what they were called."""
    head = "".join(f'<th scope="col">{text(cell)}</th>' for cell in (words("confusion corner"), *labels))
    rows = zip(labels, confusion, strict=True)
    body = "".join(_row(label, counts, number) for number, (label, counts) in enumerate(rows))
    return (
        f'<div class="scroll"><table class="grid-table"><caption>{text(words("confusion"))}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        f'<p class="note">{text(words("confusion note"))}</p>'
    )


def labels_section(
    labels: Sequence[str],
    figures: Sequence[LabelFigures],
    confusion: Sequence[Sequence[int]] | None,
    summary: Mapping[str, float],
    words: Words,
) -> str:
    """The HTML of a section: a line of figures, the confusion matrix where there is one, and the figures of each label.

    Args:
        summary: names and values, as `{"macro F1": 0.87}`.
    """
    line = ", ".join(f"{name} {value:.4f}" for name, value in summary.items())
    matrix = "" if confusion is None or len(labels) > MOST_LABELS else confusion_table(labels, confusion, words)
    return f'<p class="note">{text(line)}</p>{matrix}{figures_table(labels, figures, words)}'


def mistakes_section(mistakes: Sequence[Mistake], n_mistakes: int, n_texts: int, words: Words) -> str:
    """The HTML of a section: a table of mistakes, the surest first."""
    note = words("mistakes note", n=f"{n_mistakes:,}", total=f"{n_texts:,}")
    head = [words("text"), words("in the data"), words("predicted"), words("confidence")]
    rows = [
        (_cut(one.shown), _joined(one.right, words), _joined(one.predicted, words), f"{one.confidence:.1%}")
        for one in mistakes
    ]
    table = grid(head, rows, words("mistakes")) if rows else ""
    return f'<p class="note">{text(note)}</p>{table}'


def scores_section(rows: Sequence[tuple[str, float, float]], figures: Mapping[str, float], words: Words) -> str:
    """The HTML of a section: correlations, and a table of texts with their scores in the data and those predicted."""
    note = words("scores note", **{name: f"{value:.4f}" for name, value in figures.items()})
    head = [words("text"), words("in the data"), words("predicted"), words("difference")]
    table = grid(
        head,
        [(_cut(shown), f"{right:g}", f"{found:.3f}", f"{found - right:+.3f}") for shown, right, found in rows],
        words("scores"),
    )
    return f'<p class="note">{text(note)}</p>{table}'


def _row(label: str, counts: Sequence[int], number: int) -> str:
    total = max(1, sum(counts))
    cells = "".join(
        f'<td style="background:color-mix(in srgb, var({"--celadon" if column == number else "--seal"}) '
        f'{round(60 * count / total)}%, transparent)">{count:,}</td>'
        for column, count in enumerate(counts)
    )
    return f'<tr><th scope="row">{text(label)}</th>{cells}</tr>'


def _joined(names: Sequence[str], words: Words) -> str:
    return " + ".join(names) or words("no label")


def _cut(shown: str) -> str:
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."
