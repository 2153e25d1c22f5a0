"""Embeddings: vectors of texts that are near one another where the texts belong together.

With cos_ij the cosine of text a_i's vector and b_j's, and a temperature t:

    pairs     b_i is the text that belongs to a_i       -log exp(cos_ii / t) / sum_j exp(cos_ij / t)
    texts     b_i is a_i, read with other dropout        the same
    scored    how alike a_i and b_i are: s_i             log(1 + sum over s_i < s_j of exp((cos_ii - cos_jj) / t))

InfoNCE (van den Oord et al. 2018, equation 4) for pairs; for texts alone SimCSE (Gao et al. 2021, equation 4), where
dropout is all that tells the two readings apart; for scores CoSENT (Su 2022), by which more alike pairs are to have
larger cosines than less alike ones.

A text is told from the others *of its micro-batch in its process*. Accumulation and more processes add no negatives,
and change what is learnt: 64 rows are 63 negatives each, twice 32 rows are 31. Texts that are known to belong
together, since they stand in several pairs, are never taken for strangers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from malgil.data.alike_store import AlikeStore
from malgil.data.epochs import Int64s
from malgil.errors import ConfigError
from malgil.models.base import Encoder, Model, State
from malgil.objectives.base import Assembled, Batches, BatchPlan, Objective
from malgil.objectives.texts import RecordBatches, Texts, collate_texts, freeze_unread, text_vectors


@dataclass(frozen=True)
class AlikeBatch:
    """Rows of two texts each.

    Attributes:
        texts: 2 B rows: the first texts, then the second ones.
        strangers: (B, B) bool, True where first text i and second text j may be told apart; False on the diagonal.
        scores: (B,) float32, how alike each row's texts are; None where nobody says.
        count: how many rows count: B or 0.
    """

    texts: Texts
    strangers: Tensor
    scores: Tensor | None
    count: int

    def to(self, device: torch.device) -> AlikeBatch:
        scores = None if self.scores is None else self.scores.to(device)
        return replace(self, texts=self.texts.to(device), strangers=self.strangers.to(device), scores=scores)


def collate_alike(store: AlikeStore, rows: Int64s) -> AlikeBatch:
    """Some records as one batch."""
    first, second = store.first[rows], store.second[rows]
    return AlikeBatch(
        texts=collate_texts(store.texts, np.concatenate([first, second])),
        strangers=torch.from_numpy(strangers(first, second)),
        scores=None if store.scores is None else torch.from_numpy(store.scores[rows].astype(np.float32)),
        count=len(rows),
    )


def strangers(first: Int64s, second: Int64s) -> npt.NDArray[np.bool_]:
    """(B, B): whether nothing says that first text i and second text j belong together.

    >>> strangers(np.array([0, 0, 3]), np.array([1, 2, 1])).astype(int).tolist()  # 0 belongs to 1 and 2, 3 to 1
    [[0, 0, 0], [0, 0, 1], [0, 1, 0]]
    """
    related: npt.NDArray[np.bool_] = (
        (first[:, None] == first) | (second[:, None] == second) | (first[:, None] == second)
    )
    return ~related


class Contrastive(Objective[AlikeBatch]):
    """The losses of the module's picture, summed over rows.

    Args:
        pooling: see `objectives.texts.text_vectors`.
        temperature: what cosines are divided by: the smaller, the more the nearest stranger counts.
        symmetric: of pairs, also tell first texts apart, given the second, and take the mean.
        dropout: of the model, without which a text's two readings are one.
    """

    requires = Encoder
    terms: ClassVar[dict[str, float]] = {"contrastive": 1.0}

    def __init__(
        self, *, pooling: str = "mean", temperature: float = 0.05, symmetric: bool = False, dropout: float = 0.0
    ) -> None:
        self.pooling, self.temperature, self.symmetric, self.dropout = pooling, temperature, symmetric, dropout

    def begin(self, body: Model) -> None:
        freeze_unread(body, partial(text_vectors, pooling=self.pooling))

    def training_batches(self, store: AlikeStore, body: Model, length: int, plan: BatchPlan) -> Batches:
        """Batches of whole records; `length` cuts nothing, the store did.

        Raises:
            ConfigError: batches in which nothing could be learnt.
        """
        if plan.batch_tokens is None and plan.batch_size < 2 * plan.world:
            raise ConfigError(
                f"training.batch_size {plan.batch_size} leaves a text of {plan.world} processes none to be told from",
                fix="take more: each text is compared with the others of its process's batch",
            )
        if store.alone and self.dropout == 0:
            raise ConfigError(
                "without dropout a text read twice is the same vector, and nothing is learnt of texts alone",
                "model.dropout 0",
                "take 0.1, or give pairs of texts",
            )
        return RecordBatches(store.lengths, partial(collate_alike, store), plan)

    def counts(self, batch: AlikeBatch) -> dict[str, int]:
        return {"contrastive": batch.count}

    def loss(self, model: Assembled, batch: AlikeBatch, carry: State | None) -> tuple[dict[str, Tensor], State | None]:
        first, second = self.vectors(model, batch.texts).chunk(2)
        losses = self.losses(first, second, batch.strangers, batch.scores)
        return {"contrastive": losses[: batch.count].sum()}, None

    def vectors(self, model: Assembled, texts: Texts) -> Tensor:
        """(B, D) in fp32, of length 1."""
        return F.normalize(text_vectors(model.body, texts, self.pooling).float(), dim=-1)

    def losses(self, first: Tensor, second: Tensor, strangers: Tensor, scores: Tensor | None) -> Tensor:
        """(B,) in nats, of vectors (B, D) of length 1; the other arguments as in `AlikeBatch`.

        Of scored rows the loss is one of all of them, and each row's share the same.
        """
        with torch.autocast(first.device.type, enabled=False):  # cosines near 1 would be the same in bf16
            if scores is not None:
                return cosent((first * second).sum(-1), scores, self.temperature).expand(len(scores))
            return info_nce(first @ second.T, strangers, self.temperature, symmetric=self.symmetric)


def info_nce(cosines: Tensor, strangers: Tensor, temperature: float, *, symmetric: bool = False) -> Tensor:
    """(B,): -log of each partner's share among the candidates.

    Args:
        cosines: (B, B) of first texts (rows) with second ones; partners on the diagonal.
        strangers: (B, B) bool, the other candidates.
        symmetric: the mean with the same over columns.
    """
    itself = torch.eye(len(cosines), dtype=torch.bool, device=cosines.device)
    logits = (cosines / temperature).masked_fill(~(strangers | itself), -torch.inf)
    losses = logits.logsumexp(1) - logits.diagonal()
    return (losses + logits.logsumexp(0) - logits.diagonal()) / 2 if symmetric else losses


def cosent(cosines: Tensor, scores: Tensor, temperature: float) -> Tensor:
    """(): log(1 + the sum, over all two rows with different scores, of exp((lower one's - higher one's) / t)).

    Args:
        cosines: (B,) of the two texts of each row.
        scores: (B,) how alike they are.
    """
    wrong = (cosines[:, None] - cosines[None, :]) / temperature
    wrong = wrong.masked_fill(scores[:, None] >= scores[None, :], -torch.inf)
    return torch.cat([wrong.new_zeros(1), wrong.flatten()]).logsumexp(0)
