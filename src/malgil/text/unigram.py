"""The Unigram language model's vocabulary: expectation maximisation and pruning, the same pieces every time.

A text is cut into pieces independently of one another, p(text) = sum over all cuttings of the product of p(piece) (Kudo
2018, "Subword Regularization", section 3.2). Starting from all frequent substrings, the probabilities are fitted by
EM and the pieces that are missed least are dropped, until the vocabulary has its size.

The sums run over all words of one length at a time, in numpy and in a fixed order. Probabilities are maximum
likelihood; SentencePiece's digamma, a prior for fewer pieces, is left to the pruning.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LONGEST = 16  # characters in a piece
_MOST_WORDS = 300_000  # the most frequent words decide; rarer ones add time and memory, hardly a piece
_LONGEST_WORD = 32
_SEEDS = 8  # pieces to start from, as a multiple of the final size
_KEEP = 0.75  # share of the pieces that a round of pruning leaves
_NEVER = -1e30


def fit_unigram(counts: Mapping[str, int], size: int, min_frequency: int) -> list[tuple[str, float]]:
    """The pieces of a Unigram vocabulary and their log probabilities, best first.

    The most frequent characters are always pieces, in at most half of the vocabulary; the caller's byte tokens spell
    the others.

    Args:
        counts: words (or other parts of text that no piece may leave) and how often each occurs.
        size: pieces to end with; fewer when the text has no more.
        min_frequency: how often a substring must occur to be considered.
    """
    characters: Counter[str] = Counter()
    for word, count in counts.items():
        for character in word:
            characters[character] += count
    ranked = sorted(characters, key=lambda c: (-characters[c], c))
    kept = [c for c in ranked[: max(1, size // 2)] if characters[c] >= min_frequency] or ranked[:1]
    segments = _segments(counts, set(kept))
    pieces, scores = _seeds(segments, kept, size, min_frequency)
    n_kept = len(kept)  # they stand first and stay

    words = _lattices(list(segments), pieces)
    weights = [np.array([segments[w] for w in lattice.words], dtype=np.float64) for lattice in words]
    whole = _lattices(pieces, pieces)
    while True:
        for _ in range(2):
            expected = _expected(words, weights, scores)
            scores = np.log(np.maximum(expected, 1e-3) / expected.sum())
        if len(pieces) <= size:
            break
        n = max(size, int(len(pieces) * _KEEP))
        loss = expected * (scores - _without_itself(whole, scores))
        loss[:n_kept] = np.inf
        keep = np.sort(np.argsort(-loss, kind="stable")[:n])
        pieces, scores = [pieces[i] for i in keep], scores[keep]
        index = np.full(len(loss) + 1, n, dtype=np.int64)
        index[keep] = np.arange(n)
        words = [lattice.renumbered(index) for lattice in words]
        whole = [lattice.renumbered(index).of_pieces(n) for lattice in whole]
    order = sorted(range(len(pieces)), key=lambda i: (-scores[i], pieces[i]))
    return [(pieces[i], float(scores[i])) for i in order]


def _segments(counts: Mapping[str, int], kept: set[str]) -> dict[str, int]:
    """Words cut at characters that are no pieces, and into bounded lengths; the most frequent of them."""
    segments: Counter[str] = Counter()
    for word, count in counts.items():
        spelled = word if kept.issuperset(word) else "".join(c if c in kept else "\ud800" for c in word)
        for part in spelled.split("\ud800"):
            for start in range(0, len(part), _LONGEST_WORD):
                segments[part[start : start + _LONGEST_WORD]] += count
    most = sorted(segments, key=lambda w: (-segments[w], w))[:_MOST_WORDS]
    return {word: segments[word] for word in most}


def _seeds(segments: Mapping[str, int], kept: Sequence[str], size: int, min_frequency: int) -> tuple[list[str], Floats]:
    """Characters, then the substrings that cover the most text, and first scores for them."""
    found: Counter[str] = Counter()
    for word, count in segments.items():
        for start in range(len(word)):
            for stop in range(start + 1, min(len(word), start + LONGEST) + 1):
                found[word[start:stop]] += count
    longer = [piece for piece, count in found.items() if len(piece) > 1 and count >= max(2, min_frequency)]
    longer.sort(key=lambda piece: (-found[piece] * len(piece), piece))
    pieces = [*kept, *longer[: _SEEDS * size]]
    covered = np.array([max(1, found[piece]) * len(piece) for piece in pieces], dtype=np.float64)
    return pieces, np.log(covered / covered.sum())


@dataclass(frozen=True)
class _Lattice:
    """All cuttings of W words of n characters.

    Attributes:
        words: the W words.
        ids: (W, n, L) the piece that starts at a character and is 1 .. L characters long; the number of pieces where
            there is none.
        own: (W,) the piece that the whole word is.
    """

    words: list[str]
    ids: Ints
    own: Ints

    def renumbered(self, index: Ints) -> _Lattice:
        return _Lattice(self.words, index[self.ids], index[self.own])

    def of_pieces(self, n: int) -> _Lattice:
        """Only the words that are one of the first n pieces."""
        (rows,) = np.nonzero(self.own < n)
        return _Lattice([self.words[i] for i in rows], self.ids[rows], self.own[rows])


def _lattices(words: Sequence[str], pieces: Sequence[str]) -> list[_Lattice]:
    """One lattice a word length, shortest first."""
    index = {piece: i for i, piece in enumerate(pieces)}
    none = len(pieces)
    by_length: dict[int, list[str]] = {}
    for word in words:
        by_length.setdefault(len(word), []).append(word)
    lattices = []
    for n, group in sorted(by_length.items()):
        if n == 0:
            continue
        ids = np.full((len(group), n, min(n, LONGEST)), none, dtype=np.int64)
        for row, word in enumerate(group):
            for start in range(n):
                for length in range(1, min(n - start, LONGEST) + 1):
                    ids[row, start, length - 1] = index.get(word[start : start + length], none)
        lattices.append(_Lattice(group, ids, np.array([index.get(word, none) for word in group])))
    return lattices


def _expected(lattices: list[_Lattice], weights: list[Floats], scores: Floats) -> Floats:
    """How often each piece is used, over all cuttings by their probability (the E step): (P,)."""
    padded = np.append(scores, _NEVER)
    expected = np.zeros(len(padded))
    for lattice, weight in zip(lattices, weights, strict=True):
        n, longest = lattice.ids.shape[1:]
        score = padded[lattice.ids]
        alpha = _forward(score, np.logaddexp.reduce)
        beta = np.full_like(alpha, _NEVER)
        beta[:, n] = 0
        for i in range(n - 1, -1, -1):
            lengths = min(n - i, longest)
            beta[:, i] = np.logaddexp.reduce(score[:, i, :lengths] + beta[:, i + 1 : i + 1 + lengths], axis=1)
        for i in range(n):
            lengths = min(n - i, longest)
            log_p = alpha[:, i, None] + score[:, i, :lengths] + beta[:, i + 1 : i + 1 + lengths] - alpha[:, n, None]
            used = np.exp(np.minimum(log_p, 0)) * weight[:, None]
            expected += np.bincount(lattice.ids[:, i, :lengths].ravel(), used.ravel(), minlength=len(padded))
    return expected[:-1]


def _without_itself(lattices: list[_Lattice], scores: Floats) -> Floats:
    """For each piece the log probability of the best way to spell it by other pieces: (P,)."""
    padded = np.append(scores, _NEVER)
    result = np.full(len(scores), -math.inf)
    for lattice in lattices:
        n, longest = lattice.ids.shape[1:]
        score = padded[lattice.ids]
        if n <= longest:
            score[:, 0, n - 1] = _NEVER
        result[lattice.own] = _forward(score, np.max)[:, n]
    return result


def _forward(score: Floats, combine: Callable[..., Floats]) -> Floats:
    """The sum (logaddexp) or the best (max) of the cuttings of the first 0 .. n characters: (W, n + 1)."""
    n_words, n, longest = score.shape
    alpha = np.full((n_words, n + 1), _NEVER)
    alpha[:, 0] = 0
    for j in range(1, n + 1):
        starts = np.arange(max(0, j - longest), j)
        alpha[:, j] = combine(alpha[:, starts] + score[:, starts, j - starts - 1], axis=1)
    return alpha
