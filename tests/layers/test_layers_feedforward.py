"""Feed-forward layers against their equations."""

from __future__ import annotations

import math

import pytest
import torch

from malgil.errors import NotFoundError
from malgil.layers.feedforward import GELUFeedForward, SwiGLU


def test_swiglu_equals_its_equation() -> None:
    torch.manual_seed(1)
    layer = SwiGLU(5, 7)
    x = torch.randn(2, 3, 5)
    gate = x @ layer.gate.weight.T
    expected = (gate / (1 + (-gate).exp()) * (x @ layer.up.weight.T)) @ layer.down.weight.T
    torch.testing.assert_close(layer(x), expected)
    assert sorted(layer.state_dict()) == ["down.weight", "gate.weight", "up.weight"]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh"])
def test_gelu_equals_its_equation(activation: str, bias: bool) -> None:
    torch.manual_seed(1)
    layer = GELUFeedForward(3, 7, activation, bias)  # type: ignore[arg-type]
    x = torch.randn(2, 5, 3) * 3
    h = layer.up(x)
    if activation == "gelu":
        h = h * 0.5 * (1 + torch.erf(h / math.sqrt(2)))
    else:
        h = h * 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
    torch.testing.assert_close(layer(x), layer.down(h))
    assert ("up.bias" in layer.state_dict()) is bias


def test_unknown_activation_names_the_nearest() -> None:
    with pytest.raises(NotFoundError, match="gelu_tanh"):
        GELUFeedForward(3, 7, "gelu_tan")  # type: ignore[arg-type]
