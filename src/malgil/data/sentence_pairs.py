"""A token store cut at the ends of sentences, and neighbours put together as pairs.

    a document      s1 s2 s3 | s4 | s5 s6 | s7 s8 | s9 ....    sentences, put together as long as they fit a half
    pairs          (s1 s2 s3 , s4) (s5 s6 , s7 s8) (s9 ....

    read as         <|> first <|> second <|>                   type 0 up to the first's end, then type 1

A half is half of what a model reads, so that any first goes with any second: what objectives make of the pairs is
theirs. A sentence longer than a half is cut evenly. What is left of a document, where it has an odd number of
halves, is cut in two at the end of a sentence; if it is a single sentence, it is read alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from malgil.data.epochs import Int64s
from malgil.data.sequences import cut_evenly, documents, pack
from malgil.data.store import TokenStore
from malgil.data.windows import too_short
from malgil.errors import ConfigError, DataError
from malgil.layers.heads import IGNORED
from malgil.text.sentences import Bools, SentenceEnds

NONE = -1


class SentencePairs:
    """The halves of a store in its order, and which of them are neighbours in a pair.

    Args:
        ends: of the sentences of the store's tokenizer.
        longest: tokens of a pair at most, its begin and two ends included.

    Attributes:
        document: (halves,) the number of each one's document, ascending.
        sizes: (halves,) tokens of each.
        first: (pairs,) the number of each one's first half.
        second: (pairs,) of its second; -1 where there is none.

    Raises:
        ConfigError: no room for two texts.
        DataError: there is no text, or no two sentences in any document.
    """

    def __init__(self, store: TokenStore, ends: SentenceEnds, longest: int) -> None:
        if longest < 5:
            raise ConfigError(f"model.max_len {longest} has no room for a pair of texts", fix="take at least 5")
        if not len(store.starts) or not documents(store)[1].any():
            raise too_short(store, 5, "a pair of sentences")
        self.store, self.ends, self.longest = store, ends, longest
        self.begin, self.end = int(store.tokens[store.starts[0]]), int(store.tokens[-1])
        half = (longest - 3) // 2
        starts, sizes, document = _pieces(store, ends, half)
        cuts = _halves(sizes, document, half)
        self.firsts: Int64s = starts[cuts[:-1]]
        self.sizes: Int64s = np.add.reduceat(sizes, cuts[:-1])
        self.document: Int64s = document[cuts[:-1]]
        within = np.arange(len(self.document)) - np.searchsorted(self.document, self.document)
        self.first: Int64s = np.flatnonzero(within % 2 == 0)
        following = np.minimum(self.first + 1, len(self.document) - 1)
        neighbours = (self.document[following] == self.document[self.first]) & (following > self.first)
        self.second: Int64s = np.where(neighbours, following, NONE)
        if not neighbours.any():
            raise DataError(
                "no document has two sentences, of which a pair could be made",
                "data",
                "give longer documents, or --objective.also none",
            )

    def __reduce__(self) -> tuple[type[SentencePairs], tuple[TokenStore, SentenceEnds, int]]:
        return SentencePairs, (self.store, self.ends, self.longest)

    def tokens(self, half: int) -> Int64s:
        """Those of a half (sizes[half],)."""
        start = self.firsts[half]
        return self.store.tokens[start : start + self.sizes[half]].astype(np.int64)


@dataclass(frozen=True)
class PairReading:
    """Pairs as an epoch reads them; see `sequences.Reading`.

    Attributes:
        first, second: (pairs,) numbers of halves; -1 where there is no second.
        labels: (pairs,) what is asked of each; -100: nothing.
        joined: (pairs,) which of those that have a second are read as one text; None: none is.
    """

    pairs: SentencePairs
    first: Int64s
    second: Int64s
    labels: Int64s
    joined: Bools | None = None

    def join(self, chosen: Bools) -> PairReading:
        """With some of the pairs (pairs,) as they are in the document, read as one text, of which nothing is asked."""
        chosen = chosen & (self.pairs.second != NONE)
        first, second = np.where(chosen, (self.pairs.first, self.pairs.second), (self.first, self.second))
        return PairReading(self.pairs, first, second, np.where(chosen, IGNORED, self.labels), chosen)

    @cached_property
    def first_lengths(self) -> Int64s:
        alone = self.pairs.sizes[self.first] + 2
        return alone if self.joined is None else np.where(self.joined, self.lengths, alone)

    @cached_property
    def lengths(self) -> Int64s:
        end = 1 if self.joined is None else np.where(self.joined, 0, 1)
        return self.pairs.sizes[self.first] + 2 + np.where(self.second == NONE, 0, self.pairs.sizes[self.second] + end)

    def ids(self, index: int) -> Int64s:
        ids = np.full(self.lengths[index], self.pairs.end, dtype=np.int64)
        ids[0] = self.pairs.begin
        first = self.pairs.tokens(int(self.first[index]))
        ids[1 : len(first) + 1] = first
        if self.second[index] != NONE:
            second = self.pairs.tokens(int(self.second[index]))
            ids[len(ids) - 1 - len(second) : -1] = second
        return ids


# ---------------------------------------------------------------------------------------------


def _pieces(store: TokenStore, ends: SentenceEnds, half: int) -> tuple[Int64s, Int64s, Int64s]:
    """Where sentences start in the store, their sizes and documents; those longer than a half are several."""
    firsts, sizes = documents(store)
    firsts, sizes = firsts[sizes > 0], sizes[sizes > 0]
    behind = ends.behind(store.tokens)
    behind[-1] = False  # the last document's end token
    behind[firsts + sizes - 1] = True
    stops = np.flatnonzero(behind) + 1
    document = np.searchsorted(firsts, stops, side="left") - 1
    starts = np.maximum(np.append(0, stops[:-1]), firsts[document])
    sentence, begins, sizes = cut_evenly(stops - starts, half)
    return starts[sentence] + begins, sizes, document[sentence]


def _halves(sizes: Int64s, document: Int64s, half: int) -> Int64s:
    """Where halves start among the pieces, and the number of pieces (halves + 1,)."""
    cuts = pack(sizes, half, stops=np.searchsorted(document, document, side="right"))
    starts, stops = cuts[:-1], cuts[1:]
    of = document[starts]
    last = np.append(of[1:] != of[:-1], True)
    odd = (np.searchsorted(of, of, side="right") - np.searchsorted(of, of)) % 2 == 1
    divided = last & odd & (stops - starts > 1)
    start, stop = starts[divided], stops[divided]
    upto = np.append(0, np.cumsum(sizes))  # tokens before each piece
    middle = (upto[start] + upto[stop]) / 2
    cut = np.searchsorted(upto, middle)
    cut -= middle - upto[cut - 1] < upto[cut] - middle  # the nearer one
    return np.sort(np.append(cuts, np.clip(cut, start + 1, stop - 1)))
