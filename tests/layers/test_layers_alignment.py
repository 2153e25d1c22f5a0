"""The four scores of Bahdanau and Luong against their equations, written out pair by pair."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from malgil.errors import ConfigError, NotFoundError
from malgil.layers.alignment import (
    SCORES,
    AdditiveAlignment,
    Alignment,
    ConcatAlignment,
    GeneralAlignment,
    alignment,
)

B, T, S, D = 3, 5, 7, 11
every_score = pytest.mark.parametrize("score", SCORES)


def inputs(d_key: int = D) -> tuple[Tensor, Tensor, Tensor]:
    """query, encoder's vectors and mask; rows have 7, 1 and 4 real positions."""
    mask = torch.arange(S) < torch.tensor([7, 1, 4])[:, None]
    return torch.randn(B, T, D), torch.randn(B, S, d_key), mask


def by_definition(module: Alignment, h: Tensor, s: Tensor) -> Tensor:
    """score(h, s) of two vectors, as the papers write it."""
    match module:
        case GeneralAlignment():
            return h @ (module.key.weight @ s)
        case ConcatAlignment():
            return module.v @ torch.tanh(module.inner.weight @ torch.cat((h, s)))
        case AdditiveAlignment():
            return module.v @ torch.tanh(module.query.weight @ h + module.key.weight @ s)
    return h @ s


@every_score
@torch.no_grad()
def test_weights_are_the_softmax_of_the_papers_scores(score: str) -> None:
    module = alignment(score, D, D)
    query, hidden, mask = inputs()
    weights = module.weights(query, module.project_keys(hidden), hidden, mask)
    assert weights.shape == (B, T, S)
    for b in range(B):
        real = int(mask[b].sum())
        for t in range(T):
            scores = torch.stack([by_definition(module, query[b, t], hidden[b, s]) for s in range(real)])
            torch.testing.assert_close(weights[b, t, :real], scores.softmax(0), atol=1e-5, rtol=1e-5)
        assert not weights[b, :, real:].any()


@every_score
@torch.no_grad()
def test_context_is_the_weighted_mean_of_real_values(score: str) -> None:
    module = alignment(score, D, D)
    query, hidden, mask = inputs()
    key, value = module.project_keys(hidden), torch.randn(B, S, 13)
    context = module(query, key, value, mask)
    expected = torch.einsum("bts,bsd->btd", module.weights(query, key, value, mask), value)
    torch.testing.assert_close(context, expected)
    torch.testing.assert_close(context[1], value[1, 0].expand(T, 13))  # one real position has all the weight


@every_score
@torch.no_grad()
def test_queries_are_answered_one_by_one(score: str) -> None:
    module = alignment(score, D, D)
    query, hidden, mask = inputs()
    key = module.project_keys(hidden)
    steps = [module(query[:, t : t + 1], key, hidden, mask) for t in range(T)]
    torch.testing.assert_close(torch.cat(steps, dim=1), module(query, key, hidden, mask), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("score", ["general", "concat", "additive"])
def test_gradients_reach_a_memory_of_another_width(score: str) -> None:
    module = alignment(score, D, 2 * D).double()
    query, hidden, mask = inputs(2 * D)
    query, hidden = query.double().requires_grad_(), hidden.double().requires_grad_()
    parameters = list(module.parameters())

    def context(query: Tensor, hidden: Tensor, *_: Tensor) -> Tensor:
        read: Tensor = module(query, module.project_keys(hidden), hidden, mask)
        return read

    assert torch.autograd.gradcheck(context, (query, hidden, *parameters), fast_mode=True)
    context(query, hidden).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in parameters)
    assert hidden.grad is not None
    assert not hidden.grad[~mask].any()


@every_score
@torch.no_grad()
def test_bf16_looks_where_fp32_looks(score: str) -> None:
    module = alignment(score, D, D)
    query, hidden, mask = inputs()
    expected = module.weights(query, module.project_keys(hidden), hidden, mask)
    with torch.autocast("cpu", torch.bfloat16):
        value = hidden.bfloat16()
        key = module.project_keys(value)
        actual = module.weights(query, key, value, mask)
        assert module(query, key, value, mask).dtype == torch.bfloat16
    torch.testing.assert_close(actual.float(), expected, atol=0.03, rtol=0.03)


def test_what_cannot_be() -> None:
    with pytest.raises(ConfigError, match=r"\(11\).*\(22\)"):
        alignment("dot", 11, 22)
    with pytest.raises(NotFoundError, match="additive"):
        alignment("addative", 11, 11)
