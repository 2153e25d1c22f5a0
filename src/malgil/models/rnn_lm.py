"""Recurrent language models: tanh RNN (Elman 1990), GRU (Cho et al. 2014), LSTM (Hochreiter & Schmidhuber 1997).

    tokens -> embedding -> dropout -> n_layers x cell, left to right -> dropout -> output layer, tied or not

Where attention looks back at every token, a recurrent model carries one vector a layer (two in an LSTM)
from token to token. Its context has no limit and its cost a token no growth, but time steps cannot run
side by side. Training cuts the text into pieces of `max_len` tokens and carries the state, without its
gradient, from piece to piece (truncated back-propagation through time, Williams & Peng 1990).
Cells are PyTorch's own; dropout between them as in Zaremba et al. 2014.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from malgil.config import setting
from malgil.errors import ConfigError, InputError
from malgil.layers.dropout import Dropout
from malgil.layers.recurrent import CELLS, initialise, read
from malgil.layers.state import RecurrentState
from malgil.models.base import CausalLM, Output, State

#: embeddings begin in U(-0.1, 0.1), whose standard deviation is 0.1 / sqrt(3)
EMBEDDING = 0.1


@dataclass(frozen=True)
class RNNLMConfig:
    """The settings of a recurrent language model."""

    cell: str = setting("lstm", "recurrent cell", choices=list(CELLS))
    n_layers: int = setting(2, "recurrent layers", low=1)
    d_model: int = setting(200, "width of the embedding", low=1)
    d_hidden: int | None = setting(None, "width of the recurrent state; none = d_model", low=1)
    max_len: int = setting(64, "tokens through which gradients flow back", low=1)
    dropout: float = setting(0.0, "dropout on embeddings, between layers and before the output", low=0, high=0.99)
    tied: bool = setting(True, "the output layer is the embedding; needs d_hidden = d_model")
    output_bias: bool = setting(False, "a bias in the output layer, which learns how frequent each token is")

    def __post_init__(self) -> None:
        if self.tied and self.hidden_width != self.d_model:
            raise ConfigError(
                f"model.tied needs model.d_hidden ({self.hidden_width}) equal to model.d_model ({self.d_model})",
                fix="make them equal, or set model.tied to false",
            )

    @property
    def hidden_width(self) -> int:
        return self.d_hidden or self.d_model


class RNNLM(CausalLM):
    """The whole model; see the module's picture."""

    def __init__(self, config: RNNLMConfig, vocab_size: int) -> None:
        super().__init__()
        self.config, self.vocab_size = config, vocab_size
        self.d_model, self.context = config.hidden_width, None
        self.embedding = nn.Embedding(vocab_size, config.d_model)
        self.recurrent = CELLS[config.cell](
            config.d_model,
            config.hidden_width,
            config.n_layers,
            batch_first=True,
            dropout=config.dropout if config.n_layers > 1 else 0.0,
        )
        self.dropout = Dropout(config.dropout)
        self.head = None if config.tied else nn.Linear(config.hidden_width, vocab_size, bias=False)
        self.output_bias = nn.Parameter(torch.zeros(vocab_size)) if config.output_bias else None
        self._initialise()

    def _initialise(self) -> None:
        """U(-0.1, 0.1) for the embedding and output layer, the cells as in `layers.recurrent`.

        Their first layer makes up for small embeddings; otherwise a model stays at the frequencies of words for
        hundreds of steps (docs/results.md, 3).
        """
        nn.init.uniform_(self.embedding.weight, -EMBEDDING, EMBEDDING)
        if self.head is not None:
            nn.init.uniform_(self.head.weight, -EMBEDDING, EMBEDDING)
        initialise(self.recurrent, EMBEDDING / math.sqrt(3))

    def head_weight(self) -> Tensor:
        return self.embedding.weight if self.head is None else self.head.weight

    def head_bias(self) -> Tensor | None:
        return self.output_bias

    def init_state(self, batch_size: int, max_len: int) -> RecurrentState:
        shape = (self.config.n_layers, batch_size, self.config.hidden_width)
        count = 2 if self.config.cell == "lstm" else 1
        return RecurrentState(*(self.embedding.weight.new_zeros(shape) for _ in range(count)))

    def forward(
        self,
        tokens: Tensor,
        *,
        token_mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        state: State | None = None,
    ) -> Output:
        if segment_ids is not None:
            raise InputError("a recurrent model takes no packed rows", fix="give a document or a stream a row")
        carried = state if isinstance(state, RecurrentState) else self.init_state(len(tokens), 0)
        x = self.dropout(self.embedding(tokens))  # (B, T, D)
        hidden, parts = read(self.recurrent, x, carried.parts, token_mask)
        return Output(self.dropout(hidden), RecurrentState(*parts) if state is not None else None)
