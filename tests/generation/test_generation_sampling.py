"""Each filter against its definition by brute force, and the draw against the distribution it must follow."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from malgil.config import parse
from malgil.errors import InputError, NotFoundError
from malgil.generation import sampling
from malgil.generation.settings import GenerationSettings

# steps of 1/4, so that equal scores are common
scores = arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 9)), elements=st.integers(-20, 20)).map(
    lambda a: torch.from_numpy(a / 4)
)


def kept(logits: Tensor) -> list[set[int]]:
    return [set(row.isfinite().nonzero()[:, 0].tolist()) for row in logits]


def ranked(row: Tensor) -> list[int]:
    """Ids from the largest score to the smallest, equal ones by id."""
    return sorted(range(len(row)), key=lambda i: (-float(row[i]), i))


@given(scores, st.integers(1, 11))
@settings(deadline=None)
def test_top_k_keeps_the_first_k(logits: Tensor, k: int) -> None:
    filtered = sampling.keep_top_k(logits, k)
    assert kept(filtered) == [set(ranked(row)[:k]) for row in logits]
    assert torch.equal(filtered[filtered.isfinite()], logits[filtered.isfinite()])


@given(
    arrays(
        np.float32, st.tuples(st.integers(1, 3), st.integers(1, 400)), elements=st.sampled_from([-np.inf, -1, 0, 2])
    ),
    st.integers(1, 4),
)
@settings(deadline=None)
def test_the_likeliest_come_in_order_and_of_equal_ones_the_lower_ids(array: np.ndarray, count: int) -> None:
    logits = torch.from_numpy(array)
    count = min(count, logits.shape[1])
    values, ids = sampling.likeliest(logits, count)
    assert ids.tolist() == [ranked(row)[:count] for row in logits]
    assert torch.equal(values, logits.gather(1, ids))


def test_the_likeliest_of_a_vocabulary_are_those_of_a_stable_sort() -> None:
    logits = (torch.randn(5, 1003) * 4).round() / 4
    logits[0, [7, 1002]] = torch.tensor([-0.0, 0.0])
    values, ids = logits.sort(dim=-1, descending=True, stable=True)
    for count in (1, 6):
        assert torch.equal(sampling.likeliest(logits, count)[1], ids[:, :count])
        assert torch.equal(sampling.likeliest(logits, count)[0], values[:, :count])
    signed = torch.tensor([[-0.0, 0.0, -1.0, -2.0]])
    assert sampling.likeliest(signed, 4)[1].tolist() == [[0, 1, 2, 3]]


@given(scores, st.floats(0.01, 1), st.booleans())
@settings(deadline=None)
def test_top_p_keeps_the_smallest_nucleus(logits: Tensor, p: float, whole: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if whole:  # the way for flat distributions over large vocabularies
            patch.setattr(sampling, "_NUCLEUS_TRIAL", 2)
        nuclei = kept(sampling.keep_top_p(logits, p))
    for row, nucleus in zip(logits.double(), nuclei, strict=True):
        order, mass = ranked(row), row.softmax(-1)
        assert nucleus == set(order[: len(nucleus)])
        assert len(nucleus) >= 1
        assert float(mass[list(nucleus)].sum()) >= p - 1e-5
        assert len(nucleus) == 1 or p == 1 or float(mass[order[: len(nucleus) - 1]].sum()) < p + 1e-5


@given(scores, st.floats(0, 1))
@settings(deadline=None)
def test_min_p_is_relative_to_the_likeliest(logits: Tensor, min_p: float) -> None:
    for row, stayed in zip(logits.double(), kept(sampling.keep_min_p(logits, min_p)), strict=True):
        share = (row - row.max()).exp()
        assert {i for i, s in enumerate(share) if s >= min_p + 1e-5} <= stayed
        assert stayed <= {i for i, s in enumerate(share) if s >= min_p - 1e-5}
        assert ranked(row)[0] in stayed


@given(scores, st.integers(1, 9), st.floats(1e-6, 1), st.floats(0, 1), st.floats(0, 0.9999), st.floats(1e-30, 1e6))
@settings(deadline=None)
def test_filters_together_always_leave_a_choice(
    logits: Tensor, k: int, p: float, min_p: float, uniform: float, temperature: float
) -> None:
    given_ = GenerationSettings(top_k=k, top_p=p, min_p=min_p, temperature=temperature, repetition_penalty=2)
    seen = torch.zeros_like(logits, dtype=torch.bool)
    chosen = sampling.choose(logits, given_, torch.full((len(logits),), uniform), seen)
    for row, token in zip(logits, chosen.tolist(), strict=True):
        assert token in ranked(row)[:k]


def test_top_p_counts_the_mass_that_top_k_left() -> None:
    logits = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log()
    settings_ = GenerationSettings(temperature=1, top_k=2, top_p=0.5)  # 0.4 / 0.7 > 0.5
    draws = {int(sampling.choose(logits, settings_, torch.tensor([u]), None)) for u in (0.0, 0.5, 0.99)}
    assert draws == {0}


def test_repetition_penalty_divides_positive_and_multiplies_negative_scores() -> None:
    logits = torch.tensor([[3.0, -3.0, 0.0, 1.5], [3.0, -3.0, 0.0, 1.5]])
    seen = torch.tensor([[True, True, True, False], [False, False, False, True]])
    expected = torch.tensor([[2.0, -4.5, 0.0, 1.5], [3.0, -3.0, 0.0, 1.0]])
    assert torch.allclose(sampling.penalise_repetition(logits, seen, 1.5), expected)


def test_temperature_is_a_power_of_the_probabilities() -> None:
    p = torch.tensor([[0.5, 0.3, 0.2]])
    heated = sampling.apply_temperature(p.log(), 2.0).softmax(-1)
    assert torch.allclose(heated, p.sqrt() / p.sqrt().sum())
    assert sampling.apply_temperature(torch.tensor([[9e30, 1.0]]), 1e-30).softmax(-1).tolist() == [[1.0, 0.0]]


def test_draws_follow_the_distribution() -> None:
    """Pearson's chi-squared over 20,000 draws; 27.9 is passed once in a thousand times with 9 degrees of freedom."""
    probability = torch.tensor([0.3, 0.2, 0.0, 0.15, 0.1, 0.1, 0.05, 0.04, 0.03, 0.02, 0.01])
    uniform = torch.cat([sampling.uniforms(7, sample, 200) for sample in range(100)])
    drawn = sampling.draw(probability.log().expand(len(uniform), -1), uniform)
    counts, expected = torch.bincount(drawn, minlength=11).double(), 20_000 * probability.double()
    assert counts[2] == 0
    possible = expected > 0
    assert float(((counts - expected)[possible] ** 2 / expected[possible]).sum()) < 27.9


