"""Folders of the library sentence-transformers: an encoder, and how its tokens' vectors become one for a text.

    modules.json                Transformer, Pooling and perhaps Normalize, in this order
    1_Pooling/config.json       the mean of the tokens' vectors, or the first one's
    sentence_bert_config.json   how many tokens of a text are read; since version 6 in tokenizer_config.json

What is read here goes into the settings of a run, and is written from them. Other modules and other poolings compute
what no setting of ours describes, and are refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from malgil.config import Tree
from malgil.errors import CheckpointError
from malgil.interop.configs import MAX_POSITIONS
from malgil.interop.weights import read_json
from malgil.runtime.files import atomic_write, storage_errors

_MODULES, _POOLING, _LENGTH = "modules.json", "1_Pooling", "sentence_bert_config.json"
#: poolings that are ours: in their older files each is a key of its own
_POOLINGS = {"mean": "mean", "cls": "first"}
_OLD_KEYS = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}
#: a file of lengths is called after the class, in folders of some years ago
_LENGTHS = tuple(
    f"sentence_{name}_config.json" for name in ("bert", "roberta", "distilbert", "albert", "xlm-roberta", "electra")
)


@dataclass(frozen=True)
class SentenceVectors:
    """How a text's vector is made.

    Attributes:
        pooling: `mean` or `first`.
        normalize: whether it is made of length 1.
        longest: tokens of a text that are read, begin and end included; None: all that the model can.
        place: where in the folder the encoder lies.
    """

    pooling: str
    normalize: bool
    longest: int | None = None
    place: str = ""

    def describe(self) -> str:
        """One line for people."""
        made = "the mean of the tokens' vectors" if self.pooling == "mean" else "the first token's vector"
        return f"an embedding is {made}{', of length 1' if self.normalize else ''}" + (
            "" if self.longest is None else f", of at most {self.longest} tokens"
        )


def read_sentence_vectors(folder: Path) -> SentenceVectors | None:
    """What a folder says of embeddings; None where it is of another library.

    Raises:
        CheckpointError: modules or poolings that are not ours, or files that are missing or corrupt.
    """
    path = folder / _MODULES
    if not path.is_file():
        return None
    modules = _modules(path)
    kinds = [kind for kind, _ in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or kinds[2:] not in ([], ["Normalize"]):
        raise CheckpointError(
            f"the modules {', '.join(kinds)} make other embeddings than can be imported",
            str(path),
            "Transformer, Pooling and Normalize can be; without this file the encoder alone is",
        )
    places = [place for _, place in modules]
    for place in places:
        if Path(place).is_absolute() or ".." in Path(place).parts:
            raise CheckpointError(f"'{place}' lies outside of the folder", str(path), "copy the real files")
    _refuse_prompt(folder / "config_sentence_transformers.json")
    pooling = _pooling(folder / places[1] / "config.json")
    return SentenceVectors(pooling, "Normalize" in kinds, _longest(folder / places[0]), places[0])


def write_sentence_vectors(folder: Path, vectors: SentenceVectors, width: int, max_len: int) -> None:
    """The files by which sentence-transformers loads an encoder that lies in the folder.

    Args:
        width: of the model's vectors.
        max_len: tokens that the model can read.
    """
    names = ["Transformer", "Pooling", *(["Normalize"] if vectors.normalize else [])]
    modules = [
        {
            "idx": number,
            "name": str(number),
            "path": f"{number}_{name}" if number else "",
            "type": f"sentence_transformers.models.{name}",
        }
        for number, name in enumerate(names)
    ]
    theirs = {ours: name for name, ours in _POOLINGS.items()}[vectors.pooling]
    pooling = {"word_embedding_dimension": width, **{key: name == theirs for name, key in _OLD_KEYS.items()}}
    lengths = {"max_seq_length": vectors.longest or max_len, "do_lower_case": False}
    with storage_errors(folder):
        (folder / _POOLING).mkdir()
    for path, content in ((_MODULES, modules), (f"{_POOLING}/config.json", pooling), (_LENGTH, lengths)):
        atomic_write(folder / path, json.dumps(content, indent=2) + "\n")


# ---------------------------------------------------------------------------------------------


def _modules(path: Path) -> list[tuple[str, str]]:
    """(kind, folder) of each."""
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        return [(str(module["type"]).rpartition(".")[2], str(module["path"])) for module in listed]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"no list of modules ({error})", str(path), "copy the file again") from None


def _pooling(path: Path) -> str:
    theirs: Tree = read_json(path)
    chosen: list[Any] = [key for key, value in theirs.items() if key.startswith("pooling_mode_") and value is True]
    names = {key: name for name, key in _OLD_KEYS.items()}
    if "pooling_mode" in theirs:
        chosen, names = [theirs["pooling_mode"]], {name: name for name in _POOLINGS}
    if len(chosen) != 1 or chosen[0] not in names:
        shown = " and ".join(map(str, chosen)) or "none"
        raise CheckpointError(f"the pooling is {shown}", str(path), "the mean or the first token's can be imported")
    return _POOLINGS[names[chosen[0]]]


def _longest(folder: Path) -> int | None:
    """Tokens of a text that are read."""
    for name, key in (*((name, "max_seq_length") for name in _LENGTHS), ("tokenizer_config.json", "model_max_length")):
        path = folder / name
        theirs = read_json(path) if path.is_file() else {}
        if name in _LENGTHS and theirs.get("do_lower_case"):
            raise CheckpointError("do_lower_case changes texts", str(path), "only a tokenizer's own can be imported")
        longest = theirs.get(key)
        if longest is not None and (type(longest) not in (int, float) or longest < 3):
            raise CheckpointError(f"{key} {longest!r} is no length", str(path), "copy the file again")
        if longest is not None:
            return int(longest) if longest <= MAX_POSITIONS else None  # some write 10^30 for none
    return None


def _refuse_prompt(path: Path) -> None:
    """A text that stands before every other one is no setting of ours."""
    theirs = read_json(path) if path.is_file() else {}
    name, prompts = theirs.get("default_prompt_name"), theirs.get("prompts")
    prompt = prompts.get(name) if isinstance(prompts, dict) else None
    if name is not None and prompt:
        raise CheckpointError(
            f"'{prompt}' is put before every text",
            str(path),
            "set default_prompt_name to null there, and give texts with it",
        )
