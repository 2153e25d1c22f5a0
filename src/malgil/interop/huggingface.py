"""Models in and out of other libraries' folders: `import_model` and `export_model`.

Both directions read the same key table (`interop.keys`) and are strict: every tensor of ours has its counterpart
of the right shape, and nothing is left over. An export counts only once it was read again and compared.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from malgil.errors import CheckpointError, ConfigError, InputError
from malgil.interop import keys, verify
from malgil.interop.configs import SPELLINGS, read_config
from malgil.interop.contents import Contents
from malgil.interop.heads import HEADS
from malgil.interop.sentences import SentenceVectors, read_sentence_vectors
from malgil.interop.spelling import Spelling
from malgil.interop.tokens import SOURCE, read_two_tokenizers
from malgil.interop.weights import Stored, open_weights, read_json
from malgil.models import FAMILIES, build_model
from malgil.models.base import EncoderDecoder, Model
from malgil.models.gpt2 import GPT2Config
from malgil.models.transformer import TransformerConfig
from malgil.objectives.replaced_tokens import DISCRIMINATOR, GENERATOR
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
        source_tokenizer: of an encoder-decoder whose source is not cut as its target is.
        source_vocab_size: rows of the source's embedding, if it has one of its own.
        sentences: how a text's vector is made, where the folder says so.
        heads: weights of the head of pretraining beside the one for hidden tokens, under the names of parts.
        objective: settings of what that head is trained by; empty where there is none.
    """

    family: str
    config: Any
    state: dict[str, Tensor]
    tokenizer: Tokenizer | None
    vocab_size: int
    notes: tuple[str, ...]
    source_tokenizer: Tokenizer | None = None
    source_vocab_size: int | None = None
    sentences: SentenceVectors | None = None
    heads: Mapping[str, Tensor] = field(default_factory=dict)
    objective: Mapping[str, str] = field(default_factory=dict)

    def build(self) -> Model:
        """The model with these weights, in evaluation mode; the global generator stays as it was."""
        return _build(self.family, self.config, self.vocab_size, self.state, self.source_vocab_size)


@dataclass(frozen=True)
class Exported:
    """A folder that was written and checked.

    Attributes:
        verifications: what was loaded and compared, a sentence each.
        notes: what a reader should know, a sentence each.
    """

    folder: Path
    format: str
    verifications: tuple[str, ...]
    notes: tuple[str, ...] = ()


def import_model(folder: Path, *, allow_pickle: bool = False) -> Imported:
    """A model in Hugging Face's format of a type that `configs.SPELLINGS` has, or what `export_model` wrote.

    An encoder may be the body alone or have heads of other tasks: what is begun anew or left out stands in `notes`.

    Args:
        allow_pickle: read pytorch_model.bin where there is no safetensors file (plain tensors only).

    Raises:
        CheckpointError: not supported, corrupt, unsafe, or with missing, unexpected or wrongly shaped tensors.
    """
    sentences = read_sentence_vectors(folder)
    folder = folder / ("" if sentences is None else sentences.place)
    source = folder / "config.json"
    theirs = read_json(source)
    spelling, config, vocab_size, source_vocab_size = read_config(theirs, source)
    stored = _without_leftovers(spelling, open_weights(folder, allow_pickle=allow_pickle))
    raw = sentences is not None and sentences.pooling == "first"  # no layer stands behind it
    head = None if raw else HEADS.get(spelling.model_type)
    heads = {} if head is None else head.take(stored, config)
    notes = _drop_spare(spelling, stored, spelling.optional.values() if raw else ())
    config = replace(config, **{name: True for name, tensor in spelling.optional.items() if tensor in stored})
    depth = max(config.n_layers, getattr(config, "n_encoder_layers", 0))
    layered = any("{i}" in rule.ours for rule in spelling.table)  # ALBERT's depth is no number of tensors
    if layered and depth > len(stored):  # before a model of that depth is built
        raise CheckpointError(f"{depth} layers but {len(stored)} tensors", str(folder), "copy it again")
    shapes = _shapes(spelling.family, config, vocab_size, source_vocab_size, source)
    wanted = keys.parts(spelling.table, shapes, config)
    if _drop_copies(_copies(spelling, config), stored, folder):
        notes.append("the stored output layer equals the embedding and is kept once")
    begun = _headless(spelling, wanted, stored)
    wanted = [part for part in wanted if part.ours not in begun]
    _compare(wanted, stored, folder)
    state = keys.to_ours(wanted, lambda name: stored[name].read())
    if begun:
        state |= _begun(spelling.family, config, vocab_size, begun)
        notes.append(f"no head for masked tokens in the folder, so these begin anew: {', '.join(sorted(begun))}")
    tokenizer, source_tokenizer = read_two_tokenizers(
        folder, theirs, FAMILIES[spelling.family].model, vocab_size, source_vocab_size
    )
    if tokenizer is None:
        notes.append("no tokenizer in the folder: the model reads ids alone")
    elif tokenizer.vocab_size < vocab_size:
        notes.append(f"{vocab_size - tokenizer.vocab_size} rows of the embedding belong to no token")
    if sentences is not None:
        notes.append(sentences.describe())
    return Imported(
        spelling.family,
        config,
        state,
        tokenizer,
        vocab_size,
        tuple(notes),
        source_tokenizer,
        source_vocab_size,
        sentences,
        heads,
        head.objective if head is not None and heads else {},
    )


