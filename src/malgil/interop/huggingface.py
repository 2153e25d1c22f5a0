"""Models in and out of other libraries' folders: `import_model` and `export_model`.

Both directions read the same key table (`interop.keys`) and are strict: every tensor of ours has its counterpart
of the right shape, and nothing is left over. An export counts only once it was read again and compared.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from malgil.errors import CheckpointError, ConfigError, InputError, StorageError
from malgil.interop import keys, verify
from malgil.interop.configs import Spelling, read_config, spelling_of, write_config
from malgil.interop.tokens import read_tokenizer, special_ids, write_json, write_tokenizer
from malgil.interop.weights import Stored, open_weights, read_json
from malgil.models import FAMILIES, build_model
from malgil.models.base import Model
from malgil.models.gpt2 import GPT2Config
from malgil.runtime.files import storage_errors, sync_folder
from malgil.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Imported:
    """A foreign checkpoint in our terms.

    Attributes:
        family: name in `malgil.models.FAMILIES`.
        config: that family's dataclass.
        state: the weights in fp32 under our names; a tied output layer has none of its own.
        tokenizer: None where the folder has none.
        vocab_size: rows of the embedding; the tokenizer may have fewer tokens.
        notes: what a reader should know, a sentence each.
    """

    family: str
    config: Any
    state: dict[str, Tensor]
    tokenizer: Tokenizer | None
    vocab_size: int
    notes: tuple[str, ...]

    def build(self) -> Model:
        """The model with these weights, in evaluation mode; the global generator stays as it was."""
        return _build(self.family, self.config, self.vocab_size, self.state)


@dataclass(frozen=True)
class Exported:
    """A folder that was written and checked.

    Attributes:
        verifications: what was loaded and compared, a sentence each.
    """

    folder: Path
    format: str
    verifications: tuple[str, ...]


def import_model(folder: Path, *, allow_pickle: bool = False) -> Imported:
    """A GPT-2, Llama or Qwen3 in Hugging Face's format, or a recurrent model that `export_model` wrote.

    Args:
        allow_pickle: read pytorch_model.bin where there is no safetensors file (plain tensors only).

    Raises:
        CheckpointError: not supported, corrupt, unsafe, or with missing, unexpected or wrongly shaped tensors.
    """
    source = folder / "config.json"
    theirs = read_json(source)
    spelling, config, vocab_size = read_config(theirs, source)
    stored = _without_leftovers(spelling, open_weights(folder, allow_pickle=allow_pickle))
    notes = []
    if config.n_layers > len(stored):  # before a model of that depth is built
        raise CheckpointError(f"{config.n_layers} layers but {len(stored)} tensors", str(folder), "copy it again")
    wanted = keys.parts(spelling.table, _shapes(spelling.family, config, vocab_size, source), config)
    if config.tied and _drop_tied_head(spelling, stored, folder):
        notes.append("the stored output layer equals the embedding and is kept once")
    _compare(wanted, stored, folder)
    state = keys.to_ours(wanted, lambda name: stored[name].read())
    tokenizer = read_tokenizer(folder, theirs, vocab_size)
    if tokenizer is None:
        notes.append("no tokenizer in the folder: the model reads ids alone")
    elif tokenizer.vocab_size < vocab_size:
        notes.append(f"{vocab_size - tokenizer.vocab_size} rows of the embedding belong to no token")
    return Imported(spelling.family, config, state, tokenizer, vocab_size, tuple(notes))


def _without_leftovers(spelling: Spelling, stored: dict[str, Stored]) -> dict[str, Stored]:
    """Weights alone, with full names: older files hold masks, and bodies lack the prefix."""
    kept = {name: tensor for name, tensor in stored.items() if not name.endswith(spelling.leftovers or ("\0",))}
    if any(name.startswith(spelling.prefix) for name in kept):
        return kept
    heads = {name for rule in spelling.table if rule.ours == "head.weight" for name in [rule.theirs]}
    return {name if name in heads else spelling.prefix + name: tensor for name, tensor in kept.items()}


def _shapes(family: str, config: Any, vocab_size: int, source: Path | str = "") -> dict[str, keys.Shape]:
    """The shapes of our tensors; nothing is allocated."""
    try:
        with torch.device("meta"):
            model = build_model(family, config, vocab_size)
    except (RuntimeError, OverflowError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"no model has these sizes ({reason})", str(source), "copy the file again") from None
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def _drop_tied_head(spelling: Spelling, stored: dict[str, Stored], folder: Path) -> bool:
    """Takes a stored copy of the embedding away; True if there was one."""
    names = {rule.ours: rule.theirs for rule in spelling.table}
    head, embedding = str(names["head.weight"]), str(names["embedding.weight"])
    if head not in stored:
        return False
    copy = stored.pop(head)
    if embedding in stored and copy.shape == stored[embedding].shape and copy.floating:
        same = torch.equal(copy.read(), stored[embedding].read())
    else:
        same = False
    if not same:
        raise CheckpointError(
            f"'{head}' is said to be tied but differs from '{embedding}'", str(folder), "set the tie to false in config"
        )
    return True


def _compare(wanted: list[keys.Part], stored: Mapping[str, Stored], folder: Path) -> None:
    """Strict both ways: names, shapes, and floating-point numbers."""
    expected = {part.theirs: part.shape for part in wanted}
    missing = [name for name in expected if name not in stored]
    extra = [name for name in stored if name not in expected]
    wrong = [
        f"{name} {stored[name].shape}, expected {shape}"
        for name, shape in expected.items()
        if name in stored and stored[name].shape != shape
    ]
    kinds = [name for name in expected if name in stored and not stored[name].floating]
    for what, names in (
        ("missing", missing), ("unexpected", extra), ("wrongly shaped", wrong), ("quantised", kinds),
    ):  # fmt: skip
        if names:
            shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            raise CheckpointError(
                f"{what} tensors: {shown}", str(folder), "the weights do not belong to this config.json"
            )


def _build(family: str, config: Any, vocab_size: int, state: Mapping[str, Tensor]) -> Model:
    with torch.random.fork_rng(devices=[]):
        model = build_model(family, config, vocab_size)
    model.load_state_dict(dict(state), strict=True)
    return model.eval()


# ---------------------------------------------------------------------------------------------


def export_model(model: Model, config: Any, tokenizer: Tokenizer | None, out: Path, *, format: str = "hf") -> Exported:
    """Write a folder that other programs load, read it again and compare.

    Args:
        config: the family's dataclass with which the model was built.
        format: `hf` (GPT-2, Llama, Qwen3: transformers, llama.cpp, vLLM) or `torch` (recurrent models: the names
            of PyTorch's word language model).
        out: a folder that does not exist or is empty.

    Raises:
        ConfigError: a format that the family does not have.
        InputError: `out` is in use.
        StorageError: the disk is full or not writable; nothing is left behind.
        RunError: what was written is not what was to be written; nothing is left behind.
    """
    family = next(name for name, row in FAMILIES.items() if row.config is type(config))
    _check_format(family, format)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("the folder for the export is not empty", str(out), "name a new folder")
    state = {name: parameter.detach().float().cpu() for name, parameter in model.named_parameters()}
    reference = _build(family, config, model.vocab_size, state)
    config, state = _with_biases(config, state, model.vocab_size)
    with storage_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = out.with_name(f".{out.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
        temporary.mkdir()
    try:
        _write(temporary, spelling_of(family, config), config, model.vocab_size, state, tokenizer)
        done = _verify(temporary, reference, config, state, tokenizer, format)
        with storage_errors(out):
            os.replace(temporary, out)
            sync_folder(out.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return Exported(out, format, done)


def _check_format(family: str, format: str) -> None:
    formats = {name: "torch" if name == "rnn_lm" else "hf" for name in FAMILIES}
    if format not in formats.values():
        raise ConfigError(f"unknown export format '{format}'", fix="known: hf, torch")
    if formats[family] != format:
        others = ", ".join(name for name, its in formats.items() if its == format)
        raise ConfigError(
            f"the format '{format}' has no class for {family}",
            fix=f"export {family} with the format '{formats[family]}'; '{format}' is for {others}",
        )


def _with_biases(config: Any, state: dict[str, Tensor], vocab_size: int) -> tuple[Any, dict[str, Tensor]]:
    """Hugging Face's GPT-2 always has biases: those of a model without are 0."""
    if not isinstance(config, GPT2Config) or config.bias:
        return config, state
    config = replace(config, bias=True)
    shapes = _shapes("gpt2", config, vocab_size)
    return config, {name: state.get(name, torch.zeros(shape)) for name, shape in shapes.items()}


def _write(
    folder: Path,
    spelling: Spelling,
    config: Any,
    vocab_size: int,
    state: dict[str, Tensor],
    tokenizer: Tokenizer | None,
) -> None:
    write_json(folder / "config.json", write_config(spelling, config, vocab_size, special_ids(tokenizer)))
    path = folder / "model.safetensors"
    try:
        with storage_errors(path):
            save_file(keys.to_theirs(spelling.table, state, config), path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise StorageError(f"cannot write the weights ({error})", str(path), "free some space") from None
    if tokenizer is not None:
        write_tokenizer(tokenizer, folder, config.max_len)


def _verify(
    folder: Path, reference: Model, config: Any, state: dict[str, Tensor], tokenizer: Tokenizer | None, format: str
) -> tuple[str, ...]:
    """The folder through our own importer and through the library it was made for."""
    again = import_model(folder)
    done = [
        verify.same_config(again.config, config),
        verify.same_tensors(again.state, state),
        verify.same_logits("malgil", reference, verify.own(again.build())),
    ]
    if tokenizer is not None:
        done.append(verify.same_ids("malgil", tokenizer, again.tokenizer.encode if again.tokenizer else None))
    if format == "torch":
        done.append(verify.same_logits("torch.nn", reference, verify.plain_recurrent(folder)))
    elif verify.has_transformers():
        done.extend(verify.with_transformers(folder, reference, tokenizer))
    else:
        done.append("not compared with transformers, which is not installed")
    return tuple(done)
