"""RMSNorm against PyTorch's own, and its gradient against finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from malgil.layers.norms import RMSNorm


def norms(dim: int) -> tuple[RMSNorm, nn.RMSNorm]:
    torch.manual_seed(1)
    ours, theirs = RMSNorm(dim, eps=1e-5), nn.RMSNorm(dim, eps=1e-5)
    with torch.no_grad():
        theirs.weight.copy_(ours.weight.normal_())
    return ours, theirs


@pytest.mark.parametrize("shape", [(7,), (3, 7), (2, 5, 3, 7)])
def test_rms_norm_equals_pytorch(shape: tuple[int, ...]) -> None:
    ours, theirs = norms(7)
    x, grad = torch.randn(shape), torch.randn(shape)
    mine, yours = x.clone().requires_grad_(), x.clone().requires_grad_()
    ours(mine).backward(grad)
    theirs(yours).backward(grad)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(mine.grad, yours.grad, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, atol=1e-6, rtol=1e-5)


def test_rms_norm_gradient_is_that_of_its_value() -> None:
    ours = norms(5)[0].double()
    x = torch.randn(3, 2, 5, dtype=torch.float64, requires_grad=True)

    def value(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(ours, {"weight": weight}, x)

    assert torch.autograd.gradcheck(value, (x, ours.weight))


def test_rms_norm_computes_in_fp32() -> None:
    ours = norms(7)[0]
    x = torch.randn(64, 7) * 1e-3
    half = RMSNorm(7, eps=1e-5).to(torch.bfloat16)
    half.load_state_dict(ours.state_dict())
    expected = RMSNorm(7, eps=1e-5)
    expected.load_state_dict(half.state_dict())
    y = half(x.bfloat16())
    assert y.dtype is torch.bfloat16
    assert torch.equal(y, expected(x.bfloat16().float()).bfloat16())


def test_rms_norm_gives_autocast_type_and_keeps_gradients_wide() -> None:
    ours = norms(7)[0]
    x = torch.randn(3, 7, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = ours(x)
    y.sum().backward()
    assert y.dtype is torch.bfloat16
    assert x.grad is not None
    assert x.grad.dtype is torch.float32
    assert ours.weight.grad is not None
    assert ours.weight.grad.dtype is torch.float32
