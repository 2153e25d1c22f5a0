"""Training that begins with another run's body: its model, its tokenizer and its weights, and a recipe for the rest."""

from __future__ import annotations

from pathlib import Path

import torch

from malgil.config import AUTO, Tree
from malgil.errors import CheckpointError, ConfigError
from malgil.models import build_model
from malgil.models.base import Encoder, Model
from malgil.runs.folder import RunFolder
from malgil.runs.recipe import recipe, settings_of
from malgil.runs.weights import check_weights, load_run_weights, of_body


def start_tree(start: Path, name: str) -> Tree:
    """What a run gives to one that begins with its body, to be laid over the recipe.

    How much is dropped is no part of a body, and stays the recipe's where it says so.

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
    dropout = recipe(name).get("model", {}).get("dropout", AUTO)
    return {
        "model": {**stored["model"], **({} if dropout == AUTO else {"dropout": dropout})},
        "tokenizer": {**stored["tokenizer"], "path": str(folder.tokenizer)},
        "training": {"start": str(start)},
    }


def load_start(body: Model, start: str) -> None:
    """Give a body the weights of the run that it begins with; that run's heads are left there.

    Raises:
        CheckpointError: they are missing, or are not those of this body.
    """
    weights = of_body(load_run_weights(RunFolder(Path(start))))
    try:
        check_weights(body.state_dict(), weights, start)
    except CheckpointError as error:
        fix = "leave the model's settings as that run has them; only dropout may be another"
        raise CheckpointError(f"the body does not fit: {error.what}", start, fix) from None
    body.load_state_dict(weights)
