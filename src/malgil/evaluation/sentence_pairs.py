"""How well an encoder guesses hidden tokens, and how often it answers the question about pairs rightly.

Pairs are made of the text by the objective's own rule, with a fixed seed, and read with 15 % of their tokens hidden, as
they are in training. Half of them are as in the document, so that guessing is right half of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from malgil.data.sentence_pairs import SentencePairs
from malgil.evaluation.masked import SEED, MaskedEvaluator, MaskedScore, every_row, scoring
from malgil.objectives.base import Assembled
from malgil.objectives.masked_lm import hidden_vectors
from malgil.objectives.sentence_pairs import PairReadings, Rule, pair_logits, pair_nll
from malgil.text.sentences import SentenceEnds


@dataclass(frozen=True)
class MaskedPairsScore(MaskedScore):
    """The score of a model on one text; the loss is that of hidden tokens alone.

    Attributes:
        sentence_loss: nats a pair.
        sentence_accuracy: the share of pairs for which the right answer is held likelier, 0 to 1.
        pairs: of how many something was asked.
    """

    sentence_loss: float
    sentence_accuracy: float
    pairs: int


class MaskedPairsEvaluator:
    """Scores a model with its head on one token store.

    Args:
        masked: scores hidden tokens.
        ends: of the sentences of the store's tokenizer.
        rule: what becomes of pairs.
    """

    def __init__(self, masked: MaskedEvaluator, ends: SentenceEnds, rule: Rule) -> None:
        self.masked = masked
        pairs = SentencePairs(masked.sequences.store, ends, masked.length)
        self.readings = PairReadings(pairs, rule, SEED, joined=0.0)

    def __call__(self, model: Assembled, check: Callable[[], None] = lambda: None) -> MaskedPairsScore:
        """The score; `check` is called between batches and may raise to stop."""
        masked = self.masked(model.body, check)
        nll, right, count = 0.0, 0, 0
        with scoring(model, self.masked.precision) as device:
            for batch in every_row(self.readings, model.body, self.masked.length, self.masked.masking):
                check()
                batch = batch.to(device)
                assert batch.labels is not None
                logits = pair_logits(model, hidden_vectors(model.body, batch), batch)
                nll += float(pair_nll(logits, batch))
                right += int((logits.argmax(-1) == batch.labels).sum())
                count += len(batch.labels)
        return MaskedPairsScore(**vars(masked), sentence_loss=nll / count, sentence_accuracy=right / count, pairs=count)
