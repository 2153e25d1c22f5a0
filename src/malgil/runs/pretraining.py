"""Pretraining before a task, in one command: a recipe first learns from the texts of the training part without labels.

    runs/reviews-pretraining   `pretraining.recipe` guesses hidden words, for `pretraining.share` of the budget
    runs/reviews               the task begins with its body, for the rest

Texts of the validation part are not read. Both are runs like any other. The same command goes on where it was stopped:
a pretraining that is there already is resumed, or taken as it is if it has ended.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from malgil.config import AUTO, Tree, merge, parse
from malgil.data.cache import cache_folder
from malgil.data.settings import DataSettings
from malgil.errors import ConfigError, DataError, Interrupted
from malgil.runs.display import Display
from malgil.runs.folder import RunFolder
from malgil.runs.labelled import LabelTask, context_for
from malgil.runs.recipe import recipe
from malgil.runs.start import start_tree
from malgil.runs.tasks import task_of
from malgil.runs.text import TextTask
from malgil.runtime.files import atomic_write
from malgil.training.settings import LIMITS

if TYPE_CHECKING:
    from malgil.runs.run import Run

#: of both runs
ALIKE = ("seed", "device", "threads", "precision", "compile", "evaluation_share")
#: one text in so many is kept back, to see how the pretraining does
HELD = 50
#: of a text, in any script, as pieces of words are long
BYTES_PER_TOKEN = 3


def pretrains(tree: Tree) -> bool:
    """Whether a run with these settings has another before it."""
    return tree.get("pretraining", {}).get("recipe") is not None and tree["training"].get("start") is None


def place_of(out: Path) -> Path:
    """Where the pretraining of the run in `out` lies."""
    return out.with_name(f"{out.name}-pretraining")


def pretrained(tree: Tree, out: Path, train: Callable[..., Run], display: Display) -> Tree:
    """Train what comes first, and return the settings of the run in `out` that begins there.

    Args:
        tree: its settings, of which some may still be `auto`.
        train: as `runs.training.train`.

    Raises:
        ConfigError: the recipe that comes first is of another family, or of no use here.
        DataError: there are too few texts.
        ResumeMismatch: in its place lies a run with other settings.
        Interrupted: by a signal, after saving.
    """
    name, share = tree["pretraining"]["recipe"], float(tree["pretraining"].get("share", 0.5))
    place, settings = place_of(out), first_settings(tree)
    display.say(f"first {name}, for {share:.0%} of the budget, on the texts without labels: {place}")
    first = RunFolder(place)
    begun = first.config.exists()
    if begun:  # it says how many tokens there were, and not how many were asked for
        settings["tokenizer"].pop("vocab_size", None)
    try:
        train(name, settings, out=place, resume=begun, display=display.pretraining(share))
    except Interrupted as error:  # --resume would go on with this first run and end there
        fix = f"the same command with --out {out} goes on"
        raise Interrupted(error.signal_number, error.what, f"{error.where} of the pretraining", fix) from None
    display.say(f"then {tree['recipe']}, for the other {1 - share:.0%}: {out}")
    return second_settings(tree, start_tree(place, tree["recipe"]))


def second_settings(tree: Tree, start: Tree) -> Tree:
    """The settings with what the first run gives, and with what it has left of each limit.

    Args:
        start: as `start.start_tree` makes it.
    """
    after = merge(merge(tree, {"training": {key: rest for key, (_, rest) in _limits(tree).items()}}), start)
    after["model"]["dropout"] = tree["model"].get("dropout", after["model"]["dropout"])
    return after


def _check(tree: Tree, name: str) -> None:
    first, task = recipe(name), task_of(tree["objective"]["name"])
    if not isinstance(task, LabelTask):
        fix = "leave pretraining.recipe out"
        raise ConfigError("only what learns from labels is pretrained", f"recipe '{tree['recipe']}'", fix)
    if not isinstance(task_of(first["objective"]["name"]), TextTask):
        fix = "name a recipe that learns from text: bert, modernbert, ..."
        raise ConfigError(f"recipe '{name}' does not learn from texts alone", "pretraining.recipe", fix)
    if first["model"]["name"] != tree["model"]["name"]:
        raise ConfigError(
            f"'{name}' trains a {first['model']['name']} model, and this run is to have a {tree['model']['name']}",
            "pretraining.recipe",
            "name a recipe of the same family",
        )


def first_settings(tree: Tree) -> Tree:
    """What the first run has of the second one's settings, and its data.

    Raises:
        ConfigError, DataError: as `pretrained`.
    """
    name, task = tree["pretraining"]["recipe"], task_of(tree["objective"]["name"])
    _check(tree, name)
    data = task.opened(parse(DataSettings, tree.get("data", {}), "data"))
    texts = ["".join(chunks) for chunks in data.train.documents()]
    train, held = _files([text for text in texts if text.strip()], data.train.source)
    own, chosen = recipe(name), {"tokenizer": dict(tree.get("tokenizer", {}))}
    task.fit_tokenizer(chosen, data)
    tokenizer = chosen["tokenizer"]
    model = {key: value for key, value in tree["model"].items() if value != AUTO}
    if tree["model"].get("max_len") == AUTO:
        kind, records = tokenizer.get("kind"), data.train.records  # the task reads both texts of a pair as one row
        lengths = [sum(_tokens(text, kind) for text in record.texts) for record in records]
        model["max_len"] = context_for(np.array(lengths))
    if "pooler" in own["model"]:
        model.setdefault("pooler", False)  # it answers questions about neighbours, see below
    return {
        "data": {"paths": [str(train)], "validation": [str(held)]},
        "tokenizer": {key: value for key, value in tokenizer.items() if value not in (AUTO, None)},
        # a text is read some times at most, which needs no dropout
        "model": {**model, **({"dropout": 0.0} if "dropout" in model else {})},
        # texts with labels have no neighbours: what follows is another one by chance
        "objective": {"also": "none"} if own["objective"].get("also", "none") != "none" else {},
        "training": {
            **{key: tree["training"][key] for key in ALIKE if key in tree["training"]},
            **{key: first for key, (first, _) in _limits(tree).items()},
        },
    }


def _tokens(text: str, kind: Any) -> int:
    """Of a text with its begin and end, about: the tokenizer is not there yet."""
    n_bytes = len(text.encode("utf-8", "surrogatepass"))
    return 2 + {"char": len(text), "byte": n_bytes}.get(kind, n_bytes // BYTES_PER_TOKEN)


def _limits(tree: Tree) -> dict[str, tuple[Any, Any]]:
    """Of each limit what the pretraining has of it and what is left: a step at least of each."""
    share = float(tree["pretraining"].get("share", 0.5))
    found = {}
    for key in LIMITS:
        if (limit := tree["training"].get(key)) is not None:
            first = max(1, round(limit * share)) if isinstance(limit, int) else limit * share
            found[key] = (first, max(1, limit - first) if isinstance(limit, int) else limit - first)
    return found


def _files(texts: list[str], source: str) -> tuple[Path, Path]:
    """Texts to train on and to try on, in the cache under a name that follows from them.

    Raises:
        DataError: there are fewer than two.
    """
    if len(texts) < 2:
        raise DataError(f"{len(texts)} texts are too few to pretrain on", source, "leave pretraining.recipe out")
    key = hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:32]
    folder = cache_folder() / "texts"
    folder.mkdir(parents=True, exist_ok=True)
    held = texts[::HELD]
    parts = {"held": held, "train": [text for i, text in enumerate(texts) if i % HELD]}
    paths = {name: folder / f"{key}-{name}.jsonl" for name in parts}
    for name, own in parts.items():
        if not paths[name].exists():
            atomic_write(paths[name], _lines(own))
    return paths["train"], paths["held"]


def _lines(texts: Iterable[str]) -> str:
    return "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