def _without_leftovers(spelling: Spelling, stored: dict[str, Stored]) -> dict[str, Stored]:
    """Weights alone, with full names of today: older files hold masks, and bodies lack the prefix."""
    kept = {name: tensor for name, tensor in stored.items() if not name.endswith(spelling.leftovers or ("\0",))}
    for old, new in spelling.renamed.items():
        kept = {name.removesuffix(old) + new if name.endswith(old) else name: t for name, t in kept.items()}
    if any(name.startswith(spelling.prefix) for name in kept):
        return kept
    heads = {name for rule in spelling.table if rule.ours == "head.weight" for name in [rule.theirs]}
    return {name if name in heads else spelling.prefix + name: tensor for name, tensor in kept.items()}


def _drop_spare(spelling: Spelling, stored: dict[str, Stored], matrices: Iterable[str] = ()) -> list[str]:
    """Takes heads away that no setting of ours keeps, and says which.

    Args:
        matrices: of layers that are to go too, with their biases.
    """
    layers = tuple(name.removesuffix("weight") for name in matrices)
    dropped = [name for name in stored if name.startswith((*spelling.spare, *layers, "\0"))]
    for name in dropped:
        del stored[name]
    return [f"left out, since nothing here reads them: {', '.join(dropped)}"] if dropped else []


def _headless(spelling: Spelling, wanted: list[keys.Part], stored: Mapping[str, Stored]) -> set[str]:
    """Our names of those parts of the pretraining head of which nothing is stored."""
    absent: set[str] = set()
    for beginning in spelling.head:
        parts = [part for part in wanted if part.ours.startswith(beginning)]
        if not any(part.theirs in stored for part in parts):
            absent |= {part.ours for part in parts}
    return absent


