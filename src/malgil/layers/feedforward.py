"""Position-wise feed-forward layers: two maps with an activation between them, and the gated SwiGLU and GeGLU."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

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


class GeGLU(nn.Module):
    """y = down(gelu(a) * b), a and b the halves of up x, without biases (Shazeer 2020, equation 6).

    One matrix makes both halves, as in ModernBERT: `up` is (2 d_ff, d_model), the rows of a first.
    """

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.up = nn.Linear(d_model, 2 * d_ff, bias=False)
        self.down = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., d_model) -> (..., d_model)."""
        a, b = self.up(x).chunk(2, dim=-1)
        y: Tensor = self.down(gelu(a, "gelu") * b)
        return y


class FeedForward(nn.Module):
    """y = down(activation(up x)) (Vaswani et al. 2017, equation 2).

    Args:
        activation: `relu` (the Transformer of 2017); `silu`, x sigmoid(x) (Marian, which calls it swish); `gelu`,
            x Phi(x) exactly (BERT; Hendrycks and Gimpel 2016); `gelu_tanh`, its approximation by tanh (GPT-2).
    """

    def __init__(self, d_model: int, d_ff: int, activation: str, bias: bool = True) -> None:
        super().__init__()
        if activation not in _ACTIVATIONS:
            raise not_found("activation", activation, _ACTIVATIONS)
        self.activation = activation
        self.up = nn.Linear(d_model, d_ff, bias=bias)
        self.down = nn.Linear(d_ff, d_model, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., d_model) -> (..., d_model)."""
        y: Tensor = self.down(_ACTIVATIONS[self.activation](self.up(x)))
        return y


def gelu(x: Tensor, activation: str) -> Tensor:
    """`gelu` or `gelu_tanh` of each number, in the type of x."""
    tabulated = activation == "gelu_tanh" and x.device.type == "cpu" and x.dtype is torch.bfloat16
    if tabulated and not torch.compiler.is_compiling():  # a compiler fuses the formula itself
        y: Tensor = _TabulatedGELU.apply(x)  # type: ignore[no-untyped-call]
        return y
    return F.gelu(x, approximate=_APPROXIMATE[activation])


class _TabulatedGELU(torch.autograd.Function):
    """GELU by tanh in bf16 on a CPU, where tanh is slow: a bf16 number has 65,536 values, so a table holds all results.

    The table is PyTorch's own function, so the result is its result bit for bit, in less than half of the time.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return _looked_up(x, _gelu_tables()[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return _looked_up(x, _gelu_tables()[1]).mul_(grad)


def _looked_up(x: Tensor, values: Tensor) -> Tensor:
    """values[bits of x]: (...) bf16 -> (...) bf16."""
    index = x.contiguous().view(torch.uint16).view(-1).to(torch.int32)
    return values.index_select(0, index).view(x.shape)


@cache
def _gelu_tables() -> tuple[Tensor, Tensor]:
    """GELU by tanh and its derivative at every bf16 number, in the order of their bits; 128 KiB each."""
    x = torch.arange(1 << 16, dtype=torch.int32).to(torch.uint16).view(torch.bfloat16)
    slope = torch.ops.aten.gelu_backward(torch.ones_like(x), x, approximate="tanh")
    far = x.abs() > 100  # where the formula's x^3 overflows the slope has long been 0 or 1
    return F.gelu(x, approximate="tanh"), slope.where(~far, (x > 0).to(x.dtype))


_APPROXIMATE = {"gelu": "none", "gelu_tanh": "tanh"}
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": partial(F.relu, inplace=True),  # what the map before it gave is needed by nobody else
    "silu": F.silu,
    **{name: partial(gelu, activation=name) for name in _APPROXIMATE},
}
