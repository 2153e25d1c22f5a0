"""BERT (Devlin et al. 2019): the encoder of the Transformer alone, which reads a text in both directions at once.

    tokens -> embedding + position_embedding + type_embedding -> norm -> dropout [-> projection]
           -> n_layers x block -> hidden vectors

    block:   x ─┬─ attention ─(+)─ norm1 ─┬─ feed-forward ─(+)─ norm2 ─ y
                └──────────────┘          └─────────────────┘

    to a masked token:  hidden -> dense -> GELU -> norm -> the embedding, transposed, + bias

Against GPT-2: no token is hidden from another, so that a model cannot be asked for the next token but for one that was
masked; the norm stands behind each sum; what kind of text a token belongs to (the first or the second of a
pair) is a learned vector too.

Its relatives change little of this and are settings here: RoBERTa (Liu et al. 2019) has one type, DistilBERT (Sanh et
al. 2019) none and half of the layers, ELECTRA (Clark et al. 2020) narrow embeddings with a projection up to the first
block. Its computation equals Hugging Face's `BertForMaskedLM`, `RobertaForMaskedLM`, `DistilBertForMaskedLM` and
`ElectraForMaskedLM`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from malgil.config import setting
from malgil.errors import ContextLengthError
from malgil.layers.attention import Attention, check_heads
from malgil.layers.dropout import Dropout
from malgil.layers.feedforward import FeedForward, gelu
from malgil.layers.layout import Layout
from malgil.models.base import Encoder, Output


@dataclass(frozen=True)
class BertConfig:
    """The settings of a BERT."""

    n_layers: int = setting(4, "blocks", low=1)
    n_heads: int = setting(4, "attention heads; they divide d_model", low=1)
    d_model: int = setting(256, "width of the residual path", low=1)
    d_ff: int | None = setting(None, "width of the feed-forward part; none = 4 x d_model", low=1)
    d_embedding: int | None = setting(None, "width of the embeddings, as in ELECTRA; none = d_model", low=1)
    max_len: int = setting(128, "context: positions of a row", low=1)
    n_types: int = setting(2, "kinds of text that a token can belong to; RoBERTa has 1, DistilBERT 0", low=0)
    dropout: float = setting(0.1, "dropout on embeddings, attention and residuals", low=0, high=0.99)
    pooler: bool = setting(False, "a layer on the first token's vector, for tasks on whole texts")
    norm_eps: float = setting(1e-12, "added to the variance in norms", above=0)

    def __post_init__(self) -> None:
        check_heads(self.d_model, self.n_heads)

    @property
    def embedding_width(self) -> int:
        return self.d_embedding or self.d_model


class BlockConfig(Protocol):
    """What a block asks of the settings of a model."""

    @property
    def n_heads(self) -> int: ...
    @property
    def d_model(self) -> int: ...
    @property
    def d_ff(self) -> int | None: ...
    @property
    def dropout(self) -> float: ...
    @property
    def norm_eps(self) -> float: ...


class SelfAttention(nn.Module):
    """softmax(q k^T / sqrt(d_head)) v over all tokens of a document, n_heads times (Vaswani et al. 2017, 3.2)."""

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.attend = Attention(config.dropout)
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model)
        self.output = nn.Linear(config.d_model, config.d_model)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        grid = layout.spread(self.qkv(x).unflatten(-1, (3, self.n_heads, -1)))  # (G, L, 3, H, D_head)
        query, key, value = grid.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = self.attend(query, key, value, mask=layout.mask)  # (G, H, L, D_head)
        return self.output(layout.gather(mixed.transpose(1, 2).flatten(2)))  # type: ignore[no-any-return]


class Block(nn.Module):
    """norm1(x + attention(x)), then norm2 of that + feed_forward; x is a list (N, D) of tokens."""

    def __init__(self, config: BlockConfig, activation: str = "gelu") -> None:
        super().__init__()
        self.attention = SelfAttention(config)
        self.norm1 = nn.LayerNorm(config.d_model, config.norm_eps)
        self.feed_forward = FeedForward(config.d_model, config.d_ff or 4 * config.d_model, activation)
        self.norm2 = nn.LayerNorm(config.d_model, config.norm_eps)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        x = self.norm1(x + self.dropout(self.attention(x, layout)))
        return self.norm2(x + self.dropout(self.feed_forward(x)))  # type: ignore[no-any-return]


class MaskedHead(nn.Module):
    """norm(GELU(dense(x))): from hidden vectors to the space of the embeddings."""

    def __init__(self, d_model: int, width: int, norm_eps: float, activation: str = "gelu") -> None:
        super().__init__()
        self.activation = activation
        self.dense = nn.Linear(d_model, width)
        self.norm = nn.LayerNorm(width, norm_eps)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.norm(gelu(self.dense(hidden), self.activation))  # type: ignore[no-any-return]


def initialise(model: nn.Module) -> None:
    """Matrices N(0, 0.02), biases 0, norms as the identity."""
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            nn.init.normal_(parameter, std=0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)


class Bert(Encoder):
    """The whole model; see the module's picture."""

    def __init__(self, config: BertConfig, vocab_size: int) -> None:
        super().__init__()
        self.config, self.vocab_size = config, vocab_size
        self.d_model, self.context = config.d_model, config.max_len
        width = config.embedding_width
        self.embedding = nn.Embedding(vocab_size, width)
        self.position_embedding = nn.Embedding(config.max_len, width)
        self.type_embedding = nn.Embedding(config.n_types, width) if config.n_types else None
        self.norm = nn.LayerNorm(width, config.norm_eps)
        self.dropout = Dropout(config.dropout)
        self.projection = None if width == config.d_model else nn.Linear(width, config.d_model)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.pooler = nn.Linear(config.d_model, config.d_model) if config.pooler else None
        self.head = MaskedHead(config.d_model, width, config.norm_eps)
        self.output_bias = nn.Parameter(torch.zeros(vocab_size))
        initialise(self)

    def blocks(self) -> list[nn.Module]:
        return list(self.layers)

    def stem(self) -> list[nn.Module]:
        return [*super().stem(), self.norm, *([self.projection] if self.projection is not None else [])]

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
        x = self._embedded(tokens, type_ids, layout)  # (N, D)
        for block in self.layers:
            x = block(x, layout)
        return Output(layout.put(x))

    def _embedded(self, tokens: Tensor, type_ids: Tensor | None, layout: Layout) -> Tensor:
        """(N, D): what the first block reads."""
        x = self.embedding(layout.take(tokens)) + self.position_embedding(layout.token_positions())
        if self.type_embedding is not None:
            if type_ids is None or self.config.n_types == 1:
                x = x + self.type_embedding.weight[0]
            else:
                x = x + self.type_embedding(layout.take(type_ids))
        x = self.dropout(self.norm(x))
        return x if self.projection is None else self.projection(x)  # type: ignore[no-any-return]
