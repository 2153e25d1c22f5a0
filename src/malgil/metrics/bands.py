"""Where errors lie: the mean of a figure in bands of something that is counted, such as how rare a token is.

key     0 | 1 .. 9 | 10 .. 99 | 100 ..        times the token occurs in the training text
mean   9.1|  6.2   |   4.0    |  1.8          nats
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

#: how often a token occurs in the training text; powers of ten, as frequencies of words need (Zipf 1949)
RARITY = (0, 1, 10, 100, 1_000, 10_000, 100_000)
#: how many tokens stand before the one that is predicted
PLACES = (0, 4, 16, 64, 256, 1_024)
#: the mean of fewer values says little
LEAST = 20


class Band(NamedTuple):
    """`size` values whose key lies in `low` to `high`, both included; `high` None = without end."""

    low: int
    high: int | None
    size: int
    value: float


def banded(keys: npt.NDArray[Any], values: npt.NDArray[Any], edges: Sequence[int], least: int = LEAST) -> list[Band]:
    """The means of values (N,) in bands of their keys (N,), of which each begins at an edge; small ones are left out.

    Args:
        edges: ascending; keys below the first one are in no band.
        least: how many values a band needs.

    >>> banded(np.array([0, 3, 5, 12]), np.array([4.0, 2.0, 1.0, 7.0]), (0, 1, 10), least=1)
    [Band(low=0, high=0, size=1, value=4.0), Band(low=1, high=9, size=2, value=1.5), \
Band(low=10, high=None, size=1, value=7.0)]
    """
    numbers = np.searchsorted(np.asarray(edges), keys, side="right") - 1
    bands = []
    for number, low in enumerate(edges):
        chosen = values[numbers == number]
        if len(chosen) >= max(1, least):
            high = edges[number + 1] - 1 if number + 1 < len(edges) else None
            bands.append(Band(int(low), high, len(chosen), float(np.mean(chosen, dtype=np.float64))))
    return bands
