"""Sentence order prediction: which of two neighbouring texts comes first? (Lan et al. 2020, 3.1)

    as in the document      <|> 산은 높다.   <|> 물은 흐른다. <|>     0
    the other way round     <|> 물은 흐른다. <|> 산은 높다.   <|>     1

Half of the pairs, drawn anew each epoch, are swapped. Both texts are of one subject, so that words alone do not answer
the question as they do in `next_sentence`: it is how a text goes on that must be understood.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from malgil.data.sentence_pairs import NONE, PairReading, SentencePairs
from malgil.data.shuffle import uniforms
from malgil.layers.heads import IGNORED
from malgil.objectives.sentence_pairs import MaskedPairs, Rule

_SWAPPED = 24  # tells these draws from others with the same seed and epoch


class SentenceOrderPrediction(MaskedPairs):
    """-log p(hidden token), and -log p(whether the texts are in their order), each summed."""

    terms: ClassVar[dict[str, float]] = {"mlm": 1.0, "sop": 1.0}

    @property
    def rule(self) -> Rule:
        return in_order_or_swapped


def in_order_or_swapped(pairs: SentencePairs, seed: int, epoch: int) -> PairReading:
    """Label 0: the pair; 1: its second half first."""
    numbers = np.arange(len(pairs.first))
    asked, epochs = pairs.second != NONE, np.full_like(numbers, epoch)
    swapped = asked & (uniforms((seed, _SWAPPED), epochs, numbers) < 0.5)
    first, second = np.where(swapped, (pairs.second, pairs.first), (pairs.first, pairs.second))
    return PairReading(pairs, first, second, np.where(asked, swapped.astype(np.int64), IGNORED))
