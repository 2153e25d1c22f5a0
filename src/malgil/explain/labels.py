"""Tokens as a person reads them, one label each: for the edges of a map, not to be joined to a text again."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from malgil.text.tokenizer import Tokenizer

SPACE = "·"
_VISIBLE = str.maketrans({" ": SPACE, "\n": "↵", "\r": "␍", "\t": "⇥"})
_PARTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def token_labels(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """A label for each id, in context.

    `·` stands for a space, also for the one before a word; `↵` and `⇥` for line ends and tabs. The tokens that
    together spell one character show it with their number, since a third of a syllable has no shape of its own:

        한 as three byte tokens  ->  한¹ 한² 한³

    Bytes that never become a character are `�`; special tokens are `<s>` (begins), `</s>` (ends), `<unk>` (not in the
    vocabulary) and `<…>`.

    Raises:
        InputError: an id that the tokenizer does not have.
    """
    labels: list[str] = []
    waiting: list[int] = []  # places of tokens whose character is not complete
    stream = tokenizer.stream()
    for place, token in enumerate(ids):
        piece = stream.push(token)
        if piece == "" and _is_special(tokenizer, token):
            labels.append(_special(tokenizer, token, place))
            continue
        labels.append(_readable(tokenizer, piece))
        if piece == "":
            waiting.append(place)
        elif waiting:
            parts = [*waiting, place]
            for number, part in enumerate(parts, 1):
                shown = labels[place] if part == parts[-1] else _readable(tokenizer, piece[0])
                labels[part] = shown[:1] + str(number).translate(_PARTS) + shown[1:]
            waiting = []
    for place in waiting:
        labels[place] = "\ufffd"
    return [unicodedata.normalize("NFC", label) for label in labels]


def _is_special(tokenizer: Tokenizer, token: int) -> bool:
    """Whether a token says nothing, rather than a part of a character."""
    stream = tokenizer.stream()
    return stream.push(token) + stream.finish() == ""


def _special(tokenizer: Tokenizer, token: int, place: int) -> str:
    if token == tokenizer.begin_id and place == 0:
        return "<s>"
    return {tokenizer.end_id: "</s>", tokenizer.unknown_id: "<unk>"}.get(token, "<…>")


def _readable(tokenizer: Tokenizer, piece: str) -> str:
    if tokenizer.kind == "word":
        piece = piece.strip(" ") or piece  # every token is a word; a mark at each would say nothing
    return piece.translate(_VISIBLE)
