"""The output layer's loss against PyTorch's own, value and gradient, in three precisions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from malgil.layers import heads
from malgil.layers.heads import linear_nll


def example(dtype: torch.dtype = torch.float32, n: int = 7, d: int = 5, v: int = 11) -> tuple[Tensor, Tensor, Tensor]:
    hidden = torch.randn(n, d, dtype=dtype, requires_grad=True)
    weight = torch.randn(v, d, dtype=dtype, requires_grad=True)
    return hidden, weight, torch.randint(0, v, (n,))


def plain(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return F.nll_loss(F.log_softmax(hidden @ weight.t(), -1), targets, reduction="none", ignore_index=-100)


def gradients(loss: Tensor, *of: Tensor) -> tuple[Tensor, ...]:
    each = torch.linspace(-1.0, 2.0, len(loss)).to(loss.dtype)  # rows that count differently, one of them negatively
    return torch.autograd.grad((loss * each).sum(), of)


@pytest.mark.parametrize("slice_bytes", [1 << 20, 3 * 11 * 4, 1])
def test_equals_log_softmax_and_nll(slice_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of all rows, of three (7 = 3 + 3 + 1) and of one."""
    monkeypatch.setattr(heads, "_SLICE_BYTES", slice_bytes)
    hidden, weight, targets = example()
    targets[2] = -100
    loss = linear_nll(hidden, weight, targets)
    expected = plain(hidden, weight, targets)
    torch.testing.assert_close(loss, expected)
    for actual, wanted in zip(gradients(loss, hidden, weight), gradients(expected, hidden, weight), strict=True):
        torch.testing.assert_close(actual, wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("slice_bytes", [1 << 20, 1])
@pytest.mark.parametrize("biased", [False, True])
def test_bias_and_label_smoothing_equal_pytorchs_cross_entropy(
    slice_bytes: int, biased: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "_SLICE_BYTES", slice_bytes)
    hidden, weight, targets = example()
    targets[2] = -100
    bias = torch.randn(11, requires_grad=True) if biased else None
    logits = F.linear(hidden, weight, bias)
    expected = F.cross_entropy(logits, targets, reduction="none", label_smoothing=0.3)
    loss = linear_nll(hidden, weight, targets, bias=bias, smoothing=0.3)
    torch.testing.assert_close(loss, expected)
    of = [hidden, weight] if bias is None else [hidden, weight, bias]
    for actual, wanted in zip(gradients(loss, *of), gradients(expected, *of), strict=True):
        torch.testing.assert_close(actual, wanted, atol=1e-6, rtol=1e-5)


def test_without_a_gradient_logits_come_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "_KEPT_LOGITS", 3 * 11)  # three rows at a time
    hidden, weight, targets = example()
    targets[2] = -100
    seen: list[int] = []
    plainly = F.linear

    def watched(h: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        seen.append(len(h))
        return plainly(h, w, b)

    monkeypatch.setattr(F, "linear", watched)
    with torch.no_grad():
        loss = linear_nll(hidden, weight, targets)
    assert seen == [3, 3, 1]
    torch.testing.assert_close(loss, plain(hidden, weight, targets))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradcheck_in_fp64(smoothing: float) -> None:
    hidden, weight, targets = example(torch.float64)
    bias = torch.randn(11, dtype=torch.float64, requires_grad=True)
    targets[0] = -100

    def loss(h: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return linear_nll(h, w, targets, bias=b, smoothing=smoothing)

    assert torch.autograd.gradcheck(loss, (hidden, weight, bias))


def test_ignored_targets_cost_nothing_and_teach_nothing() -> None:
    hidden, weight, targets = example()
    targets[1] = targets[4] = -100
    loss = linear_nll(hidden, weight, targets)
    assert loss[1] == 0
    assert loss[4] == 0
    (grad,) = torch.autograd.grad(loss.sum(), hidden)
    assert not grad[[1, 4]].any()
    assert grad[[0, 2, 3, 5, 6]].any(-1).all()


def test_nothing_counts_but_the_graph_is_whole() -> None:
    hidden, weight, _ = example()
    loss = linear_nll(hidden, weight, torch.full((7,), -100)).sum()
    assert loss == 0
    loss.backward()
    assert hidden.grad is not None
    assert weight.grad is not None
    assert not weight.grad.any()


def test_no_rows() -> None:
    hidden, weight, _ = example(n=0)
    loss = linear_nll(hidden, weight, torch.zeros(0, dtype=torch.long))
    assert loss.shape == (0,)
    loss.sum().backward()
    assert weight.grad is not None
    assert not weight.grad.any()


@pytest.mark.parametrize("autocast", [True, False])
def test_bf16_is_close_and_reduced_in_fp32(autocast: bool) -> None:
    hidden, weight, targets = example(n=9, d=16, v=301)
    expected = plain(hidden, weight, targets)
    wanted = gradients(expected, hidden, weight)
    if autocast:
        with torch.autocast("cpu", torch.bfloat16):
            loss = linear_nll(hidden, weight, targets)
        inputs = hidden, weight
    else:
        inputs = tuple(t.detach().bfloat16().requires_grad_() for t in (hidden, weight))
        loss = linear_nll(*inputs, targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, atol=0.1, rtol=0.02)
    for actual, ideal, given in zip(gradients(loss, *inputs), wanted, inputs, strict=True):
        assert actual.dtype == given.dtype
        assert (actual.float() - ideal).norm() < 0.02 * ideal.norm()


def test_a_graph_that_is_kept_gives_the_same_gradient_twice() -> None:
    hidden, weight, targets = example()
    loss = linear_nll(hidden, weight, targets).sum()
    first = torch.autograd.grad(loss, (hidden, weight), retain_graph=True)
    second = torch.autograd.grad(loss, (hidden, weight))
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b)


def test_large_logits_stay_finite() -> None:
    hidden, weight, targets = example()
    loss = linear_nll(hidden * 1e4, weight, targets)
    assert loss.isfinite().all()
    torch.testing.assert_close(loss, plain(hidden * 1e4, weight, targets))


def test_only_what_needs_a_gradient_gets_one() -> None:
    hidden, weight, targets = example()
    linear_nll(hidden.detach(), weight, targets).sum().backward()
    assert hidden.grad is None
    assert weight.grad is not None
