"""A token store cut into sequences that a model reads whole, and sequences put together into rows.

A document is cut evenly into as few pieces as fit, each of which gets a begin and an end:

    store        <|> a b c d e f g <|> x y <|>
    sequences    <|> a b c <|>    <|> d e f g <|>    <|> x y <|>         (longest 6)

    rows         <|> d e f g <|>                       filled one after another, in shuffled order; sequences in a row
                 <|> x y <|> <|> a b c <|>             do not see one another, so nothing is spent on padding
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from malgil.data.epochs import Epoch, Int64s
from malgil.data.store import TokenStore
from malgil.data.windows import generator, too_short
from malgil.errors import ConfigError

_KEY = 13  # tells these draws from others with the same seed and epoch


class Reading(Protocol):
    """What a model reads in an epoch: texts by their numbers, or pairs of texts.

        a text      <|> a b c <|>
        a pair      <|> a b c <|> d e <|>

    Attributes:
        lengths: (texts,) tokens of each, begin and ends included.
        first_lengths: (texts,) those of the first text of a pair, its begin and its end included; of one without a
            second text all.
        labels: (texts,) what is asked of the pairs, -100 where nothing is; None: nothing of any.
    """

    @property
    def lengths(self) -> Int64s: ...
    @property
    def first_lengths(self) -> Int64s: ...
    @property
    def labels(self) -> Int64s | None: ...

    def ids(self, index: int) -> Int64s:
        """The tokens of a text (lengths[index],)."""
        ...


class Readings(Protocol):
    """What there is to be read, as a function of the epoch alone; picklable."""

    def in_epoch(self, epoch: int) -> Reading: ...


class Sequences:
    """The sequences of a store, in its order; an empty document has none.

    Args:
        longest: tokens of a sequence at most, its begin and its end included.

    Attributes:
        lengths: (sequences,) tokens of each, begin and end included.

    Raises:
        ConfigError: no room between begin and end.
        DataError: there is no text.
    """

    def __init__(self, store: TokenStore, longest: int) -> None:
        if longest < 3:
            raise ConfigError(
                f"model.max_len {longest} has no room for a token between begin and end", fix="take at least 3"
            )
        if not len(store.starts):
            raise too_short(store, 3, "one sequence")
        self.store, self.longest = store, longest
        self._begin, self._end = int(store.tokens[store.starts[0]]), int(store.tokens[-1])
        firsts, sizes = documents(store)
        document, begins, sizes = cut_evenly(sizes, longest - 2)
        self.lengths: Int64s = sizes + 2
        self._firsts: Int64s = firsts[document] + begins
        if not len(document):
            raise too_short(store, 3, "one sequence")

    def __reduce__(self) -> tuple[type[Sequences], tuple[TokenStore, int]]:
        return Sequences, (self.store, self.longest)

    def __len__(self) -> int:
        return len(self.lengths)

    def in_epoch(self, epoch: int) -> Sequences:
        """What an epoch reads: the same in each; see `Readings`."""
        return self

    @property
    def first_lengths(self) -> Int64s:
        """(sequences,): `lengths`, since none has a second text."""
        return self.lengths

    @property
    def labels(self) -> None:
        """Nothing is asked of a sequence as a whole."""

    def ids(self, index: int) -> Int64s:
        """The tokens of a sequence (lengths[index],)."""
        ids = np.empty(self.lengths[index], dtype=np.int64)
        ids[0], ids[-1] = self._begin, self._end
        first = self._firsts[index]
        ids[1:-1] = self.store.tokens[first : first + len(ids) - 2]
        return ids


class Rows:
    """Sequences in rows, a function of (seed, epoch) alone; each sequence once an epoch.

    Args:
        lengths: (sequences,)
        room: tokens of a row at most; None: a sequence is a row.
        seed: non-negative.
    """

    def __init__(self, lengths: Int64s, room: int | None, *, seed: int) -> None:
        self.lengths, self.room, self.seed = lengths, room, seed

    def epoch(self, epoch: int) -> Epoch:
        """The rows of an epoch, in shuffled order."""
        order = generator(self.seed, epoch, _KEY).permutation(len(self.lengths))
        return Epoch(order, pack(self.lengths[order], self.room))


def documents(store: TokenStore) -> tuple[Int64s, Int64s]:
    """Where the text of each document starts in a store that has some, and its tokens, begin and end left out."""
    apart = int(store.tokens[store.starts[0]] != store.tokens[-1])  # documents have an end of their own
    firsts = np.asarray(store.starts) + 1
    return firsts, np.append(firsts[1:] - 1, len(store) - 1 + apart) - apart - firsts


def cut_evenly(sizes: Int64s, longest: int) -> tuple[Int64s, Int64s, Int64s]:
    """Things (N,) in as few pieces (P,) of at most `longest` as possible, whose sizes differ by at most 1.

    Returns:
        of each piece: the number of its thing, where in it it begins, and its size.

    >>> [found.tolist() for found in cut_evenly(np.array([7, 0, 2]), 3)]
    [[0, 0, 0, 2], [0, 2, 4, 0], [2, 2, 3, 2]]
    """
    pieces = -(-sizes // longest)
    thing = np.repeat(np.arange(len(sizes)), pieces)
    number = np.arange(len(thing)) - np.repeat(np.cumsum(pieces) - pieces, pieces)  # of a piece in its thing
    begins = number * sizes[thing] // pieces[thing]
    return thing, begins, (number + 1) * sizes[thing] // pieces[thing] - begins


def pack(lengths: Int64s, room: int | None, stops: Int64s | None = None) -> Int64s:
    """Where rows start (rows + 1,) when sequences are put one after another into rows of at most `room` tokens.

    Args:
        stops: (sequences,) for each sequence the number of the first one that may not stand in its row.

    >>> pack(np.array([3, 4, 2, 6]), 8).tolist(), pack(np.array([3, 4]), None).tolist()
    ([0, 2, 4], [0, 1, 2])
    """
    if room is None:
        return np.arange(len(lengths) + 1)
    ends = np.cumsum(lengths)
    following = np.searchsorted(ends, ends - lengths + room, side="right")  # where the row after this one starts
    following = np.maximum(following, np.arange(1, len(lengths) + 1))  # one that has no room is a row too
    after = (following if stops is None else np.minimum(following, stops)).tolist()
    starts = [0]
    while starts[-1] < len(lengths):
        starts.append(after[starts[-1]])
    return np.array(starts)
