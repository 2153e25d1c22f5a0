"""Normalisation: a vector divided by its root mean square, without LayerNorm's mean and bias."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class RMSNorm(nn.Module):
    """y = x / sqrt(mean(x^2) + eps) * weight over the last axis (Zhang and Sennrich 2019, equation 4).

    Statistics and products are fp32 whatever comes in, as in Hugging Face's Llama. Under autocast the
    result has autocast's type, so that the linear maps behind it need no casts of their own; otherwise
    it has the type of `x`.

    Args:
        dim: size of the last axis.
        eps: added to the mean square.
    """

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) -> (..., dim)."""
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        if device != "cpu":  # a fused kernel exists
            wide = torch.promote_types(x.dtype, torch.float32)
            return F.rms_norm(x.to(wide), self.weight.shape, self.weight.to(wide), self.eps).to(dtype)
        y: Tensor = _RMSNormFunction.apply(x, self.weight, self.eps, dtype)  # type: ignore[no-untyped-call]
        return y

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, eps={self.eps}"


class _RMSNormFunction(torch.autograd.Function):
    """RMSNorm with its gradient written out: a third of autograd's passes over the activations."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        normed, scale = normalize(x, eps)
        ctx.save_for_backward(normed, scale, weight)
        ctx.dtype = x.dtype
        return (normed * weight.to(normed.dtype)).to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        normed, scale, weight = ctx.saved_tensors
        grad_x, grad_weight = normalize_gradient(grad.to(normed.dtype), normed, scale, weight)
        return grad_x.to(ctx.dtype), grad_weight, None, None


def normalize(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x / rms (..., dim) and 1 / rms (..., 1), in fp32 or wider."""
    wide = torch.promote_types(x.dtype, torch.float32)
    square = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide).square_()
    scale = square.div_(x.shape[-1]).add_(eps).rsqrt_()
    return x * scale, scale


def normalize_gradient(grad: Tensor, normed: Tensor, scale: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """From the gradient g of y = n * weight, n = x / rms, those of x and weight.

    d weight = sum over rows of g * n
    d x = (g * weight - n * mean(g * n * weight)) / rms
    """
    wide_weight = weight.to(normed.dtype)
    product = grad * normed
    grad_weight = product.reshape(-1, weight.numel()).sum(0).to(weight.dtype)
    mean = (product @ wide_weight).unsqueeze(-1).div_(-weight.numel())
    return (grad * wide_weight).addcmul_(normed, mean).mul_(scale), grad_weight
