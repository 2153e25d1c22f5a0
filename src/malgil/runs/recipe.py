"""Recipes: a name, the YAML behind it, and the settings that come out when a person's own are laid over them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from malgil.config import AUTO, Tree, check_values, merge, not_found, parse, read_yaml, to_tree
from malgil.data.settings import DataSettings
from malgil.errors import ConfigError, InputError
from malgil.generation.settings import GenerationSettings
from malgil.models import family
from malgil.objectives.settings import ObjectiveSettings
from malgil.runs.fit import CHOSEN
from malgil.text.settings import TokenizerSettings
from malgil.training.settings import PretrainingSettings, TrainingSettings

DEFAULT_RECIPE = "gpt"
SECTIONS: dict[str, type[Any]] = {
    "tokenizer": TokenizerSettings,
    "data": DataSettings,
    "objective": ObjectiveSettings,
    "pretraining": PretrainingSettings,
    "training": TrainingSettings,
    "generation": GenerationSettings,
}


@dataclass(frozen=True)
class Settings:
    """All sections of a run, checked. `model` is the family's own dataclass."""

    recipe: str
    family: str
    model: Any
    tokenizer: TokenizerSettings
    data: DataSettings
    objective: ObjectiveSettings
    pretraining: PretrainingSettings
    training: TrainingSettings
    generation: GenerationSettings

    @property
    def vocab_sizes(self) -> tuple[int, int | None]:
        """Of the target and, where the source has a tokenizer of its own, of the source; for `build_model`."""
        return self.tokenizer.vocab_size, self.tokenizer.source_vocab_size


def recipe_names() -> list[str]:
    """The recipes that come with Malgil."""
    files = resources.files("malgil.recipes").iterdir()
    return sorted(f.name.removesuffix(".yaml") for f in files if f.name.endswith(".yaml"))


def recipe(name: str) -> Tree:
    """A recipe as one tree, its base laid under it.

    Raises:
        NotFoundError: with the nearest names.
    """
    if name not in recipe_names():
        raise not_found("recipe", name, recipe_names())
    tree = _read(name)
    tree.pop("compared", None)
    base = tree.pop("base", None)
    return merge(recipe(base), tree) if base else tree


def compared_recipes(objective: str) -> list[str]:
    """The recipes with that objective whose file says `compared: PLACE`: those that `malgil compare` takes by default,
    in the order of their places."""
    places = {name: place for name in recipe_names() if (place := _read(name).get("compared")) is not None}
    fitting = [name for name in places if recipe(name)["objective"]["name"] == objective]
    return sorted(fitting, key=lambda name: (places[name], name))


def compose(name: str, files: list[Path], overrides: Mapping[str, Any], under: Mapping[str, Any] | None = None) -> Tree:
    """A recipe, the settings files over it in their order, and the overrides over all.

    Every name and value is checked by itself; values may still be `auto`.

    Args:
        under: settings that lie over the recipe and under the files.

    Raises:
        NotFoundError: an unknown recipe, section, setting, model or objective, with the nearest names.
        InputError: a value of the wrong type or out of its range.
    """
    own_model = recipe(name)["model"]
    tree = merge(recipe(name), under or {})
    for path in files:
        own = read_yaml(path)
        own.pop("recipe", None)
        tree = merge(tree, own)
    tree = merge(tree, overrides)
    _check_sections(tree)
    if tree["model"]["name"] != own_model["name"]:  # what the recipe leaves open stays so in another family
        known = {field.name for field in fields(family(tree["model"]["name"]).config)}
        open_ = {key: AUTO for key, value in own_model.items() if value == AUTO and key in known}
        tree["model"] = open_ | dict(tree["model"])
    for section, cls in _classes(tree).items():
        model_name = {"name": tree["model"]["name"]} if section == "model" else {}
        values = {k: v for k, v in tree.get(section, {}).items() if k not in model_name}
        tree[section] = model_name | check_values(cls, values, section)
        for key, value in values.items():
            if value == AUTO and f"{section}.{key}" not in CHOSEN:
                raise ConfigError(f"nothing chooses {section}.{key}", "it is 'auto'", "name a value, or leave it out")
    return {"recipe": name, **tree}


def settings_of(tree: Mapping[str, Any]) -> Settings:
    """The settings of a tree in which nothing is `auto` any more.

    Raises:
        InputError, NotFoundError, ConfigError
    """
    _check_sections(tree)
    model = dict(tree["model"])
    name = model.pop("name")
    config = parse(family(name).config, model, "model")
    sections = {key: parse(cls, tree.get(key, {}), key) for key, cls in SECTIONS.items()}
    return Settings(recipe=str(tree.get("recipe", "")), family=name, model=config, **sections)


def full_tree(settings: Settings, description: str = "") -> Tree:
    """Every setting with its value, in the order of `malgil recipes NAME`: what config.yaml holds."""
    sections = {key: to_tree(getattr(settings, key)) for key in SECTIONS}
    model = {"name": settings.family, **to_tree(settings.model)}
    return {"recipe": settings.recipe, "description": description, "model": model, **sections}


def _read(name: str) -> Tree:
    text = (resources.files("malgil.recipes") / f"{name}.yaml").read_text(encoding="utf-8")
    tree: Tree = yaml.safe_load(text)
    return tree


def _classes(tree: Mapping[str, Any]) -> dict[str, type[Any]]:
    return {"model": family(tree["model"]["name"]).config, **SECTIONS}


def _check_sections(tree: Mapping[str, Any]) -> None:
    known = ["recipe", "description", "model", *SECTIONS]
    for key, value in tree.items():
        if key not in known:
            raise not_found("setting", key, known)
        if key in (*SECTIONS, "model") and not isinstance(value, Mapping):
            raise InputError(f"'{key}' is a section, not a value", fix=f"write {key}.NAME")
    if not isinstance(tree.get("model", {}).get("name"), str):
        raise InputError("model.name is missing", fix="name a recipe, or a family with --model.name")
