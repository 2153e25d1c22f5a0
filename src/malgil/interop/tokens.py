"""Tokenizers of other libraries: which of their tokens begin and end a document, and the files that say so.

A tokenizer.json does not say it; the ids stand in config.json or generation_config.json, or the names in
tokenizer_config.json or special_tokens_map.json, and any of them may be absent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tokenizers

from malgil.config import Tree
from malgil.errors import CheckpointError
from malgil.interop.weights import read_json
from malgil.runtime.files import atomic_write
from malgil.text.sentencepiece import read_marian, read_sentencepiece
from malgil.text.tokenizer import Tokenizer

#: where the tokenizer of the source lies in an exported folder, if it has one of its own
SOURCE = "source"


def read_tokenizer(folder: Path, theirs: Tree, vocab_size: int) -> Tokenizer | None:
    """The tokenizer of a folder: tokenizer.json, else a SentencePiece model; None where there is neither.

    Args:
        theirs: the folder's config.json.
        vocab_size: the model's; the tokenizer may have fewer tokens, never more.

    Raises:
        CheckpointError: a tokenizer that is corrupt, too large, or does not say where a document ends.
    """
    path = folder / "tokenizer.json"
    pieces = folder / "tokenizer.model"
    if not pieces.is_file():
        pieces = next(iter(sorted(folder.glob("*.model"))), pieces)
    if path.is_file():
        tokenizer = _from_json(path, folder, theirs)
    elif pieces.is_file():
        tokenizer = read_sentencepiece(pieces)
        path = pieces
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
    folder: Path, theirs: Tree, vocab_size: int, source_vocab_size: int | None
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
    return read_tokenizer(folder, theirs, sizes[0]), (
        read_tokenizer(folder / SOURCE, theirs, sizes[1]) if own_source else None
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


def _from_json(path: Path, folder: Path, theirs: Tree) -> Tokenizer:
    try:
        backend = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more precise
        raise CheckpointError(f"no tokenizer ({error})", str(path), "copy the file again") from None
    translates = bool(theirs.get("is_encoder_decoder"))
    try:
        own = Tokenizer.load(path)  # exported by Malgil: it names its tokens itself
        return Tokenizer(_ending(path, False), str(path)) if translates else own
    except CheckpointError:
        roles = ("decoder_start" if translates else "bos", "eos")
        begin, end = (_special(backend, folder, theirs, role) for role in roles)
    if begin is None and end is None:
        raise CheckpointError("no token begins or ends a document", str(path), "name eos_token_id in config.json")
    return Tokenizer.wrap(
        backend, "imported", begin=begin or end or "", end=end or begin or "", unknown=_unknown(backend)
    )


def _special(backend: Any, folder: Path, theirs: Tree, role: str) -> str | None:
    """The name of the token that begins (bos) or ends (eos) a document."""
    for value in _said(folder, theirs, role):
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


def special_ids(tokenizer: Tokenizer | None, *, translates: bool = False) -> Tree:
    """What config.json says about special tokens; nothing where there is no tokenizer.

    Args:
        translates: the model is an encoder-decoder, which begins targets where others begin documents.
    """
    if tokenizer is None:
        return {}
    if translates:
        begin = {"decoder_start_token_id": tokenizer.begin_id, "pad_token_id": tokenizer.begin_id}
        return {**begin, "eos_token_id": tokenizer.end_id}
    return {"bos_token_id": tokenizer.begin_id, "eos_token_id": tokenizer.end_id}


def write_tokenizer(tokenizer: Tokenizer, folder: Path, max_len: int, *, translates: bool = False) -> None:
    """tokenizer.json, and the files from which AutoTokenizer and `generate` learn its special tokens.

    Args:
        translates: the model is an encoder-decoder, whose sources AutoTokenizer is to end with the end token.
    """
    path = folder / "tokenizer.json"
    tokenizer.save(path)
    if translates:
        atomic_write(path, _ending(path, True))
    backend = tokenizers.Tokenizer.from_file(str(path))
    roles = {"bos": tokenizer.begin_id, "eos": tokenizer.end_id, "unk": tokenizer.unknown_id}
    if translates:
        roles["pad"] = tokenizer.begin_id
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_len,
        "clean_up_tokenization_spaces": False,
        **{f"{role}_token": backend.id_to_token(i) for role, i in roles.items() if i is not None},
    }
    write_json(folder / "tokenizer_config.json", settings)
    write_json(folder / "generation_config.json", special_ids(tokenizer, translates=translates))


def _ending(path: Path, ends: bool) -> str:
    """Our tokenizer.json with a template that ends what transformers encodes, or with ours, which adds nothing."""
    tree = json.loads(path.read_text(encoding="utf-8"))
    end = [{"SpecialToken": {"id": "end", "type_id": 0}}] if ends else []
    tree["post_processor"]["single"] = [{"Sequence": {"id": "A", "type_id": 0}}, *end]
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":"))


def write_json(path: Path, tree: Tree) -> None:
    """A JSON file for people too: indented, Hangul as it is."""
    atomic_write(path, json.dumps(tree, indent=2, ensure_ascii=False) + "\n")
