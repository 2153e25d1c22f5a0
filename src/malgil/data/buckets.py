"""Batches of pairs of similar length: padding is work for nothing.

    sorted by length     aa  bbb | cccc dddd | eeeeeee          cut where one pair more would pass the budget
    shuffled              eeeeeee | aa bbb | cccc dddd          so that a run does not read from short to long

Each pair once an epoch. The lengths by which pairs are sorted waver a little, and equal ones come in random order, so
that the batches of two epochs differ.
"""

from __future__ import annotations

import numpy as np

from malgil.data.epochs import Epoch, Int64s
from malgil.data.windows import generator

#: the share by which a source may seem longer than it is
WAVER = 0.05
_KEY = 11  # tells these draws from others with the same seed and epoch


class Buckets:
    """Batches of an epoch, a function of (seed, epoch) alone.

    Args:
        source_lengths, target_lengths: (pairs,) tokens of each side, whatever is put around them included.
        batch_tokens: the most tokens of a batch with padding, source plus target. A pair that has more is a batch.
        batch_size: pairs of a batch, where there is no `batch_tokens`.
        seed: non-negative.
    """

    def __init__(
        self,
        source_lengths: Int64s,
        target_lengths: Int64s,
        *,
        batch_tokens: int | None = None,
        batch_size: int = 1,
        seed: int = 0,
    ) -> None:
        self.source_lengths, self.target_lengths = source_lengths, target_lengths
        self.batch_tokens, self.batch_size, self.seed = batch_tokens, batch_size, seed

    def epoch(self, epoch: int) -> Epoch:
        """The batches of an epoch, in the order in which they are read."""
        random = generator(self.seed, epoch, _KEY)
        order = self._by_length(random)
        starts = self._cut(order)
        shuffled = random.permutation(len(starts) - 1)
        sizes = np.diff(starts)[shuffled]
        ends = np.cumsum(sizes)
        # The indices of batch after batch: its start, repeated, and a count that begins anew at each.
        places = np.arange(len(order)) + np.repeat(starts[:-1][shuffled] - (ends - sizes), sizes)
        return Epoch(order[places], np.concatenate([[0], ends]))

    def _by_length(self, random: np.random.Generator) -> Int64s:
        """The pairs, short ones first: by source, and where sources are equal by target, which varies less then."""
        draws = random.random((2, len(self.source_lengths)))
        sources = np.rint(self.source_lengths * (1 + WAVER * draws[0]))
        return np.lexsort((self.target_lengths + draws[1], sources))

    def _cut(self, order: Int64s) -> Int64s:
        """Where batches start in the order, and its end."""
        if self.batch_tokens is None:
            return np.append(np.arange(0, len(order), self.batch_size), len(order))
        sources, targets = self.source_lengths[order], self.target_lengths[order]
        starts = [0]
        while starts[-1] < len(order):
            start = starts[-1]
            most = max(self.batch_tokens // int(sources[start] + targets[start]), 1)  # its first pair is no longer
            longest = np.maximum.accumulate(sources[start : start + most])
            longest += np.maximum.accumulate(targets[start : start + most])
            padded = longest * np.arange(1, len(longest) + 1)
            starts.append(start + max(int(np.searchsorted(padded, self.batch_tokens, side="right")), 1))
        return np.array(starts)
