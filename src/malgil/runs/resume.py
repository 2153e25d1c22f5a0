"""How a run goes on: the settings it has and may change, and whether it is finished."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from malgil.config import AUTO, Tree, flat, merge, read_yaml
from malgil.errors import CheckpointError, ResumeMismatch
from malgil.runs.folder import RunFolder
from malgil.runs.recipe import compose
from malgil.training.checkpoint import load_state, newest_checkpoint
from malgil.training.settings import LIMITS

#: settings that a run which goes on may change: how long it goes, and what has no part in the numbers
FREE_ON_RESUME = {f"training.{k}" for k in (*LIMITS, "patience")} | {"data.workers"}


def resumed_tree(folder: RunFolder, recipe: str | None, files: list[Path], overrides: Mapping[str, Any]) -> Tree:
    """The settings on disk, with limits raised or taken away.

    Raises:
        ResumeMismatch: anything else that is named differs.
    """
    stored = folder.read_config()
    asked: Tree = {}
    for path in files:
        asked = merge(asked, read_yaml(path))
    asked = merge(asked, overrides)
    if recipe is not None and recipe != stored["recipe"]:
        asked["recipe"] = recipe
    checked = compose(stored["recipe"], [], {k: v for k, v in asked.items() if k != "recipe"})
    before, wanted = flat(stored), flat(asked)
    after = flat(checked)
    differing = []
    for key in wanted:
        value = wanted[key] if key == "recipe" else after[key]
        if key == "description":
            continue
        if key in FREE_ON_RESUME and not _lowers(key, before.get(key), value):
            section, _, name = key.partition(".")
            stored[section][name] = value
        elif value != AUTO and value != before.get(key):
            differing.append(f"{key}: {before.get(key)!r} in the run, {value!r} asked")
    if differing:
        raise ResumeMismatch(
            "this would be another run: " + ", ".join(differing),
            str(folder.path),
            "leave these out, or train a new run",
        )
    return stored


def finish_of(folder: RunFolder, tree: Tree) -> str | None:
    """At which step and by which limits the run ended, in words, if it did and `tree` does not ask for more.

    Raises:
        CheckpointError: its weights were imported.
    """
    if not folder.weights.exists():  # outside its checkpoints only a finished run has weights
        return None
    checkpoint = newest_checkpoint(folder.checkpoints)
    if checkpoint is None:
        where, fix = str(folder.path), "train a new run"
        raise CheckpointError("this run has weights but no checkpoint to go on from", where, fix)
    if tree != folder.read_config():
        return None
    limits = [f"{o} {v:.12g}" for k, o in LIMITS.items() if (v := tree["training"].get(k)) is not None]
    limits += ["--training.patience"] if tree["training"].get("patience") is not None else []
    return f"at step {load_state(checkpoint)['step']} ({', '.join(limits)})"


def _lowers(key: str, before: Any, value: Any) -> bool:
    """Whether a limit of the run would become a smaller one."""
    return key.startswith("training.") and before is not None and value is not None and value < before
