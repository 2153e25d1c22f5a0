"""What the cases of all families share: tokens, rows of different lengths, and weights far from their start."""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VOCAB = 23
M = TypeVar("M", bound=nn.Module)


def shake(model: M) -> M:
    """The model with weights far from their start, so that gains, biases and attention all matter."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def random_tokens(*shape: int) -> Tensor:
    return torch.randint(0, VOCAB, shape)


def padded(rows: list[Tensor], filler: int = 0) -> tuple[Tensor, Tensor]:
    """Rows of different lengths as (B, T), and which tokens are real."""
    length = max(len(row) for row in rows)
    tokens = torch.stack([F.pad(row, (0, length - len(row)), value=filler) for row in rows])
    return tokens, torch.stack([torch.arange(length) < len(row) for row in rows])
