"""What an encoder puts where words of a text are hidden: all tokens of a word at once, the likeliest each.

Shown as

    물이 [__] 산은 높다         물이 [흐른다→흐르고] 산은 높다

where the arrow leads from what stood there to what the model puts there; a right guess is `[흐른다]`. Where
another model looks for what was put there, its answer is what it reads, with a mark behind what it doubts:

    물이 [흐른다→흐르고] 산은 높다         물이 [흐르고?] 산은 높다
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

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
    ids, put, words = _put_words(model, tokenizer, vocabulary, text, longest)
    return Filled(_shown(tokenizer, ids, put, words, lambda *_: "[__]"), _shown(tokenizer, ids, put, words, _change))


@torch.no_grad()
def doubt_words(
    model: Encoder,
    doubts: Callable[[Tensor], Tensor],
    tokenizer: Tokenizer,
    vocabulary: Vocabulary,
    text: str,
    longest: int,
) -> Filled:
    """Put a model's words into a text, and have another one look for them.

    Args:
        doubts: from tokens (1, T) to (T,), positive where one is held to be put there.
        longest: tokens that both read; what lies beyond is cut.
    """
    ids, put, words = _put_words(model, tokenizer, vocabulary, text, longest)
    doubted = (doubts(_row(tokenizer, put).to(parameter_device(model)))[1:-1] > 0).cpu().numpy()
    edges = [*np.flatnonzero(vocabulary.begins_word(ids)).tolist(), len(ids)]
    marked = [(start, stop) for start, stop in pairwise(edges) if doubted[start:stop].any()]
    found = _shown(tokenizer, put, put, marked, lambda word, _: f"[{word}?]")
    return Filled(_shown(tokenizer, ids, put, words, _change), found.replace("\n", "⏎"))


Words = list[tuple[int, int]]


def _put_words(
    model: Encoder, tokenizer: Tokenizer, vocabulary: Vocabulary, text: str, longest: int
) -> tuple[np.ndarray, np.ndarray, Words]:
    """A text's ids (T,), those with what the model puts in the place of some words (T,), and these words."""
    ids = np.array(tokenizer.encode(text)[: longest - 2], dtype=np.int64)
    words = _hidden_words(ids, vocabulary)
    hidden = np.zeros(len(ids), dtype=np.bool_)
    for start, stop in words:
        hidden[start:stop] = True
    row = _row(tokenizer, np.where(hidden, vocabulary.mask_id, ids)).to(parameter_device(model))
    guesses = model.logits(model(row).hidden[0]).argmax(-1)[1:-1].cpu().numpy()
    return ids, np.where(hidden, guesses, ids), words


def _row(tokenizer: Tokenizer, ids: np.ndarray) -> Tensor:
    """(1, T + 2): with begin and end."""
    return torch.from_numpy(np.concatenate([[tokenizer.begin_id], ids, [tokenizer.end_id]]))[None]


def _shown(
    tokenizer: Tokenizer, ids: np.ndarray, put: np.ndarray, words: Words, show: Callable[[str, str], str]
) -> str:
    """The text of ids in which `show` says what stands for some words, given each and what was put in its place."""
    shown, done = "", 0
    for start, stop in words:
        before, word = _added(tokenizer, ids[:done], ids[done:start]), _added(tokenizer, ids[:start], ids[start:stop])
        guess = _added(tokenizer, ids[:start], put[start:stop]).replace("\n", "⏎").strip()
        shown += before + word[: len(word) - len(word.lstrip())] + show(word.strip(), guess)
        done = stop
    return shown + _added(tokenizer, ids[:done], ids[done:])


def _change(word: str, guess: str) -> str:
    return f"[{word}]" if guess == word else f"[{word}→{guess}]"


def _hidden_words(ids: np.ndarray, vocabulary: Vocabulary) -> Words:
    """(start, stop) of every ONE_IN-th word that is made of letters, from about the third on."""
    edges = [*np.flatnonzero(vocabulary.begins_word(ids)).tolist(), len(ids)]
    words = [(start, stop) for start, stop in pairwise(edges) if vocabulary.breaks_off[ids[stop - 1]]]
    return words[min(2, len(words) - 1) :: ONE_IN] if words else []


def _added(tokenizer: Tokenizer, before: np.ndarray, ids: np.ndarray) -> str:
    """The text that some ids add to that of the ids before them."""
    beginning = tokenizer.decode(before.tolist())
    return tokenizer.decode([*before.tolist(), *ids.tolist()])[len(beginning) :]
