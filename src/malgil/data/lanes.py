"""A token store read as parallel streams: examples for models that carry a state from one batch to the next.

The tokens are cut into as many lanes as the batch has rows, and a batch is one column:

    lane 0   t0   ..  | ..  | ..  | ..        columns = 4; column k + 1 continues column k in every lane,
    lane 1   t100 ..  | ..  | ..  | ..        which is what truncated backpropagation through time needs
"""

from __future__ import annotations

from malgil.data.store import TokenStore
from malgil.data.windows import Window, generator, grid, too_short


class Lanes:
    """Streams of equal length that start anew at each epoch, at an offset drawn from (seed, epoch).

    Args:
        lanes: parallel streams, all ranks and micro-batches together.
        length: targets of a lane in one column.
        seed: non-negative.

    Raises:
        DataError: fewer than lanes * length + 1 tokens.
    """

    def __init__(self, store: TokenStore, lanes: int, length: int, *, seed: int) -> None:
        if len(store) < lanes * length + 1:
            raise too_short(store, lanes * length + 1, f"{lanes} lanes of {length} tokens")
        self.store, self.lanes, self.length, self.seed = store, lanes, length, seed
        self._stride = (len(store) - 1) // lanes
        self.columns, self._slack = grid(self._stride + 1, length)

    def window(self, epoch: int, lane: int, column: int) -> Window:
        """(tokens int64, True where a document starts), both (length + 1,).

        The last token of a column is the first of the next one in the same lane.
        """
        if not (0 <= lane < self.lanes and 0 <= column < self.columns):
            raise IndexError((lane, column))
        offset = int(generator(self.seed, epoch).integers(self._slack + 1))
        start = offset + lane * self._stride + column * self.length
        return self.store.span(start, start + self.length + 1)
