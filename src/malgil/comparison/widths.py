"""Models of different families with the same number of parameters: the width of each by bisection, on paper.

Nothing is allocated: models are built on the meta device. Their total grows with the width, and where heads must divide
the width in steps, so that the last word has a short look around.
"""

from __future__ import annotations

import torch

from malgil.config import Tree, parse
from malgil.errors import ConfigError, InputError
from malgil.models import build_model, family
from malgil.models.base import count_parameters

#: how far totals may lie apart, as a share, and how near is near enough to stop looking
TOLERANCE, NEAR = 0.05, 0.015
#: the widest model that is looked at
WIDEST = 16_384
#: widths tried on either side of the best
AROUND = 24


def total(model: Tree, vocab_sizes: tuple[int, int | None]) -> int:
    """All parameters of a model with these settings, shared ones once; nothing is allocated.

    Raises:
        InputError: the settings do not fit one another.
    """
    chosen = dict(model)
    name = chosen.pop("name")
    with torch.device("meta"):
        return count_parameters(build_model(name, parse(family(name).config, chosen, "model"), *vocab_sizes))


def with_total(model: Tree, wanted: int, vocab_sizes: tuple[int, int | None]) -> Tree:
    """The same model, of another width so that its total lies within 5 % of `wanted`.

    Layers stay as they are, and heads if they can.

    Args:
        model: its settings, none of them `auto`.

    Raises:
        ConfigError: no width comes close enough.
    """
    for shape in (model, *_other_heads(model)):
        distance, found = _closest(shape, wanted, vocab_sizes)
        if found is not None and distance <= TOLERANCE:
            return found
    raise ConfigError(
        f"no width gives {model['name']} about {wanted:,} parameters",
        fix="name another number with --parameters, or another number of layers",
    )


def _other_heads(model: Tree) -> list[Tree]:
    """In a small model few widths are divided by its heads; another number of them may be."""
    heads = model.get("n_heads")
    if not isinstance(heads, int) or model.get("d_head") is not None:
        return []
    return [{**model, "n_heads": n} for n in (heads - 1, heads + 1, heads - 2, heads + 2) if n > 0]


def _closest(model: Tree, wanted: int, vocab_sizes: tuple[int, int | None]) -> tuple[float, Tree | None]:
    """How far the total of the best width lies from `wanted`, as a share, and the settings at it."""
    built: dict[int, tuple[Tree, int] | None] = {}

    def at(width: int) -> tuple[Tree, int] | None:
        if width not in built:
            built[width] = _built(model, width, vocab_sizes)
        return built[width]

    def reaches(width: int) -> bool:
        """Whether the first model that can be built from `width` on is large enough."""
        found = next((f for w in range(width, width + AROUND) if (f := at(w)) is not None), None)
        return found is None or found[1] >= wanted

    low, high = 0, int(model["d_model"])
    while high < WIDEST and not reaches(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    best: tuple[float, Tree | None] = (float("inf"), None)
    for width in sorted(range(max(1, high - AROUND), high + AROUND), key=lambda w: abs(w - high)):
        found = at(width)
        if found is not None:
            best = min(best, (abs(found[1] / wanted - 1), found[0]), key=lambda one: one[0])
        if best[0] <= NEAR:
            break
    return best


def _built(model: Tree, width: int, vocab_sizes: tuple[int, int | None]) -> tuple[Tree, int] | None:
    """The settings at a width, what follows the width in proportion, and their total; None where they do not fit."""
    scaled = {
        name: max(1, round(model[name] * width / int(model["d_model"])))
        for name in ("d_ff", "d_hidden")
        if isinstance(model.get(name), int)
    }
    shape = {**model, "d_model": width, **scaled}
    try:
        return shape, total(shape, vocab_sizes)
    except InputError:
        return None
