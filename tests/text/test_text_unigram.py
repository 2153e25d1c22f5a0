"""The Unigram trainer against sums over all cuttings written out by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from malgil.text.unigram import LONGEST, _expected, _lattices, _without_itself, fit_unigram


def cuttings(word: str) -> list[list[str]]:
    ways = []
    for borders in itertools.product([False, True], repeat=len(word) - 1):
        stops = [i + 1 for i, border in enumerate(borders) if border]
        ways.append([word[a:b] for a, b in zip([0, *stops], [*stops, len(word)], strict=True)])
    return ways


def test_expected_counts_are_those_of_all_cuttings() -> None:
    pieces = ["여", "우", "는", "여우", "우는", "a"]
    scores = np.log(np.array([0.1, 0.2, 0.15, 0.3, 0.05, 0.2]))
    words = {"여우는": 3, "우는여우": 2, "a": 5, "여우여우우는a": 7}
    wanted = np.zeros(len(pieces))
    for word, count in words.items():
        ways = [way for way in cuttings(word) if set(way) <= set(pieces)]
        weights = [math.exp(sum(scores[pieces.index(p)] for p in way)) for way in ways]
        for way, weight in zip(ways, weights, strict=True):
            for piece in way:
                wanted[pieces.index(piece)] += count * weight / sum(weights)
    lattices = _lattices(list(words), pieces)
    weights_ = [np.array([float(words[w]) for w in lattice.words]) for lattice in lattices]
    np.testing.assert_allclose(_expected(lattices, weights_, scores), wanted, rtol=1e-12)


def test_the_best_other_spelling_of_a_piece() -> None:
    pieces = ["여", "우", "는", "여우", "여우는"]
    scores = np.log(np.array([0.1, 0.2, 0.15, 0.3, 0.25]))
    best = _without_itself(_lattices(pieces, pieces), scores)
    np.testing.assert_allclose(best[3], scores[0] + scores[1])
    np.testing.assert_allclose(best[4], scores[3] + scores[2])
    assert (best[:3] < -1e20).all()


def test_frequent_words_and_every_frequent_character_are_pieces() -> None:
    counts = {" 여우": 40, " 여우는": 30, " 다람쥐": 25, " fox": 20, " zq": 1}
    pieces = dict(fit_unigram(counts, size=24, min_frequency=2))
    assert len(pieces) == 24
    assert {" 여우", " 다람쥐", " fox"} <= set(pieces)
    assert set(" 여우는다람쥐") <= set(pieces)
    assert not set("zq") & set(pieces)
    assert sum(math.exp(score) for score in pieces.values()) == pytest.approx(1, abs=0.02)


def test_long_words_and_long_runs_are_cut() -> None:
    pieces = dict(fit_unigram({"가" * 1000: 2, "나다" * 200: 2}, size=30, min_frequency=1))
    assert max(map(len, pieces)) <= LONGEST
    assert {"가", "나", "다"} <= set(pieces)