def test_a_draw_inverts_the_cumulative_distribution() -> None:
    logits = torch.tensor([[0.0, 0.25, 0.5, 0.0, 0.25, 0.0]]).log().expand(6, -1)
    uniform = torch.tensor([0.0, 0.2499, 0.25, 0.7499, 0.7501, 1 - 2**-24])
    assert sampling.draw(logits, uniform).tolist() == [1, 1, 2, 2, 4, 4]


def test_streams_are_uniform_distinct_and_extend_one_another() -> None:
    streams = torch.stack([sampling.uniforms(seed, sample, 500) for seed in (0, 3) for sample in range(3)])
    assert torch.equal(sampling.uniforms(3, 2, 77), streams[-1, :77])
    assert bool(((streams >= 0) & (streams < 1)).all())
    assert float((streams.mean(dim=1) - 0.5).abs().max()) < 4 * math.sqrt(1 / 12 / 500)
    assert float((torch.corrcoef(streams) - torch.eye(6)).abs().max()) < 0.2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[
            ("temperature", -1),
            ("temperature", "nan"),
            ("top_p", 0),
            ("top_p", 1.1),
            ("top_k", 0),
            ("max_tokens", True),
        ],
        *[("min_p", 2), ("repetition_penalty", 0), ("samples", 0), ("seed", -1), ("stop", [""])],
    ],
)
def test_settings_refuse_what_has_no_meaning(name: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"generation\.{name}"):
        parse(GenerationSettings, {name: value}, "generation")


def test_settings_name_the_nearest() -> None:
    with pytest.raises(NotFoundError, match="temperature"):
        parse(GenerationSettings, {"temprature": 1}, "generation")
