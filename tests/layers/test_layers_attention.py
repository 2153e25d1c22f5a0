"""Attention against its equation, whichever kernel computes it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from malgil.errors import ConfigError
from malgil.layers import attention
from malgil.layers.attention import attend, attention_weights


def reference(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None) -> Tensor:
    """Equation 1 word for word, in float64; nothing to attend to gives 0."""
    query, key, value = query.double(), key.double(), value.double()
    group = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
    weights = (query @ key.mT / query.shape[-1] ** 0.5).exp()
    if allowed is not None:
        weights = weights * allowed
    return weights / weights.sum(-1, keepdim=True).clamp_min(1e-300) @ value


def tensors(n_heads: int, n_kv_heads: int, length: int, size: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    query = torch.randn(2, length, n_heads, 6, dtype=dtype).transpose(1, 2)
    key, value = (torch.randn(2, n_kv_heads, size, 6, dtype=dtype) for _ in range(2))
    return query.requires_grad_(), key.requires_grad_(), value.requires_grad_()


@pytest.fixture(params=["plain", "fused"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(attention, "_plain_is_faster", lambda query, key, dropout: request.param == "plain")
    return str(request.param)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("heads", [(3, 3), (6, 2), (4, 1)])
@pytest.mark.parametrize("case", ["causal", "cached", "padded", "both", "free"])
def test_attend_equals_its_equation(kernel: str, case: str, heads: tuple[int, int], dtype: torch.dtype) -> None:
    length, size = 5, 7 if case == "cached" else 5
    query, key, value = tensors(*heads, length, size, dtype)
    causal = case in ("causal", "cached", "both")
    mask = None
    if case in ("padded", "both"):
        mask = (torch.arange(size) < torch.tensor([[3], [5]]))[:, None, None, :]
    allowed = torch.ones(length, size, dtype=torch.bool).tril(size - length) if causal else torch.ones(1, 1) > 0
    allowed = allowed if mask is None else allowed & mask
    result = attend(query, key, value, causal=causal, mask=mask)
    expected = reference(query, key, value, allowed)
    tolerance = 1e-5 if dtype is torch.float32 else 3e-2
    torch.testing.assert_close(result.double(), expected, atol=tolerance, rtol=tolerance)
    grad = torch.randn_like(expected)
    mine = torch.autograd.grad(result, (query, key, value), grad.to(dtype))
    yours = torch.autograd.grad(expected, (query, key, value), grad)
    for a, b in zip(mine, yours, strict=True):
        torch.testing.assert_close(a.double(), b.double(), atol=tolerance * 3, rtol=tolerance * 3)


def test_nothing_to_attend_to_gives_zero(kernel: str) -> None:
    query, key, value = tensors(4, 2, 3, 5, torch.float32)
    mask = torch.ones(2, 1, 3, 5, dtype=torch.bool)
    mask[0, :, 1] = False
    result = attend(query, key, value, mask=mask)
    result.sum().backward()
    assert torch.equal(result[0, :, 1], torch.zeros(4, 6))
    assert result[1].abs().min() > 0
    assert query.grad is not None
    assert query.grad.isfinite().all()
    assert torch.equal(query.grad[0, :, 1], torch.zeros(4, 6))


def test_weights_are_what_attend_uses() -> None:
    query, key, value = tensors(4, 2, 3, 7, torch.float32)
    weights = attention_weights(query, key, causal=True)
    assert weights.shape == (2, 4, 3, 7)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 3))
    assert torch.equal(weights[..., 0, 5:], torch.zeros(2, 4, 2))
    mixed = weights @ value.repeat_interleave(2, 1)
    torch.testing.assert_close(mixed, attend(query, key, value, causal=True))


def test_dropout_only_in_training(kernel: str) -> None:
    query, key, _ = tensors(2, 2, 9, 9, torch.float32)
    value = torch.eye(9).expand(2, 2, 9, 9)  # the result is the weights
    still = attend(query, key, value, dropout=0.5, training=False)
    torch.testing.assert_close(still, attend(query, key, value))
    dropped = attend(query, key, value, dropout=0.5, training=True)
    kept = dropped != 0
    assert 0.3 < kept.float().mean() < 0.7
    torch.testing.assert_close(dropped[kept], 2 * still[kept])


def test_memory_of_written_out_scores_is_bounded() -> None:
    query = torch.empty(1, 1, 4096, 2, dtype=torch.bfloat16, device="cpu")
    assert attention._plain_is_faster(query, query, 0.0)
    assert not attention._plain_is_faster(query.expand(2, 1, 4096, 2), query, 0.0)
    assert not attention._plain_is_faster(query.float(), query.float(), 0.0)


def test_pytorchs_kernel_that_has_no_dropout_is_not_asked_for_any() -> None:
    query = torch.empty(2, 1, 4096, 2)
    assert attention._plain_is_faster(query, query, 0.1)
    assert not attention._plain_is_faster(query.to("meta"), query.to("meta"), 0.1)


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("masks", [None, 1, 5])
def test_a_batch_in_pieces_is_the_batch(rows: int, masks: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(2)
    query, key, value = (torch.randn(5, 4, 6, 8, dtype=torch.float64, requires_grad=True) for _ in range(3))
    mask = None if masks is None else torch.rand(masks, 1, 6, 6) > 0.3
    monkeypatch.setattr(attention, "_plain_is_faster", lambda query, key, dropout: True)
    whole = attend(query, key, value, mask=mask)
    expected = torch.autograd.grad(whole.sin().sum(), (query, key, value))
    monkeypatch.setattr(attention, "_SCORES_AT_A_TIME", rows * 4 * 6 * 6)
    pieces = attend(query, key, value, mask=mask)
    torch.testing.assert_close(pieces, whole)
    found = torch.autograd.grad(pieces.sin().sum(), (query, key, value))
    torch.testing.assert_close(found, expected)


def test_heads_that_cannot_share_are_refused() -> None:
    query, key, value = tensors(5, 2, 3, 3, torch.float32)
    with pytest.raises(ConfigError, match="5 query heads"):
        attend(query, key, value)
