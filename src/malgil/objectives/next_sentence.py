"""Next sentence prediction: does the second text follow the first? (Devlin et al. 2019, 3.1)

    as in the document      <|> 산은 높다.  <|> 물은 흐른다. <|>      0
    from another one        <|> 산은 높다.  <|> 값이 올랐다. <|>      1

Half of the pairs, drawn anew each epoch, have their second text replaced by one drawn from the other documents; where
there is one document, by one from elsewhere in it. As subjects differ from document to document, much of the question
can be answered from words alone, which is what RoBERTa and ALBERT hold against it.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from malgil.data.sentence_pairs import NONE, PairReading, SentencePairs
from malgil.data.shuffle import uniforms
from malgil.errors import DataError
from malgil.layers.heads import IGNORED
from malgil.objectives.sentence_pairs import MaskedPairs, Rule

_REPLACED, _OTHER = 22, 23  # tell these draws from others with the same seed and epoch


class NextSentencePrediction(MaskedPairs):
    """-log p(hidden token), and -log p(whether the second text follows the first), each summed."""

    terms: ClassVar[dict[str, float]] = {"mlm": 1.0, "nsp": 1.0}

    @property
    def rule(self) -> Rule:
        return next_or_other


def next_or_other(pairs: SentencePairs, seed: int, epoch: int) -> PairReading:
    """Label 0: the pair; 1: its first half and one of another document.

    Raises:
        DataError: there is one pair and nothing else.
    """
    numbers = np.arange(len(pairs.first))
    asked, epochs = pairs.second != NONE, np.full_like(numbers, epoch)
    replaced = asked & (uniforms((seed, _REPLACED), epochs, numbers) < 0.5)
    # the halves that another one may not come from: those of the same document
    start = np.searchsorted(pairs.document, pairs.document[pairs.first], side="left")
    stop = np.searchsorted(pairs.document, pairs.document[pairs.first], side="right")
    if pairs.document[0] == pairs.document[-1]:
        start, stop = pairs.first, np.maximum(pairs.first, pairs.second) + 1
    others = len(pairs.document) - (stop - start)
    if not others[asked].all():
        raise DataError(
            "a single pair of texts: there is none to put in the place of the second",
            "data",
            "give more text, or --objective.also none",
        )
    drawn = (uniforms((seed, _OTHER), epochs, numbers) * others).astype(np.int64)
    drawn += np.where(drawn >= start, stop - start, 0)
    second = np.where(replaced, drawn, pairs.second)
    return PairReading(pairs, pairs.first, second, np.where(asked, replaced.astype(np.int64), IGNORED))
