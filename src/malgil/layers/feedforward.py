"""Position-wise feed-forward layers: GPT-2's and BERT's GELU, and Llama's gated SwiGLU."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from malgil.config import not_found


class SwiGLU(nn.Module):
    """y = down(silu(gate x) * up x), without biases (Shazeer 2020, equation 6).

    Three matrices instead of two: d_ff is usually 8/3 d_model where GELU's is 4 d_model.
    """

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.gate = nn.Linear(d_model, d_ff, bias=False)
        self.up = nn.Linear(d_model, d_ff, bias=False)
        self.down = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., d_model) -> (..., d_model)."""
        y: Tensor = self.down(F.silu(self.gate(x)) * self.up(x))
        return y


class GELUFeedForward(nn.Module):
    """y = down(gelu(up x)) (Hendrycks and Gimpel 2016).

    Args:
        activation: `gelu`, x Phi(x) exactly (BERT); `gelu_tanh`, its approximation by tanh (GPT-2).
    """

    def __init__(self, d_model: int, d_ff: int, activation: str = "gelu", bias: bool = True) -> None:
        super().__init__()
        if activation not in _APPROXIMATE:
            raise not_found("activation", activation, _APPROXIMATE)
        self.activation = activation
        self.up = nn.Linear(d_model, d_ff, bias=bias)
        self.down = nn.Linear(d_ff, d_model, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., d_model) -> (..., d_model)."""
        y: Tensor = self.down(F.gelu(self.up(x), approximate=_APPROXIMATE[self.activation]))
        return y


_APPROXIMATE = {"gelu": "none", "gelu_tanh": "tanh"}