def _begun(family: str, config: Any, vocab_size: int, names: set[str]) -> dict[str, Tensor]:
    """Parameters as training would begin with them; always the same ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(family, config, vocab_size)
    return {name: parameter.detach() for name, parameter in model.named_parameters() if name in names}


def _shapes(
    family: str, config: Any, vocab_size: int, source_vocab_size: int | None, source: Path | str = ""
) -> dict[str, keys.Shape]:
    """The shapes of our tensors; nothing is allocated."""
    try:
        with torch.device("meta"):
            model = build_model(family, config, vocab_size, source_vocab_size)
    except (RuntimeError, OverflowError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"no model has these sizes ({reason})", str(source), "copy the file again") from None
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def _copies(spelling: Spelling, config: Any) -> Mapping[str, str]:
    """Names of tensors that need not be stored, and of those they equal: a tied output layer is the embedding."""
    names = {rule.ours: str(rule.theirs) for rule in spelling.table if isinstance(rule.theirs, str)}
    if "head.weight" in names and config.tied:
        return {names["head.weight"]: names["embedding.weight"]}
    return spelling.copies


def _drop_copies(copies: Mapping[str, str], stored: dict[str, Stored], folder: Path) -> bool:
    """Takes stored copies of the embedding away; True if there was one."""
    found = [name for name in copies if name in stored]
    for name in found:
        copy, original = stored.pop(name), stored.get(copies[name])
        same = original is not None and copy.shape == original.shape and copy.floating
        if original is None or not same or not torch.equal(copy.read(), original.read()):
            raise CheckpointError(
                f"'{name}' is said to be tied but differs from '{copies[name]}'",
                str(folder),
                "set the tie to false in config",
            )
    return bool(found)


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


def _build(
    family: str, config: Any, vocab_size: int, state: Mapping[str, Tensor], source_vocab_size: int | None = None
) -> Model:
    with torch.random.fork_rng(devices=[]):
        model = build_model(family, config, vocab_size, source_vocab_size)
    model.load_state_dict(dict(state), strict=True)
    return model.eval()


# ---------------------------------------------------------------------------------------------


def export_model(
    model: Model,
    config: Any,
    tokenizer: Tokenizer | None,
    out: Path,
    *,
    format: str = "hf",
    source_tokenizer: Tokenizer | None = None,
    sentences: SentenceVectors | None = None,
    heads: Mapping[str, Tensor] | None = None,
) -> Exported:
    """Write a folder that other programs load, read it again and compare.

    Args:
        config: the family's dataclass with which the model was built.
        format: `hf` (GPT-2, Llama, Qwen3: transformers, llama.cpp, vLLM; the rest: transformers) or
            `torch` (recurrent language models: the names of PyTorch's word language model).
        out: a folder that does not exist or is empty.
        source_tokenizer: of an encoder-decoder whose source has one of its own; it is written to `out/source`.
        sentences: how an encoder makes a text's vector, for sentence-transformers.
        heads: what was trained with the body; one of pretraining that the format has a class for is written with it.

    Raises:
        ConfigError: a format that the family does not have, or a setting that the format does not.
        InputError: `out` is in use.
        StorageError: the disk is full or not writable; nothing is left behind.
        RunError: what was written is not what was to be written; nothing is left behind.
    """
    family = next(name for name, row in FAMILIES.items() if row.config is type(config))
    _check_format(family, format)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("the folder for the export is not empty", str(out), "name a new folder")
    state = {name: parameter.detach().float().cpu() for name, parameter in model.named_parameters()}
    source_size = None
    if isinstance(model, EncoderDecoder) and "source_embedding.weight" in state:
        source_size = model.source_vocab_size
    reference = _build(family, config, model.vocab_size, state, source_size)
    config, state = _with_biases(family, config, state, model.vocab_size, source_size)
    contents = Contents(family, config, state, model.vocab_size, source_size, tokenizer, source_tokenizer, sentences)
    contents = contents.with_head(heads or {})
    with storage_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = out.with_name(f".{out.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
        temporary.mkdir()
    try:
        contents.write(temporary)
        done = _verify(temporary, reference, contents, format)
        with storage_errors(out):
            os.replace(temporary, out)
            sync_folder(out.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return Exported(out, format, done, _left_behind(contents, heads or {}))


def _left_behind(contents: Contents, heads: Mapping[str, Tensor]) -> tuple[str, ...]:
    """What was trained with the body and is not in the folder."""
    taken = {contents.head.name, GENERATOR} if contents.head else set()  # a discriminator goes without its generator
    left = {name.partition(".")[0] for name in heads} - taken
    if not left:
        return ()
    also = "; its layer for hidden tokens was never trained" if DISCRIMINATOR in left else ""
    return (f"left behind, without a class in this format: {', '.join(sorted(left))}{also}",)


def _check_format(family: str, format: str) -> None:
    formats = {spelling.family: "torch" if spelling.family == "rnn_lm" else "hf" for spelling in SPELLINGS.values()}
    if format not in formats.values():
        raise ConfigError(f"unknown export format '{format}'", fix="known: hf, torch")
    if formats.get(family) != format:
        others = ", ".join(name for name, its in formats.items() if its == format)
        own = f"export {family} with the format '{formats[family]}'" if family in formats else "its run folder travels"
        raise ConfigError(f"the format '{format}' has no class for {family}", fix=f"{own}; '{format}' is for {others}")


def _with_biases(
    family: str, config: Any, state: dict[str, Tensor], vocab_size: int, source_vocab_size: int | None
) -> tuple[Any, dict[str, Tensor]]:
    """Hugging Face's GPT-2 always has biases and Marian one in its output layer: those of a model without are 0."""
    if isinstance(config, GPT2Config) and not config.bias:
        config = replace(config, bias=True)
    elif isinstance(config, TransformerConfig) and not config.output_bias:
        config = replace(config, output_bias=True)
    else:
        return config, state
    shapes = _shapes(family, config, vocab_size, source_vocab_size)
    return config, {name: state.get(name, torch.zeros(shape)) for name, shape in shapes.items()}


def _verify(folder: Path, reference: Model, contents: Contents, format: str) -> tuple[str, ...]:
    """The folder through our own importer and through the library it was made for."""
    again = import_model(folder)
    done = [
        verify.same_config(again.config, contents.config),
        verify.same_tensors(contents.kept(again.state), contents.state),
    ]
    outputs = None
    if contents.head is None:
        done.append(verify.same_logits("malgil", reference, verify.own(again.build())))
    else:
        done.append(verify.same_tensors(again.heads, contents.heads))
        outputs = contents.head.outputs(reference, contents.heads)
        for name, logits in contents.head.outputs(again.build(), again.heads).items():
            done.append(verify.same_logits(f"malgil: {name}", reference, logits, outputs[name]))
    for tokenizer, read in (
        (contents.tokenizer, again.tokenizer), (contents.source_tokenizer, again.source_tokenizer),
    ):  # fmt: skip
        if tokenizer is not None:
            done.append(verify.same_ids("malgil", tokenizer, read.encode if read else None))
    if contents.sentences is not None:
        done.append(verify.same_sentences(again.sentences, contents.sentences, contents.config.max_len))
    if format == "torch":
        done.append(verify.same_logits("torch.nn", reference, verify.plain_recurrent(folder)))
    elif verify.has_transformers():
        tokenizers = {folder: contents.tokenizer, folder / SOURCE: contents.source_tokenizer}
        done.extend(verify.with_transformers(folder, reference, tokenizers, outputs))
    else:
        done.append("not compared with transformers, which is not installed")
    return tuple(done)
