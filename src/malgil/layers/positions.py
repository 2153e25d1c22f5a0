"""Positions: as vectors of sines that are added to embeddings, or as rotations (RoPE).

RoPE turns queries and keys, so that their product knows only distance. The two coordinates that rotate together are
i and i + head_dim / 2 (GPT-NeoX's and Hugging Face's "half split"), not 2i and 2i + 1 as in the paper; the two differ
by a permutation of the weights.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from malgil.errors import ConfigError
from malgil.layers.norms import RMSNorm, normalize, normalize_gradient


class _Tables(nn.Module, ABC):
    """Tables that are computed and never learnt: not saved with the weights, and fp32 when the model is cast."""

    @abstractmethod
    def _tables(self) -> dict[str, Tensor]:
        """The tables by name, in fp32."""

    def _register(self) -> None:
        for name, table in self._tables().items():
            self.register_buffer(name, table, persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        on_meta = any(table.is_meta for table in self.buffers())
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        table = next(self.buffers())
        if table.dtype is not torch.float32 or (on_meta and not table.is_meta):
            for name, anew in self._tables().items():
                setattr(self, name, anew.to(table.device))
        return self


class SinusoidalPositions(_Tables):
    """sin(m f_i) and cos(m f_i), f_i = 10000^(-2i / d_model) (Vaswani et al. 2017, section 3.5).

    The sines are the first half of a vector and the cosines the second, as in Marian, where the paper has them take
    turns; the two differ by a permutation of d_model.

    Args:
        d_model: width of a vector.
        max_len: number of positions; later ones are given the last vector.
    """

    table: Tensor

    def __init__(self, d_model: int, max_len: int) -> None:
        super().__init__()
        self.d_model, self.max_len = d_model, max_len
        self._register()

    def _tables(self) -> dict[str, Tensor]:
        exponents = torch.arange(0, self.d_model, 2, dtype=torch.float64) / self.d_model  # fp32 would blur large angles
        angles = torch.outer(torch.arange(self.max_len, dtype=torch.float64), 10_000.0**-exponents)
        table = torch.cat((angles.sin(), angles.cos()), -1)[:, : self.d_model]  # an odd width has a sine more
        return {"table": table.float()}

    def forward(self, positions: Tensor) -> Tensor:
        """Positions (...) -> vectors (..., d_model)."""
        return self.table[positions.clamp(max=self.max_len - 1)]


class RotaryEmbedding(_Tables):
    """Tables of cos(m f_i) and sin(m f_i), f_i = theta^(-2i / head_dim) (Su et al. 2021, section 3.2.2).

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
        self._register()

    def _tables(self) -> dict[str, Tensor]:
        exponents = torch.arange(0, self.head_dim, 2).float() / self.head_dim
        frequencies = 1.0 / (self.theta**exponents)
        angles = torch.outer(torch.arange(self.max_len).float(), frequencies)  # (max_len, head_dim / 2)
        cos, sin = angles.cos(), angles.sin()
        # (-sin, sin) lets one multiplication do for both halves of the rotated vector
        return {"cos": torch.cat((cos, cos), -1), "sin": torch.cat((-sin, sin), -1)}

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
