"""What may be asked for, and what a comparison that goes on may change."""

from __future__ import annotations

from typing import Any

import pytest

from malgil.comparison.request import DEFAULT_SECONDS, Request, checked, resumed
from malgil.errors import ConfigError, InputError, NotFoundError, ResumeMismatch


def test_budgets() -> None:
    assert Request().budget == {"steps": None, "epochs": None, "tokens": None, "seconds": DEFAULT_SECONDS}
    assert Request(seconds=20.0).tuning_budget["seconds"] == 5.0
    by_tokens = Request(tokens=1001)
    assert by_tokens.budget == {"steps": None, "epochs": None, "tokens": 1001, "seconds": None}
    assert by_tokens.tuning_budget["tokens"] == 250


@pytest.mark.parametrize(
    "tune, factors",
    [(0, []), (2, [0.5, 1.0]), (3, [0.5, 1.0, 2.0]), (5, [0.25, 0.5, 1.0, 2.0, 4.0])],
)
def test_factors_lie_around_the_recipes_own(tune: int, factors: list[float]) -> None:
    assert Request(tune=tune).factors == factors


@pytest.mark.parametrize("seed", [0, 1, 1337])
def test_the_seed_of_tuning_is_not_reported(seed: int) -> None:
    request = Request(seed=seed, seeds=5)
    assert request.all_seeds == [seed + i for i in range(5)]
    assert request.tuning_seed not in request.all_seeds
    assert request.tuning_seed >= 0


@pytest.mark.parametrize(
    "values, error, said",
    [
        ({"seeds": "0"}, InputError, "compare.seeds must be at least 1"),
        ({"seeds": "two"}, InputError, "compare.seeds must be an integer"),
        ({"seeds": True}, InputError, "compare.seeds must be an integer"),
        ({"tokens": -4}, InputError, "compare.tokens must be at least 1"),
        ({"quality": float("nan")}, InputError, "compare.quality must be a finite number"),
        ({"language": "독일어"}, NotFoundError, "unknown compare.language '독일어'"),
    ],
)
def test_values_are_checked(values: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        checked(values)


def test_values_are_read_from_text() -> None:
    assert checked({"seeds": "3", "quality": "2.5", "recipes": ("말",)}) == {
        "seeds": 3,
        "quality": 2.5,
        "recipes": ("말",),
    }


def test_what_contradicts_itself_is_refused() -> None:
    with pytest.raises(ConfigError, match="two budgets"):
        Request(seconds=1.0, tokens=5)
    with pytest.raises(InputError, match="nothing to choose"):
        Request(tune=1)
    with pytest.raises(InputError, match="'lstm' is named twice"):
        Request(recipes=("lstm", "gru", "lstm"))
    for name, value in (("keep", "best"), ("steps", 3), ("seed", 1), ("patience", 2)):
        with pytest.raises(ConfigError, match=f"training.{name} is the comparison's own"):
            Request(settings={"training": {name: value}})


def test_a_request_survives_json() -> None:
    request = Request(recipes=("gpt", "lstm"), seconds=3.0, settings={"data": {"paths": ["말길.txt"]}})
    assert Request.of(request.to_dict()) == request


def test_only_seeds_and_recipes_may_grow() -> None:
    before = Request(recipes=("gpt", "lstm"), seconds=3.0, seeds=2, settings={"data": {"paths": ["a"]}})
    assert resumed(before, {}) == before
    assert resumed(before, {"seconds": 3.0, "settings": {"data": {"paths": ["a"]}}}) == before
    grown = resumed(before, {"seeds": 3, "recipes": ("gru", "gpt")})
    assert (grown.seeds, grown.recipes) == (3, ("gpt", "lstm", "gru"))
    assert resumed(before, {"seeds": 1}).seeds == 2
    with pytest.raises(ResumeMismatch, match=r"seconds: 3\.0 before, 4\.0 asked"):
        resumed(before, {"seconds": 4.0})
    with pytest.raises(ResumeMismatch, match=r"settings\.data\.paths"):
        resumed(before, {"settings": {"data": {"paths": ["b"]}}})
