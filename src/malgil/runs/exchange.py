"""Runs out of other libraries' model folders, and such folders out of runs; both say what was checked.

An imported run is a run folder like any other, with nothing trained in it:

    config.yaml        every setting: `model` is the imported model's; `recipe` names the recipe with the same wiring,
                       whose `training` and `generation` it carries; `tokenizer.vocab_size` counts the rows of the
                       embedding, of which some may belong to no token
    tokenizer.json     the imported tokenizer with the tokens that begin and end a document; where the source of an
                       encoder-decoder is cut otherwise, source_tokenizer.json stands beside it
    model.safetensors  the weights under Malgil's names, in fp32

There are no checkpoints, so `train --resume` has nothing to go on from and refuses.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from malgil.config import AUTO, Tree, to_tree
from malgil.errors import CheckpointError, RunError
from malgil.interop import verify
from malgil.interop.huggingface import Imported, import_model
from malgil.models import family
from malgil.models.base import Encoder, count_parameters
from malgil.runs.folder import RunFolder, new_folder
from malgil.runs.recipe import Settings, full_tree, recipe, recipe_names, settings_of
from malgil.runs.run import Run
from malgil.runs.task import Tokenizers
from malgil.runs.weights import PARTS
from malgil.runtime.files import storage_errors, sync_folder
from malgil.training.checkpoint import save_weights

_HEAD_LEFT = "the head is left out: a run needs a mask to use it, and one that finds replaced tokens its generator"
_UNTRAINABLE = "no recipe trains it yet: malgil.load(DIR).model gives a vector for each token, malgil export writes it"


def import_run(source: Path, out: Path, allow_pickle: bool = False) -> str:
    """Make a run folder of a model folder in Hugging Face's format; returns what was made and checked, line by line.

    Args:
        out: a folder that does not exist or is empty.
        allow_pickle: also read a pickle of weights.

    Raises:
        CheckpointError: the model cannot be imported, or has no tokenizer.
        InputError: `out` is in use.
        StorageError: the disk is full or not writable; nothing is left behind.
    """
    new_folder(out, "")
    imported = import_model(source, allow_pickle=allow_pickle)
    if imported.tokenizer is None:
        raise CheckpointError(
            "no tokenizer: a run reads and writes text", str(source), "put tokenizer.json or tokenizer.model there"
        )
    with storage_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = out.with_name(f".{out.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
        temporary.mkdir()
    try:
        folder = RunFolder(temporary)
        tokenizers = Tokenizers(imported.tokenizer, imported.source_tokenizer)
        tokenizers.save(folder)
        heads = _parts_of(imported)
        save_weights(imported.state | {f"{PARTS}{name}": tensor for name, tensor in heads.items()}, folder.weights)
        folder.write_config(_tree(imported, source, out))
        checked = _check(temporary, imported, tokenizers)
        with storage_errors(out):
            os.replace(temporary, out)
            sync_folder(out.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    count = count_parameters(imported.build())
    made = f"{out}: {imported.family}, {count:,} parameters, {imported.tokenizer.vocab_size:,} tokens"
    left = [_HEAD_LEFT] if imported.heads and not _parts_of(imported) else []
    notes = [*imported.notes, *left, *([] if recipe_like(imported) in recipe_names() else [_UNTRAINABLE])]
    told = [f"  note: {note}" for note in notes] + [f"  checked: {line}" for line in checked]
    return "\n".join([made, *told])


def export_run(run: Path, out: Path, format: str = "hf") -> str:
    """Write a run's model for another library; returns what was made and checked, line by line.

    Args:
        format: `hf` (GPT-2, Llama, Qwen3, Marian, BERT and its family) or `torch` (recurrent models).

    Raises:
        InputError, ConfigError, StorageError, RunError: as `malgil.interop.huggingface.export_model`.
    """
    exported = Run(run, device="cpu").export(out, format=format)
    lines = [f"{exported.folder}: {run} in the format '{exported.format}'"]
    told = [f"  note: {note}" for note in exported.notes] + [f"  checked: {line}" for line in exported.verifications]
    return "\n".join([*lines, *told])


def recipe_like(imported: Imported) -> str:
    """The recipe whose model is wired like the imported one; the family's name where there is none."""
    if imported.family == "rnn_lm":
        return str(imported.config.cell)
    if imported.sentences is not None:
        return "embed"
    return "gpt" if imported.family == "llama" else imported.family


def _tree(imported: Imported, source: Path, out: Path) -> Tree:
    """Every setting of the run; what the recipe would fit to data has the sections' own defaults."""
    name = recipe_like(imported)
    tree: Tree = {
        section: {key: value for key, value in values.items() if value != AUTO}
        for section, values in (recipe(name) if name in recipe_names() else {}).items()
        if section in ("training", "generation", "objective")
    }
    tree |= {
        "recipe": name,
        "model": {"name": imported.family, **to_tree(imported.config)},
        "tokenizer": {"path": str(out / "tokenizer.json"), "vocab_size": imported.vocab_size},
    }
    if imported.source_tokenizer is not None:
        rows = imported.source_vocab_size or imported.vocab_size
        tree["tokenizer"] |= {"source_path": str(out / "source_tokenizer.json"), "source_vocab_size": rows}
    if issubclass(family(imported.family).model, Encoder):
        asked = imported.objective if _parts_of(imported) else {"name": "masked_lm"}
        tree["objective"] = dict(asked)  # by which it is evaluated, also where no recipe trains it
    if imported.sentences is not None:
        made = imported.sentences
        tree["objective"] = {
            "name": "contrastive",
            "pooling": made.pooling,
            "normalize": made.normalize,
            "max_text_len": made.longest,
        }
    settings: Settings = settings_of(tree)
    return full_tree(settings, f"imported from {source.resolve().name}")


def _parts_of(imported: Imported) -> Mapping[str, Tensor]:
    """The imported head, where it makes a run that can be evaluated: with a mask, and not without its generator."""
    masks = imported.tokenizer is not None and imported.tokenizer.mask_id is not None
    asked = imported.objective.get("name") == "masked_lm" and imported.sentences is None
    return imported.heads if masks and asked else {}


@torch.no_grad()
def _check(folder: Path, imported: Imported, tokenizers: Tokenizers) -> list[str]:
    """The run that was written, loaded as any other, against what was read."""
    run = Run(folder, device="cpu")
    weights = run.model.state_dict()
    if set(weights) != set(imported.state) or any(not torch.equal(weights[n], t) for n, t in imported.state.items()):
        raise RunError("the import was not kept: the weights came back otherwise", fix="report it with the model")
    if run.tokenizers.fingerprints != tokenizers.fingerprints:
        raise RunError("the import was not kept: the tokenizer came back otherwise", fix="report it with the model")
    heads = _parts_of(imported)
    parts = run.assembled.parts.state_dict() if heads else {}
    if set(parts) != set(heads) or any(not torch.equal(parts[name], tensor) for name, tensor in heads.items()):
        raise RunError("the import was not kept: the head came back otherwise", fix="report it with the model")
    logits = verify.same_logits("the run", imported.build(), verify.own(run.model))
    return [f"{len(weights) + len(heads)} tensors equal bit for bit", logits, "the tokenizer equal byte for byte"]
