"""Checkpoints: whole, checked, and never half-written.

    checkpoints/step-000500/
        model.safetensors        weights by name, averaged where the run averages them
        optimizer.safetensors    optimizer state by parameter name
        carry.safetensors        carried recurrent states, when there are any
        averaging.safetensors    what averages go on from: the weights themselves, and points, see averaging.py
        state.json               step, tokens, seconds, best evaluation, fingerprints
        manifest.json            sizes and SHA-256 of the files above, written last

A checkpoint is written beside its place and renamed into it. One whose manifest is missing or does not match
is passed over, with a warning that names it, in favour of the one before. Tensors are stored whole, whatever
the number of processes that trained them, so that any number may go on.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from malgil.errors import CheckpointError, StorageError
from malgil.runtime.files import atomic_write, sha256, storage_errors, sync_folder

MANIFEST = "manifest.json"
KEPT = 2
TENSORS = ("model", "optimizer", "carry", "averaging")


class CheckpointWarning(UserWarning):
    """A checkpoint that could not be used."""


@dataclass
class Snapshot:
    """Everything a run needs to go on."""

    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    carry: dict[str, Tensor]
    state: dict[str, Any]
    averaging: dict[str, Tensor] = field(default_factory=dict)


def save_checkpoint(folder: Path, step: int, snapshot: Snapshot, best_step: int | None) -> Path:
    """Write `folder/step-NNNNNN`, then drop all but the newest two and the best.

    Raises:
        StorageError: the disk is full; what was there before is intact.
    """
    place = checkpoint_place(folder, step)
    partial = folder / f".{place.name}.partial"
    for stale in folder.glob(".step-*.partial"):  # of a process that was killed while it wrote
        shutil.rmtree(stale, ignore_errors=True)
    try:
        with storage_errors(partial):
            partial.mkdir(parents=True)
            _write(snapshot, partial)
            old = folder / f".{place.name}.old.partial"
            if place.exists():  # the same step after a resume; there is never a moment without either
                os.replace(place, old)
            os.replace(partial, place)
            sync_folder(folder)
            shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _forget_others(folder, step, best_step)
    return place


def checkpoint_place(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder / f"step-{step:06d}"


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest intact checkpoint; warns of each newer one that is not."""
    for place in reversed(_places(folder)):
        fault = fault_in(place)
        if fault is None:
            return place
        warnings.warn(f"checkpoint {place} is not used: {fault}", CheckpointWarning, stacklevel=2)
    return None


def fault_in(place: Path) -> str | None:
    """What is wrong with a checkpoint, in words; None if nothing is."""
    try:
        files = json.loads((place / MANIFEST).read_text(encoding="utf-8"))["files"]
        for name, expected in files.items():
            path = place / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != expected["bytes"] or sha256(path) != expected["sha256"]:
                return f"{name} was altered or cut short"
    except FileNotFoundError:
        return f"{MANIFEST} is missing, it was not finished"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST} is unreadable ({error})"
    return None


def load_checkpoint(place: Path) -> Snapshot:
    """Read a checkpoint.

    Raises:
        CheckpointError: it is corrupt.
    """
    _check(place)
    tensors = {name: load_weights(path) if (path := place / f"{name}.safetensors").exists() else {} for name in TENSORS}
    return Snapshot(**tensors, state=load_state(place))


def load_model(place: Path) -> dict[str, Tensor]:
    """Only the weights of a checkpoint, which may be a third of it.

    Raises:
        CheckpointError: it is corrupt.
    """
    _check(place)
    return load_weights(place / "model.safetensors")


def _check(place: Path) -> None:
    if fault := fault_in(place):
        raise CheckpointError(f"the checkpoint is corrupt: {fault}", str(place), "use another, or train again")


def load_state(place: Path) -> dict[str, Any]:
    """What a checkpoint holds beside tensors."""
    state: dict[str, Any] = json.loads((place / "state.json").read_text(encoding="utf-8"))
    return state


def load_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name from a safetensors file.

    Raises:
        CheckpointError: the file is missing or corrupt.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise CheckpointError("the weights are missing", str(path), "is this a finished run?") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"not a whole safetensors file ({error})", str(path), "restore it, or train again"
        ) from None


def save_weights(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file and have the disk confirm it.

    Raises:
        StorageError: the disk is full or not writable.
    """
    try:
        save_file(tensors, path)
        path.chmod(0o644)  # safetensors gives its owner alone the right to read
        with path.open("rb") as file:
            os.fsync(file.fileno())
    except (SafetensorError, OSError) as error:
        raise StorageError(f"the weights could not be written ({error})", str(path), "free some space") from None


def _write(snapshot: Snapshot, folder: Path) -> None:
    """The files of a checkpoint, the manifest last."""
    for name in TENSORS:
        if tensors := getattr(snapshot, name):
            save_weights(tensors, folder / f"{name}.safetensors")
    atomic_write(folder / "state.json", json.dumps(snapshot.state, ensure_ascii=False, indent=1))
    files = {p.name: {"bytes": p.stat().st_size, "sha256": sha256(p)} for p in sorted(folder.iterdir())}
    atomic_write(folder / MANIFEST, json.dumps({"version": 1, "files": files}, indent=1))


def _places(folder: Path) -> list[Path]:
    """Checkpoints, oldest first."""
    found = [p for p in folder.glob("step-*") if p.name[5:].isdigit()]
    return sorted(found, key=lambda p: int(p.name[5:]))


def _forget_others(folder: Path, step: int, best_step: int | None) -> None:
    """Keep the newest and the best; what lies beyond `step` could not be used when the run went on."""
    steps = {int(place.name[5:]): place for place in _places(folder)}
    newest = sorted(s for s in steps if s <= step)[-KEPT:]
    for s, place in steps.items():
        if s not in newest and s != best_step:
            shutil.rmtree(place)
