"""Tokenizers of other libraries: which of their tokens begin and end a document, and the files that say so.

A tokenizer.json does not say it; the ids stand in config.json or generation_config.json, or the names in
tokenizer_config.json or special_tokens_map.json, and any of them may be absent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tokenizers

from malgil.config import Tree
from malgil.errors import CheckpointError
from malgil.interop.weights import read_json
from malgil.models.base import Encoder, EncoderDecoder, Model
from malgil.runtime.files import atomic_write
from malgil.text.sentencepiece import read_marian, read_sentencepiece
from malgil.text.tokenizer import Tokenizer
from malgil.text.wordpiece import read_wordpiece

_BERT_NAMES = {"cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]", "pad": "[PAD]"}

#: where the tokenizer of the source lies in an exported folder, if it has one of its own
SOURCE = "source"


def read_tokenizer(folder: Path, theirs: Tree, model: type[Model], vocab_size: int) -> Tokenizer | None:
    """The tokenizer of a folder: tokenizer.json, else a SentencePiece model, else BERT's vocab.txt; None without any.

    Args:
        theirs: the folder's config.json.
        model: our model class.
        vocab_size: the model's; the tokenizer may have fewer tokens, never more.

    Raises:
        CheckpointError: a tokenizer that is corrupt, too large, or does not say where a document ends.
    """
    path = folder / "tokenizer.json"
    pieces = folder / "tokenizer.model"
    if not pieces.is_file():
        pieces = next(iter(sorted(folder.glob("*.model"))), pieces)
    if path.is_file():
        tokenizer = _from_json(path, folder, theirs, model)
    elif pieces.is_file():
        tokenizer = read_sentencepiece(pieces)
        path = pieces
    elif (words := folder / "vocab.txt").is_file():
        tokenizer = _named(_from_vocabulary(words, folder), words, folder, theirs, model)
        path = words
    else:
        return None
    return _fitting(tokenizer, vocab_size, path)


def _fitting(tokenizer: Tokenizer, vocab_size: int, path: Path) -> Tokenizer:
    if tokenizer.vocab_size > vocab_size:
        raise CheckpointError(
            f"the tokenizer has {tokenizer.vocab_size} tokens, the model {vocab_size}", str(path), "copy both again"
        )
    return tokenizer


def read_two_tokenizers(
    folder: Path, theirs: Tree, model: type[Model], vocab_size: int, source_vocab_size: int | None
) -> tuple[Tokenizer | None, Tokenizer | None]:
    """The tokenizer of the target, and that of the source where it has one of its own.

    In Marian's folders source.spm and target.spm cut the texts and vocab.json has the ids (target_vocab.json those of
    a target that does not share them). Our own folders have a tokenizer.json, and `source/tokenizer.json` where the
    source's is another.

    Args:
        source_vocab_size: None where both sides share the vocabulary.

    Raises:
        CheckpointError: as `read_tokenizer`.
    """
    sizes = vocab_size, source_vocab_size or vocab_size
    if (folder / "source.spm").is_file():
        target, source = _marian_tokenizers(folder, theirs, source_vocab_size is None)
        path = folder / "vocab.json"
        return _fitting(target, sizes[0], path), None if source is None else _fitting(source, sizes[1], path)
    own_source = (folder / SOURCE).is_dir()
    return read_tokenizer(folder, theirs, model, sizes[0]), (
        read_tokenizer(folder / SOURCE, theirs, model, sizes[1]) if own_source else None
    )


def _marian_tokenizers(folder: Path, theirs: Tree, shared: bool) -> tuple[Tokenizer, Tokenizer | None]:
    """Of the target and the source; one for both where they are cut alike."""
    source_ids = _ids(folder / "vocab.json")
    target_ids = source_ids if shared else _ids(folder / "target_vocab.json")
    names = {i: name for name, i in target_ids.items()}
    end = names.get(theirs.get("eos_token_id", 0), "</s>")
    begin = names.get(theirs.get("decoder_start_token_id", -1), end)
    source_path, target_path = folder / "source.spm", folder / "target.spm"
    target = read_marian(target_path, target_ids, begin=begin, end=end)
    if shared and source_path.read_bytes() == target_path.read_bytes():
        return target, None
    return target, read_marian(source_path, source_ids, begin=begin if begin in source_ids else end, end=end)


def _ids(path: Path) -> dict[str, int]:
    ids = read_json(path)
    if not all(type(i) is int for i in ids.values()):
        raise CheckpointError("not a mapping of tokens to ids", str(path), "copy the file again")
    return ids


def _from_json(path: Path, folder: Path, theirs: Tree, model: type[Model]) -> Tokenizer:
    try:
        backend = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more precise
        raise CheckpointError(f"no tokenizer ({error})", str(path), "copy the file again") from None
    try:
        Tokenizer.load(path)  # exported by Malgil: it names its tokens itself
        return Tokenizer(_framed(path, (), ()), str(path))
    except CheckpointError:
        return _named(backend, path, folder, theirs, model)


def _from_vocabulary(path: Path, folder: Path) -> tokenizers.Tokenizer:
    """BERT's vocab.txt with what tokenizer_config.json says of letters; the defaults are those of BERT's class."""
    beside = folder / "tokenizer_config.json"
    settings = read_json(beside) if beside.is_file() else {}
    try:
        return read_wordpiece(
            path,
            lowercase=settings.get("do_lower_case", True),
            strip_accents=settings.get("strip_accents"),
            split_chinese=settings.get("tokenize_chinese_chars", True),
        )
    except TypeError as error:  # a setting that is no boolean
        raise CheckpointError(f"senseless settings ({error})", str(beside), "copy the file again") from None


def _named(backend: Any, path: Path, folder: Path, theirs: Tree, model: type[Model]) -> Tokenizer:
    """A tokenizer that does not name its special tokens, with the names that stand around it."""
    if issubclass(model, Encoder):
        roles = {"begin": ("cls", "bos"), "end": ("sep", "eos"), "mask": ("mask",), "pad": ("pad",)}
    elif issubclass(model, EncoderDecoder):
        roles = {"begin": ("decoder_start",), "end": ("eos",)}
    else:
        roles = {"begin": ("bos",), "end": ("eos",)}
    found = {ours: _special(backend, folder, theirs, names) for ours, names in roles.items()}
    begin, end = found.pop("begin"), found.pop("end")
    if begin is None and end is None:
        raise CheckpointError("no token begins or ends a document", str(path), "name eos_token_id in config.json")
    return Tokenizer.wrap(
        backend, "imported", begin=begin or end or "", end=end or begin or "", unknown=_unknown(backend), **found
    )


def _special(backend: Any, folder: Path, theirs: Tree, roles: Iterable[str]) -> str | None:
    """The name of the token that has the first of these roles that any has; BERT's own name where no file says it."""
    for role in roles:
        for value in (*_said(folder, theirs, role), _BERT_NAMES.get(role)):
            name = backend.id_to_token(value) if isinstance(value, int) and value >= 0 else value
            if isinstance(name, str) and backend.token_to_id(name) is not None:
                return name
    return None


