"""Dropout by bytes: as many zeros as asked, the rest scaled, one mask for both passes, repeatable."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from malgil.layers.dropout import Dropout, dropout


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_zeros_and_scale(p: float, dtype: torch.dtype) -> None:
    x = torch.ones(301, 333, dtype=dtype)
    y = dropout(x, p, True)
    assert y.dtype == dtype
    share = (y == 0).float().mean().item()
    assert share == pytest.approx(p, abs=0.01)
    kept = y[y != 0].double()
    assert kept.min() == kept.max()
    assert y.double().mean().item() == pytest.approx(1, abs=0.02)
    rows, columns = (y == 0).float().mean(1), (y == 0).float().mean(0)
    assert (rows - p).abs().max() < 0.15  # no row or column has a habit
    assert (columns - p).abs().max() < 0.15


def test_every_byte_of_the_random_numbers_is_even() -> None:
    """Each place among eight: the last byte would lack its top bit if numbers were only positive."""
    y = dropout(torch.ones(8 * 20_000), 0.5, True).view(-1, 8)
    assert ((y == 0).float().mean(0) - 0.5).abs().max() < 0.02


def test_the_gradient_has_the_mask_of_the_result() -> None:
    x = torch.randn(7, 13, requires_grad=True)
    y = Dropout(0.4)(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient * x, y)
    assert ((gradient == 0) == (y == 0)).all()


def test_the_same_seed_drops_the_same() -> None:
    x = torch.randn(50, 3)
    torch.manual_seed(5)
    first = dropout(x, 0.3, True)
    torch.manual_seed(5)
    assert torch.equal(dropout(x, 0.3, True), first)
    assert not torch.equal(dropout(x, 0.3, True), first)


def test_nothing_is_dropped_outside_of_training_or_at_0() -> None:
    x = torch.randn(5, 5)
    assert dropout(x, 0.5, False) is x
    assert dropout(x, 0.0, True) is x
    assert Dropout(0.5).eval()(x) is x


def test_a_share_below_a_256th_is_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def watched(x: torch.Tensor, p: float) -> torch.Tensor:
        asked.append(p)
        return x

    monkeypatch.setattr(F, "dropout", watched)
    dropout(torch.ones(3), 0.001, True)
    assert asked == [0.001]


def test_an_empty_batch() -> None:
    assert dropout(torch.ones(0, 4), 0.5, True).shape == (0, 4)
