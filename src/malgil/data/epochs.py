"""Epoch after epoch as one endless row of groups, whose number may differ from epoch to epoch."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Epoch:
    """The groups of an epoch; group g holds the examples order[starts[g]:starts[g + 1]].

    Attributes:
        order: (examples,) every index once.
        starts: (groups + 1,) ascending, from 0 to the number of examples.
    """

    order: Int64s
    starts: Int64s

    def __len__(self) -> int:
        return len(self.starts) - 1

    def group(self, index: int) -> Int64s:
        """The examples of a group (n,)."""
        return self.order[self.starts[index] : self.starts[index + 1]]


class Epochs:
    """Groups by their number in the endless row.

        epoch     0  0  0  1  1  1  1  2 ..
        group     0  1  2  0  1  2  3  0 ..
        number    0  1  2  3  4  5  6  7 ..

    Args:
        make: an epoch, as a function of its number alone.
    """

    def __init__(self, make: Callable[[int], Epoch]) -> None:
        self._make = make
        self._ends: list[int] = []  # of each epoch so far, the number of groups up to its end
        self._kept: dict[int, Epoch] = {}  # the two read last: a step may lie in both

    def __call__(self, epoch: int) -> Epoch:
        if epoch not in self._kept:
            self._kept = dict([*self._kept.items(), (epoch, self._make(epoch))][-2:])
        if epoch == len(self._ends):
            self._ends.append(len(self._kept[epoch]) + (self._ends[-1] if self._ends else 0))
        return self._kept[epoch]

    def place(self, number: int) -> tuple[int, int]:
        """(epoch, group) of a number."""
        while not self._ends or self._ends[-1] <= number:
            self(len(self._ends))
        epoch = bisect_right(self._ends, number)
        return epoch, number - (self._ends[epoch - 1] if epoch else 0)

    def group(self, number: int) -> Int64s:
        """The examples of the group with that number."""
        epoch, index = self.place(number)
        return self(epoch).group(index)
