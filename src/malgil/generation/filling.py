"""What an encoder puts where words of a text are hidden: all tokens of a word at once, the likeliest each.

Shown as

    물이 [__] 산은 높다         물이 [흐른다→흐르고] 산은 높다

where the arrow leads from what stood there to what the model puts there; a right guess is `[흐른다]`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from malgil.models.base import Encoder, parameter_device
from malgil.text.tokenizer import Tokenizer
from malgil.text.words import Vocabulary

#: one word in so many is hidden, about 15 %
ONE_IN = 7


class Filled(NamedTuple):
    """A text with gaps, and with the words that stood there and the model's guesses."""

    hidden: str
    filled: str


@torch.no_grad()
def fill_words(model: Encoder, tokenizer: Tokenizer, vocabulary: Vocabulary, text: str, longest: int) -> Filled:
    """Hide words of a text and have them guessed.

    Args:
        longest: tokens that the model reads; what lies beyond is cut.
    """
    ids = np.array(tokenizer.encode(text)[: longest - 2], dtype=np.int64)
    words = _hidden_words(ids, vocabulary)
    seen = ids.copy()
    for start, stop in words:
        seen[start:stop] = vocabulary.mask_id
    row = torch.from_numpy(np.concatenate([[tokenizer.begin_id], seen, [tokenizer.end_id]]))
    logits = model.logits(model(row[None].to(parameter_device(model))).hidden[0])
    guesses = logits.argmax(-1)[1:-1].tolist()
    hidden = filled = ""
    done = 0
    for start, stop in words:
        before, word = _added(tokenizer, ids[:done], ids[done:start]), _added(tokenizer, ids[:start], ids[start:stop])
        guess = _added(tokenizer, ids[:start], np.array(guesses[start:stop])).replace("\n", "⏎").strip()
        before += word[: len(word) - len(word.lstrip())]
        word = word.strip()
        hidden += f"{before}[__]"
        filled += f"{before}[{word}]" if guess == word else f"{before}[{word}→{guess}]"
        done = stop
    rest = _added(tokenizer, ids[:done], ids[done:])
    return Filled(hidden + rest, filled + rest)


def _hidden_words(ids: np.ndarray, vocabulary: Vocabulary) -> list[tuple[int, int]]:
    """(start, stop) of every ONE_IN-th word that is made of letters, from about the third on."""
    edges = [*np.flatnonzero(vocabulary.begins_word(ids)).tolist(), len(ids)]
    words = [(start, stop) for start, stop in pairwise(edges) if vocabulary.breaks_off[ids[stop - 1]]]
    return words[min(2, len(words) - 1) :: ONE_IN] if words else []


def _added(tokenizer: Tokenizer, before: np.ndarray, ids: np.ndarray) -> str:
    """The text that some ids add to that of the ids before them."""
    beginning = tokenizer.decode(before.tolist())
    return tokenizer.decode([*before.tolist(), *ids.tolist()])[len(beginning) :]
