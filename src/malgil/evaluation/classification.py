"""How well texts are labelled: the loss, what predictions are worth, and the mistakes of which the model is surest.

A label that the model does not know is a class of its own, which it never predicts: texts with it are mistakes, and
have no loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from malgil.data.label_records import Labelled
from malgil.data.label_store import LabelStore
from malgil.evaluation.texts import read_all
from malgil.metrics.classification import (
    ClassificationScore,
    Figures,
    LabelSetScore,
    score_classes,
    score_label_sets,
)
from malgil.objectives.base import Assembled
from malgil.objectives.classification import Classification
from malgil.report.labels import Mistake
from malgil.runtime.device import Precision

#: from this probability on a text has a label, where it may have several
THRESHOLD = 0.5
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LabelScore:
    """The score of a model on one part.

    Attributes:
        loss: nats a text; of several labels the sum over labels. NaN where no text has labels that are known.
        labels: the model's, and behind them those that only the part has.
        n_known: how many are the model's.
        figures: what predictions are worth, of one label a text or of several.
        texts: how many were read.
        cut: how many are longer than the model reads.
        probabilities: (texts, n_known).
    """

    loss: float
    labels: tuple[str, ...]
    n_known: int
    figures: ClassificationScore | LabelSetScore
    texts: int
    cut: int
    probabilities: Floats = field(repr=False, compare=False)

    @property
    def f1(self) -> float:
        """By which the task is judged: macro F1, in which each label counts the same; of several labels micro F1."""
        return self.figures.macro_f1 if isinstance(self.figures, ClassificationScore) else self.figures.micro_f1

    @property
    def by_label(self) -> tuple[Figures, ...]:
        figures = self.figures
        return figures.classes if isinstance(figures, ClassificationScore) else figures.labels

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        of_task = asdict(self.figures)
        of_task.pop("classes", None)
        of_task.pop("labels", None)
        confusion = of_task.pop("confusion", None)
        unknown = list(self.labels[self.n_known :])
        return {
            "loss": self.loss if math.isfinite(self.loss) else None,
            **of_task,
            "f1": self.f1,
            "texts": self.texts,
            "cut": self.cut,
            "by_label": {name: asdict(row) for name, row in zip(self.labels, self.by_label, strict=True)},
            **({} if confusion is None else {"confusion": [list(row) for row in confusion]}),
            **({"unknown_labels": unknown} if unknown else {}),
        }


@dataclass(frozen=True)
class LabelEvaluator:
    """Scores a model on one store."""

    objective: Classification
    store: LabelStore[Labelled]
    precision: Precision

    def __call__(self, assembled: Assembled, check: Callable[[], None] = lambda: None) -> LabelScore:
        """The score, without label smoothing or weights; `check` is called between batches and may raise to stop."""
        logits = read_all(assembled, self.store, self.objective.logits, self.precision, check, self.objective.collate)
        probabilities = self.objective.probabilities(logits).numpy()
        known, records = self.objective.labels, self.store.records
        new = tuple(sorted({name for record in records for name in record.labels} - set(known)))
        right = np.array([[name in record.labels for name in (*known, *new)] for record in records])
        counted = torch.from_numpy(~right[:, len(known) :].any(1))
        targets = torch.from_numpy(right[:, : len(known)].astype(np.float32))
        losses = self.objective.nll(logits, targets)[counted].double()
        return LabelScore(
            loss=float(losses.mean()) if len(losses) else float("nan"),
            labels=(*known, *new),
            n_known=len(known),
            figures=self._figures(probabilities, right),
            texts=len(records),
            cut=self.store.n_cut,
            probabilities=probabilities,
        )

    def _figures(self, probabilities: Floats, right: npt.NDArray[np.bool_]) -> ClassificationScore | LabelSetScore:
        n_texts, n_labels = right.shape
        if not self.objective.several:
            called, truly = probabilities.argmax(1).tolist(), right.argmax(1).tolist()
            return score_classes(called, truly, n_labels)
        predicted = np.zeros((n_texts, n_labels), dtype=bool)
        predicted[:, : probabilities.shape[1]] = probabilities >= THRESHOLD
        return score_label_sets(predicted, right)


def worst_mistakes(
    probabilities: Floats, labels: Sequence[str], records: Sequence[Labelled], *, several: bool
) -> list[Mistake]:
    """All mistakes, those first of which the model is surest: its own faults, or those of the data.

    Of several labels a text is as sure a mistake as the likeliest wrong label, or the least likely missing one.

    Args:
        probabilities: (records, labels).
    """
    right = np.array([[name in record.labels for name in labels] for record in records])
    if several:
        called = probabilities >= THRESHOLD
        confidence = np.where(called != right, np.where(called, probabilities, 1 - probabilities), 0).max(1)
    else:
        best = probabilities.argmax(1)
        called = np.arange(len(labels)) == best[:, None]
        confidence = probabilities.max(1)
    wrong = np.array(
        [set(_names(labels, row)) != set(record.labels) for row, record in zip(called, records, strict=True)]
    )
    order = sorted(np.flatnonzero(wrong).tolist(), key=lambda i: (-float(confidence[i]), i))
    return [
        Mistake(" | ".join(records[i].texts), records[i].labels, _names(labels, called[i]), float(confidence[i]))
        for i in order
    ]


def _names(labels: Sequence[str], chosen: npt.NDArray[np.bool_]) -> tuple[str, ...]:
    return tuple(labels[i] for i in np.flatnonzero(chosen).tolist())
