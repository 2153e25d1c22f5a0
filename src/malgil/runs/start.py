"""Training that begins with another run's body: its model, its tokenizer and its weights, and a recipe for the rest."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from malgil.config import AUTO, Tree, read_yaml
from malgil.errors import CheckpointError, ConfigError
from malgil.models import build_model
from malgil.models.base import Encoder, Model
from malgil.runs.fit import LABELLED_RATES
from malgil.runs.folder import RunFolder
from malgil.runs.recipe import DEFAULT_RECIPE, compose, recipe, settings_of
from malgil.runs.tasks import task_of
from malgil.runs.weights import check_weights, load_run_weights, of_body

#: of a body's weights, that a step changes at most: tried on encoders that were pretrained here, and on an imported one
ADAMW_SHARE, MUON_SHARE = 0.015, 0.004
#: the table of positions, of models that learn one
POSITIONS = "position_embedding.weight"


def composed(recipe: str | None, files: list[Path], overrides: Mapping[str, Any], start: Path | None) -> Tree:
    """The settings of a new run, see `runs.recipe.compose`; with a start what that run gives lies over the recipe.

    Args:
        recipe: its name; None: the one that the settings files name, as a run's config.yaml does, or the default.

    Raises:
        ConfigError: it is to begin with a body, and to pretrain one.
    """
    named = [read_yaml(path).get("recipe") for path in files]
    name = recipe or next((str(found) for found in reversed(named) if found), DEFAULT_RECIPE)
    tree = compose(name, files, overrides, None if start is None else start_tree(start, name))
    if start is not None and tree["pretraining"].get("recipe") is not None:
        first = tree["pretraining"]["recipe"]
        raise ConfigError(
            f"pretraining.recipe {first} trains a body from nothing, and this run begins with another run's",
            str(start),
            f"leave pretraining.recipe out: malgil finetune {start} {tree['recipe'].removesuffix('-pretrained')}",
        )
    return tree


def start_tree(start: Path, name: str) -> Tree:
    """What a run gives to one that begins with its body, to be laid over the recipe.

    How much is dropped is no part of a body, and stays the recipe's where it says so. How a text is read by its tokens'
    vectors is what a body has learnt, where both runs have one objective.

    Args:
        name: of the recipe.

    Raises:
        CheckpointError: `start` is no run folder.
        ConfigError: its model is no encoder.
    """
    folder = RunFolder(start)
    stored = folder.read_config()
    settings = settings_of(stored)
    with torch.device("meta"):
        body = build_model(settings.family, settings.model, *settings.vocab_sizes)
    if not isinstance(body, Encoder):
        raise ConfigError(
            f"a {settings.family} model does not read a text whole",
            str(start),
            "begin with an encoder's run: bert, ...",
        )
    own, objective = recipe(name), stored["objective"]
    dropout = own.get("model", {}).get("dropout", AUTO)
    alike = objective["name"] == own["objective"]["name"]
    kept = task_of(objective["name"]).handed_on if alike else ()
    return {
        "model": {**stored["model"], **({} if dropout == AUTO else {"dropout": dropout})},
        "objective": {key: objective[key] for key in kept if key in objective},
        "tokenizer": {**stored["tokenizer"], "path": str(folder.tokenizer)},
        "training": {"start": str(start)},
    }


def fit_rates(tree: Tree) -> None:
    """Learning rates of a body that was trained before, where they are open, by the size of its weights.

    What a step changes is to be a share of what is there: weights that Muon trained for long are large, and hardly
    move at rates that would tear a small body apart. With r the root mean square of a weight, AdamW's rate is a share
    of r of the embedding, Muon's of r sqrt(inputs) of the blocks' matrices (their median), which is about the root mean
    square of their singular values, as a step's are 1. They are no lower than those from nothing.
    """
    training = tree["training"]
    open_ = [key for key in ("learning_rate", "muon_learning_rate") if training.get(key) == AUTO]
    if training.get("start") is None or not open_:
        return
    settings = settings_of(RunFolder(Path(training["start"])).read_config())
    body = build_model(settings.family, settings.model, *settings.vocab_sizes)
    load_start(body, training["start"])
    tables = [module.weight for module in body.modules() if isinstance(module, torch.nn.Embedding)]
    embedding = _size(max(tables, key=torch.numel))
    matrices = [weight for block in body.blocks() for weight in block.parameters() if weight.dim() == 2]
    sizes = [_size(weight) * math.sqrt(weight.shape[1]) for weight in matrices]
    block = statistics.median(sizes) if sizes else 0.0  # without blocks Muon has nothing to do
    rates = {"learning_rate": ADAMW_SHARE * embedding, "muon_learning_rate": MUON_SHARE * block}
    training.update({key: max(LABELLED_RATES[key], float(f"{rates[key]:.2g}")) for key in open_})


def _size(weight: torch.Tensor) -> float:
    """The root mean square."""
    return float(weight.detach().square().mean().sqrt())


def load_start(body: Model, start: str) -> None:
    """Give a body the weights of the run that it begins with; that run's heads are left there.

    A body that reads fewer tokens than that run takes the first of its positions, where those were learnt.

    Raises:
        CheckpointError: they are missing, or are not those of this body.
    """
    weights = of_body(load_run_weights(RunFolder(Path(start))))
    wanted = body.state_dict()
    if POSITIONS in wanted and POSITIONS in weights:
        weights[POSITIONS] = weights[POSITIONS][: len(wanted[POSITIONS])]
    try:
        check_weights(wanted, weights, start)
    except CheckpointError as error:
        fix = "leave the model's settings as that run has them; only dropout may be another, and max_len lower"
        raise CheckpointError(f"the body does not fit: {error.what}", start, fix) from None
    body.load_state_dict(weights)
