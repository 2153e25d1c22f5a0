"""Classification: -log p(label | text), the labels' scores a linear layer on one vector of the text.

    one label       log softmax over the labels, taken at the right one            Devlin et al. 2019, section 4.1
    several         a sigmoid a label, each a yes or no of its own, summed         targets (B, L) of 0 and 1

The vector is the mean over the tokens' or what stands for the first one's; of two texts, which stand in one row, also
how they differ (`objectives.texts`). With balanced weights a text counts n / (labels x n of its label): rare labels
more, 1 on average. With label smoothing (Szegedy et al. 2016, section 7) the target is a distribution, as for
`seq2seq`.

N-grams of characters may vote beside the model (`objectives.ngrams`). Each learns by itself, the loss being the mean of
both losses, and what is said is a weighted mean of both scores, a product of experts (Hinton 2002): trained on their
sum, the model learnt no more than to put right what rare n-grams say too surely of texts they were counted in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from malgil.data.epochs import Int64s
from malgil.data.label_records import Labelled
from malgil.data.label_store import LabelStore
from malgil.errors import DataError
from malgil.models.base import Encoder, Model, State
from malgil.objectives.base import Assembled, Batches, BatchPlan, Objective
from malgil.objectives.ngrams import NGramVotes, n_gram_table, n_grams
from malgil.objectives.texts import RecordBatches, TextHead, Texts, TextVectors, collate_texts, freeze_unread

#: the names of the head and of the n-grams' votes among the parts
HEAD, VOTES = "labels", "n_grams"
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LabelBatch:
    """Rows of texts.

    Attributes:
        texts: B rows.
        targets: (B, L) float32, the share of each label: 1 for a right one, 0 for others.
        weights: (B, L) float32, what each counts; None: all 1.
        count: how many rows count: B or 0.
    """

    texts: Texts
    targets: Tensor
    weights: Tensor | None
    count: int

    def to(self, device: torch.device) -> LabelBatch:
        weights = None if self.weights is None else self.weights.to(device)
        return replace(self, texts=self.texts.to(device), targets=self.targets.to(device), weights=weights)


def collate_with_n_grams(longest: int, store: LabelStore[Labelled], rows: Int64s) -> Texts:
    """Some of a store's records as one batch, with their n-grams of up to `longest` characters; 0: without."""
    texts = collate_texts(store, rows)
    if not longest:
        return texts
    found = n_grams([store.records[int(row)].texts for row in rows], longest)
    return replace(texts, n_grams=torch.from_numpy(found))


def collate_labels(
    store: LabelStore[Labelled], targets: Floats, weights: Floats | None, longest: int, rows: Int64s
) -> LabelBatch:
    """Some records as one batch.

    Args:
        targets, weights: (records, L) of the whole store.
        longest: characters of an n-gram; 0: none are asked for.
        rows: the numbers of the records.
    """
    return LabelBatch(
        texts=collate_with_n_grams(longest, store, rows),
        targets=torch.from_numpy(targets[rows]),
        weights=None if weights is None else torch.from_numpy(weights[rows]),
        count=len(rows),
    )


