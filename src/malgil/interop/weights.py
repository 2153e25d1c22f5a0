"""Weights that were not made here: what a file claims is checked against its bytes before anything is allocated.

safetensors holds numbers alone. A pickle can run code when it is read, so it is refused unless asked for, and
even then only plain tensors are accepted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from malgil.errors import CheckpointError

_FLOATS = ("F64", "F32", "F16", "BF16")
_MAX_JSON = 64 << 20


@dataclass(frozen=True)
class Stored:
    """A tensor on disk: its shape, whether it holds plain floating-point numbers, and how to read it."""

    shape: tuple[int, ...]
    floating: bool
    read: Callable[[], Tensor]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds one object.

    Raises:
        CheckpointError: the file is missing, too large, or no JSON object.
    """
    try:
        if path.stat().st_size > _MAX_JSON:
            raise CheckpointError("a JSON file of more than 64 MB", str(path), "is this the right file?")
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"cannot read: {error.strerror}", str(path), "name a folder with this file") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"not valid JSON ({error})", str(path), "copy the file again") from None
    if not isinstance(value, dict):
        raise CheckpointError("not a JSON object", str(path), "copy the file again")
    return value


def open_weights(folder: Path, *, allow_pickle: bool = False) -> dict[str, Stored]:
    """The tensors of a folder by name: model.safetensors, its shards, or (if allowed) pytorch_model.bin.

    Raises:
        CheckpointError: no weights, corrupt ones, a shard outside of the folder, or a pickle that was not allowed.
    """
    single, index, pickled = (
        folder / name for name in ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
    )
    if single.is_file():
        return _open_file(single)
    if index.is_file():
        return _open_shards(folder, index)
    if pickled.is_file():
        return _open_pickle(pickled, allow_pickle)
    raise CheckpointError("no weights", str(folder), "a model.safetensors, or its index and shards, must be there")


def _open_file(path: Path) -> dict[str, Stored]:
    try:
        with safe_open(path, framework="pt") as file:  # compares the header's sizes with the file's bytes
            names = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            headers = {name: (tuple(piece.get_shape()), piece.get_dtype()) for name, piece in names.items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"corrupt weights ({error})", str(path), "copy the file again") from None

    def reader(name: str) -> Callable[[], Tensor]:
        def read() -> Tensor:
            with safe_open(path, framework="pt") as file:
                tensor: Tensor = file.get_tensor(name)
                return tensor

        return read

    return {name: Stored(shape, dtype in _FLOATS, reader(name)) for name, (shape, dtype) in headers.items()}


def _open_shards(folder: Path, index: Path) -> dict[str, Stored]:
    placed = read_json(index).get("weight_map")
    if not isinstance(placed, dict) or not all(isinstance(name, str) for name in placed.values()):
        raise CheckpointError("no weight_map from names to files", str(index), "copy the file again")
    shards = sorted(set(placed.values()))
    for shard in shards:  # all names before any file
        path = folder / shard
        if shard != path.name or "\\" in shard or not shard.endswith(".safetensors") or path.is_symlink():
            raise CheckpointError(
                f"'{shard}' is not a plain file name of this folder", str(index), "copy the real files side by side"
            )
    found: dict[str, Stored] = {}
    for shard in shards:
        path = folder / shard
        if not path.is_file():
            raise CheckpointError(f"the shard '{shard}' is missing", str(index), "copy it beside the others")
        stored = _open_file(path)
        if set(stored) != {name for name, where in placed.items() if where == shard}:
            raise CheckpointError(f"the shard '{shard}' does not hold what the index says", str(index), "copy it again")
        found.update(stored)
    return found


def _open_pickle(path: Path, allowed: bool) -> dict[str, Stored]:
    if not allowed:
        raise CheckpointError(
            "pickled weights can run code when they are read",
            str(path),
            "convert them to safetensors, or allow pickles if you trust the source",
        )
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling fails in many ways
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"cannot read the weights ({reason})", str(path), "copy the file again") from None
    if not isinstance(loaded, dict) or not all(isinstance(t, Tensor) for t in loaded.values()):
        raise CheckpointError("not a mapping of names to tensors", str(path), "save model.state_dict() alone")
    return {
        name: Stored(tuple(tensor.shape), tensor.is_floating_point(), lambda tensor=tensor: tensor)  # type: ignore[misc]
        for name, tensor in loaded.items()
    }
