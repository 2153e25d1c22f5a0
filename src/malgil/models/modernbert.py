"""ModernBERT (Warner et al. 2024): BERT's task with the parts of today's decoders.

    tokens -> embedding -> norm -> dropout -> n_layers x block -> norm -> hidden vectors

    block:   x ──┬─ norm1 ─ attention ─┬─(+)─┬─ norm2 ─ GeGLU ─(+)─ y         (block 0 has no norm1: x is normed)
                 └─────────────────────┘     └──────────────────┘

    to a masked token:  hidden -> dense -> GELU -> norm -> the embedding, transposed, + bias

Against BERT: the norm stands before each part; positions are rotations of queries and keys (RoPE); a gate decides what
passes the feed-forward part; there are no biases but the output's, and no types. Every third layer is global, the
others see a window around each token and turn faster (a base of 10,000 and not of 160,000): most of a long text's
attention is never computed. Its computation equals Hugging Face's `ModernBertForMaskedLM`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from malgil.config import setting
from malgil.errors import ContextLengthError
from malgil.layers.attention import Attention, check_heads
from malgil.layers.dropout import Dropout
from malgil.layers.feedforward import GeGLU, gelu
from malgil.layers.layout import Layout
from malgil.layers.positions import RotaryEmbedding, apply_rotary
from malgil.models.base import Encoder, Output


@dataclass(frozen=True)
class ModernBertConfig:
    """The settings of a ModernBERT."""

    n_layers: int = setting(4, "blocks", low=1)
    n_heads: int = setting(4, "attention heads; they divide d_model into even widths", low=1)
    d_model: int = setting(256, "width of the residual path", low=1)
    d_ff: int | None = setting(None, "width of the gated part; none = 1.5 x d_model", low=1)
    max_len: int = setting(512, "context: positions of a row", low=1)
    dropout: float = setting(0.0, "dropout on embeddings, attention and residuals", low=0, high=0.99)
    global_every: int = setting(3, "layers 0, n, 2n, ... see the whole text", low=1)
    window: int = setting(128, "tokens that the other layers see, half of them to each side", low=2)
    rope_theta: float = setting(160_000.0, "base of the rotations' wave lengths in global layers", above=1)
    local_rope_theta: float = setting(10_000.0, "the same in local layers", above=1)
    norm_eps: float = setting(1e-5, "added to the variance in norms", above=0)

    def __post_init__(self) -> None:
        check_heads(self.d_model, self.n_heads, even=True)

    @property
    def ff_width(self) -> int:
        return self.d_ff or 3 * self.d_model // 2

    def sees_all(self, layer: int) -> bool:
        """Whether a layer is a global one."""
        return layer % self.global_every == 0


class View(NamedTuple):
    """What all layers of one kind share: where tokens stand, who sees whom, and how positions turn."""

    layout: Layout
    mask: Tensor | None
    rotation: tuple[Tensor, Tensor]


class SelfAttention(nn.Module):
    """Attention with rotated queries and keys, over all tokens of a document or those of a window."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.attend = Attention(config.dropout)
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model, bias=False)
        self.output = nn.Linear(config.d_model, config.d_model, bias=False)

    def forward(self, x: Tensor, view: View) -> Tensor:
        grid = view.layout.spread(self.qkv(x).unflatten(-1, (3, self.n_heads, -1)))  # (G, L, 3, H, D_head)
        query, key, value = grid.permute(2, 0, 3, 1, 4).unbind(0)
        query, key = (apply_rotary(part, *view.rotation) for part in (query, key))
        mixed = self.attend(query, key, value, mask=view.mask)  # (G, H, L, D_head)
        return self.output(view.layout.gather(mixed.transpose(1, 2).flatten(2)))  # type: ignore[no-any-return]


class Block(nn.Module):
    """x + attention(norm1(x)), then + feed_forward(norm2(x)); x is a list (N, D) of tokens."""

    def __init__(self, config: ModernBertConfig, layer: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.d_model, config.norm_eps, bias=False) if layer else nn.Identity()
        self.attention = SelfAttention(config)
        self.norm2 = nn.LayerNorm(config.d_model, config.norm_eps, bias=False)
        self.feed_forward = GeGLU(config.d_model, config.ff_width)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, view: View) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x), view))
        return x + self.dropout(self.feed_forward(self.norm2(x)))  # type: ignore[no-any-return]


class MaskedHead(nn.Module):
    """norm(GELU(dense(x))), without biases."""

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.d_model, config.d_model, bias=False)
        self.norm = nn.LayerNorm(config.d_model, config.norm_eps, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.norm(gelu(self.dense(hidden), "gelu"))  # type: ignore[no-any-return]


class ModernBert(Encoder):
    """The whole model; see the module's picture."""

    def __init__(self, config: ModernBertConfig, vocab_size: int) -> None:
        super().__init__()
        self.config, self.vocab_size = config, vocab_size
        self.d_model, self.context = config.d_model, config.max_len
        self.embedding = nn.Embedding(vocab_size, config.d_model)
        self.embedding_norm = nn.LayerNorm(config.d_model, config.norm_eps, bias=False)
        d_head = config.d_model // config.n_heads
        self.global_rotary = RotaryEmbedding(d_head, config.max_len, config.rope_theta)
        self.local_rotary = RotaryEmbedding(d_head, config.max_len, config.local_rope_theta)
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model, config.norm_eps, bias=False)
        self.head = MaskedHead(config)
        self.output_bias = nn.Parameter(torch.zeros(vocab_size))
        self._initialise()

    def _initialise(self) -> None:
        """N(0, 0.02), the projections back onto the residual path N(0, 0.02 / sqrt(2 n_layers)); the bias is 0."""
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                residual = name.endswith(("attention.output.weight", "feed_forward.down.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * self.config.n_layers) if residual else 0.02)

    def blocks(self) -> list[nn.Module]:
        return list(self.layers)

    def stem(self) -> list[nn.Module]:
        return [*super().stem(), self.embedding_norm]

    def head_weight(self) -> Tensor:
        return self.embedding.weight

    def head_bias(self) -> Tensor:
        return self.output_bias

    def to_head(self, hidden: Tensor) -> Tensor:
        return self.head(hidden)  # type: ignore[no-any-return]

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
        everything = View(layout, layout.mask, self.global_rotary(layout.positions))
        nearby = View(layout, layout.window(self.config.window // 2), self.local_rotary(layout.positions))
        x = self.dropout(self.embedding_norm(self.embedding(layout.take(tokens))))  # (N, D)
        for layer, block in enumerate(self.layers):
            x = block(x, everything if self.config.sees_all(layer) else nearby)
        return Output(layout.put(self.norm(x)))
