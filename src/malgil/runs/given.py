"""What a program gives for texts and paths, checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from malgil.errors import InputError

Paths = str | Path | Sequence[str | Path] | None
#: settings of the `data` section that name files beside `paths`
_FILES = ("validation", "source", "target", "validation_source", "validation_target")
#: and those that say what stands where in them
_FIELDS = ("text_field", "label_field", "pair_field")


def given_text(value: Any) -> str:
    """A text.

    Raises:
        InputError: anything else.
    """
    if not isinstance(value, str):
        raise InputError(f"a text must be a str, not of type {type(value).__name__}", "", "give one text at a time")
    return value


def given_texts(values: Any) -> Iterator[str]:
    """Each as it comes; a single text is refused, as nobody means its characters.

    Raises:
        InputError: no texts, or one that is none.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputError(f"texts must be a list, not of type {type(values).__name__}", "", "write [text] for one")
    yield from map(given_text, values)


def given_paths(paths: Paths) -> list[str]:
    """One path, several, or none."""
    if paths is None:
        return []
    return [str(paths)] if isinstance(paths, (str, Path)) else [str(path) for path in paths]


def given_files(
    data: Paths, source: Paths, target: Paths, validation_source: Paths, validation_target: Paths
) -> dict[str, list[str]]:
    """Settings of the `data` section that name files, by their dotted names; those that are None are left out."""
    files = {
        "paths": data,
        "source": source,
        "target": target,
        "validation_source": validation_source,
        "validation_target": validation_target,
    }
    return {f"data.{name}": given_paths(paths) for name, paths in files.items() if paths is not None}


def other_files(data: Paths) -> dict[str, Any]:
    """Settings of the `data` section for other files than a run's own, whose columns may have other names."""
    return dict.fromkeys(_FIELDS) | {"skip_bad": 0, "paths": given_paths(data)} | {key: [] for key in _FILES}


def given_batch(batch: Any) -> int:
    """How many lines are read together.

    Raises:
        InputError: no integer, or below 1.
    """
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise InputError(f"a batch of {batch!r} lines", "--batch", "take an integer, 1 or more")
    return batch
