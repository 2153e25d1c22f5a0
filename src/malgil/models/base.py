"""The protocols: what a model offers to objectives, decoding, the trainer and export.

A model turns token ids into hidden vectors and hidden vectors into logits. It knows no labels, no
special ids and no loss weights; those belong to objectives and collators.

Legend of shapes used in every family: B rows of a batch, T positions of a row, S keys that can be
seen, D model width, H heads, N flattened positions, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from malgil.layers.heads import linear_nll

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


class Model(nn.Module, ABC):
    """Base of every family."""

    d_model: int
    vocab_size: int
    #: the number of positions a row may have; None where there is no limit (recurrent families)
    context: int | None
    embedding: nn.Embedding

    def blocks(self) -> list[nn.Module]:
        """The repeated units, to be sharded or compiled one by one; may be empty."""
        return []

    @abstractmethod
    def head_weight(self) -> Tensor:
        """The output matrix (V, D); the embedding itself when the head is tied."""

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of the next token: hidden (..., D) -> (..., V)."""
        return nn.functional.linear(hidden, self.head_weight())

    def nll(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """-log p(target) in nats: hidden (N, D), targets (N,) -> (N,) in fp32; 0 where the target is -100."""
        return linear_nll(hidden, self.head_weight(), targets)


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


def count_parameters(model: nn.Module) -> int:
    """All trained numbers, shared ones once."""
    return sum(p.numel() for p in model.parameters())


def parameter_device(model: nn.Module) -> torch.device:
    """Where the model lives."""
    return next(model.parameters()).device
