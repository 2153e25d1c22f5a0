"""The weights of a run: the body's under their own names, heads under `parts.`; and whether they fit the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from malgil.errors import CheckpointError
from malgil.objectives.base import Assembled
from malgil.runs.folder import RunFolder
from malgil.training.checkpoint import load_weights, newest_checkpoint, save_weights

BODY, PARTS = "body.", "parts."
RESTORE = "restore the run's files as they were, or train again"


def save_run_weights(weights: dict[str, Tensor], path: Path) -> None:
    """A run's model.safetensors from a checkpoint's: the body's names without their prefix, heads under `parts.`."""
    partial = path.with_name(f".{path.name}.partial")
    save_weights({name.removeprefix(BODY): tensor for name, tensor in weights.items()}, partial)
    partial.replace(path)


def load_run_weights(folder: RunFolder) -> dict[str, Tensor]:
    """The weights of a run, as `save_run_weights` names them; of one that is not finished, its newest checkpoint's."""
    if folder.weights.exists():
        return load_weights(folder.weights)
    checkpoint = newest_checkpoint(folder.checkpoints)
    if checkpoint is None:
        raise CheckpointError(
            "this run has no weights yet", str(folder.path), "train it: malgil train --resume --out DIR"
        )
    weights = load_weights(checkpoint / "model.safetensors")
    return {name.removeprefix(BODY): tensor for name, tensor in weights.items()}


def of_body(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those of the body alone."""
    return {name: tensor for name, tensor in weights.items() if not name.startswith(PARTS)}


def of_parts(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those of the heads, by their names in `Assembled.parts`."""
    return {name.removeprefix(PARTS): tensor for name, tensor in weights.items() if name.startswith(PARTS)}


def load_parts(assembled: Assembled, weights: dict[str, Tensor], where: str) -> None:
    """Give the heads their weights, named as in `of_parts`. What they share with the body they have already.

    Raises:
        CheckpointError: as `check_weights`.
    """
    tensors = dict([*assembled.named_parameters(), *assembled.named_buffers()])  # each once, first the body's
    kept = assembled.state_dict().keys()
    wanted = of_parts({name: tensor for name, tensor in tensors.items() if name in kept and name.startswith(PARTS)})
    check_weights(wanted, weights, where)
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(weights[name])


def check_weights(wanted: Mapping[str, Tensor], weights: dict[str, Tensor], where: str) -> None:
    """Every tensor that a model wants must be there, fit, and none be left; they may lie on the meta device.

    Raises:
        CheckpointError
    """
    for name, tensor in wanted.items():
        if name not in weights:
            raise CheckpointError(f"tensor '{name}' is missing", where, "were these weights made for this model?")
        if weights[name].shape != tensor.shape:
            given, expected = tuple(weights[name].shape), tuple(tensor.shape)
            raise CheckpointError(f"tensor '{name}' is {given}, config.yaml asks for {expected}", where, RESTORE)
    if extra := set(weights) - set(wanted):
        raise CheckpointError(f"tensor '{min(extra)}' is not part of the model", where, RESTORE)