class Classification(Objective[LabelBatch]):
    """-log p(labels), summed over texts.

    Args:
        labels: their names, in the order of their numbers.
        several: whether a text may have several of them, or none.
        pooling, pairs: see `objectives.texts.TextVectors`.
        dropout: on the vectors that the head reads.
        smoothing: probability that is shared among all labels; of several, between yes and no.
        balanced: whether rare labels count more.
        longest, n_votes: characters of n-grams that vote too, and how many of these there are; 0: none.
        share: what n-grams have of a score, 0 to 1.
    """

    requires = Encoder
    terms: ClassVar[dict[str, float]] = {"labels": 1.0}

    def __init__(
        self,
        labels: Sequence[str],
        *,
        several: bool = False,
        pooling: str = "mean",
        pairs: bool = False,
        dropout: float = 0.0,
        smoothing: float = 0.0,
        balanced: bool = False,
        longest: int = 0,
        n_votes: int = 0,
        share: float = 0.6,
    ) -> None:
        self.longest, self.n_votes = (longest, n_votes) if n_votes else (0, 0)
        self.share = share
        self._primed: tuple[Int64s, Floats] | None = None
        self.labels, self.several, self.vectors = tuple(labels), several, TextVectors(pooling, pairs)
        self.dropout, self.smoothing, self.balanced = dropout, smoothing, balanced

    def parts(self, body: Model) -> dict[str, nn.Module]:
        parts: dict[str, nn.Module] = {HEAD: TextHead(self.vectors.width(body), len(self.labels), self.dropout)}
        if self.n_votes:
            # with two labels each n-gram votes for one as much as against the other
            start = 1.0 if self.several else 1 - 1 / len(self.labels)
            parts[VOTES] = NGramVotes(self.n_votes, len(self.labels), start)
        return parts

    def prime(self, parts: Mapping[str, nn.Module], store: LabelStore[Labelled]) -> None:
        votes = parts.get(VOTES)
        if isinstance(votes, NGramVotes):
            if self._primed is None:
                table = n_gram_table(tuple(record.texts for record in store.records), self.longest)
                self._primed = table.keys, table.ratios(self.targets(store.records))
            votes.fill(*self._primed)

    def begin(self, body: Model) -> None:
        freeze_unread(body, self.vectors)

    def training_batches(self, store: LabelStore[Labelled], body: Model, length: int, plan: BatchPlan) -> Batches:
        """Batches of whole records; `length` cuts nothing, the store did.

        Raises:
            DataError: a label that is not among the objective's.
        """
        targets = self.targets(store.records)
        weights = balanced_weights(targets, several=self.several) if self.balanced else None
        return RecordBatches(store.lengths, partial(collate_labels, store, targets, weights, self.longest), plan)

    def targets(self, records: Sequence[Labelled]) -> Floats:
        """(records, L): 1 where a record has the label.

        Raises:
            DataError: a label that is not among the objective's, or several of one text where it has one.
        """
        numbers = {name: number for number, name in enumerate(self.labels)}
        targets = np.zeros((len(records), len(numbers)), dtype=np.float32)
        for row, record in enumerate(records):
            if not self.several and len(record.labels) != 1:
                raise DataError(
                    f"{len(record.labels)} labels of a text where each has one",
                    f"'{record.text[:40]}'",
                    "give one label a text, or train with --objective.several-labels true",
                )
            for name in record.labels:
                if name not in numbers:
                    raise DataError(
                        f"label '{name}' is not among those of the model", f"'{record.text[:40]}'", known(self.labels)
                    )
                targets[row, numbers[name]] = 1
        return targets

    def counts(self, batch: LabelBatch) -> dict[str, int]:
        return {"labels": batch.count}

    def loss(self, model: Assembled, batch: LabelBatch, carry: State | None) -> tuple[dict[str, Tensor], State | None]:
        losses = self.nll(self._said(model, batch.texts), batch.targets, batch.weights, self.smoothing)
        if (votes := self._votes(model, batch.texts)) is not None:
            losses = (losses + self.nll(votes, batch.targets, batch.weights, self.smoothing)) / 2
        return {"labels": losses[: batch.count].sum()}, None

    def logits(self, model: Assembled, texts: Texts) -> Tensor:
        """(B, L) in fp32: scores of the labels of texts; with n-grams a mean of what they and the model say."""
        said, votes = self._said(model, texts), self._votes(model, texts)
        return said if votes is None else torch.lerp(said, votes, self.share)

    def _said(self, model: Assembled, texts: Texts) -> Tensor:
        logits: Tensor = model.parts[HEAD](self.vectors(model.body, texts))
        return logits.float()

    def _votes(self, model: Assembled, texts: Texts) -> Tensor | None:
        if VOTES not in model.parts or texts.n_grams is None:
            return None
        votes: Tensor = model.parts[VOTES](texts.n_grams)
        return votes

    @property
    def collate(self) -> Callable[[LabelStore[Labelled], Int64s], Texts]:
        """Records as `logits` reads them."""
        return partial(collate_with_n_grams, self.longest)

    def nll(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
        """(B,): -log p of the right labels (B, L), in nats; of several labels the sum over all of them."""
        if self.several:
            smoothed = targets * (1 - smoothing) + smoothing / 2
            return F.binary_cross_entropy_with_logits(logits, smoothed, weight=weights, reduction="none").sum(1)
        smoothed = targets * (1 - smoothing) + smoothing / targets.shape[1]
        losses = -(smoothed * logits.log_softmax(1)).sum(1)
        return losses if weights is None else losses * weights[:, 0]

    def probabilities(self, logits: Tensor) -> Tensor:
        """(B, L): of one label a text they add up to 1."""
        return logits.sigmoid() if self.several else logits.softmax(1)


def balanced_weights(targets: Floats, *, several: bool) -> Floats:
    """(records, L): n / (L n_k) for a text of label k (King & Zeng 2001), in every column; 1 on average.

    Of several labels each is a yes and a no by itself, with n / (2 n_yes) and n / (2 n_no).
    """
    n, n_labels = targets.shape
    found = np.maximum(targets.sum(0), 1)
    if several:
        weights = np.where(targets == 1, n / (2 * found), n / (2 * np.maximum(n - targets.sum(0), 1)))
    else:
        met = int((targets.sum(0) > 0).sum())
        weights = np.repeat((targets @ (n / (met * found)))[:, None], n_labels, axis=1)
    rounded: Floats = weights.astype(np.float32)
    return rounded


def known(labels: Sequence[str]) -> str:
    """What to do about a label that is unknown."""
    shown = ", ".join(labels[:8]) + (f" and {len(labels) - 8} more" if len(labels) > 8 else "")
    return f"it knows {shown}"
