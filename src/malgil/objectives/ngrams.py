"""N-grams of characters that vote for labels: a logistic regression with naive Bayes weights (Wang & Manning 2012).

    text     좋다!        n-grams of up to 3 characters    _ 좋 다 ! _좋 좋다 다! !_ _좋다 좋다! 다!_        _ a blank
    votes    for label l: the sum of r_jl w_jl over the text's n-grams j that have a vote, over the root of their number
    r_jl     the log of how likely j is among the n-grams of label l, over how likely it is among those of the others

As they begin, votes are those of naive Bayes; training moves each weight w from there, weight decay draws it back.
Beside an encoder they are the wide part of a wide and deep model (Cheng et al. 2016): they know a phrase that has stood
in three texts, and the encoder what phrases mean together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from malgil.data.epochs import Int64s

#: an n-gram of fewer texts has no vote
LEAST_TEXTS = 3
#: added to each count (Laplace)
ALPHA = 1.0
#: weights are stored in this unit, so that a head's learning rate moves them far enough
UNIT = 5.0
#: texts that are taken apart at a time
_AT_A_TIME = 4096
_SPREAD, _STEP = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)
Floats = npt.NDArray[np.float32]


def n_grams(texts: Sequence[Sequence[str]], longest: int) -> Int64s:
    """(B, K): the different n-grams of each row's texts as hashes, above 0; 0 stands where there are no more.

    An n-gram of the second text is another one than that of the first. Hashes have 62 bits: among a million n-grams two
    meet by chance once in four million times.

    Args:
        texts: of each row, one or two.
        longest: characters of an n-gram at most.
    """
    joined = [[f" {text} " for text in row] for row in texts]
    flat = [text for row in joined for text in row]
    letters = np.frombuffer("".join(flat).encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    sizes = np.array([len(text) for text in flat], dtype=np.int64)
    within = np.arange(len(letters)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    second = np.concatenate([np.arange(len(row)) for row in joined]).astype(np.uint64)
    key = (letters + np.uint64(1)) * _SPREAD + np.repeat(second, sizes) * _STEP
    row_of = np.repeat(np.repeat(np.arange(len(texts)), [len(row) for row in joined]), sizes)
    keys, rows = [key], [row_of]
    for back in range(1, longest):
        key = (key ^ (key >> np.uint64(29))) * _SPREAD + np.roll(letters, back) * _STEP + np.uint64(back)
        keys.append(key[within >= back])
        rows.append(row_of[within >= back])
    return _distinct(np.concatenate(keys), np.concatenate(rows), len(texts))


def _distinct(keys: npt.NDArray[np.uint64], rows: Int64s, n_rows: int) -> Int64s:
    """(B, K): the keys of each row, each once, and 0."""
    order = np.argsort(rows, kind="stable")
    counts = np.bincount(rows, minlength=n_rows)
    grid = np.zeros((n_rows, int(counts.max(initial=0))), dtype=np.int64)
    grid[np.arange(grid.shape[1]) < counts[:, None]] = ((keys[order] >> np.uint64(2)) | np.uint64(1)).astype(np.int64)
    grid[:, ::-1].sort(axis=1)  # from the largest to the smallest
    grid[:, 1:][grid[:, 1:] == grid[:, :-1]] = 0
    return grid


@lru_cache(maxsize=1)
def n_gram_table(texts: tuple[tuple[str, ...], ...], longest: int) -> NGramTable:
    """The table of these texts; the last one is kept, since its size is asked for before its ratios are."""
    return NGramTable(texts, longest)


class NGramTable:
    """The n-grams of texts that stand in several of them.

    Attributes:
        keys: (N,) their hashes, ascending.
    """

    def __init__(self, texts: Sequence[Sequence[str]], longest: int) -> None:
        self.texts, self.longest = texts, longest
        #: (texts,) from the shortest to the longest, since those that are looked at together are padded
        self._order = np.argsort([sum(map(len, row)) for row in texts], kind="stable")
        found, counts = np.unique(np.concatenate([keys[keys > 0] for _, keys in self._pieces()]), return_counts=True)
        self.keys: Int64s = found[counts >= LEAST_TEXTS]

    def ratios(self, targets: Floats) -> Floats:
        """(N, L): r of each n-gram and label.

        Args:
            targets: (texts, L), 1 where a text has a label.
        """
        inside = np.zeros((len(self.keys), targets.shape[1]))
        everywhere = np.zeros((len(self.keys), 1))
        for rows, grid in self._pieces() if len(self.keys) else ():
            found = grid > 0
            keys, text = grid[found], np.repeat(rows, found.sum(1))
            places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
            known = self.keys[places] == keys
            hit, own = places[known], targets[text[known]]
            everywhere[:, 0] += np.bincount(hit, minlength=len(self.keys))
            for label in range(targets.shape[1]):
                inside[:, label] += np.bincount(hit, own[:, label], minlength=len(self.keys))
        with_label, without = ALPHA + inside, ALPHA + everywhere - inside
        logs: Floats = (np.log(with_label / with_label.sum(0)) - np.log(without / without.sum(0))).astype(np.float32)
        return logs

    def _pieces(self) -> Iterator[tuple[Int64s, Int64s]]:
        """Numbers of some texts (B,), and their n-grams (B, K)."""
        for first in range(0, len(self.texts), _AT_A_TIME):
            rows = self._order[first : first + _AT_A_TIME]
            yield rows, n_grams([self.texts[row] for row in rows], self.longest)


class NGramVotes(nn.Module):
    """The votes of n-grams for L labels.

    Args:
        n: how many n-grams have a vote.
        start: w as training begins.
    """

    def __init__(self, n: int, n_labels: int, start: float) -> None:
        super().__init__()
        self.start = start
        self.moved = nn.Parameter(torch.zeros(n, n_labels))
        self.bias = nn.Parameter(torch.zeros(n_labels))
        self.keys: Tensor
        self.ratios: Tensor
        self.register_buffer("keys", torch.zeros(n, dtype=torch.long))
        self.register_buffer("ratios", torch.zeros(n, n_labels))

    def fill(self, keys: Int64s, ratios: Floats) -> None:
        """Take the n-grams of an `NGramTable` (N,) and their ratios (N, L)."""
        self.keys.copy_(torch.from_numpy(keys))
        self.ratios.copy_(torch.from_numpy(ratios))

    def forward(self, found: Tensor) -> Tensor:
        """(B, K) hashes, 0 for none -> (B, L) in fp32."""
        places = torch.searchsorted(self.keys, found).clamp(max=len(self.keys) - 1)
        hit = (self.keys[places] == found).float()
        weights = hit * hit.sum(1, keepdim=True).clamp(min=1).rsqrt()
        votes = self.ratios * (self.start + UNIT * self.moved)  # (N, L)
        return self.bias + F.embedding_bag(places, votes, mode="sum", per_sample_weights=weights)
