"""What recurrent language models alone promise."""

from __future__ import annotations

import pytest
import torch

from malgil.models.rnn_lm import RNNLM, RNNLMConfig


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_gates_depend_on_the_token_from_the_start(cell: str) -> None:
    torch.manual_seed(0)
    model = RNNLM(RNNLMConfig(cell=cell, d_model=96, n_layers=2), vocab_size=301)
    sums = model.embedding.weight @ model.recurrent.weight_ih_l0.T  # (V, gates)
    assert 0.9 < sums.std().item() < 1.1
