"""Which tokens are hidden: how many, which together, behind what; only seed, epoch and number decide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from malgil.objectives.masking import Masking
from malgil.text.words import Vocabulary

MASK, BEGIN, END = 9, 0, 1
#: ids 10 to 59 begin words, 60 to 99 continue them
VOCABULARY = Vocabulary(
    MASK,
    ordinary=np.arange(10, 100),
    goes_on=np.arange(100) >= 60,
    breaks_off=np.arange(100) >= 10,
)
LENGTHS = np.array([3, 40, 12, 9, 102, 3, 57])
NUMBERS = np.array([8, 0, 77, 3, 1000, 4, 2])


def text(lengths: np.ndarray = LENGTHS) -> np.ndarray:
    """Sequences of words of one to three tokens, each with its begin and its end."""
    random = np.random.default_rng(5)
    parts = []
    for length in lengths:
        inner = np.where(random.random(length - 2) < 0.5, random.integers(10, 60, length - 2), 0)
        inner[0] = 11
        inner[inner == 0] = random.integers(60, 100, (inner == 0).sum())
        parts.append(np.concatenate([[BEGIN], inner, [END]]))
    return np.concatenate(parts)


def hide(seed: int = 3, epochs: int = 2, lengths: Any = LENGTHS, numbers: Any = NUMBERS, **how: Any) -> Any:
    epoch = np.full(len(lengths), epochs)
    return Masking(VOCABULARY, **how).hide(text(lengths), lengths, numbers, epoch, seed=seed)


def parts(values: np.ndarray, lengths: np.ndarray = LENGTHS) -> list[np.ndarray]:
    return np.split(values, np.cumsum(lengths)[:-1])


@pytest.mark.parametrize("unit", ["token", "span"])
@pytest.mark.parametrize("rate", [0.15, 0.3, 0.02])
def test_a_share_of_every_sequence_is_chosen_exactly(unit: str, rate: float) -> None:
    _, chosen = hide(unit=unit, rate=rate)
    for part, length in zip(parts(chosen), LENGTHS, strict=True):
        assert not part[0]
        assert not part[-1]
        assert part.sum() == max(1, round(rate * (length - 2)))


def test_words_are_hidden_whole() -> None:
    counts = []
    for seed in range(40):
        _, chosen = hide(unit="word", seed=seed)
        for ids, part in zip(parts(text()), parts(chosen), strict=True):
            goes_on = np.flatnonzero(VOCABULARY.goes_on[ids])
            assert (part[goes_on] == part[goes_on - 1])[goes_on > 1].all()
            longest = 1 + max(
                len(run) for run in "".join("x" if g else " " for g in VOCABULARY.goes_on[ids]).split(" ")
            )
            wanted = 0.15 * (len(ids) - 2)
            assert part.sum() >= 1
            assert part.sum() <= max(longest, wanted + longest / 2 + 0.5)
            if len(ids) > 50:
                counts.append(part.sum() / wanted)
    assert np.mean(counts) == pytest.approx(1.0, abs=0.05)


def test_spans_are_long_and_begin_with_words() -> None:
    lengths = np.full(60, 130)
    _, chosen = hide(unit="span", lengths=lengths, numbers=np.arange(60))
    ids = text(lengths)
    runs, starts = [], []
    for row, part in zip(parts(ids, lengths), parts(chosen, lengths), strict=True):
        edges = np.flatnonzero(np.diff(part.astype(int)))
        runs += (edges[1::2] - edges[::2]).tolist()
        starts += row[edges[::2] + 1].tolist()
    assert not VOCABULARY.goes_on[np.array(starts)].any()
    _, single = hide(unit="token", lengths=lengths, numbers=np.arange(60))
    alone = np.mean([len(run) for run in "".join(map(str, single.astype(int))).split("0") if run])
    assert np.mean(runs) > 3 * alone
    assert max(runs) > 8


@pytest.mark.parametrize("unit", ["token", "word", "span"])
def test_four_fifths_are_masked_a_tenth_is_another_a_tenth_stays(unit: str) -> None:
    lengths, numbers = np.full(400, 102), np.arange(400)
    ids = text(lengths)
    seen, chosen = hide(unit=unit, lengths=lengths, numbers=numbers)
    assert np.array_equal(seen[~chosen], ids[~chosen])
    shares = [(seen[chosen] == MASK).mean(), (seen[chosen] == ids[chosen]).mean()]
    assert shares == [pytest.approx(0.8, abs=0.025), pytest.approx(0.1, abs=0.02)]
    others = seen[chosen & (seen != MASK) & (seen != ids)]
    assert len(np.unique(others)) > 80  # of 90 ordinary ones
    assert others.min() >= 10
    together = np.flatnonzero(chosen[:-1] & chosen[1:])
    alike = ((seen[together] == MASK) == (seen[together + 1] == MASK)).mean()
    assert (alike > 0.9) == (unit == "span")  # tokens of a span share what becomes of them


@pytest.mark.parametrize("unit", ["token", "word", "span"])
def test_company_decides_nothing(unit: str) -> None:
    whole = hide(unit=unit)
    ids = parts(text())
    for i, (number, length) in enumerate(zip(NUMBERS, LENGTHS, strict=True)):
        alone = Masking(VOCABULARY, unit=unit).hide(
            ids[i], np.array([length]), np.array([number]), np.array([2]), seed=3
        )
        for got, expected in zip(alone, whole, strict=True):
            assert np.array_equal(got, parts(expected)[i])


def test_epochs_and_seeds_differ_unless_masks_are_fixed() -> None:
    def same(a: Any, b: Any) -> bool:
        return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))

    assert same(hide(), hide())
    assert not same(hide(), hide(epochs=3))
    assert not same(hide(), hide(seed=4))
    assert not same(hide(), hide(numbers=NUMBERS + 1))
    assert same(hide(once=True), hide(once=True, epochs=3))
    assert not same(hide(once=True), hide(once=True, seed=4))


def test_a_choice_is_even() -> None:
    counts = np.zeros(22)
    for epoch in range(400):
        _, chosen = hide(epochs=epoch, lengths=np.array([22]), numbers=np.array([6]))
        counts += chosen
    assert counts[[0, -1]].sum() == 0
    assert counts.sum() == 400 * 3
    assert np.abs(counts[1:-1] - 60).max() < 32  # 60 expected, a deviation of about 7


@pytest.mark.parametrize("unit", ["token", "word", "span"])
def test_the_end_between_two_texts_is_never_chosen_and_nothing_reaches_over_it(unit: str) -> None:
    """A pair is two texts put together: the second's first token begins a word, whatever stands before it."""
    random, n = np.random.default_rng(3), 80
    firsts = random.integers(3, 30, n)
    lengths = firsts + random.integers(2, 30, n)
    ids = np.concatenate([np.r_[BEGIN, random.integers(60, 100, k - 2), END] for k in lengths])  # all continue words
    begins = np.cumsum(lengths) - lengths
    ids[begins + firsts - 1] = END
    epochs = np.zeros(n, dtype=np.int64)
    seen, chosen = Masking(VOCABULARY, unit=unit, rate=0.3).hide(
        ids, lengths, np.arange(n), epochs, seed=1, first_lengths=firsts
    )
    assert not chosen[begins].any()
    assert not chosen[begins + firsts - 1].any()
    assert not chosen[begins + lengths - 1].any()
    assert np.array_equal(seen[ids < 10], ids[ids < 10])
    for start, first, length in zip(begins, firsts, lengths, strict=True):
        n_chosen = int(chosen[start : start + length].sum())
        if unit == "word":  # each text is one word, and whole words come as near as they can
            halves = chosen[start + 1 : start + first - 1], chosen[start + first : start + length - 1]
            assert {bool(half.all()) for half in halves if len(half)} <= {True, False}
            assert all(half.all() or not half.any() for half in halves)
        else:
            assert n_chosen == max(1, round(0.3 * (length - 3)))
