"""Regression: (y - f(text))^2 on standardised scores, f a linear layer on one vector of a text, and of two also on how
they differ.

Scores are (score - mean) / spread of the training part, so that a head that says 0 says the mean, and a rate of
learning fits any unit. Mean and spread are settings of the run, and predictions are in the units of the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from malgil.data.epochs import Int64s
from malgil.data.label_records import Scored
from malgil.data.label_store import LabelStore
from malgil.models.base import Encoder, Model, State
from malgil.objectives.base import Assembled, Batches, BatchPlan, Objective
from malgil.objectives.texts import RecordBatches, TextHead, Texts, TextVectors, collate_texts, freeze_unread

#: the name of the head among the parts
HEAD = "score"


@dataclass(frozen=True)
class ScoreBatch:
    """Rows of texts.

    Attributes:
        texts: B rows.
        targets: (B,) float32, standardised.
        count: how many rows count: B or 0.
    """

    texts: Texts
    targets: Tensor
    count: int

    def to(self, device: torch.device) -> ScoreBatch:
        return replace(self, texts=self.texts.to(device), targets=self.targets.to(device))


def collate_scores(store: LabelStore[Scored], targets: npt.NDArray[np.float32], rows: Int64s) -> ScoreBatch:
    """Some records as one batch; `targets` (records,) are those of the whole store."""
    return ScoreBatch(collate_texts(store, rows), torch.from_numpy(targets[rows]), len(rows))


class Regression(Objective[ScoreBatch]):
    """The squared error of standardised scores, summed over texts.

    Args:
        mean, spread: of the scores in training.
        pooling, pairs: see `objectives.texts.TextVectors`.
        dropout: on the vectors that the head reads.
    """

    requires = Encoder
    terms: ClassVar[dict[str, float]] = {"squared_error": 1.0}

    def __init__(
        self, mean: float, spread: float, *, pooling: str = "mean", pairs: bool = False, dropout: float = 0.0
    ) -> None:
        self.mean, self.spread, self.dropout = mean, spread, dropout
        self.vectors = TextVectors(pooling, pairs)

    def parts(self, body: Model) -> dict[str, nn.Module]:
        return {HEAD: TextHead(self.vectors.width(body), 1, self.dropout)}

    def begin(self, body: Model) -> None:
        freeze_unread(body, self.vectors)

    def training_batches(self, store: LabelStore[Scored], body: Model, length: int, plan: BatchPlan) -> Batches:
        """Batches of whole records; `length` cuts nothing, the store did."""
        targets = self.standardised([record.score for record in store.records])
        return RecordBatches(store.lengths, partial(collate_scores, store, targets), plan)

    def standardised(self, scores: Sequence[float]) -> npt.NDArray[np.float32]:
        """(n,): as the head says them."""
        return ((np.array(scores, dtype=np.float64) - self.mean) / self.spread).astype(np.float32)

    def counts(self, batch: ScoreBatch) -> dict[str, int]:
        return {"squared_error": batch.count}

    def loss(self, model: Assembled, batch: ScoreBatch, carry: State | None) -> tuple[dict[str, Tensor], State | None]:
        errors = (self.standard_scores(model, batch.texts) - batch.targets) ** 2
        return {"squared_error": errors[: batch.count].sum()}, None

    def standard_scores(self, model: Assembled, texts: Texts) -> Tensor:
        """(B,) in fp32: standardised scores of texts."""
        scores: Tensor = model.parts[HEAD](self.vectors(model.body, texts))
        return scores.squeeze(1).float()

    def scores(self, model: Assembled, texts: Texts) -> Tensor:
        """(B,): scores of texts in the units of the data."""
        return self.standard_scores(model, texts) * self.spread + self.mean
