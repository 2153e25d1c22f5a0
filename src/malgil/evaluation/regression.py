"""How near scores of texts are to those that people gave: their correlation, and the squared error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from malgil.data.label_records import Scored
from malgil.data.label_store import LabelStore
from malgil.evaluation.texts import read_all
from malgil.metrics.correlation import pearson, spearman
from malgil.objectives.base import Assembled
from malgil.objectives.regression import Regression
from malgil.runtime.device import Precision


@dataclass(frozen=True)
class RegressionScore:
    """The score of a model on one part.

    Attributes:
        loss: the mean squared error of standardised scores: 1 for one who always says the mean of the training part.
        mse: the same in the units of the data.
        texts: how many were read.
        cut: how many are longer than the model reads.
        predicted: (texts,) in the units of the data.
    """

    loss: float
    mse: float
    pearson: float
    spearman: float
    texts: int
    cut: int
    predicted: npt.NDArray[np.float64] = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: value for name, value in asdict(self).items() if name != "predicted"}


@dataclass(frozen=True)
class RegressionEvaluator:
    """Scores a model on one store."""

    objective: Regression
    store: LabelStore[Scored]
    precision: Precision

    def __call__(self, assembled: Assembled, check: Callable[[], None] = lambda: None) -> RegressionScore:
        """The score; `check` is called between batches and may raise to stop."""
        found = read_all(assembled, self.store, self.objective.scores, self.precision, check)
        predicted = found.numpy().astype(np.float64)
        right = np.array([record.score for record in self.store.records])
        mse = float(((predicted - right) ** 2).mean())
        return RegressionScore(
            loss=mse / self.objective.spread**2,
            mse=mse,
            pearson=pearson(predicted, right),
            spearman=spearman(predicted, right),
            texts=len(right),
            cut=self.store.n_cut,
            predicted=predicted,
        )
