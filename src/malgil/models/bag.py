"""A bag of tokens: each has its vector and knows of no other, so that a text is what stands in it, in any order.

    tokens -> embedding -> dropout -> hidden vectors

Their mean and a linear layer upon it are fastText's classifier (Joulin et al. 2016): what has to be beaten before it is
worth to read a text as a text. It has nothing to say of a hidden token but how frequent tokens are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from malgil.config import setting
from malgil.layers.dropout import Dropout
from malgil.models.base import Encoder, Output

#: standard deviation of the embedding as it begins
INITIAL = 0.02


@dataclass(frozen=True)
class BagConfig:
    """The settings of a bag of tokens."""

    d_model: int = setting(64, "width of the embedding", low=1)
    max_len: int = setting(128, "tokens of a row in training; the model itself has no limit", low=1)
    dropout: float = setting(0.1, "dropout on the vectors", low=0, high=0.99)


class Bag(Encoder):
    """The whole model."""

    def __init__(self, config: BagConfig, vocab_size: int) -> None:
        super().__init__()
        self.config, self.vocab_size = config, vocab_size
        self.d_model, self.context = config.d_model, None
        self.embedding = nn.Embedding(vocab_size, config.d_model)
        self.dropout = Dropout(config.dropout)
        self.output_bias = nn.Parameter(torch.zeros(vocab_size))
        nn.init.normal_(self.embedding.weight, std=INITIAL)

    def head_weight(self) -> Tensor:
        return self.embedding.weight

    def head_bias(self) -> Tensor:
        return self.output_bias

    def forward(
        self,
        tokens: Tensor,
        *,
        token_mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        type_ids: Tensor | None = None,
    ) -> Output:
        """No argument but the tokens changes anything: padding and other documents are not seen by any."""
        return Output(self.dropout(self.embedding(tokens)))
