"""How far sequences are from the right ones: of characters, words or phonemes, with one right answer or several.

    error rate        edits to the nearest reference / length of that reference, each summed over all items
    wrong share       items that are not exactly one of their references / items

With phonemes of words as sequences these are the phoneme error rate and the word error rate of pronunciations.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from malgil.errors import InputError

Tokens = Sequence[Hashable]


def edit_distance(a: Tokens, b: Tokens) -> int:
    """The fewest insertions, deletions and replacements that turn `a` into `b` (Levenshtein 1966).

    >>> edit_distance("말길이", "말을길")
    2
    """
    above = list(range(len(b) + 1))  # the distances of a prefix of a to all prefixes of b
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
        above = row
    return above[-1]


def error_rate(hypotheses: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> float:
    """Edits over the length of what is right, 0 for no error; it may exceed 1.

    Args:
        references: for each hypothesis those that are right; the nearest counts, of equally near ones the first.

    Raises:
        InputError: nothing to compare, a hypothesis without a reference, or references that are all empty.
    """
    _check(hypotheses, references)
    edits = length = 0
    for found, right in zip(hypotheses, references, strict=True):
        distance, size = min(((edit_distance(found, one), len(one)) for one in right), key=lambda pair: pair[0])
        edits, length = edits + distance, length + size
    if length == 0:
        raise InputError("an error rate of empty references", fix="give references that hold something")
    return edits / length


def wrong_share(hypotheses: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> float:
    """The share of hypotheses, 0 to 1, that are none of their references.

    Raises:
        InputError: nothing to compare, or a hypothesis without a reference.
    """
    _check(hypotheses, references)
    right = sum(list(found) in [list(one) for one in ok] for found, ok in zip(hypotheses, references, strict=True))
    return 1 - right / len(hypotheses)


def _check(hypotheses: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> None:
    if not hypotheses or len(hypotheses) != len(references):
        raise InputError(
            f"{len(hypotheses)} hypotheses and references for {len(references)}", fix="give references for each"
        )
    for number, right in enumerate(references):
        if not right:
            raise InputError("no reference", f"item {number}", "give at least one")
