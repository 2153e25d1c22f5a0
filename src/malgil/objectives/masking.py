"""Which tokens are hidden from a masked language model, and behind what.

    text       물 이   흐 른 다 .
    chosen         x           .             tokens:  each by itself
                   x   x x                   words:   all tokens of a word, or none
                   x x   x                   spans:   several words in a row, cut where enough are hidden

Every token gets a draw, or shares that of its word or its span, and those with the smallest draws are chosen. Of these,
80 % become the mask, 10 % another token and 10 % stay as they are, so that a model has to know every token that it sees
(Devlin et al. 2019, 3.1).

Draws depend on the seed, the epoch and the sequence's number alone: not on what is read beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from malgil.data.shuffle import uniforms
from malgil.text.words import Vocabulary

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
#: of the chosen tokens: the share that becomes the mask, and with those that become another token
MASKED, MASKED_OR_OTHER = 0.8, 0.9
#: a span's length in words is geometric, cut at the longest; 3.8 on average (Joshi et al. 2020, 3.1)
SPAN_P, LONGEST_SPAN = 0.2, 10
_CHOICE, _FATE, _OTHER, _LENGTH = range(17, 21)  # tell the kinds of draws apart


@dataclass(frozen=True)
class Masking:
    """How tokens are chosen.

    Attributes:
        rate: the share of a sequence's tokens, begin and end left out, that is chosen; at least one is. Words are
            whole, so that their tokens come as near to it as they can.
        unit: 'token', 'word', or 'span' (Joshi et al. 2020), whose tokens also share what becomes of them.
        once: the same tokens in every epoch, instead of others each time (Liu et al. 2019, 4.1).
    """

    vocabulary: Vocabulary
    rate: float = 0.15
    unit: str = "token"
    once: bool = False

    def hide(
        self,
        ids: Int64s,
        lengths: Int64s,
        numbers: Int64s,
        epochs: Int64s,
        *,
        seed: int,
        first_lengths: Int64s | None = None,
    ) -> tuple[Int64s, Bools]:
        """What the model sees of some sequences, and which tokens it is asked for.

        Args:
            ids: (N,) the sequences' tokens, one sequence after another, each with its begin and its end.
            lengths: (S,) tokens of each.
            numbers: (S,) which sequence of all it is.
            epochs: (S,)
            first_lengths: (S,) of pairs, tokens of the first text with its begin and its end; None: there are no pairs.

        Returns:
            ids (N,), of which the chosen ones may be others; and which are chosen (N,).
        """
        first_lengths = lengths if first_lengths is None else first_lengths
        sequence = np.repeat(np.arange(len(lengths)), lengths)
        place = np.arange(len(ids)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        ends = (place == lengths[sequence] - 1) | (place == first_lengths[sequence] - 1)
        text = np.flatnonzero((place > 0) & ~ends)
        sequence, place = sequence[text], place[text]
        sizes = lengths - 2 - (first_lengths < lengths)
        where = ((0 if self.once else epochs[sequence]) + np.zeros_like(place), numbers[sequence], place)
        begins = (place == 1) | (place == first_lengths[sequence])
        words = self.vocabulary.begins_word(ids[text]) | begins
        draws, origin = self._draws(words, begins, where, seed)
        chosen = self._smallest(draws, sequence, sizes, words)
        fate, other = (uniforms((seed, kind), *where) for kind in (_FATE, _OTHER))
        fate = fate[origin]
        ordinary = self.vocabulary.ordinary
        seen, targets = ids.copy(), np.zeros(len(ids), dtype=np.bool_)
        masked, replaced = chosen & (fate < MASKED), chosen & (fate >= MASKED) & (fate < MASKED_OR_OTHER)
        seen[text[masked]] = self.vocabulary.mask_id
        seen[text[replaced]] = ordinary[(other[replaced] * len(ordinary)).astype(np.int64)]
        targets[text[chosen]] = True
        return seen, targets

    def _draws(self, words: Bools, first: Bools, where: tuple[Int64s, ...], seed: int) -> tuple[Floats, Int64s]:
        """A draw for each of n tokens (n,), and the token (n,) with which it shares what becomes of it.

        Args:
            words: (n,) where words begin.
            first: (n,) where texts begin.
        """
        draws, own = uniforms((seed, _CHOICE), *where), np.arange(len(words))
        if self.unit == "token":
            return draws, own
        starts, word = np.flatnonzero(words), np.cumsum(words) - 1
        if self.unit == "word":
            return draws[starts[word]], own
        lengths = _span_lengths(uniforms((seed, _LENGTH), *where)[starts])
        best, origin = _first_spans(draws[starts], lengths, np.cumsum(first, dtype=np.int64)[starts])
        return best[word], starts[origin][word]

    def _smallest(self, draws: Floats, sequence: Int64s, sizes: Int64s, words: Bools) -> Bools:
        """(n,): the tokens with the smallest draws of each sequence, as many as the rate asks for."""
        wanted = np.maximum(1, np.rint(self.rate * sizes))[sequence]
        order = np.lexsort((draws, sequence))  # stable: tokens that share a draw stay in their order
        rank = np.empty(len(draws), dtype=np.int64)
        rank[order] = np.arange(len(draws)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        if self.unit != "word":
            fewest: Bools = rank < wanted
            return fewest
        starts = np.flatnonzero(words)
        middle = rank[starts] + np.diff(starts, append=len(words)) / 2
        taken: Bools = (middle <= wanted[starts]) | (rank[starts] == 0)
        return np.repeat(taken, np.diff(starts, append=len(words)))


def _span_lengths(draws: Floats) -> Int64s:
    """Lengths 1 to LONGEST_SPAN with p(l) in proportion to (1 - SPAN_P)^l, from uniform draws."""
    shares = 1 - (1 - SPAN_P) ** LONGEST_SPAN
    return np.maximum(1, np.ceil(np.log1p(-draws * shares) / math.log1p(-SPAN_P))).astype(np.int64)


def _first_spans(draws: Floats, lengths: Int64s, sequence: Int64s) -> tuple[Floats, Int64s]:
    """A span begins at each of W words: of those that cover a word, the smallest draw (W,) and where it begins (W,)."""
    best, origin = draws.copy(), np.arange(len(draws))
    for before in range(1, min(LONGEST_SPAN, len(draws))):
        covers = (lengths[:-before] > before) & (sequence[:-before] == sequence[before:])
        better = np.flatnonzero(covers & (draws[:-before] < best[before:]))
        best[before + better], origin[before + better] = draws[better], better
    return best, origin
