"""Llama (Touvron et al. 2023) and Qwen3 (2025): what five years changed in GPT-2's block.

    tokens -> embedding -> n_layers x block -> norm -> output layer, tied or not

    block:   x ──┬─ norm1 ─ attention ─┬─(+)─┬─ norm2 ─ SwiGLU ─(+)─ y
                 └─────────────────────┘     └───────────────────┘

Positions enter as rotations of queries and keys (RoPE, Su et al. 2021) and not as vectors added to the
embedding; RMSNorm (Zhang & Sennrich 2019) neither centres nor shifts; SwiGLU (Shazeer 2020) gates the
feed-forward part; several query heads share a key and value head (Ainslie et al. 2023); there are no
biases. `qk_norm` normalises queries and keys a head at a time before the rotation, as Qwen3 does.
Its computation equals Hugging Face's `LlamaForCausalLM`, with `qk_norm` that of `Qwen3ForCausalLM`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from malgil.config import setting
from malgil.errors import ConfigError, ContextLengthError
from malgil.layers import masks
from malgil.layers.attention import Attention
from malgil.layers.dropout import Dropout
from malgil.layers.feedforward import SwiGLU
from malgil.layers.norms import RMSNorm
from malgil.layers.positions import RotaryEmbedding, apply_normed_rotary, apply_rotary
from malgil.layers.state import KVCache
from malgil.models.base import CausalLM, Output, State


@dataclass(frozen=True)
class LlamaConfig:
    """The settings of a Llama or Qwen3."""

    n_layers: int = setting(4, "blocks", low=1)
    n_heads: int = setting(4, "query heads", low=1)
    n_kv_heads: int | None = setting(None, "key and value heads, which divide n_heads; none = n_heads", low=1)
    d_model: int = setting(128, "width of the residual path", low=1)
    d_head: int | None = setting(None, "width of a head, even; none = d_model / n_heads", low=2)
    d_ff: int | None = setting(None, "width of the gated part; none = 8/3 x d_model, up to a multiple of 8", low=1)
    max_len: int = setting(256, "context: positions of a row", low=1)
    dropout: float = setting(0.0, "dropout on embeddings, attention and residuals", low=0, high=0.99)
    tied: bool = setting(True, "the output layer is the embedding")
    qk_norm: bool = setting(False, "RMSNorm on queries and keys, as in Qwen3")
    rope_theta: float = setting(10000.0, "base of the rotations' wave lengths", above=1)
    norm_eps: float = setting(1e-6, "added to the mean square in norms", above=0)
    init: str = setting(
        "normal",
        "normal: N(0, 0.02); scaled: N(0, 1/sqrt(inputs)), blocks and an untied head start at 0",
        choices=["normal", "scaled"],
    )

    def __post_init__(self) -> None:
        if self.d_head is None and self.d_model % self.n_heads:
            raise ConfigError(
                f"model.d_model {self.d_model} is not divisible by model.n_heads {self.n_heads}",
                fix="change one of them, or name model.d_head",
            )
        if self.n_heads % self.kv_heads:
            raise ConfigError(
                f"model.n_kv_heads {self.kv_heads} does not divide model.n_heads {self.n_heads}",
                fix="take a divisor of n_heads",
            )
        if self.head_width % 2:
            raise ConfigError(f"a head of width {self.head_width} is odd", fix="rotations need an even model.d_head")

    @property
    def kv_heads(self) -> int:
        return self.n_kv_heads or self.n_heads

    @property
    def head_width(self) -> int:
        return self.d_head or self.d_model // self.n_heads

    @property
    def ff_width(self) -> int:
        return self.d_ff or math.ceil(8 * self.d_model / 3 / 8) * 8


class SelfAttention(nn.Module):
    """Causal attention with rotated queries and keys; n_heads / n_kv_heads queries share a key."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads, self.d_head = config.n_heads, config.kv_heads, config.head_width
        self.attend = Attention(config.dropout)
        self.query = nn.Linear(config.d_model, self.n_heads * self.d_head, bias=False)
        self.key = nn.Linear(config.d_model, self.n_kv_heads * self.d_head, bias=False)
        self.value = nn.Linear(config.d_model, self.n_kv_heads * self.d_head, bias=False)
        self.output = nn.Linear(self.n_heads * self.d_head, config.d_model, bias=False)
        self.query_norm = RMSNorm(self.d_head, config.norm_eps) if config.qk_norm else None
        self.key_norm = RMSNorm(self.d_head, config.norm_eps) if config.qk_norm else None

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor | None, layer: int, cache: KVCache | None
    ) -> Tensor:
        query = self.query(x).unflatten(-1, (self.n_heads, self.d_head))  # (B, T, H, D_head)
        key = self.key(x).unflatten(-1, (self.n_kv_heads, self.d_head))  # (B, T, H_kv, D_head)
        value = self.value(x).unflatten(-1, (self.n_kv_heads, self.d_head)).transpose(1, 2)
        query = self._turned(query.transpose(1, 2), self.query_norm, rotation)  # (B, H, T, D_head)
        key = self._turned(key.transpose(1, 2), self.key_norm, rotation)
        if cache is not None:
            key, value = cache.write(layer, key, value)
        causal = mask is None and x.shape[1] > 1  # a single new token sees everything before it
        mixed = self.attend(query, key, value, causal=causal, mask=mask)
        return self.output(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _turned(self, x: Tensor, norm: RMSNorm | None, rotation: tuple[Tensor, Tensor]) -> Tensor:
        return apply_rotary(x, *rotation) if norm is None else apply_normed_rotary(x, norm, *rotation)


class Block(nn.Module):
    """x + attention(norm1(x)), then + feed_forward(norm2(x))."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.norm1 = RMSNorm(config.d_model, config.norm_eps)
        self.attention = SelfAttention(config)
        self.norm2 = RMSNorm(config.d_model, config.norm_eps)
        self.feed_forward = SwiGLU(config.d_model, config.ff_width)
        self.dropout = Dropout(config.dropout)

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor | None, layer: int, cache: KVCache | None
    ) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x), rotation, mask, layer, cache))
        return x + self.dropout(self.feed_forward(self.norm2(x)))  # type: ignore[no-any-return]


class Llama(CausalLM):
    """The whole model; see the module's picture."""

    def __init__(self, config: LlamaConfig, vocab_size: int) -> None:
        super().__init__()
        self.config, self.vocab_size = config, vocab_size
        self.d_model, self.context = config.d_model, config.max_len
        self.embedding = nn.Embedding(vocab_size, config.d_model)
        self.rotary = RotaryEmbedding(config.head_width, config.max_len, config.rope_theta)
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = RMSNorm(config.d_model, config.norm_eps)
        self.head = None if config.tied else nn.Linear(config.d_model, vocab_size, bias=False)
        self._initialise()

    def _initialise(self) -> None:
        """`normal` as Llama does; `scaled` for the high rates of Muon.

        Under `scaled` every block starts as the identity (Zhang et al. 2019), and an untied head predicts all
        tokens alike, so that the first loss is ln(vocabulary) exactly; matrices begin at the scale that keeps
        activations at theirs, and embeddings at 1.
        """
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2:
                continue  # the gains of norms start at 1
            residual = name.endswith(("attention.output.weight", "feed_forward.down.weight"))
            embedding = name == "embedding.weight"
            if self.config.init == "normal" or (embedding and self.head is None):
                nn.init.normal_(parameter, std=0.02)
            elif residual or name == "head.weight":
                nn.init.zeros_(parameter)
            else:
                nn.init.normal_(parameter, std=1.0 if embedding else parameter.shape[1] ** -0.5)

    def blocks(self) -> list[nn.Module]:
        return list(self.layers)

    def head_weight(self) -> Tensor:
        return self.embedding.weight if self.head is None else self.head.weight

    def init_state(self, batch_size: int, max_len: int) -> KVCache:
        c = self.config
        return KVCache.empty(c.n_layers, batch_size, c.kv_heads, max_len, c.head_width, self.embedding.weight)

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
        rotation = self.rotary(positions)  # cos and sin
        x = self.dropout(self.embedding(tokens))  # (B, T, D)
        for i, block in enumerate(self.layers):
            x = block(x, rotation, mask, i, cache)
        return Output(self.norm(x), cache.advance(n_new, token_mask) if cache is not None else None)
