"""What an attention page or picture shows: maps with the tokens at their edges, and how much of them can be shown."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from malgil.config import not_found
from malgil.errors import InputError

#: tokens that can still be told apart along an edge
MOST_TOKENS = 128
#: weights on one page: 8 MB of it
MOST_WEIGHTS = 3_000_000

KINDS = ("self", "bidirectional self", "cross", "encoder self", "decoder self")


@dataclass(frozen=True)
class AttentionGroup:
    """The maps of one kind, which share their tokens.

    Attributes:
        kind: one of `KINDS`: in a model of one text, that reads it from the left or in both directions; from the target
            to the source, or within either.
        rows: the tokens that look, T labels from top to bottom.
        columns: the tokens that are looked at, S labels.
        layers: for each layer its heads, (H, T, S); a row is a distribution over the columns.

    Raises:
        InputError: another kind, no map, or a map whose shape is not that of its labels.
    """

    kind: str
    rows: Sequence[str]
    columns: Sequence[str]
    layers: Sequence[NDArray[np.float32]]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise not_found("kind of attention", self.kind, KINDS)
        edges = (len(self.rows), len(self.columns))
        if not self.layers or not all(edges):
            raise InputError(f"no map of {self.kind} attention", "", "give a token and a layer at least")
        for number, layer in enumerate(self.layers, 1):
            if layer.ndim != 3 or layer.shape[1:] != edges or not layer.shape[0]:
                raise InputError(
                    f"a map of shape {layer.shape} for {edges[0]} rows and {edges[1]} columns",
                    f"{self.kind} attention, layer {number}",
                    "give (heads, rows, columns)",
                )

    def map(self, layer: int, head: int | None = None) -> NDArray[np.float32]:
        """(T, S): one head of a layer, both counted from 1, or the mean of its heads.

        Raises:
            InputError: there is no such layer or head.
        """
        heads = self.layers[_index(layer, len(self.layers), "layer")]
        mean: NDArray[np.float32] = heads.mean(axis=0)
        return mean if head is None else heads[_index(head, len(heads), "head")]

    def cut(self, most: int) -> AttentionGroup:
        """The first tokens of either edge, at most so many."""
        return replace(
            self,
            rows=[shown(label) for label in self.rows[:most]],
            columns=[shown(label) for label in self.columns[:most]],
            layers=[layer[:, :most, :most] for layer in self.layers],
        )


@dataclass(frozen=True)
class AttentionView:
    """Everything that a page or a picture says.

    Attributes:
        title: what was read, as plain text.
        model: the kind of model that read it.
        parameters: how many it has.
        groups: the kinds of attention, the most telling first.

    Raises:
        InputError: there is no group.
    """

    title: str
    model: str
    parameters: int
    groups: Sequence[AttentionGroup]

    def __post_init__(self) -> None:
        if not self.groups:
            raise InputError("a view without attention", self.title, "give a group of maps at least")

    @property
    def maps(self) -> dict[str, NDArray[np.float32]]:
        """(n_layers, H, T, S) of each kind."""
        return {group.kind: np.stack(group.layers) for group in self.groups}

    def describe(self) -> str:
        """One line: `cross: 4 layers x 8 heads, 7 x 9 tokens; ...`."""
        return "; ".join(
            f"{group.kind}: {_counted(len(group.layers), 'layer')} x {_counted(len(group.layers[0]), 'head')}, "
            f"{len(group.rows)} x {len(group.columns)} tokens"
            for group in self.groups
        )

    def group(self, kind: str | None = None) -> AttentionGroup:
        """The group of that kind; None: the first.

        Raises:
            NotFoundError: this model has no such attention.
        """
        if kind is None:
            return self.groups[0]
        groups = {group.kind: group for group in self.groups}
        if kind not in groups:
            raise not_found("kind of attention", kind, groups)
        return groups[kind]

    @property
    def longest(self) -> int:
        """Tokens of the longest edge."""
        return max(max(len(group.rows), len(group.columns)) for group in self.groups)

    def fitting(self, most_tokens: int = MOST_TOKENS, most_weights: int = MOST_WEIGHTS) -> AttentionView:
        """The view with as many tokens of each text, from its beginning, as can be shown."""
        most = min(most_tokens, self.longest)
        while sum(_size(group, most) for group in self.groups) > most_weights and most > 1:
            most -= 1
        return replace(self, groups=[group.cut(most) for group in self.groups])


def shown(label: str, most: int = 16) -> str:
    """A text as it is drawn: Hangul composed, and of at most so many characters."""
    whole = unicodedata.normalize("NFC", label)
    return whole if len(whole) <= most else whole[: most - 1] + "…"


def _counted(count: int, name: str) -> str:
    return f"{count} {name}{'s' if count > 1 else ''}"


def _size(group: AttentionGroup, most: int) -> int:
    heads = sum(len(layer) for layer in group.layers)
    return heads * min(most, len(group.rows)) * min(most, len(group.columns))


def _index(number: int, count: int, name: str) -> int:
    if not 1 <= number <= count:
        raise InputError(f"there is no {name} {number}", "", f"count from 1 to {count}")
    return number - 1
