"""The tags that a model gives to words, and how well it finds the entities that they spell.

A model may put an I where no entity has begun. Such tags are read as `metrics.tagging` reads any: the I begins an
entity. So what is scored is what `predict` gives out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from malgil.data.epochs import Int64s
from malgil.data.tag_store import TagStore
from malgil.evaluation.language import TOKENS_PER_BATCH
from malgil.evaluation.texts import batches_by_length
from malgil.metrics.classification import Figures
from malgil.metrics.tagging import score_tags
from malgil.models.base import parameter_device
from malgil.objectives.base import Assembled
from malgil.objectives.tagging import collate_tags, tag_logits, tag_nll
from malgil.runtime.device import Precision


@dataclass(frozen=True)
class PredictedTags:
    """What a model says of each word of a store.

    Attributes:
        numbers: (W,) of the likeliest tags.
        probabilities: (W,) of these, 0 to 1.
        nll: -log p of the right tags, summed.
        count: how many right tags the model knows.
    """

    store: TagStore
    numbers: Int64s
    probabilities: npt.NDArray[np.float64]
    nll: float
    count: int

    def tags(self, sentence: int) -> list[str]:
        """Those of a sentence, as the model gave them."""
        return [self.store.names[number] for number in self.numbers[self._words(sentence)]]

    def confidence(self, sentence: int) -> npt.NDArray[np.float64]:
        """The probability of each of its tags."""
        return self.probabilities[self._words(sentence)]

    def _words(self, sentence: int) -> slice:
        return slice(int(self.store.starts[sentence]), int(self.store.starts[sentence + 1]))


@dataclass(frozen=True)
class TagScore:
    """How well entities are found, by exact span and type.

    Attributes:
        loss: nats a word.
        precision, recall, f1: of all entities together.
        accuracy: the share of words whose tag is right, 0 to 1.
        types: figures of each type.
        sentences, words: how many there were.
        unknown_tags: words whose right tag the model does not know; they count as wrong, and not in the loss.
    """

    loss: float
    precision: float
    recall: float
    f1: float
    accuracy: float
    types: dict[str, Figures]
    sentences: int
    words: int
    unknown_tags: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class TagEvaluator:
    """Scores a model on all sentences of a store."""

    store: TagStore
    precision: Precision

    def __call__(self, model: Assembled, check: Callable[[], None] = lambda: None) -> TagScore:
        """The score; `check` is called between batches and may raise to stop."""
        return score_predicted(predict_tags(model, self.store, self.precision, check))


def predict_tags(
    model: Assembled, store: TagStore, precision: Precision, check: Callable[[], None] = lambda: None
) -> PredictedTags:
    """The tags of all words of a store; each depends on its own row alone."""
    device, rows = parameter_device(model), store.rows
    numbers = np.zeros(len(store.tags), dtype=np.int64)
    probabilities = np.zeros(len(store.tags))
    budget = TOKENS_PER_BATCH.get(device.type, TOKENS_PER_BATCH["cpu"])
    training, nll = model.training, 0.0
    model.eval()
    try:
        with torch.no_grad(), precision.autocast(device):
            for chosen in batches_by_length(rows.lengths, budget):
                check()
                batch = collate_tags(rows, chosen.tolist()).to(device)
                logits = tag_logits(model, batch)
                nll += float(tag_nll(logits, batch))
                likeliest = logits.softmax(-1).max(-1)
                words = np.concatenate([np.arange(*rows.asked[row]) for row in chosen])
                numbers[words], probabilities[words] = likeliest.indices.cpu(), likeliest.values.cpu()
    finally:
        model.train(training)
    return PredictedTags(store, numbers, probabilities, nll, int((store.tags >= 0).sum()))


def score_predicted(predicted: PredictedTags) -> TagScore:
    """The score of some predictions."""
    store = predicted.store
    found = score_tags([predicted.tags(i) for i in range(len(store))], [record.tags for record in store.records])
    return TagScore(
        loss=predicted.nll / max(predicted.count, 1),
        precision=found.all.precision,
        recall=found.all.recall,
        f1=found.f1,
        accuracy=found.token_accuracy,
        types=found.types,
        sentences=len(store),
        words=len(store.tags),
        unknown_tags=len(store.tags) - predicted.count,
    )
