"""`malgil recipes`: what can be trained, and what every setting means."""

from __future__ import annotations

from typing import Any

from malgil.config import describe
from malgil.models import family
from malgil.runs.recipe import SECTIONS, recipe, recipe_names


def show_recipes() -> str:
    """A line for each recipe."""
    names = recipe_names()
    width = max(map(len, names))
    return "\n".join(f"{name:<{width}}  {recipe(name)['description']}" for name in names)


def show_recipe(name: str) -> str:
    """Every setting of a recipe with its value and meaning; `auto` is chosen from data, time and device."""
    tree = recipe(name)
    lines = [f"{name}: {tree['description']}"]
    for section, cls in {"model": family(tree["model"]["name"]).config, **SECTIONS}.items():
        lines.append(f"\n{section}" + (f" ({tree['model']['name']})" if section == "model" else ""))
        given = tree.get(section, {})
        for info in describe(cls):
            value = _shown(given.get(info.name, info.default))
            choices = f" [{', '.join(info.choices)}]" if info.choices else ""
            flag = f"--{section}.{info.name.replace('_', '-')}"
            lines.append(f"  {flag:<32} {value:<10} {info.help}{choices}")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
