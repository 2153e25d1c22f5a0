"""How well an encoder tells which texts belong together.

    pairs     in fixed groups of about 64: the loss, and how often a text's partner is the nearest of all
    texts     the same, where a text's partner is the text read again with other dropout, drawn from a fixed seed
    scored    the loss in the same groups; over all pairs, whether cosines rise with the scores

Groups are drawn once, from a fixed seed, so that figures of several models on the same data compare; chance finds 1
partner in 64. Known partners beside the right one are no candidates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from malgil.data.alike_store import AlikeStore
from malgil.data.epochs import Int64s
from malgil.data.windows import generator
from malgil.evaluation.vectors import vectors_of
from malgil.metrics.correlation import pearson, spearman
from malgil.models.base import Encoder, parameter_device
from malgil.objectives.base import Assembled
from malgil.objectives.contrastive import Contrastive, strangers
from malgil.runtime.device import Precision
from malgil.runtime.numbers import finite

#: records of a group, about
GROUP = 64
_KEY = 23  # tells these draws from others with the same seed


@dataclass(frozen=True)
class Missed:
    """A text whose partner was not the nearest: both, their cosine, and the stranger that was nearer, with its own."""

    text: str
    partner: str
    cosine: float
    nearest: str
    nearest_cosine: float


@dataclass(frozen=True)
class AlikeScore:
    """The score of a model on one set of texts.

    Attributes:
        loss: nats a record, see `objectives.contrastive`.
        accuracy_at_1: the share of texts whose partner is the nearest of its group, 0 to 1; None of scored pairs.
        candidates: of how many, on average.
        spearman, pearson: of cosines with scores, -1 to 1; None without scores.
        texts: how many, or pairs of them.
        cut: how many of the different texts are longer than the model reads.
        tokens: of the different texts, as they are read.
        bytes: of the different texts, in UTF-8.
        unknown: how many of the tokens are the tokenizer's unknown one.
        cosines: (records,) of each record's two texts.
        missed: the texts whose partner was not the nearest, the furthest from right first.
    """

    loss: float
    accuracy_at_1: float | None
    candidates: float | None
    spearman: float | None
    pearson: float | None
    texts: int
    cut: int
    tokens: int
    bytes: int
    unknown: int
    cosines: npt.NDArray[np.float64]
    missed: list[Missed]

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the figures that there are; those that are not finite are None."""
        return {key: finite(value) for key, value in vars(self).items() if isinstance(value, (int, float))}


class AlikeEvaluator:
    """Scores a model on one store."""

    def __init__(self, store: AlikeStore, objective: Contrastive, precision: Precision) -> None:
        self.store, self.objective, self.precision = store, objective, precision

    def __call__(self, assembled: Assembled, check: Callable[[], None] = lambda: None) -> AlikeScore:
        """The score; `check` is called between batches and may raise to stop."""
        store, texts = self.store, self.store.texts
        first, second = self.vectors(assembled, check)
        losses, candidates = 0.0, 0
        missed: list[Missed] = []
        for rows in groups(len(store)):
            apart = torch.from_numpy(strangers(store.first[rows], store.second[rows]))
            scores = None if store.scores is None else torch.from_numpy(store.scores[rows].astype(np.float32))
            a, b = first[rows], second[rows]
            losses += float(self.objective.losses(a, b, apart, scores).sum())
            missed += self._missed(rows, a @ b.T, apart) if scores is None else []
            candidates += len(rows) + int(apart.sum())
        n, cosines = len(store), (first * second).sum(1).double().numpy()
        return AlikeScore(
            loss=losses / n,
            accuracy_at_1=1 - len(missed) / n if store.scores is None else None,
            candidates=candidates / n if store.scores is None else None,
            spearman=None if store.scores is None else spearman(cosines, store.scores),
            pearson=None if store.scores is None else pearson(cosines, store.scores),
            texts=n,
            cut=texts.n_cut,
            tokens=int(texts.lengths.sum()),
            bytes=texts.n_bytes,
            unknown=texts.n_unknown,
            cosines=cosines,
            missed=sorted(missed, key=lambda one: one.cosine - one.nearest_cosine),
        )

    def _missed(self, rows: Int64s, cosines: Tensor, apart: Tensor) -> list[Missed]:
        """Those of a group, whose records are `rows`."""
        records, others = self.store.records, cosines.masked_fill(~apart, -torch.inf)
        nearest = others.max(1)
        return [
            Missed(
                text=records[rows[i]].text,
                partner=records[rows[i]].texts[-1],
                cosine=float(cosines[i, i]),
                nearest=records[rows[int(nearest.indices[i])]].texts[-1],
                nearest_cosine=float(nearest.values[i]),
            )
            for i in torch.nonzero(~found(cosines, apart)).flatten().tolist()
        ]

    def vectors(self, assembled: Assembled, check: Callable[[], None] = lambda: None) -> tuple[Tensor, Tensor]:
        """(records, D) of the first and of the second texts, of length 1, on the CPU."""
        store, body = self.store, assembled.body
        assert isinstance(body, Encoder)
        training, device = assembled.training, parameter_device(body)
        noisy = store.alone and store.scores is None

        def read() -> Tensor:
            pooling = self.objective.pooling
            return F.normalize(vectors_of(body, store.texts, pooling, self.precision, check), dim=-1)

        assembled.train(noisy)
        try:
            if not noisy:
                vectors = read()
                return vectors[store.first], vectors[store.second]
            with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
                torch.manual_seed(0)
                return read()[store.first], read()[store.second]
        finally:
            assembled.train(training)


def groups(n: int) -> list[Int64s]:
    """n records in groups of equal size, about `GROUP`, drawn at random and always the same."""
    order = generator(0, 0, _KEY).permutation(n)
    return np.array_split(order, max(1, round(n / GROUP)))


def found(cosines: Tensor, apart: Tensor) -> Tensor:
    """(B,): whether the partner is strictly nearer than every stranger.

    Args:
        cosines: (B, B), partners on the diagonal.
        apart: (B, B), which others are strangers.
    """
    return cosines.diagonal() > cosines.masked_fill(~apart, -torch.inf).max(1).values
