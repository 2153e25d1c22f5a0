"""GPT-2 (Radford et al. 2019): a decoder of pre-norm blocks with learned positions.

    tokens -> embedding + position_embedding -> dropout
           -> n_layers x block -> norm -> tied output layer

    block:   x ──┬─ norm1 ─ attention ─┬─(+)─┬─ norm2 ─ feed-forward ─(+)─ y
                 └─────────────────────┘     └─────────────────────────┘

Against the Transformer of 2017: the norm stands before each part and not after the sum, positions are
learned, GELU takes the place of ReLU, and the residual projections start smaller by sqrt(2 n_layers).
Its computation equals Hugging Face's `GPT2LMHeadModel`; without biases it is nanoGPT's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from malgil.config import setting
from malgil.errors import ContextLengthError
from malgil.layers import masks
from malgil.layers.attention import Attention, check_heads
from malgil.layers.dropout import Dropout
from malgil.layers.feedforward import FeedForward
from malgil.layers.state import KVCache
from malgil.models.base import CausalLM, Output, State


@dataclass(frozen=True)
class GPT2Config:
    """The settings of a GPT-2."""

    n_layers: int = setting(4, "blocks", low=1)
    n_heads: int = setting(4, "attention heads; they divide d_model", low=1)
    d_model: int = setting(128, "width of the residual path", low=1)
    d_ff: int | None = setting(None, "width of the feed-forward part; none = 4 x d_model", low=1)
    max_len: int = setting(256, "context: positions of a row", low=1)
    dropout: float = setting(0.0, "dropout on embeddings, attention and residuals", low=0, high=0.99)
    bias: bool = setting(True, "biases in linear layers and norms")
    tied: bool = setting(True, "the output layer is the embedding")
    activation: str = setting("gelu_tanh", "feed-forward activation", choices=["gelu_tanh", "gelu"])
    norm_eps: float = setting(1e-5, "added to the variance in norms", above=0)

    def __post_init__(self) -> None:
        check_heads(self.d_model, self.n_heads)


class SelfAttention(nn.Module):
    """softmax(q k^T / sqrt(d_head)) v over the keys to the left, n_heads times (Vaswani et al. 2017, 3.2)."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.attend = Attention(config.dropout)
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model, bias=config.bias)
        self.output = nn.Linear(config.d_model, config.d_model, bias=config.bias)

    def forward(self, x: Tensor, mask: Tensor | None, layer: int, cache: KVCache | None) -> Tensor:
        qkv = self.qkv(x).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)  # (3, B, H, T, D_head)
        query, key, value = qkv.unbind(0)
        if cache is not None:
            key, value = cache.write(layer, key, value)
        causal = mask is None and x.shape[1] > 1  # a single new token sees everything before it
        mixed = self.attend(query, key, value, causal=causal, mask=mask)
        return self.output(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Block(nn.Module):
    """x + attention(norm1(x)), then + feed_forward(norm2(x))."""

    def __init__(self, config: GPT2Config, d_ff: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.d_model, config.norm_eps, bias=config.bias)
        self.attention = SelfAttention(config)
        self.norm2 = nn.LayerNorm(config.d_model, config.norm_eps, bias=config.bias)
        self.feed_forward = FeedForward(config.d_model, d_ff, config.activation, config.bias)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor | None, layer: int, cache: KVCache | None) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x), mask, layer, cache))
        return x + self.dropout(self.feed_forward(self.norm2(x)))  # type: ignore[no-any-return]


class GPT2(CausalLM):
    """The whole model; see the module's picture."""

    def __init__(self, config: GPT2Config, vocab_size: int) -> None:
        super().__init__()
        self.config, self.vocab_size = config, vocab_size
        self.d_model, self.context = config.d_model, config.max_len
        self.embedding = nn.Embedding(vocab_size, config.d_model)
        self.position_embedding = nn.Embedding(config.max_len, config.d_model)
        self.dropout = Dropout(config.dropout)
        d_ff = config.d_ff or 4 * config.d_model
        self.layers = nn.ModuleList(Block(config, d_ff) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model, config.norm_eps, bias=config.bias)
        self.head = None if config.tied else nn.Linear(config.d_model, vocab_size, bias=False)
        self._initialise()

    def _initialise(self) -> None:
        """N(0, 0.02), the projections back onto the residual path N(0, 0.02 / sqrt(2 n_layers)); biases 0."""
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2:
                continue  # norms start as the identity, biases are zeroed below
            residual = name.endswith(("attention.output.weight", "feed_forward.down.weight"))
            nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * self.config.n_layers) if residual else 0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def blocks(self) -> list[nn.Module]:
        return list(self.layers)

    def head_weight(self) -> Tensor:
        return self.embedding.weight if self.head is None else self.head.weight

    def init_state(self, batch_size: int, max_len: int) -> KVCache:
        c = self.config
        d_head = c.d_model // c.n_heads
        return KVCache.empty(c.n_layers, batch_size, c.n_heads, max_len, d_head, self.embedding.weight)

    def forward(
        self,
        tokens: Tensor,
        *,
        token_mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        state: State | None = None,
    ) -> Output:
        cache = state if isinstance(state, KVCache) else None
        n_new = tokens.shape[1]
        if n_new > self.config.max_len:
            raise ContextLengthError(f"{n_new} tokens in a row, the context holds {self.config.max_len}")
        mask = None  # plain causal: right padding is never seen by the real tokens before it
        if cache is not None:
            positions = cache.positions(n_new)
            mask = None if cache.even else masks.cached(positions, cache.longest + n_new)
        elif segment_ids is not None:
            positions = masks.segment_positions(segment_ids)
            mask = masks.causal_segments(segment_ids)
        else:
            positions = torch.arange(n_new, device=tokens.device)
        # right padding may reach beyond the context; it is read by nobody
        x = self.embedding(tokens) + self.position_embedding(positions.clamp(max=self.config.max_len - 1))
        x = self.dropout(x)  # (B, T, D)
        for i, block in enumerate(self.layers):
            x = block(x, mask, i, cache)
        return Output(self.norm(x), cache.advance(n_new, token_mask) if cache is not None else None)