def _said(folder: Path, theirs: Tree, role: str) -> Iterator[Any]:
    """What the files say about a role, the most authoritative first: ids or names."""
    generation = folder / "generation_config.json"
    for tree in (theirs, read_json(generation) if generation.is_file() else {}):
        value = tree.get(f"{role}_token_id")
        yield value[0] if isinstance(value, list) and value else value
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (folder / name).is_file():
            value = read_json(folder / name).get(f"{role}_token")
            yield value.get("content") if isinstance(value, dict) else value


def _unknown(backend: Any) -> str | None:
    """The token for what cannot be spelled; None where every byte can be."""
    model = json.loads(backend.to_str())["model"]
    if model.get("byte_fallback"):
        return None
    if model["type"] == "Unigram":
        return backend.id_to_token(model["unk_id"]) if model.get("unk_id") is not None else None
    name = model.get("unk_token")
    return name if name and backend.token_to_id(name) is not None else None


def special_ids(tokenizer: Tokenizer | None, model: type[Model]) -> Tree:
    """What config.json says about special tokens; nothing where there is no tokenizer."""
    if tokenizer is None:
        return {}
    begin, end = tokenizer.begin_id, tokenizer.end_id
    if issubclass(model, EncoderDecoder):
        return {"decoder_start_token_id": begin, "pad_token_id": begin, "eos_token_id": end}
    ids = {"bos_token_id": begin, "eos_token_id": end}
    if issubclass(model, Encoder):
        ids |= {"cls_token_id": begin, "sep_token_id": end}
    return ids if tokenizer.pad_id is None else {**ids, "pad_token_id": tokenizer.pad_id}


def write_tokenizer(tokenizer: Tokenizer, folder: Path, config: Any, model: type[Model]) -> None:
    """tokenizer.json, and the files from which AutoTokenizer and `generate` learn its special tokens.

    AutoTokenizer is to end the sources of an encoder-decoder, and to begin and end the texts of an encoder.

    Args:
        config: the settings of the model.
        model: its class.
    """
    path = folder / "tokenizer.json"
    tokenizer.save(path)
    roles = {"bos": tokenizer.begin_id, "eos": tokenizer.end_id, "unk": tokenizer.unknown_id}
    roles |= {"mask": tokenizer.mask_id, "pad": tokenizer.pad_id}
    settings: Tree = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.max_len,
        "clean_up_tokenization_spaces": False,
    }
    if issubclass(model, EncoderDecoder):
        atomic_write(path, _framed(path, (), ("end",)))
        roles["pad"] = tokenizer.begin_id
    elif issubclass(model, Encoder):
        typed = getattr(config, "n_types", 0) > 1
        atomic_write(path, _framed(path, ("begin",), ("end",), typed))
        roles |= {"cls": tokenizer.begin_id, "sep": tokenizer.end_id}
        settings["model_input_names"] = ["input_ids", *(["token_type_ids"] if typed else []), "attention_mask"]
    backend = tokenizers.Tokenizer.from_file(str(path))
    named = {f"{role}_token": backend.id_to_token(i) for role, i in roles.items() if i is not None}
    write_json(folder / "tokenizer_config.json", settings | named)
    if not issubclass(model, Encoder):
        write_json(folder / "generation_config.json", special_ids(tokenizer, model))


def _framed(path: Path, before: tuple[str, ...], behind: tuple[str, ...], typed: bool = False) -> str:
    """Our tokenizer.json with a template that sets tokens around what transformers encodes; without any it is ours.

    Args:
        typed: the second text of a pair is of type 1.
    """

    def tokens(roles: tuple[str, ...], type_id: int) -> list[Tree]:
        return [{"SpecialToken": {"id": role, "type_id": type_id}} for role in roles]

    tree, second = json.loads(path.read_text(encoding="utf-8")), int(typed)
    first = [*tokens(before, 0), {"Sequence": {"id": "A", "type_id": 0}}, *tokens(behind, 0)]
    tree["post_processor"]["single"] = first
    tree["post_processor"]["pair"] = [
        *first, {"Sequence": {"id": "B", "type_id": second}}, *tokens(behind, second),
    ]  # fmt: skip
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":"))


def write_json(path: Path, tree: Tree) -> None:
    """A JSON file for people too: indented, Hangul as it is."""
    atomic_write(path, json.dumps(tree, indent=2, ensure_ascii=False) + "\n")
