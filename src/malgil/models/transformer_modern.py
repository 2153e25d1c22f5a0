"""The Transformer as small translators are best built today: 2017's encoder and decoder from Llama's parts.

    source -> embedding -> dropout -> encoder blocks -> norm -> memory
                                                                  |
    target -> embedding -> dropout -> decoder blocks <------------+  -> norm -> tied output layer

    encoder block   x ─┬─ norm1 ─ attention ─(+)─┬─ norm2 ─ SwiGLU ─(+)─ y
                       └─────────────────────┘   └──────────────────┘

    decoder block   x ─┬─ norm1 ─ attention ─(+)─┬─ norm2 ─ cross-attention ─(+)─┬─ norm3 ─ SwiGLU ─(+)─ y
                       └─────────────────────┘   └───────────────────────────┘   └──────────────────┘

Against the Transformer of 2017: the norm stands before each part (Xiong et al. 2020) and is RMSNorm; positions are
rotations of queries and keys (RoPE), in cross-attention too: without them nothing says how far the decoder has come in
the source, and alignments are learnt late; SwiGLU takes the place of ReLU; there are no biases. `qk_norm` normalises
queries and keys a head at a time, in all attentions. Embeddings are scaled by sqrt(d_model), as in 2017: the residual
path then begins with what a token is, and is not drowned by the first block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from malgil.config import setting
from malgil.errors import ContextLengthError, InputError
from malgil.layers import masks
from malgil.layers.attention import Attention, check_heads
from malgil.layers.dropout import Dropout
from malgil.layers.feedforward import SwiGLU
from malgil.layers.norms import RMSNorm
from malgil.layers.positions import RotaryEmbedding, apply_normed_rotary, apply_rotary
from malgil.layers.state import KVCache, Shared, TransformerState
from malgil.models.base import EncoderDecoder, Memory, Output, State
from malgil.models.transformer import shares_embedding

Rotation = tuple[Tensor, Tensor]
#: a memory, and the rotation of its positions
Turned = tuple[Memory, Rotation]


@dataclass(frozen=True)
class ModernTransformerConfig:
    """The settings of a modern Transformer."""

    n_layers: int = setting(3, "blocks of the decoder", low=1)
    n_encoder_layers: int | None = setting(None, "blocks of the encoder; none = n_layers", low=1)
    n_heads: int = setting(4, "attention heads; they divide d_model into even widths", low=1)
    d_model: int = setting(192, "width of the residual path", low=1)
    d_ff: int | None = setting(None, "width of the gated part; none = 8/3 x d_model, up to a multiple of 8", low=1)
    max_len: int = setting(128, "context: positions of a source, and of a target", low=1)
    dropout: float = setting(0.1, "dropout on embeddings, attention and residuals", low=0, high=0.99)
    shared: bool | None = setting(None, "one embedding for both sides; none = where both have one tokenizer")
    tied: bool = setting(True, "the output layer is the target's embedding")
    qk_norm: bool = setting(False, "RMSNorm on queries and keys")
    rope_theta: float = setting(10000.0, "base of the rotations' wave lengths", above=1)
    norm_eps: float = setting(1e-6, "added to the mean square in norms", above=0)

    def __post_init__(self) -> None:
        check_heads(self.d_model, self.n_heads, even=True)

    @property
    def encoder_layers(self) -> int:
        return self.n_encoder_layers or self.n_layers

    @property
    def d_head(self) -> int:
        return self.d_model // self.n_heads

    @property
    def ff_width(self) -> int:
        return self.d_ff or math.ceil(8 * self.d_model / 3 / 8) * 8


class SelfAttention(nn.Module):
    """Attention with rotated queries and keys, over all tokens or those to the left."""

    def __init__(self, config: ModernTransformerConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.attend = Attention(config.dropout)
        self.query = nn.Linear(config.d_model, config.d_model, bias=False)
        self.key = nn.Linear(config.d_model, config.d_model, bias=False)
        self.value = nn.Linear(config.d_model, config.d_model, bias=False)
        self.output = nn.Linear(config.d_model, config.d_model, bias=False)
        self.query_norm = RMSNorm(config.d_head, config.norm_eps) if config.qk_norm else None
        self.key_norm = RMSNorm(config.d_head, config.norm_eps) if config.qk_norm else None

    def forward(
        self,
        x: Tensor,
        rotation: Rotation,
        mask: Tensor | None,
        causal: bool = False,
        layer: int = 0,
        cache: KVCache | None = None,
    ) -> Tensor:
        query, key, value = (
            part(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )  # (B, H, T, D_head) each
        query, key = _turned(query, self.query_norm, rotation), _turned(key, self.key_norm, rotation)
        if cache is not None:
            key, value = cache.write(layer, key, value)
        mixed = self.attend(query, key, value, causal=causal, mask=mask)
        return self.output(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def _turned(x: Tensor, norm: RMSNorm | None, rotation: Rotation) -> Tensor:
    return apply_rotary(x, *rotation) if norm is None else apply_normed_rotary(x, norm, *rotation)


class CrossAttention(nn.Module):
    """Attention of the target's tokens over the memory, both rotated by where they stand in their own text."""

    def __init__(self, config: ModernTransformerConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.attend = Attention(config.dropout)
        self.query = nn.Linear(config.d_model, config.d_model, bias=False)
        self.key = nn.Linear(config.d_model, config.d_model, bias=False)
        self.value = nn.Linear(config.d_model, config.d_model, bias=False)
        self.output = nn.Linear(config.d_model, config.d_model, bias=False)
        self.query_norm = RMSNorm(config.d_head, config.norm_eps) if config.qk_norm else None
        self.key_norm = RMSNorm(config.d_head, config.norm_eps) if config.qk_norm else None

    def read(self, memory: Tensor, rotation: Rotation) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, S, D_head) of a memory (B, S, D)."""
        key, value = (part(memory).unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for part in (self.key, self.value))
        return _turned(key, self.key_norm, rotation), value

    def forward(self, x: Tensor, rotation: Rotation, source: Shared) -> Tensor:
        """x (B, T, D) and the mask, keys and values of its sources -> (B, T, D)."""
        mask, key, value = source.tensors
        query = self.query(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)  # (B, H, T, D_head)
        query = _turned(query, self.query_norm, rotation)
        mixed = source.scatter(self.attend(source.gather(query), key, value, mask=mask))
        return self.output(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class EncoderBlock(nn.Module):
    """x + attention(norm1(x)), then + feed_forward(norm2(x))."""

    def __init__(self, config: ModernTransformerConfig) -> None:
        super().__init__()
        self.norm1 = RMSNorm(config.d_model, config.norm_eps)
        self.attention = SelfAttention(config)
        self.norm2 = RMSNorm(config.d_model, config.norm_eps)
        self.feed_forward = SwiGLU(config.d_model, config.ff_width)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, rotation: Rotation, mask: Tensor | None) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x), rotation, mask))
        return x + self.dropout(self.feed_forward(self.norm2(x)))  # type: ignore[no-any-return]


class DecoderBlock(nn.Module):
    """x + attention(norm1(x)), then + cross_attention(norm2(x)), then + feed_forward(norm3(x))."""

    def __init__(self, config: ModernTransformerConfig) -> None:
        super().__init__()
        self.norm1 = RMSNorm(config.d_model, config.norm_eps)
        self.attention = SelfAttention(config)
        self.norm2 = RMSNorm(config.d_model, config.norm_eps)
        self.cross_attention = CrossAttention(config)
        self.norm3 = RMSNorm(config.d_model, config.norm_eps)
        self.feed_forward = SwiGLU(config.d_model, config.ff_width)
        self.dropout = Dropout(config.dropout)

    def forward(
        self, x: Tensor, rotation: Rotation, mask: Tensor | None, layer: int, source: Turned | TransformerState
    ) -> Tensor:
        cache = source.cache if isinstance(source, TransformerState) else None
        causal = mask is None and x.shape[1] > 1  # a single new token sees everything before it
        x = x + self.dropout(self.attention(self.norm1(x), rotation, mask, causal, layer, cache))
        x = x + self.dropout(self.cross_attention(self.norm2(x), rotation, self._read(layer, source)))
        return x + self.dropout(self.feed_forward(self.norm3(x)))  # type: ignore[no-any-return]

    def read(self, memory: Tensor, rotation: Rotation) -> tuple[Tensor, Tensor]:
        """What cross-attention keeps of a memory, see `CrossAttention.read`."""
        key, value = self.cross_attention.read(memory, rotation)
        return key.contiguous(), value.contiguous()

    def _read(self, layer: int, source: Turned | TransformerState) -> Shared:
        """What the state has kept, or the keys and values of a memory."""
        if isinstance(source, TransformerState):
            return source.source(layer)
        memory, rotation = source
        return Shared((memory.mask[:, None, None, :], *self.cross_attention.read(memory.hidden, rotation)))


class ModernTransformer(EncoderDecoder):
    """The whole model; see the module's picture."""

    block_methods = ("read",)

    def __init__(self, config: ModernTransformerConfig, vocab_size: int, source_vocab_size: int | None = None) -> None:
        super().__init__()
        self.config, self.vocab_size, self.d_model = config, vocab_size, config.d_model
        self.source_vocab_size = source_vocab_size or vocab_size
        self.context = self.source_context = config.max_len
        shared = shares_embedding(config.shared, vocab_size, source_vocab_size)
        self.embedding = nn.Embedding(vocab_size, config.d_model)
        self.source_embedding = None if shared else nn.Embedding(self.source_vocab_size, config.d_model)
        self.rotary = RotaryEmbedding(config.d_head, config.max_len, config.rope_theta)
        self.dropout = Dropout(config.dropout)
        self.encoder = nn.ModuleList(EncoderBlock(config) for _ in range(config.encoder_layers))
        self.encoder_norm = RMSNorm(config.d_model, config.norm_eps)
        self.decoder = nn.ModuleList(DecoderBlock(config) for _ in range(config.n_layers))
        self.decoder_norm = RMSNorm(config.d_model, config.norm_eps)
        self.head = None if config.tied else nn.Linear(config.d_model, vocab_size, bias=False)
        self._initialise()

    def _initialise(self) -> None:
        """For the high rates of Muon, as `init: scaled` of Llama.

        Every block starts as the identity (Zhang et al. 2019), and an untied head predicts all tokens alike; matrices
        begin at the scale that keeps activations at theirs. Embeddings are small, as a tied output layer must be, and
        are scaled where they are read.
        """
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2:
                continue  # the gains of norms start at 1
            if name.endswith("embedding.weight"):
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith(("output.weight", "down.weight")) or name == "head.weight":
                nn.init.zeros_(parameter)
            else:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)

    def blocks(self) -> list[nn.Module]:
        return [*self.encoder, *self.decoder]

    def head_weight(self) -> Tensor:
        return self.embedding.weight if self.head is None else self.head.weight

    def encode(self, source: Tensor, *, source_mask: Tensor | None = None) -> Memory:
        self._fits(source.shape[1], "source")
        rotation = self._rotation(source)
        mask = None if source_mask is None else source_mask[:, None, None, :]
        x = self._embedded(self.source_embedding or self.embedding, source)  # (B, S, D)
        for block in self.encoder:
            x = block(x, rotation, mask)
        real = torch.ones_like(source, dtype=torch.bool) if source_mask is None else source_mask
        return Memory(self.encoder_norm(x), real)

    def init_state(self, memory: Memory, max_len: int) -> TransformerState:
        c, rows = self.config, len(memory.mask)
        cache = KVCache.empty(c.n_layers, rows, c.n_heads, max_len, c.d_head, self.embedding.weight)
        read: list[Tensor] = []
        rotation = self._rotation(memory.mask)
        for block in self.decoder:
            assert isinstance(block, DecoderBlock)
            read += block.read(memory.hidden, rotation)
        return TransformerState(cache, Shared((memory.mask[:, None, None, :], *read)))

    def forward(
        self,
        tokens: Tensor,
        *,
        token_mask: Tensor | None = None,
        memory: Memory | None = None,
        state: State | None = None,
    ) -> Output:
        n_new = tokens.shape[1]
        self._fits(n_new, "target")
        mask = None  # plain causal: right padding is never seen by the real tokens before it
        source: Turned | TransformerState
        if memory is not None and state is None:
            source, positions = (memory, self._rotation(memory.mask)), torch.arange(n_new, device=tokens.device)
        elif memory is None and isinstance(state, TransformerState):
            source, positions = state, state.cache.positions(n_new)
            mask = None if state.cache.even else masks.cached(positions, state.cache.longest + n_new)
        else:
            raise InputError("a decoder reads either a memory or a state", fix="give forward one of the two")
        # right padding may reach beyond the context; it is read by nobody
        rotation = self.rotary(positions.clamp(max=self.config.max_len - 1))
        x = self._embedded(self.embedding, tokens)  # (B, T, D)
        for i, block in enumerate(self.decoder):
            x = block(x, rotation, mask, i, source)
        after = source.advance(n_new, token_mask) if isinstance(source, TransformerState) else None
        return Output(self.decoder_norm(x), after)

    def _embedded(self, embedding: nn.Embedding, tokens: Tensor) -> Tensor:
        """(B, T, D): what the first block reads."""
        return self.dropout(embedding(tokens) * math.sqrt(self.d_model))  # type: ignore[no-any-return]

    def _rotation(self, source: Tensor) -> Rotation:
        """Of the places of a source (B, S, ...)."""
        return self.rotary(torch.arange(source.shape[1], device=source.device))  # type: ignore[no-any-return]

    def _fits(self, length: int, side: str) -> None:
        if length > self.config.max_len:
            raise ContextLengthError(f"{length} tokens in a {side}, the context holds {self.config.max_len}")
