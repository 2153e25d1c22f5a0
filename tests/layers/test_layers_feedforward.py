"""Feed-forward layers against their equations."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from malgil.errors import NotFoundError
from malgil.layers.feedforward import FeedForward, GeGLU, SwiGLU, gelu


def test_swiglu_equals_its_equation() -> None:
    torch.manual_seed(1)
    layer = SwiGLU(5, 7)
    x = torch.randn(2, 3, 5)
    gate = x @ layer.gate.weight.T
    expected = (gate / (1 + (-gate).exp()) * (x @ layer.up.weight.T)) @ layer.down.weight.T
    torch.testing.assert_close(layer(x), expected)
    assert sorted(layer.state_dict()) == ["down.weight", "gate.weight", "up.weight"]


def test_geglu_equals_its_equation() -> None:
    torch.manual_seed(1)
    layer = GeGLU(5, 7)
    x = torch.randn(2, 3, 5)
    a, b = x @ layer.up.weight[:7].T, x @ layer.up.weight[7:].T
    expected = (a * 0.5 * (1 + torch.erf(a / math.sqrt(2))) * b) @ layer.down.weight.T
    torch.testing.assert_close(layer(x), expected)
    assert sorted(layer.state_dict()) == ["down.weight", "up.weight"]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", ["relu", "silu", "gelu", "gelu_tanh"])
def test_feed_forward_equals_its_equation(activation: str, bias: bool) -> None:
    torch.manual_seed(1)
    layer = FeedForward(3, 7, activation, bias)  # type: ignore[arg-type]
    x = torch.randn(2, 5, 3) * 3
    h = layer.up(x)
    if activation == "relu":
        h = h.clamp(min=0)
    elif activation == "silu":
        h = h / (1 + (-h).exp())
    elif activation == "gelu":
        h = h * 0.5 * (1 + torch.erf(h / math.sqrt(2)))
    else:
        h = h * 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
    torch.testing.assert_close(layer(x), layer.down(h))
    assert ("up.bias" in layer.state_dict()) is bias


def test_unknown_activation_names_the_nearest() -> None:
    with pytest.raises(NotFoundError, match="gelu_tanh"):
        FeedForward(3, 7, "gelu_tan")  # type: ignore[arg-type]


def test_the_table_of_gelu_is_pytorchs_own_function_bit_for_bit() -> None:
    every = torch.arange(1 << 16, dtype=torch.int32).to(torch.uint16).view(torch.bfloat16)
    normal = every[every.isfinite() & (every.abs() >= 2.0**-120)]  # subnormal results may be flushed to 0
    x = normal.view(-1, 16).mT.requires_grad_()  # also where memory is not in order
    plain = x.detach().clone().requires_grad_()
    grad = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).bfloat16()
    y, expected = gelu(x, "gelu_tanh"), F.gelu(plain, approximate="tanh")
    assert torch.equal(y, expected)
    y.backward(grad)
    expected.backward(grad)
    assert x.grad is not None
    assert plain.grad is not None
    assert x.grad.isfinite().all()
    near = x.detach().abs() < 100
    # the tolerance is for the formula's own rounding where tanh is nearly 1
    torch.testing.assert_close(x.grad[near], plain.grad[near], rtol=2**-7, atol=1e-6)


def test_gelu_in_fp32_is_not_tabulated() -> None:
    x = torch.linspace(-3, 3, 7)
    assert torch.equal(gelu(x, "gelu_tanh"), F.gelu(x, approximate="tanh"))
    assert torch.equal(gelu(x, "gelu"), F.gelu(x))
