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
from malgil.text.sentencepiece import read_sentencepiece
from malgil.text.tokenizer import Tokenizer


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
    if tokenizer.vocab_size > vocab_size:
        raise CheckpointError(
            f"the tokenizer has {tokenizer.vocab_size} tokens, the model {vocab_size}", str(path), "copy both again"
        )
    return tokenizer


def _from_json(path: Path, folder: Path, theirs: Tree) -> Tokenizer:
    try:
        backend = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more precise
        raise CheckpointError(f"no tokenizer ({error})", str(path), "copy the file again") from None
    try:
        return Tokenizer.load(path)  # exported by Malgil: it names its tokens itself
    except CheckpointError:
        begin, end = (_special(backend, folder, theirs, role) for role in ("bos", "eos"))
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


def special_ids(tokenizer: Tokenizer | None) -> dict[str, int]:
    """`bos_token_id` and `eos_token_id` for config.json."""
    return {} if tokenizer is None else {"bos_token_id": tokenizer.begin_id, "eos_token_id": tokenizer.end_id}


def write_tokenizer(tokenizer: Tokenizer, folder: Path, max_len: int) -> None:
    """tokenizer.json, and the files from which AutoTokenizer and `generate` learn its special tokens."""
    path = folder / "tokenizer.json"
    tokenizer.save(path)
    backend = tokenizers.Tokenizer.from_file(str(path))
    roles = {"bos": tokenizer.begin_id, "eos": tokenizer.end_id, "unk": tokenizer.unknown_id}
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_len,
        "clean_up_tokenization_spaces": False,
        **{f"{role}_token": backend.id_to_token(i) for role, i in roles.items() if i is not None},
    }
    write_json(folder / "tokenizer_config.json", settings)
    write_json(folder / "generation_config.json", special_ids(tokenizer))


def write_json(path: Path, tree: Tree) -> None:
    """A JSON file for people too: indented, Hangul as it is."""
    atomic_write(path, json.dumps(tree, indent=2, ensure_ascii=False) + "\n")
