"""What a person asked for, checked, and what a comparison that goes on may change of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from malgil.config import Tree, check_values, flat, setting
from malgil.errors import ConfigError, InputError, ResumeMismatch

#: of training, each model, where nothing else is said
DEFAULT_SECONDS = 60.0
DEFAULT_SEED = 1337
#: share of the budget that each learning rate is tried with
TUNING_SHARE = 0.25
LANGUAGES = ("en", "ko")


@dataclass(frozen=True)
class Options:
    """The numbers and names of a request, as a person gives them."""

    kind: str | None = setting(None, "of the data")
    seconds: float | None = setting(None, "of training, each model", above=0)
    tokens: int | None = setting(None, "of training, each model", low=1)
    seeds: int = setting(1, "runs of each recipe", low=1, high=100)
    seed: int = setting(DEFAULT_SEED, "of the first", low=0, high=2**31 - 101)
    tune: int = setting(0, "learning rates that are tried", low=0, high=15)
    parameters: int | None = setting(None, "of each model; 0 = the median", low=0)
    quality: float | None = setting(None, "whose time is reported")
    language: str | None = setting(None, "of the report", choices=LANGUAGES)


def checked(asked: Mapping[str, Any]) -> Tree:
    """What was asked for, by the fields of `Request`, with numbers read from text where they came as such.

    Raises:
        InputError: a value of the wrong type or out of its range.
    """
    names = {one.name for one in fields(Options)}
    given = {name: value for name, value in asked.items() if name in names}
    return {**asked, **check_values(Options, given, "compare")}


@dataclass(frozen=True)
class Request:
    """A comparison, as it was asked for.

    Attributes:
        recipes: names; empty = those that are compared by default for the kind of data.
        kind: of the data, `text`, `pairs` or `labels`; None = seen from the recipes or from the data.
        seconds, tokens: what each model may use; one of them.
        seeds: how many runs of each recipe; the first has `seed`, the next one more, and so on.
        tune: learning rates that are tried for each recipe, around its own; 0 = its own.
        parameters: what each model's total comes to, within 5 %; 0 = the median of what the recipes choose; None = each
            as its recipe chooses.
        quality: the figure whose time is reported for each; None = what the slowest learner reaches.
        language: of the report; None = that of the text.
        settings: sections that are laid over every recipe.

    Raises:
        InputError: a recipe named twice, or one learning rate to choose from.
        ConfigError: settings that do not go together.
    """

    recipes: tuple[str, ...] = ()
    kind: str | None = None
    seconds: float | None = None
    tokens: int | None = None
    seeds: int = 1
    seed: int = DEFAULT_SEED
    tune: int = 0
    parameters: int | None = None
    quality: float | None = None
    language: str | None = None
    settings: Tree = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.seconds is not None and self.tokens is not None:
            raise ConfigError("--time and --tokens are two budgets", fix="leave one of them out")
        if self.tune == 1:
            raise InputError("--tune 1 leaves nothing to choose", fix="try 3, or leave it out")
        twice = sorted({name for name in self.recipes if self.recipes.count(name) > 1})
        if twice:
            raise InputError(f"recipe '{twice[0]}' is named twice", "--recipes", "name each once; --seeds repeats all")
        _refuse_limits(self.settings)

    @property
    def budget(self) -> Tree:
        """The limit of each run, as settings of `training`."""
        limits: Tree = {"steps": None, "epochs": None, "tokens": self.tokens, "seconds": self.seconds}
        return limits if self.tokens is not None else {**limits, "seconds": self.seconds or DEFAULT_SECONDS}

    @property
    def tuning_budget(self) -> Tree:
        """The limit of each trial of a learning rate."""
        budget = self.budget
        if budget["tokens"] is not None:
            return {**budget, "tokens": max(1, round(TUNING_SHARE * budget["tokens"]))}
        return {**budget, "seconds": TUNING_SHARE * budget["seconds"]}

    @property
    def all_seeds(self) -> list[int]:
        """Of the runs that are reported."""
        return [self.seed + i for i in range(self.seeds)]

    @property
    def tuning_seed(self) -> int:
        """Of the trials: none of those that are reported, whatever their number."""
        return self.seed - 1 if self.seed else 2**31 - 1

    @property
    def factors(self) -> list[float]:
        """By which a recipe's learning rates are multiplied: its own, and alternately half and twice of it and on.

        >>> Request(tune=3).factors, Request(tune=4).factors
        ([0.5, 1.0, 2.0], [0.25, 0.5, 1.0, 2.0])
        """
        powers = [(-1) ** i * ((i + 1) // 2) for i in range(self.tune)]
        return sorted(2.0**power for power in powers)

    def to_dict(self) -> Tree:
        """For JSON."""
        return {**asdict(self), "recipes": list(self.recipes)}

    @classmethod
    def of(cls, tree: Mapping[str, Any]) -> Request:
        """The inverse of `to_dict`."""
        return cls(**{**tree, "recipes": tuple(tree["recipes"])})


def resumed(before: Request, asked: Mapping[str, Any]) -> Request:
    """The request of a comparison that goes on: more seeds and more recipes may be asked for, nothing else.

    Args:
        asked: what was named this time, by the fields of `Request`.

    Raises:
        ResumeMismatch: anything else differs.
    """
    changes = dict(asked)
    more = tuple(name for name in changes.pop("recipes", ()) if name not in before.recipes)
    seeds = max(before.seeds, changes.pop("seeds", before.seeds))
    budget = {key: before.budget[key] for key in ("seconds", "tokens")}
    known, wanted = flat({**before.to_dict(), **budget}), flat(changes)
    differing = [f"{k}: {known.get(k)!r} before, {v!r} asked" for k, v in wanted.items() if known.get(k) != v]
    if differing:
        raise ResumeMismatch(
            "this would be another comparison: " + ", ".join(differing),
            fix="leave these out, or begin a new comparison; --seeds and --recipes may grow",
        )
    values = {one.name: getattr(before, one.name) for one in fields(before)}
    return Request(**{**values, "recipes": before.recipes + more, "seeds": seeds})


def _refuse_limits(settings: Tree) -> None:
    """What the comparison sets for all alike cannot be set beside it."""
    training = settings.get("training", {})
    own = {
        "seconds": "--time",
        "tokens": "--tokens",
        "seed": "--seed",
        **dict.fromkeys(("steps", "epochs"), "--time or --tokens"),
        **dict.fromkeys(("keep", "patience", "start"), "nothing: weights are those of the last step"),
    }
    for name, instead in own.items():
        if name in training:
            raise ConfigError(
                f"training.{name} is the comparison's own, the same for all", fix=f"give {instead} instead"
            )
