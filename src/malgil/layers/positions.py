"""Positions as rotations: RoPE turns queries and keys, so that their product knows only distance.

The two coordinates that rotate together are i and i + head_dim / 2 (GPT-NeoX's and Hugging Face's
"half split"), not 2i and 2i + 1 as in the paper; the two differ by a permutation of the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from malgil.errors import ConfigError
from malgil.layers.norms import RMSNorm, normalize, normalize_gradient


class RotaryEmbedding(nn.Module):
    """Tables of cos(m f_i) and sin(m f_i), f_i = theta^(-2i / head_dim) (Su et al. 2021, section 3.2.2).

    The tables are fp32, are not saved with the weights and stay fp32 when the model is cast.

    Args:
        head_dim: width of a head, even.
        max_len: number of positions.
        theta: base of the wavelengths, which run from 2 pi to about 2 pi theta.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, head_dim: int, max_len: int, theta: float = 10_000.0) -> None:
        super().__init__()
        if head_dim % 2:
            raise ConfigError(f"head_dim {head_dim} is odd", "rotary positions", "give an even head_dim")
        self.head_dim, self.max_len, self.theta = head_dim, max_len, theta
        cos, sin = self._tables()
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def _tables(self, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        exponents = torch.arange(0, self.head_dim, 2, device=device).float() / self.head_dim
        frequencies = 1.0 / (self.theta**exponents)
        angles = torch.outer(torch.arange(self.max_len, device=device).float(), frequencies)  # (max_len, head_dim / 2)
        cos, sin = angles.cos(), angles.sin()
        # (-sin, sin) lets one multiplication do for both halves of the rotated vector
        return torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> RotaryEmbedding:
        on_meta = self.cos.is_meta
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.cos.dtype is not torch.float32 or (on_meta and not self.cos.is_meta):
            self.cos, self.sin = self._tables(self.cos.device)
        return self

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Positions (T,) or (B, T) -> cos and signed sin, each (T, head_dim) or (B, 1, T, head_dim)."""
        cos, sin = self.cos[positions], self.sin[positions]
        return (cos.unsqueeze(1), sin.unsqueeze(1)) if positions.dim() == 2 else (cos, sin)


def apply_rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (B, H, T, head_dim), turned by the angles of `RotaryEmbedding`; the type of x stays.

    (x1, x2) -> (x1 cos - x2 sin, x2 cos + x1 sin), x1 and x2 being the halves of the last axis.
    """
    return torch.addcmul(x * cos.to(x.dtype), _swap(x), sin.to(x.dtype))


def apply_normed_rotary(x: Tensor, norm: RMSNorm, cos: Tensor, sin: Tensor) -> Tensor:
    """`apply_rotary(norm(x), cos, sin)`, as Qwen3 does with queries and keys; in one pass on a CPU.

    The order of the axes of x (B, H, T, head_dim) in memory does not matter; the result is contiguous.
    """
    if x.device.type != "cpu":
        return apply_rotary(norm(x), cos, sin)
    y: Tensor = _NormedRotaryFunction.apply(x, norm.weight, norm.eps, cos, sin)  # type: ignore[no-untyped-call]
    return y


class _NormedRotaryFunction(torch.autograd.Function):
    """The norm's weight goes into the tables, so that the norm costs one product more than the rotation."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, cos: Tensor, sin: Tensor) -> Tensor:
        normed, scale = normalize(x, eps)
        ctx.save_for_backward(normed, scale, weight, cos, sin)
        ctx.dtype = x.dtype
        wide = weight.to(normed.dtype)
        turned = (normed * (cos * wide)).addcmul_(_swap(normed), sin * _swap(wide))
        return torch.empty(x.shape, dtype=x.dtype, device=x.device).copy_(turned)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        normed, scale, weight, cos, sin = ctx.saved_tensors
        # the gradient takes the memory order of x, which the linear map behind it needs
        wide = torch.empty_like(normed).copy_(grad)
        unturned = (wide * cos).add_(_swap(wide * sin))
        grad_x, grad_weight = normalize_gradient(unturned, normed, scale, weight)
        return grad_x.to(ctx.dtype), grad_weight, None, None, None


def _swap(x: Tensor) -> Tensor:
    """(x1, x2) -> (x2, x1), halves of the last axis."""
    return x.roll(x.shape[-1] // 2, -1)
