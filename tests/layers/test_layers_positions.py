"""Sines against their equation, rotations against the complex definition, norm-and-rotation against its parts."""

from __future__ import annotations

import math

import pytest
import torch

from malgil.errors import ConfigError
from malgil.layers.norms import RMSNorm
from malgil.layers.positions import RotaryEmbedding, SinusoidalPositions, apply_normed_rotary, apply_rotary


def test_rotation_is_multiplication_by_a_complex_unit() -> None:
    torch.manual_seed(1)
    rotary = RotaryEmbedding(6, 11, theta=50.0)
    x = torch.randn(2, 3, 11, 6)
    turned = apply_rotary(x, *rotary(torch.arange(11)))
    frequencies = 50.0 ** (-torch.arange(3) / 3)
    units = torch.polar(torch.ones(11, 3), torch.outer(torch.arange(11.0), frequencies))
    expected = torch.complex(x[..., :3], x[..., 3:]) * units
    torch.testing.assert_close(turned, torch.cat((expected.real, expected.imag), -1))


def test_scores_know_only_distance() -> None:
    torch.manual_seed(1)
    rotary = RotaryEmbedding(8, 40)
    query, key = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)

    def score(at_query: int, at_key: int) -> torch.Tensor:
        q = apply_rotary(query, *rotary(torch.tensor([at_query])))
        return (q * apply_rotary(key, *rotary(torch.tensor([at_key])))).sum()

    torch.testing.assert_close(score(9, 4), score(38, 33))
    assert abs(score(9, 4) - score(9, 8)) > 1e-3


def test_positions_of_each_row() -> None:
    torch.manual_seed(1)
    rotary = RotaryEmbedding(4, 9)
    x = torch.randn(2, 3, 5, 4)
    positions = torch.tensor([[0, 1, 2, 0, 1], [4, 5, 6, 7, 8]])
    together = apply_rotary(x, *rotary(positions))
    for row in range(2):
        torch.testing.assert_close(together[row], apply_rotary(x[row : row + 1], *rotary(positions[row]))[0])


def test_tables_stay_fp32_and_out_of_the_weights() -> None:
    rotary = RotaryEmbedding(4, 300)
    exact = rotary.cos.clone()
    assert rotary.state_dict() == {}
    half = rotary.to(torch.bfloat16)
    assert torch.equal(half.cos, exact)
    assert apply_rotary(torch.ones(1, 1, 3, 4, dtype=torch.bfloat16), *half(torch.arange(3))).dtype is torch.bfloat16


def test_tables_are_made_anew_when_a_model_leaves_meta() -> None:
    with torch.device("meta"):
        rotary = RotaryEmbedding(4, 9)
    rotary.to_empty(device="cpu")
    assert torch.equal(rotary.sin, RotaryEmbedding(4, 9).sin)


def test_normed_rotary_is_norm_then_rotary() -> None:
    torch.manual_seed(1)
    norm, rotary = RMSNorm(6), RotaryEmbedding(6, 9)
    torch.nn.init.normal_(norm.weight)
    for positions in (torch.arange(5), torch.tensor([[0, 1, 2, 3, 4], [0, 1, 0, 1, 2]])):
        x = torch.randn(2, 5, 3, 6).transpose(1, 2).requires_grad_()
        grad = torch.randn(2, 3, 5, 6)
        fused = apply_normed_rotary(x, norm, *rotary(positions))
        parts = apply_rotary(norm(x), *rotary(positions))
        torch.testing.assert_close(fused, parts)
        assert fused.is_contiguous()
        for mine, yours in zip(
            torch.autograd.grad(fused, (x, norm.weight), grad),
            torch.autograd.grad(parts, (x, norm.weight), grad),
            strict=True,
        ):
            torch.testing.assert_close(mine, yours)


def test_normed_rotary_gradient_is_that_of_its_value() -> None:
    torch.manual_seed(1)
    norm, rotary = RMSNorm(4, eps=1e-3).double(), RotaryEmbedding(4, 7)
    tables = [table.double() for table in rotary(torch.arange(3))]
    x = torch.randn(2, 3, 2, 4, dtype=torch.float64).transpose(1, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: apply_normed_rotary(x, norm, *tables), (x,))


def test_odd_head_is_refused() -> None:
    with pytest.raises(ConfigError, match="head_dim 5"):
        RotaryEmbedding(5, 9)


@pytest.mark.parametrize("width", [6, 7])
def test_sines_equal_their_equation(width: int) -> None:
    vectors = SinusoidalPositions(width, 600)(torch.tensor([[0, 1], [5, 599]]))
    assert vectors.shape == (2, 2, width)
    for row, place, position in ((0, 1, 1), (1, 0, 5), (1, 1, 599)):
        angles = [position / 10_000 ** (2 * i / width) for i in range(4)]
        expected = [math.sin(a) for a in angles[: (width + 1) // 2]] + [math.cos(a) for a in angles[: width // 2]]
        torch.testing.assert_close(vectors[row, place], torch.tensor(expected), atol=1e-6, rtol=0)


def test_sines_beyond_the_table_are_its_last() -> None:
    positions = SinusoidalPositions(6, 9)
    assert torch.equal(positions(torch.tensor([8])), positions(torch.tensor([40])))


def test_sines_stay_fp32_and_out_of_the_weights() -> None:
    positions = SinusoidalPositions(6, 300)
    exact = positions.table.clone()
    assert positions.state_dict() == {}
    assert torch.equal(positions.to(torch.bfloat16).table, exact)
    with torch.device("meta"):
        unmade = SinusoidalPositions(6, 300)
    assert torch.equal(unmade.to_empty(device="cpu").table, exact)
