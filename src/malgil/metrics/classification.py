"""How well classes are told apart: one class a text, or any number of labels a text.

    precision   of what was called k, the share that is k          F1     2 P R / (P + R)
    recall      of what is k, the share that was called k          macro  the mean over classes, each counting the same
                                                                   micro  from the sums over classes, each text the same

Everything follows from a confusion matrix C, where C[i, j] counts the texts of class i that were called j. What has no
value is 0, not NaN: the precision of a class that was never predicted, the recall of one that never occurs, the
Matthews correlation of a constant prediction. Classes that neither occur nor are predicted are left out of the macro
mean. All figures lie in 0 .. 1, but for Matthews in -1 .. 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from malgil.errors import InputError

Counts: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Figures:
    """Of one class, label or type: `support` things are of it, `predicted` were said to be."""

    precision: float
    recall: float
    f1: float
    support: int
    predicted: int

    @classmethod
    def count(cls, hits: int, predicted: int, support: int) -> Figures:
        """From how many things were rightly said to be of it, were said to be, and are."""
        precision = hits / predicted if predicted else 0.0
        recall = hits / support if support else 0.0
        f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
        return cls(precision, recall, f1, support, predicted)


@dataclass(frozen=True)
class ClassificationScore:
    """Of one class a text. Micro F1 is then the accuracy, since each wrong text errs once on either side.

    Attributes:
        matthews: see `matthews`.
        classes: figures of each class, in the order of their numbers.
        confusion: counts; a row is what a text is, a column what it was called.
    """

    accuracy: float
    macro_f1: float
    micro_f1: float
    matthews: float
    classes: tuple[Figures, ...]
    confusion: tuple[tuple[int, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class LabelSetScore:
    """Of any number of labels a text.

    Attributes:
        exact_match: the share of texts all of whose labels are right and none is missing.
        labels: figures of each label, in the order of their numbers.
    """

    micro_f1: float
    macro_f1: float
    exact_match: float
    labels: tuple[Figures, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def confusion_matrix(predicted: Sequence[int], right: Sequence[int], n_classes: int) -> Counts:
    """(n_classes, n_classes) counts: [i, j] are the texts of class i that were called j.

    >>> confusion_matrix([0, 1, 1, 2], [0, 1, 2, 2], 3).tolist()
    [[1, 0, 0], [0, 1, 0], [0, 1, 1]]

    Raises:
        InputError: no texts, not as many predictions, or a class that is none of 0 .. n_classes - 1.
    """
    _check(len(predicted), len(right))
    called, truly = np.asarray(predicted, dtype=np.int64), np.asarray(right, dtype=np.int64)
    for name, numbers in (("prediction", called), ("class", truly)):
        outside = np.flatnonzero((numbers < 0) | (numbers >= n_classes))
        if outside.size:
            raise InputError(
                f"{name} {numbers[outside[0]]} of {n_classes} classes",
                f"text {outside[0]}",
                f"number the classes 0 to {n_classes - 1}",
            )
    return np.bincount(truly * n_classes + called, minlength=n_classes**2).reshape(n_classes, n_classes)


def matthews(confusion: Counts) -> float:
    """The Matthews correlation of a confusion matrix of two classes or more: R_K of Gorodkin (2004).

    With s texts, c of them right, t_k of class k and p_k called k it is

        (c s - Σ t_k p_k) / √((s² - Σ p_k²) (s² - Σ t_k²)),

    for two classes Matthews' (1975). 1 is perfect, 0 no better than chance; also 0 where it has no value, because the
    texts are all of one class or were all called one.
    """
    counts = [[int(cell) for cell in row] for row in confusion.tolist()]  # exact: s² s² passes 64 bits
    truly = [sum(row) for row in counts]
    called = [sum(column) for column in zip(*counts, strict=True)]
    n = sum(truly)
    right = sum(row[k] for k, row in enumerate(counts))
    together = right * n - sum(t * p for t, p in zip(truly, called, strict=True))
    spread = (n * n - sum(p * p for p in called)) * (n * n - sum(t * t for t in truly))
    return max(-1.0, min(together / math.sqrt(spread), 1.0)) if spread else 0.0


def score_classes(predicted: Sequence[int], right: Sequence[int], n_classes: int) -> ClassificationScore:
    """All figures of predictions of one class a text.

    Args:
        predicted, right: the numbers of classes, 0 .. n_classes - 1.

    Raises:
        InputError: as `confusion_matrix`.
    """
    confusion = confusion_matrix(predicted, right, n_classes)
    hits = confusion.diagonal()
    classes = _figures(hits, confusion.sum(0), confusion.sum(1))
    accuracy = float(hits.sum() / confusion.sum())
    rows = tuple(tuple(row) for row in confusion.tolist())
    return ClassificationScore(accuracy, _macro_f1(classes), accuracy, matthews(confusion), classes, rows)


def score_label_sets(
    predicted: Sequence[Sequence[bool]] | npt.NDArray[np.bool_], right: Sequence[Sequence[bool]] | npt.NDArray[np.bool_]
) -> LabelSetScore:
    """All figures of predictions of any number of labels a text.

    Micro F1 is 0 where no label occurs and none was predicted; exact match is then 1.

    Args:
        predicted, right: (texts, labels), True where the text has the label.

    Raises:
        InputError: no texts, no labels, or arrays of different shapes.
    """
    _check(len(predicted), len(right))
    called, truly = np.asarray(predicted, dtype=bool), np.asarray(right, dtype=bool)
    if called.shape != truly.shape or called.ndim != 2 or not called.size:
        raise InputError(
            f"predictions of shape {called.shape} and labels of shape {truly.shape}",
            fix="give (texts, labels) for both",
        )
    labels = _figures((called & truly).sum(0), called.sum(0), truly.sum(0))
    together = Figures.count(int((called & truly).sum()), int(called.sum()), int(truly.sum()))
    exact = float((called == truly).all(1).mean())
    return LabelSetScore(together.f1, _macro_f1(labels), exact, labels)


# ---------------------------------------------------------------------------------------------


def _figures(hits: Counts, predicted: Counts, support: Counts) -> tuple[Figures, ...]:
    """Of each class."""
    return tuple(map(Figures.count, hits.tolist(), predicted.tolist(), support.tolist()))


def _macro_f1(classes: Sequence[Figures]) -> float:
    """0 where no class occurs or is predicted."""
    met = [row.f1 for row in classes if row.support or row.predicted]
    return sum(met) / len(met) if met else 0.0


def _check(predictions: int, right: int) -> None:
    if predictions != right or not right:
        raise InputError(f"{predictions} predictions for {right} texts", fix="give one for each of at least one text")
