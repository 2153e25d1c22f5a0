"""Learning-rate schedules against their equations, at every step of a run."""

from __future__ import annotations

import math
from typing import Any

import pytest

from malgil.training.schedules import rate_factor
from malgil.training.settings import TrainingSettings

N, W = 40, 8


def factors(steps: int = N, **settings: Any) -> list[float]:
    chosen = TrainingSettings(**{"warmup": W, "final_rate": 0.1, **settings})
    return [rate_factor(chosen, step, step / steps) for step in range(steps)]


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "trapezoid"])
def test_the_rate_rises_linearly(schedule: str) -> None:
    assert factors(schedule=schedule)[:W] == pytest.approx([(s + 1) / (W + 1) for s in range(W)])
    assert factors(schedule=schedule, warmup=0)[0] == 1.0


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "trapezoid"])
def test_all_rates_are_scaled(schedule: str) -> None:
    once, twice = factors(schedule=schedule), factors(schedule=schedule, rate_scale=2.0)
    assert twice == pytest.approx([2.0 * factor for factor in once])


def test_constant() -> None:
    assert factors(schedule="constant")[W:] == [1.0] * (N - W)


def test_linear() -> None:
    expected = [1 - 0.9 * (s - W) / (N - W) for s in range(W, N)]
    assert factors(schedule="linear")[W:] == pytest.approx(expected)


def test_cosine() -> None:
    """As nanoGPT writes it: min + (max - min) (1 + cos(pi (it - warmup) / (decay - warmup))) / 2."""
    expected = [0.1 + 0.5 * (1 + math.cos(math.pi * (s - W) / (N - W))) * 0.9 for s in range(W, N)]
    assert factors(schedule="cosine")[W:] == pytest.approx(expected)


@pytest.mark.parametrize("cooldown", [0.25, 0.6, 1.0])
def test_trapezoid(cooldown: float) -> None:
    expected = [0.1 + 0.9 * min(1.0, (N - s) / (cooldown * N)) for s in range(W, N)]
    assert factors(schedule="trapezoid", cooldown=cooldown)[W:] == pytest.approx(expected)


def test_trapezoid_without_cooldown_is_constant() -> None:
    assert factors(schedule="trapezoid", cooldown=0.0)[W:] == [1.0] * (N - W)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "trapezoid"])
@pytest.mark.parametrize("final_rate", [0.0, 0.1, 1.0])
def test_the_end_is_the_final_rate(schedule: str, final_rate: float) -> None:
    settings = TrainingSettings(schedule=schedule, warmup=W, final_rate=final_rate)
    assert rate_factor(settings, N, 1.0) == pytest.approx(final_rate)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "trapezoid"])
def test_a_warm_up_longer_than_the_run_stays_in_bounds(schedule: str) -> None:
    found = factors(schedule=schedule, warmup=2 * N)
    assert found == sorted(found)
    assert all(0 < f <= 1 for f in found)
    assert 0 <= rate_factor(TrainingSettings(schedule=schedule, warmup=N), N, 1.0) <= 1


def test_under_a_time_limit_progress_is_the_share_of_time() -> None:
    """Steps slow down half way: the schedule follows the clock, and ends when the time does."""
    settings = TrainingSettings(schedule="linear", warmup=4, final_rate=0.0)
    # 10 steps of 1 s, then 5 of 2 s; 20 s in all; the warm-up took 4 of them
    shares = [s / 20 for s in range(10)] + [(10 + 2 * s) / 20 for s in range(5)]
    found = [rate_factor(settings, step, share) for step, share in enumerate(shares)]
    assert found[4:10] == pytest.approx([1 - (s - 4) / 16 for s in range(4, 10)])
    assert found[10:] == sorted(found[10:], reverse=True)
    assert rate_factor(settings, 15, 1.0) == pytest.approx(0.0)
