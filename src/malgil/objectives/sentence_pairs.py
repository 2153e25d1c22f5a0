"""Hidden tokens, and a question about two texts that are read one behind the other.

    tokens        <|> 산 은 [] 다 . <|> 물 이 [] 른 다 . <|>
    type_ids       0  0  0  0  0  0  0   1  1  1  1  1  1  1
    begins         0                                            in all rows, laid out flat
    labels         0 = as in the document, 1 = not

The question is put to what stands for the whole, made of the first token's vector. What makes a pair that is not
as in the document is the difference between `next_sentence` and `sentence_order`. Texts that have no neighbour are read
alone, and nothing is asked of them but their hidden tokens.

A quarter of the pairs, others each epoch, are read as the one text that they are in the document: whoever reads single
texts later should have read some that are as long as a pair.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from malgil.data.sentence_pairs import PairReading, SentencePairs
from malgil.data.sequences import Readings
from malgil.data.shuffle import uniforms
from malgil.data.store import TokenStore
from malgil.models.base import Encoder, Model, State
from malgil.objectives.base import Assembled
from malgil.objectives.masked_lm import MaskedBatch, MaskedLanguageModelling, hidden_vectors
from malgil.objectives.masking import Masking
from malgil.objectives.texts import TextHead, Texts, freeze_unread, token_vectors
from malgil.text.sentences import SentenceEnds

#: the name of the head among the parts
HEAD = "sentence"
#: the share of pairs that are read as one text
JOINED = 0.25
_JOINED = 25  # tells these draws from others with the same seed and epoch
#: from pairs of neighbours, a seed and an epoch to what is read of them, and asked
Rule = Callable[[SentencePairs, int, int], PairReading]


class PairReadings:
    """The pairs of a store as a rule changes them, anew each epoch.

    Args:
        joined: the share that is read as one text.
    """

    def __init__(self, pairs: SentencePairs, rule: Rule, seed: int, *, joined: float = JOINED) -> None:
        self.pairs, self.rule, self.seed, self.joined = pairs, rule, seed, joined
        self._kept: dict[int, PairReading] = {}  # the two read last: a step may lie in both

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(PairReadings, joined=self.joined), (self.pairs, self.rule, self.seed)

    def in_epoch(self, epoch: int) -> PairReading:
        if epoch not in self._kept:
            self._kept = dict([*self._kept.items(), (epoch, self._made(epoch))][-2:])
        return self._kept[epoch]

    def _made(self, epoch: int) -> PairReading:
        numbers = np.arange(len(self.pairs.first))
        draws = uniforms((self.seed, _JOINED), np.full_like(numbers, epoch), numbers)
        return self.rule(self.pairs, self.seed, epoch).join(draws < self.joined)


class MaskedPairs(MaskedLanguageModelling):
    """-log p(hidden token), and -log p(label of a pair), each summed.

    The terms are `mlm` and the one that a subclass adds.

    Args:
        ends: of the sentences of the store's tokenizer.
    """

    def __init__(self, masking: Masking, ends: SentenceEnds) -> None:
        super().__init__(masking)
        self.ends = ends

    @property
    @abstractmethod
    def rule(self) -> Rule:
        """What becomes of pairs of neighbours."""

    @property
    def term(self) -> str:
        """The name of the pairs' term."""
        return next(name for name in self.terms if name != "mlm")

    def readings(self, store: TokenStore, length: int, seed: int) -> Readings:
        return PairReadings(SentencePairs(store, self.ends, length), self.rule, seed)

    def parts(self, body: Model) -> dict[str, nn.Module]:
        return {HEAD: TextHead(body.d_model, 2, dropout=0.0)}

    def begin(self, body: Model) -> None:
        freeze_unread(body, _all_scores)

    def counts(self, batch: MaskedBatch) -> dict[str, int]:
        assert batch.labels is not None
        return {**super().counts(batch), self.term: len(batch.labels)}

    def loss(self, model: Assembled, batch: MaskedBatch, carry: State | None) -> tuple[dict[str, Tensor], State | None]:
        hidden = hidden_vectors(model.body, batch)
        nll = model.body.nll(hidden.index_select(0, batch.positions), batch.targets).sum()
        return {"mlm": nll, self.term: pair_nll(pair_logits(model, hidden, batch), batch)}, None


def pair_logits(model: Assembled, hidden: Tensor, batch: MaskedBatch) -> Tensor:
    """(M, 2) in fp32: scores of 'as in the document' and 'not', of the pairs of which something is asked.

    Args:
        hidden: (B T, D), see `hidden_vectors`.
    """
    assert isinstance(model.body, Encoder)
    assert batch.begins is not None
    logits: Tensor = model.parts[HEAD](model.body.pooled(hidden.index_select(0, batch.begins)))
    return logits.float()


def pair_nll(logits: Tensor, batch: MaskedBatch) -> Tensor:
    """-log p(label), summed over the pairs of which something is asked."""
    assert batch.labels is not None
    return F.cross_entropy(logits, batch.labels, reduction="sum")


def _all_scores(body: Model, texts: Texts) -> Tensor:
    """Something that all parameters which the loss reaches have a part in."""
    assert isinstance(body, Encoder)
    hidden = token_vectors(body, texts)
    return body.logits(hidden).sum() + body.pooled(hidden[:, 0]).sum()
