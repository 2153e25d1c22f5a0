"""What one model type of another library is called there: the row that import and export both read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from malgil.config import Tree
from malgil.interop import keys


@dataclass(frozen=True)
class Spelling:
    """How one model type of another library is read and written.

    Args:
        model_type: as config.json says it.
        family: ours.
        table: the names of the tensors.
        prefix: before the names of the body's tensors; checkpoints of the body alone leave it out.
        leftovers: ends of the names of stored tensors that are no weights (masks and tables of older versions).
        fixed: keys that change the computation, and the values under which it is ours.
        read: their keys as the tree of our settings.
        write: our settings as their keys.
        copies: tensors that a checkpoint may store beside the ones they equal, by name.
        vocab_size: their key of the number of rows of the embedding, in an encoder-decoder that of the target.
        source_vocab_size: the same for a source that has an embedding of its own.
        renamed: ends of names in older files, and what they are called today.
        spare: beginnings of the names of heads that no setting of ours keeps.
        optional: our settings that are on where a tensor of that name is stored.
        head: beginnings of our names of the pretraining head's parts, which begin anew where none of it is stored.
    """

    model_type: str
    family: str
    table: tuple[keys.Rule, ...]
    prefix: str
    leftovers: tuple[str, ...]
    fixed: Mapping[str, tuple[Any, ...]]
    read: Callable[[Tree], Tree]
    write: Callable[[Any], Tree]
    copies: Mapping[str, str] = field(default_factory=dict)
    vocab_size: str = "vocab_size"
    source_vocab_size: str | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    spare: tuple[str, ...] = ()
    optional: Mapping[str, str] = field(default_factory=dict)
    head: tuple[str, ...] = ()
