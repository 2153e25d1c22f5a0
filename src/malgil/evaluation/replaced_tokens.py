"""How well a discriminator tells which tokens of a text were replaced, and how well its generator guesses them.

15 % of single tokens are hidden as for all masked models (`evaluation.masked`), and the generator draws what is put in
their place, from a fixed seed. The better the generator, the harder is the discriminator's part: losses compare runs
with like generators only. As nine tokens of ten are the text's own, saying so of all of them is right nine times
of ten: F1, of replaced tokens alone, tells more than the accuracy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch.nn.functional as F

from malgil.evaluation.masked import MaskedEvaluator, every_row, n_text_tokens, scoring
from malgil.evaluation.targets import score_targets
from malgil.metrics.classification import Figures
from malgil.objectives.base import Assembled
from malgil.objectives.masked_lm import hidden_vectors
from malgil.objectives.replaced_tokens import DISCRIMINATOR_WEIGHT, generator_of, replace_tokens, replaced_logits
from malgil.runtime.numbers import finite


@dataclass(frozen=True)
class ReplacedScore:
    """The score of a discriminator and its generator on one text.

    Attributes:
        loss: what training minimises, the generator's loss + 50 x the discriminator's.
        replaced_loss: the discriminator's, nats a token.
        replaced_accuracy: the share of tokens that are told rightly, 0 to 1.
        replaced_f1: of the tokens that were replaced, 0 to 1.
        replaced: how many were: those that were hidden and not drawn as they had been.
        masked_loss: the generator's, nats a hidden token.
        masked_accuracy: the share of hidden tokens that the generator holds the likeliest.
        masked: how many tokens were hidden.
        tokens, bytes, unknown: as of `MaskedScore`.
    """

    loss: float
    replaced_loss: float
    replaced_accuracy: float
    replaced_f1: float
    replaced: int
    masked_loss: float
    masked_accuracy: float
    masked: int
    tokens: int
    bytes: int
    unknown: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON: numbers that are not finite are None."""
        return dict(finite(asdict(self)))


class ReplacedEvaluator:
    """Scores a discriminator with its generator on one token store.

    Args:
        masked: says what is read, and what is hidden of it.
    """

    def __init__(self, masked: MaskedEvaluator) -> None:
        self.masked = masked

    def __call__(self, model: Assembled, check: Callable[[], None] = lambda: None) -> ReplacedScore:
        """The score; `check` is called between batches and may raise to stop."""
        how, generator = self.masked, generator_of(model)
        nll, detection = 0.0, 0.0
        guessed = hidden_tokens = told = tokens = hits = found = replaced_tokens = 0
        with scoring(model, how.precision) as device:
            for batch in every_row(how.sequences, model.body, how.length, how.masking, noisy=True):
                check()
                batch = batch.to(device)
                hidden = hidden_vectors(generator, batch).index_select(0, batch.positions)
                batch_nll, batch_right = score_targets(generator, hidden, batch.targets)
                replaced = replace_tokens(generator, hidden, batch)
                logits, labels = replaced_logits(model, replaced, batch), replaced.labels
                said = logits > 0
                detection += float(F.binary_cross_entropy_with_logits(logits, labels.float(), reduction="sum"))
                nll, guessed, hidden_tokens = nll + batch_nll, guessed + batch_right, hidden_tokens + len(hidden)
                told, tokens = told + int((said == labels).sum()), tokens + len(labels)
                hits, found = hits + int((said & labels).sum()), found + int(said.sum())
                replaced_tokens += int(labels.sum())
        store = how.sequences.store
        return ReplacedScore(
            loss=nll / hidden_tokens + DISCRIMINATOR_WEIGHT * detection / tokens,
            replaced_loss=detection / tokens,
            replaced_accuracy=told / tokens,
            replaced_f1=Figures.count(hits, found, replaced_tokens).f1,
            replaced=replaced_tokens,
            masked_loss=nll / hidden_tokens,
            masked_accuracy=guessed / hidden_tokens,
            masked=hidden_tokens,
            tokens=n_text_tokens(how.sequences),
            bytes=store.n_bytes,
            unknown=store.n_unknown,
        )
