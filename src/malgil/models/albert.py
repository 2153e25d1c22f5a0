"""ALBERT (Lan et al. 2020): BERT with one block that is used again and again.

    tokens -> embedding + position_embedding + type_embedding -> norm -> dropout -> projection
           -> the same block, n_layers times -> hidden vectors

    block:   x ─┬─ attention ─(+)─ norm1 ─┬─ feed-forward ─(+)─ norm2 ─ y
                └──────────────┘          └─────────────────┘

Against BERT: all layers share their weights, so that depth costs time and no memory; embeddings are narrow, since a
token by itself says less than a token in its text (section 3.1), and are projected up to the block; GELU is the
approximation by tanh. The block is BERT's otherwise. Its computation equals Hugging Face's `AlbertForMaskedLM`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from malgil.config import setting
from malgil.errors import ContextLengthError
from malgil.layers.attention import check_heads
from malgil.layers.dropout import Dropout
from malgil.layers.layout import Layout
from malgil.models.base import Encoder, Output
from malgil.models.bert import Block, MaskedHead, initialise


@dataclass(frozen=True)
class AlbertConfig:
    """The settings of an ALBERT."""

    n_layers: int = setting(4, "how often the block is used", low=1, high=1000)
    n_heads: int = setting(4, "attention heads; they divide d_model", low=1)
    d_model: int = setting(256, "width of the residual path", low=1)
    d_ff: int | None = setting(None, "width of the feed-forward part; none = 4 x d_model", low=1)
    d_embedding: int = setting(128, "width of the embeddings", low=1)
    max_len: int = setting(128, "context: positions of a row", low=1)
    n_types: int = setting(2, "kinds of text that a token can belong to", low=1)
    dropout: float = setting(0.1, "dropout on embeddings, attention and residuals", low=0, high=0.99)
    pooler: bool = setting(False, "a layer on the first token's vector, for tasks on whole texts")
    activation: str = setting("gelu_tanh", "feed-forward activation", choices=["gelu_tanh", "gelu"])
    norm_eps: float = setting(1e-12, "added to the variance in norms", above=0)

    def __post_init__(self) -> None:
        check_heads(self.d_model, self.n_heads)


class Albert(Encoder):
    """The whole model; see the module's picture."""

    def __init__(self, config: AlbertConfig, vocab_size: int) -> None:
        super().__init__()
        self.config, self.vocab_size = config, vocab_size
        self.d_model, self.context = config.d_model, config.max_len
        self.embedding = nn.Embedding(vocab_size, config.d_embedding)
        self.position_embedding = nn.Embedding(config.max_len, config.d_embedding)
        self.type_embedding = nn.Embedding(config.n_types, config.d_embedding)
        self.norm = nn.LayerNorm(config.d_embedding, config.norm_eps)
        self.dropout = Dropout(config.dropout)
        self.projection = nn.Linear(config.d_embedding, config.d_model)
        self.block = Block(config, config.activation)
        self.pooler = nn.Linear(config.d_model, config.d_model) if config.pooler else None
        self.head = MaskedHead(config.d_model, config.d_embedding, config.norm_eps, config.activation)
        self.output_bias = nn.Parameter(torch.zeros(vocab_size))
        initialise(self)

    def blocks(self) -> list[nn.Module]:
        return [self.block]

    def stem(self) -> list[nn.Module]:
        return [*super().stem(), self.norm, self.projection]

    def head_weight(self) -> Tensor:
        return self.embedding.weight

    def head_bias(self) -> Tensor:
        return self.output_bias

    def to_head(self, hidden: Tensor) -> Tensor:
        return self.head(hidden)  # type: ignore[no-any-return]

    def pooled(self, first: Tensor) -> Tensor:
        return first if self.pooler is None else torch.tanh(self.pooler(first))

    def forward(
        self,
        tokens: Tensor,
        *,
        token_mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        type_ids: Tensor | None = None,
    ) -> Output:
        if tokens.shape[1] > self.config.max_len:
            raise ContextLengthError(f"{tokens.shape[1]} tokens in a row, the context holds {self.config.max_len}")
        layout = Layout.of(tokens, token_mask, segment_ids)
        x = self.embedding(layout.take(tokens)) + self.position_embedding(layout.token_positions())
        if type_ids is None or self.config.n_types == 1:
            x = x + self.type_embedding.weight[0]
        else:
            x = x + self.type_embedding(layout.take(type_ids))
        x = self.projection(self.dropout(self.norm(x)))  # (N, D)
        for _ in range(self.config.n_layers):
            x = self.block(x, layout)
        return Output(layout.put(x))
