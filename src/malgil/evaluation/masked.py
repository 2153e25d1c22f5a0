"""How well an encoder guesses hidden tokens, over all of a text.

The same question whatever a model was trained with: 15 % of single tokens, of which 80 % are masked, 10 % are others
and 10 % stay, drawn from a fixed seed. So figures of different recipes on one text and one tokenizer compare. A model
that knows nothing has a loss of ln(vocabulary). There are no bits per byte: guesses that are each made with most of the
text in sight do not multiply to the probability of the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from malgil.data.sequences import Readings, Sequences, pack
from malgil.data.store import TokenStore
from malgil.evaluation.language import TOKENS_PER_BATCH
from malgil.evaluation.targets import score_targets
from malgil.metrics.language import perplexity
from malgil.models.base import Model, parameter_device
from malgil.objectives.masked_lm import MaskedBatch, collate_masked, hidden_vectors, row_room
from malgil.objectives.masking import Masking
from malgil.runtime.device import Precision
from malgil.runtime.numbers import finite
from malgil.text.words import Vocabulary

#: of the draws of what is hidden
SEED = 0


@dataclass(frozen=True)
class MaskedScore:
    """The score of a model on one text.

    Attributes:
        loss: nats a hidden token.
        perplexity: exp(loss).
        accuracy: the share of hidden tokens that the model holds the likeliest, 0 to 1.
        masked: how many tokens were hidden.
        tokens: of the text, begin and end of its sequences left out.
        bytes: of the text, in UTF-8.
        unknown: how many of the tokens are the tokenizer's unknown one.
    """

    loss: float
    perplexity: float
    accuracy: float
    masked: int
    tokens: int
    bytes: int
    unknown: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON: numbers that are not finite are None."""
        return dict(finite(asdict(self)))


class MaskedEvaluator:
    """Scores a model on one token store.

    Args:
        vocabulary: of the store's tokenizer.
        length: tokens of a sequence at most.
    """

    def __init__(self, store: TokenStore, vocabulary: Vocabulary, length: int, precision: Precision) -> None:
        self.sequences, self.length, self.precision = Sequences(store, length), length, precision
        self.masking = Masking(vocabulary)

    def __call__(self, model: Model, check: Callable[[], None] = lambda: None) -> MaskedScore:
        """The score; `check` is called between batches and may raise to stop."""
        nll, right, count = 0.0, 0, 0
        with scoring(model, self.precision) as device:
            for batch in every_row(self.sequences, model, self.length, self.masking):
                check()
                batch = batch.to(device)
                hidden = hidden_vectors(model, batch).index_select(0, batch.positions)
                batch_nll, batch_right = score_targets(model, hidden, batch.targets)
                nll, right, count = nll + batch_nll, right + batch_right, count + len(batch.targets)
        store, loss = self.sequences.store, nll / count
        return MaskedScore(
            loss,
            perplexity(loss),
            right / count,
            count,
            n_text_tokens(self.sequences),
            bytes=store.n_bytes,
            unknown=store.n_unknown,
        )


@contextmanager
def scoring(model: nn.Module, precision: Precision) -> Iterator[torch.device]:
    """The model without dropout and gradients, in the precision; it is left as it was."""
    device, training = parameter_device(model), model.training
    model.eval()
    try:
        with torch.no_grad(), precision.autocast(device):
            yield device
    finally:
        model.train(training)


def every_row(
    readings: Readings, model: Model, length: int, masking: Masking, *, noisy: bool = False
) -> Iterator[MaskedBatch]:
    """All that the first epoch reads, in its order, in rows where the model reads them."""
    room = row_room(model, length)
    starts = pack(readings.in_epoch(0).lengths, room)
    rows = [np.arange(start, stop) for start, stop in pairwise(starts)]
    at_a_time = max(1, TOKENS_PER_BATCH.get(parameter_device(model).type, 4096) // length)
    for first in range(0, len(rows), at_a_time):
        group = rows[first : first + at_a_time]
        yield collate_masked(readings, group, [0] * len(group), masking, room=room, seed=SEED, noisy=noisy)


def n_text_tokens(sequences: Sequences) -> int:
    """Tokens of sequences, their begins and ends left out."""
    return int(sequences.lengths.sum()) - 2 * len(sequences)
