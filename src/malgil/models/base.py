"""The protocols: what a model offers to objectives, decoding, the trainer and export.

A model turns token ids into hidden vectors and hidden vectors into logits. It knows no labels, no
special ids and no loss weights; those belong to objectives and collators.

Legend of shapes used in every family: B rows of a batch, T positions of a row, S keys that can be
seen, D model width, H heads, N flattened positions, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from malgil.layers.heads import linear_nll
from malgil.layers.recurrent import parameters_by_layer

S = TypeVar("S", bound="State")


class State(Protocol):
    """What a model remembers of the tokens it has read: an LSTM's (h, c) and a cache of keys alike.

    `forward` returns the next state; the one that was passed in is spent and must not be used again.
    `select` copies, so that a row may go on in several directions.
    """

    def select(self: S, rows: Tensor) -> S:
        """The state with the given rows (R,), which may repeat, as copies."""
        ...

    def detach(self: S) -> S:
        """The same state, cut off from the graph."""
        ...

    row_dim: int

    def tensors(self) -> list[Tensor]:
        """Everything the state holds, rows along `row_dim`, for checkpoints."""
        ...

    def with_tensors(self: S, tensors: list[Tensor]) -> S:
        """The state made of `tensors`, the inverse of `tensors()`."""
        ...


class Output(NamedTuple):
    """`hidden` (B, T, D), ready for `logits`, and the state after the last real token of each row."""

    hidden: Tensor
    state: State | None = None


class Memory(NamedTuple):
    """An encoded source.

    Attributes:
        hidden: (B, S, D_memory), a vector a token.
        mask: (B, S) bool, True = real; real tokens are a prefix of each row.
        final: what a recurrent encoder remembers at the end, for the decoder to begin with; empty for attention models.
    """

    hidden: Tensor
    mask: Tensor
    final: tuple[Tensor, ...] = ()


class Model(nn.Module, ABC):
    """Base of every family."""

    d_model: int
    vocab_size: int
    #: the number of positions a row may have; None where there is no limit (recurrent families)
    context: int | None
    embedding: nn.Embedding
    #: what is called of a block beside `forward` and uses its weights: they may lie on several devices
    block_methods: ClassVar[tuple[str, ...]] = ()

    def blocks(self) -> list[nn.Module]:
        """The repeated units, to be sharded or compiled one by one; may be empty."""
        return []

    def stem(self) -> list[nn.Module]:
        """What stands below the layers: the embeddings, and what is done to them before the first layer."""
        inside = {module for block in self.blocks() for module in block.modules()}
        return [m for m in self.modules() if isinstance(m, nn.Embedding) and m not in inside]

    def levels(self) -> list[list[nn.Parameter]]:
        """All parameters from the input to the output, each once: those of the stem, of each layer, and of what
        stands above the layers.

        A layer is a block, or a layer of a recurrent network in both of its directions; an encoder's stand below its
        decoder's, and one that is used several times is one.
        """
        stem = list(dict.fromkeys(p for module in self.stem() for p in module.parameters()))
        layers = [list(block.parameters()) for block in self.blocks()] or [
            layer for cells in self.modules() if isinstance(cells, nn.RNNBase) for layer in parameters_by_layer(cells)
        ]
        below = {p for level in (stem, *layers) for p in level}
        return [stem, *layers, [p for p in self.parameters() if p not in below]]

    @abstractmethod
    def head_weight(self) -> Tensor:
        """The output matrix (V, D_head); the embedding itself when the head is tied."""

    def head_bias(self) -> Tensor | None:
        """The output layer's bias (V,), in families that have one."""
        return None

    def to_head(self, hidden: Tensor) -> Tensor:
        """What stands between the last hidden vectors and the output matrix: (..., D) -> (..., D_head).

        Nothing in most families; in masked language models a layer of its own.
        """
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of the token that is to be predicted: hidden (..., D) -> (..., V)."""
        return nn.functional.linear(self.to_head(hidden), self.head_weight(), self.head_bias())

    def nll(self, hidden: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """-log p(target) in nats: hidden (N, D), targets (N,) -> (N,) in fp32; 0 where the target is -100.

        With label smoothing the cross-entropy against the smoothed target, see `layers.heads.linear_nll`.
        """
        read = self.to_head(hidden)
        return linear_nll(read, self.head_weight(), targets, bias=self.head_bias(), smoothing=smoothing)


class CausalLM(Model):
    """A model of the left-to-right kind: position t sees tokens 0..t and predicts token t + 1."""

    @abstractmethod
    def init_state(self, batch_size: int, max_len: int) -> State:
        """The state before the first token, with room for `max_len` tokens a row."""

    @abstractmethod
    def forward(
        self,
        tokens: Tensor,
        *,
        token_mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        state: State | None = None,
    ) -> Output:
        """Read tokens (B, T).

        Args:
            token_mask: (B, T), True = real; real tokens are a prefix of each row.
            segment_ids: (B, T), the number of the document a token belongs to, 0 = padding. Documents
                do not see one another and positions restart at each. Never together with a state.
            state: what was read before; with a state the next one is returned.
        """


class Encoder(Model):
    """A model that reads a text whole: every token sees all others, before it and behind it."""

    @abstractmethod
    def forward(
        self,
        tokens: Tensor,
        *,
        token_mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        type_ids: Tensor | None = None,
    ) -> Output:
        """Read tokens (B, T); `Output.state` is None.

        Args:
            token_mask: (B, T), True = real; real tokens are a prefix of each row.
            segment_ids: (B, T), the number of the document a token belongs to, 0 = padding. Documents do not see
                one another and positions restart at each. It also says which tokens are real.
            type_ids: (B, T), which of a document's texts a token belongs to, 0 or 1; families without types read
                none. None: all are 0.

        Returns:
            hidden (B, T, D); at padding it is finite and means nothing.
        """

    def pooled(self, first: Tensor) -> Tensor:
        """What stands for a whole text, made of its first token's hidden vector: (..., D) -> (..., D).

        The vector itself, but in families that have a layer for it.
        """
        return first


class EncoderDecoder(Model):
    """A model that reads a source whole and writes a target left to right.

    `embedding`, `vocab_size`, `context` and the output layer are those of the target.
    """

    source_vocab_size: int
    #: the number of positions a source may have; None where there is no limit
    source_context: int | None

    @abstractmethod
    def encode(self, source: Tensor, *, source_mask: Tensor | None = None) -> Memory:
        """Read sources.

        Args:
            source: (B, S).
            source_mask: (B, S), True = real; real tokens are a prefix of each row, at least one. None: all are real.
        """

    @abstractmethod
    def init_state(self, memory: Memory, max_len: int) -> State:
        """The decoder's state before its first token, a row for each of the memory's, with room for `max_len` tokens.

        The state holds the memory. Its `select` may repeat rows, which then share one memory.
        """

    @abstractmethod
    def forward(
        self,
        tokens: Tensor,
        *,
        token_mask: Tensor | None = None,
        memory: Memory | None = None,
        state: State | None = None,
    ) -> Output:
        """Read target tokens (B, T), the first of which begins the target; position t predicts token t + 1.

        Args:
            token_mask: (B, T), True = real; real tokens are a prefix of each row.
            memory: the encoded sources, a row each, when whole targets are read at once (training).
            state: from `init_state` or an earlier call, when tokens come piece by piece; the next one is returned.

        Raises:
            InputError: neither or both of memory and state.
        """


def count_parameters(model: nn.Module) -> int:
    """All trained numbers, shared ones once."""
    return sum(p.numel() for p in model.parameters())


def parameter_device(model: nn.Module) -> torch.device:
    """Where the model lives."""
    return next(model.parameters()).device
