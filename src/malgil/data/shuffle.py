"""Random orders and numbers that are computed where they are asked for, from a key and an index.

A random order of n things without a list of n things is a keyed permutation. A Feistel network permutes the numbers of
2h bits, whatever its round function (Luby and Rackoff, 1988); walking on until the result is below n restricts it to
the first n ("cycle walking", Black and Rogaway, 2002). 2**(2h) is less than 4n, so that fewer than four steps are taken
on average.
"""

from __future__ import annotations

from typing import Any, overload

import numpy as np
import numpy.typing as npt

UInt64s = npt.NDArray[np.uint64]
_ROUNDS = 6
_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / the golden ratio, odd: SplitMix64's step
_MASK = (1 << 64) - 1


class Permutation:
    """A permutation of range(n), a function of the key alone; O(1) memory, some microseconds an index.

    Args:
        n: how many things are permuted, at least 1.
        key: non-negative integers, for example (seed, epoch).

    >>> order = Permutation(5, (0, 0))
    >>> sorted(order[i] for i in range(5))
    [0, 1, 2, 3, 4]
    """

    def __init__(self, n: int, key: tuple[int, ...]) -> None:
        self._n = n
        self._half = max((max(n - 1, 1).bit_length() + 1) // 2, 2)
        self._keys = [int(word) for word in np.random.Philox(np.random.SeedSequence(key)).random_raw(_ROUNDS)]

    def __getitem__(self, index: int) -> int:
        if not 0 <= index < self._n:
            raise IndexError(index)
        value = self._network(index)
        while value >= self._n:
            value = self._network(value)
        return value

    def _network(self, value: int) -> int:
        low = (1 << self._half) - 1
        left, right = value >> self._half, value & low
        for key in self._keys:
            left, right = right, left ^ (_mixed(right ^ key) & low)
        return left << self._half | right


def uniforms(key: tuple[int, ...], *coordinates: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1), each a function of the key and its coordinates alone, whatever they are drawn with.

    Args:
        key: non-negative integers.
        coordinates: (N,) each, non-negative, such as an epoch, an example and a place in it.

    Returns:
        (N,)

    >>> together = uniforms((0,), np.array([3, 4]), np.array([0, 7]))
    >>> together[1] == uniforms((0,), np.array([4]), np.array([7]))[0]
    np.True_
    """
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)
    for coordinate in coordinates:
        state = _mixed(state + (coordinate.astype(np.uint64) + 1) * _GOLDEN)
    return (state >> 11).astype(np.float64) * 2.0**-53


@overload
def _mixed(value: int) -> int: ...
@overload
def _mixed(value: UInt64s) -> UInt64s: ...
def _mixed(value: Any) -> Any:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): each bit of the input changes half of the output's."""
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31
