"""A token store cut into windows of equal length: examples for models that see one window at a time.

A window holds length + 1 tokens, the inputs and, one place on, their targets; neighbours share one token:

    tokens    t0 t1 t2 t3 t4 t5 t6 t7 t8 ...
    window 0  [----inputs---]
                 [---targets---]
    window 1              [----inputs---]        (length 5)
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from malgil.data.shuffle import Permutation
from malgil.data.store import TokenStore
from malgil.errors import DataError, InputError

Window = tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]
_FEW = 8  # windows; with fewer, giving one up for a shifted grid would cost too much of the data


def generator(*key: int) -> np.random.Generator:
    """Random numbers that depend on the key alone, on every machine."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def grid(n_tokens: int, length: int) -> tuple[int, int]:
    """(windows, largest offset) of a grid that may be shifted: where there are few windows it may not move far."""
    windows = (n_tokens - 1) // length
    if windows >= _FEW:
        windows -= 1
    return windows, n_tokens - 1 - windows * length


class Windows:
    """Training windows: what an index gives depends on (seed, epoch, index) alone.

    'shuffle' lays a grid over the tokens, shifted by an offset of up to one window that differs between epochs, and
    takes each of its windows once an epoch in shuffled order. 'random' draws each start uniformly, with replacement, as
    nanoGPT does; an epoch is then only a count.

    Args:
        length: targets in a window.
        seed: non-negative.

    Raises:
        DataError: fewer than length + 1 tokens.
    """

    def __init__(self, store: TokenStore, length: int, *, seed: int, sampling: str = "shuffle") -> None:
        if len(store) < length + 1:
            raise too_short(store, length + 1, "one window of training data")
        if sampling not in ("shuffle", "random"):
            raise InputError(f"unknown sampling '{sampling}'", "data.sampling", "known: shuffle, random")
        self.store, self.length, self.seed, self.sampling = store, length, seed, sampling
        self._windows, self._slack = grid(len(store), length)

    def __len__(self) -> int:
        """Windows an epoch."""
        return self._windows

    def window(self, epoch: int, index: int) -> Window:
        """(tokens int64, True where a document starts), both (length + 1,)."""
        if not 0 <= index < self._windows:
            raise IndexError(index)
        if self.sampling == "random":
            start = int(generator(self.seed, epoch, index).integers(len(self.store) - self.length))
        else:
            order, offset = _epoch(self._windows, self._slack, self.seed, epoch)
            start = offset + order[index] * self.length
        return self.store.span(start, start + self.length + 1)


class EvaluationWindows:
    """Windows that score every token but the first exactly once, in order; the last one may be short.

    Raises:
        DataError: fewer than two tokens.
    """

    def __init__(self, store: TokenStore, length: int) -> None:
        if len(store) < 2:
            raise too_short(store, 2, "one validation window")
        self.store, self.length = store, length

    def __len__(self) -> int:
        return -(-(len(self.store) - 1) // self.length)

    def window(self, index: int) -> Window:
        """(tokens int64, True where a document starts), both (n + 1,) with 1 <= n <= length."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        start = index * self.length
        return self.store.span(start, min(start + self.length + 1, len(self.store)))


def too_short(store: TokenStore, needed: int, what: str) -> DataError:
    """The error for a store with fewer tokens than `what` needs."""
    missing = store.characters_for(needed)
    return DataError(
        f"the text is too short for {what}: {len(store):,} tokens of the {needed:,} needed",
        "data",
        f"give at least about {missing:,} characters, or lower model.max_len or training.batch_size",
    )


@lru_cache(maxsize=4)
def _epoch(windows: int, slack: int, seed: int, epoch: int) -> tuple[Permutation, int]:
    return Permutation(windows, (seed, epoch, 0)), int(generator(seed, epoch, 1).integers(slack + 1))
