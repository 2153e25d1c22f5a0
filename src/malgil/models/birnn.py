"""A bidirectional recurrent encoder (Schuster & Paliwal 1997): the yardstick of the encoder-only column.

    tokens -> embedding -> dropout -> n_layers x (cell from the left, cell from the right) -> dropout -> hidden vectors

    to a masked token:  hidden (both directions) -> dense -> the embedding, transposed, + bias

Two recurrences read a text, one from each end; a token's vector is what both have when they have read it, end to end.
So it knows the whole text as BERT's does, but what stands far away only as far as it was carried there, step by step. A
token's own vector has read that token, too: it can be asked for a token only where that is masked.
Each layer's two directions are the input of the next. Cells are PyTorch's own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from malgil.config import setting
from malgil.errors import InputError
from malgil.layers.dropout import Dropout
from malgil.layers.recurrent import CELLS, initialise, read
from malgil.models.base import Encoder, Output

#: embeddings begin in U(-0.1, 0.1), whose standard deviation is 0.1 / sqrt(3)
EMBEDDING = 0.1


@dataclass(frozen=True)
class BiRNNConfig:
    """The settings of a bidirectional recurrent encoder."""

    cell: str = setting("lstm", "recurrent cell", choices=list(CELLS))
    n_layers: int = setting(2, "recurrent layers, of two directions each", low=1)
    d_model: int = setting(200, "width of the embedding", low=1)
    d_hidden: int | None = setting(None, "width of each direction's state; none = d_model", low=1)
    max_len: int = setting(128, "tokens of a row in training; the model itself has no limit", low=1)
    dropout: float = setting(0.1, "dropout on embeddings, between layers and on hidden vectors", low=0, high=0.99)

    @property
    def hidden_width(self) -> int:
        return self.d_hidden or self.d_model


class BiRNN(Encoder):
    """The whole model; see the module's picture. Its hidden vectors are 2 x d_hidden wide."""

    def __init__(self, config: BiRNNConfig, vocab_size: int) -> None:
        super().__init__()
        self.config, self.vocab_size = config, vocab_size
        self.d_model, self.context = 2 * config.hidden_width, None
        self.embedding = nn.Embedding(vocab_size, config.d_model)
        self.recurrent = CELLS[config.cell](
            config.d_model,
            config.hidden_width,
            config.n_layers,
            batch_first=True,
            bidirectional=True,
            dropout=config.dropout if config.n_layers > 1 else 0.0,
        )
        self.dropout = Dropout(config.dropout)
        self.head = nn.Linear(self.d_model, config.d_model)
        self.output_bias = nn.Parameter(torch.zeros(vocab_size))
        self._initialise()

    def _initialise(self) -> None:
        """U(-0.1, 0.1) for the embedding, which is the output layer too; the cells as in `layers.recurrent`."""
        nn.init.uniform_(self.embedding.weight, -EMBEDDING, EMBEDDING)
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        initialise(self.recurrent, EMBEDDING / math.sqrt(3))

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
        if segment_ids is not None:
            raise InputError("a recurrent model takes no packed rows", fix="give each document a row")
        hidden, _ = read(self.recurrent, self.dropout(self.embedding(tokens)), None, token_mask)
        return Output(self.dropout(hidden))
