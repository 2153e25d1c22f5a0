"""The Transformer (Vaswani et al. 2017): one text into another by attention alone.

    source -> embedding + positions -> dropout -> encoder blocks -> memory
                                                                      |
    target -> embedding + positions -> dropout -> decoder blocks <----+  -> output layer

    encoder block   x ─┬─ attention ─(+)─ norm1 ─┬─ feed-forward ─(+)─ norm2 ─ y
                       └──────────────┘          └─────────────────┘

    decoder block   x ─┬─ attention ─(+)─ norm1 ─┬─ cross-attention ─(+)─ norm2 ─┬─ feed-forward ─(+)─ norm3 ─ y
                       └──────────────┘          └────────────────────┘          └─────────────────┘

Against GPT-2: the norm stands behind each sum, so that what a block gives is normed and no norm follows the last;
positions are sines; an encoder reads the source in both directions, and the decoder looks at it between its two other
parts. Embeddings are multiplied by sqrt(d_model). One matrix is the embedding of both sides and the output layer where
both sides have one vocabulary (section 3.4).

Sines stand before cosines, as in Marian, where the paper has them take turns. With an output bias its computation
equals Hugging Face's `MarianMTModel`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from malgil.config import setting
from malgil.errors import ConfigError, ContextLengthError, InputError
from malgil.layers import masks
from malgil.layers.attention import Attention, check_heads
from malgil.layers.dropout import Dropout
from malgil.layers.feedforward import FeedForward
from malgil.layers.positions import SinusoidalPositions
from malgil.layers.state import KVCache, Shared, TransformerState
from malgil.models.base import EncoderDecoder, Memory, Output, State


@dataclass(frozen=True)
class TransformerConfig:
    """The settings of a Transformer."""

    n_layers: int = setting(3, "blocks of the decoder", low=1)
    n_encoder_layers: int | None = setting(None, "blocks of the encoder; none = n_layers", low=1)
    n_heads: int = setting(4, "attention heads; they divide d_model", low=1)
    d_model: int = setting(256, "width of the residual path", low=1)
    d_ff: int | None = setting(None, "width of the feed-forward part; none = 4 x d_model", low=1)
    max_len: int = setting(128, "context: positions of a source, and of a target", low=1)
    dropout: float = setting(0.1, "dropout on embeddings, attention and residuals", low=0, high=0.99)
    activation: str = setting("relu", "feed-forward activation; Marian's is silu", choices=["relu", "silu", "gelu"])
    scale_embedding: bool = setting(True, "embeddings are multiplied by sqrt(d_model)")
    shared: bool | None = setting(None, "one embedding for both sides; none = where both have one tokenizer")
    tied: bool = setting(True, "the output layer is the target's embedding")
    output_bias: bool = setting(False, "a bias in the output layer, as in Marian")
    norm_eps: float = setting(1e-5, "added to the variance in norms", above=0)

    def __post_init__(self) -> None:
        check_heads(self.d_model, self.n_heads)

    @property
    def encoder_layers(self) -> int:
        return self.n_encoder_layers or self.n_layers

    @property
    def ff_width(self) -> int:
        return self.d_ff or 4 * self.d_model


class SelfAttention(nn.Module):
    """softmax(q k^T / sqrt(d_head)) v, n_heads times (section 3.2), over all tokens or those to the left."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.attend = Attention(config.dropout)
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model)
        self.output = nn.Linear(config.d_model, config.d_model)

    def forward(
        self, x: Tensor, mask: Tensor | None, causal: bool = False, layer: int = 0, cache: KVCache | None = None
    ) -> Tensor:
        qkv = self.qkv(x).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)  # (3, B, H, T, D_head)
        query, key, value = qkv.unbind(0)
        if cache is not None:
            key, value = cache.write(layer, key, value)
        mixed = self.attend(query, key, value, causal=causal, mask=mask)
        return self.output(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class CrossAttention(nn.Module):
    """Attention of the target's tokens over the memory."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.attend = Attention(config.dropout)
        self.query = nn.Linear(config.d_model, config.d_model)
        self.key_value = nn.Linear(config.d_model, 2 * config.d_model)
        self.output = nn.Linear(config.d_model, config.d_model)

    def read(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, S, D_head) of a memory (B, S, D)."""
        key, value = self.key_value(memory).unflatten(-1, (2, self.n_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return key, value

    def forward(self, x: Tensor, source: Shared) -> Tensor:
        """x (B, T, D) and the mask, keys and values of its sources -> (B, T, D)."""
        mask, key, value = source.tensors
        query = self.query(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)  # (B, H, T, D_head)
        mixed = source.scatter(self.attend(source.gather(query), key, value, mask=mask))
        return self.output(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class EncoderBlock(nn.Module):
    """norm1(x + attention(x)), then norm2 of that + feed_forward."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention = SelfAttention(config)
        self.norm1 = nn.LayerNorm(config.d_model, config.norm_eps)
        self.feed_forward = FeedForward(config.d_model, config.ff_width, config.activation)
        self.norm2 = nn.LayerNorm(config.d_model, config.norm_eps)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = self.norm1(x + self.dropout(self.attention(x, mask)))
        return self.norm2(x + self.dropout(self.feed_forward(x)))  # type: ignore[no-any-return]


class DecoderBlock(nn.Module):
    """norm1(x + attention(x)), then norm2 of that + cross_attention, then norm3 of that + feed_forward."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention = SelfAttention(config)
        self.norm1 = nn.LayerNorm(config.d_model, config.norm_eps)
        self.cross_attention = CrossAttention(config)
        self.norm2 = nn.LayerNorm(config.d_model, config.norm_eps)
        self.feed_forward = FeedForward(config.d_model, config.ff_width, config.activation)
        self.norm3 = nn.LayerNorm(config.d_model, config.norm_eps)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor | None, layer: int, source: Memory | TransformerState) -> Tensor:
        cache = source.cache if isinstance(source, TransformerState) else None
        causal = mask is None and x.shape[1] > 1  # a single new token sees everything before it
        x = self.norm1(x + self.dropout(self.attention(x, mask, causal, layer, cache)))
        x = self.norm2(x + self.dropout(self.cross_attention(x, self._read(layer, source))))
        return self.norm3(x + self.dropout(self.feed_forward(x)))  # type: ignore[no-any-return]

    def read(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """What cross-attention keeps of a memory, see `CrossAttention.read`."""
        key, value = self.cross_attention.read(memory)
        return key.contiguous(), value.contiguous()

    def _read(self, layer: int, source: Memory | TransformerState) -> Shared:
        """What the state has kept, or the keys and values of a memory."""
        if isinstance(source, TransformerState):
            return source.source(layer)
        return Shared((source.mask[:, None, None, :], *self.cross_attention.read(source.hidden)))


def shares_embedding(shared: bool | None, vocab_size: int, source_vocab_size: int | None) -> bool:
    """Whether one embedding serves both sides: as the setting says, or where the source has no vocabulary of its own.

    Raises:
        ConfigError: it should, but the vocabularies differ in size.
    """
    if shared is None:
        return source_vocab_size is None
    if shared and source_vocab_size not in (None, vocab_size):
        raise ConfigError(
            f"{source_vocab_size} source tokens and {vocab_size} target tokens cannot share an embedding",
            "model.shared",
            "set it to false, or give both sides one tokenizer",
        )
    return shared


class Transformer(EncoderDecoder):
    """The whole model; see the module's picture."""

    block_methods = ("read",)

    def __init__(self, config: TransformerConfig, vocab_size: int, source_vocab_size: int | None = None) -> None:
        super().__init__()
        self.config, self.vocab_size, self.d_model = config, vocab_size, config.d_model
        self.source_vocab_size = source_vocab_size or vocab_size
        self.context = self.source_context = config.max_len
        shared = shares_embedding(config.shared, vocab_size, source_vocab_size)
        self.embedding = nn.Embedding(vocab_size, config.d_model)
        self.source_embedding = None if shared else nn.Embedding(self.source_vocab_size, config.d_model)
        self.embedding_scale = math.sqrt(config.d_model) if config.scale_embedding else 1.0
        self.positions = SinusoidalPositions(config.d_model, config.max_len)
        self.dropout = Dropout(config.dropout)
        self.encoder = nn.ModuleList(EncoderBlock(config) for _ in range(config.encoder_layers))
        self.decoder = nn.ModuleList(DecoderBlock(config) for _ in range(config.n_layers))
        self.head = None if config.tied else nn.Linear(config.d_model, vocab_size, bias=False)
        self.output_bias = nn.Parameter(torch.zeros(vocab_size)) if config.output_bias else None
        self._initialise()

    def _initialise(self) -> None:
        """Matrices by Glorot and Bengio (2010), as in the paper's code, but every part begins by adding nothing.

        A post-norm block passes on norm(x + part(x)); with parts that start at 0 the first steps are those of a shallow
        network, which holds at rates where random parts need a long warm-up. Embeddings are smaller than the paper's
        N(0, 1 / d_model): tied to them, its output layer would begin by letting every token predict itself.
        """
        for name, parameter in self.named_parameters():
            if name.endswith(("bias", "output.weight", "down.weight")) or name == "head.weight":
                nn.init.zeros_(parameter)
            elif name.endswith("embedding.weight"):
                nn.init.normal_(parameter, std=0.02)
            elif parameter.dim() == 2:
                stacked = 3 if name.endswith("qkv.weight") else 2 if name.endswith("key_value.weight") else 1
                for matrix in parameter.chunk(stacked):  # each by itself what the paper has
                    nn.init.xavier_uniform_(matrix)

    def blocks(self) -> list[nn.Module]:
        return [*self.encoder, *self.decoder]

    def head_weight(self) -> Tensor:
        return self.embedding.weight if self.head is None else self.head.weight

    def head_bias(self) -> Tensor | None:
        return self.output_bias

    def encode(self, source: Tensor, *, source_mask: Tensor | None = None) -> Memory:
        self._fits(source.shape[1], "source")
        positions = torch.arange(source.shape[1], device=source.device)
        x = self._embedded(self.source_embedding or self.embedding, source, positions)
        mask = None if source_mask is None else source_mask[:, None, None, :]
        for block in self.encoder:
            x = block(x, mask)
        return Memory(x, torch.ones_like(source, dtype=torch.bool) if source_mask is None else source_mask)

    def init_state(self, memory: Memory, max_len: int) -> TransformerState:
        c, rows = self.config, len(memory.mask)
        cache = KVCache.empty(c.n_layers, rows, c.n_heads, max_len, c.d_model // c.n_heads, self.embedding.weight)
        read: list[Tensor] = []
        for block in self.decoder:
            assert isinstance(block, DecoderBlock)
            read += block.read(memory.hidden)
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
        source: Memory | TransformerState
        if memory is not None and state is None:
            source, positions = memory, torch.arange(n_new, device=tokens.device)
        elif memory is None and isinstance(state, TransformerState):
            source, positions = state, state.cache.positions(n_new)
            mask = None if state.cache.even else masks.cached(positions, state.cache.longest + n_new)
        else:
            raise InputError("a decoder reads either a memory or a state", fix="give forward one of the two")
        x = self._embedded(self.embedding, tokens, positions)  # (B, T, D)
        for i, block in enumerate(self.decoder):
            x = block(x, mask, i, source)
        return Output(x, source.advance(n_new, token_mask) if isinstance(source, TransformerState) else None)

    def _embedded(self, embedding: nn.Embedding, tokens: Tensor, positions: Tensor) -> Tensor:
        """(B, T, D): what the first block reads."""
        x = embedding(tokens) * self.embedding_scale
        return self.dropout(x + self.positions(positions).to(x.dtype))  # type: ignore[no-any-return]

    def _fits(self, length: int, side: str) -> None:
        if length > self.config.max_len:
            raise ContextLengthError(f"{length} tokens in a {side}, the context holds {self.config.max_len}")
