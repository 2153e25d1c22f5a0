"""Buckets: each pair once an epoch, under the budget, a function of the seed and the epoch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from malgil.data.buckets import Buckets

LENGTHS = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=120)


def buckets(lengths: list[tuple[int, int]], **settings: int) -> Buckets:
    array = np.array(lengths)
    return Buckets(array[:, 0], array[:, 1], **settings)


def many(n: int, seed: int = 0) -> list[tuple[int, int]]:
    """Pairs whose sides are about as long as each other."""
    random = np.random.default_rng(seed)
    sources = random.integers(3, 50, n)
    return list(zip(sources.tolist(), np.maximum(sources + random.integers(-4, 5, n), 1).tolist(), strict=True))


def padded(made: Buckets, rows: np.ndarray) -> int:
    return len(rows) * int(made.source_lengths[rows].max() + made.target_lengths[rows].max())


@given(LENGTHS, st.integers(1, 300), st.integers(0, 3), st.integers(0, 3))
def test_each_pair_once_and_under_the_budget(
    lengths: list[tuple[int, int]], batch_tokens: int, seed: int, epoch: int
) -> None:
    made = buckets(lengths, batch_tokens=batch_tokens, seed=seed)
    batches = made.epoch(epoch)
    rows = [batches.group(i) for i in range(len(batches))]
    assert sorted(np.concatenate(rows).tolist()) == list(range(len(lengths)))
    assert all(len(r) == 1 or (len(r) > 0 and padded(made, r) <= batch_tokens) for r in rows)


@given(LENGTHS, st.integers(1, 13), st.integers(0, 3))
def test_rows_in_place_of_a_budget(lengths: list[tuple[int, int]], batch_size: int, epoch: int) -> None:
    batches = buckets(lengths, batch_size=batch_size).epoch(epoch)
    rows = [batches.group(i) for i in range(len(batches))]
    assert sorted(np.concatenate(rows).tolist()) == list(range(len(lengths)))
    assert sorted((len(r) for r in rows), reverse=True)[: len(rows) - 1] == [batch_size] * (len(rows) - 1)
    assert len(rows) == -(-len(lengths) // batch_size)


def test_a_batch_is_as_full_as_the_budget_allows() -> None:
    made = buckets([(4, 6)] * 23, batch_tokens=79)
    assert sorted(len(made.epoch(0).group(i)) for i in range(4)) == [2, 7, 7, 7]


def test_little_is_padding() -> None:
    lengths = many(3000)
    made = buckets(lengths, batch_tokens=2000)
    batches = made.epoch(2)
    real = sum(s + t for s, t in lengths)
    assert real / sum(padded(made, batches.group(i)) for i in range(len(batches))) > 0.9


def test_epochs_and_seeds_differ_and_repeat() -> None:
    lengths = many(500)

    def made(seed: int, epoch: int) -> list[frozenset[int]]:
        batches = buckets(lengths, batch_tokens=400, seed=seed).epoch(epoch)
        return [frozenset(batches.group(i).tolist()) for i in range(len(batches))]

    first = made(5, 0)
    assert first == made(5, 0)
    for other in (made(5, 1), made(6, 0)):
        assert len(set(first) & set(other)) < len(first) / 2


def test_a_run_does_not_read_from_short_to_long() -> None:
    made = buckets(many(2000), batch_tokens=600)
    batches = made.epoch(0)
    lengths = [made.source_lengths[batches.group(i)].max() for i in range(len(batches))]
    assert abs(np.corrcoef(np.arange(len(lengths)), lengths)[0, 1]) < 0.3


@pytest.mark.slow
def test_a_million_pairs_take_seconds() -> None:
    random = np.random.default_rng(0)
    sources, targets = random.integers(3, 60, (2, 1_000_000))
    batches = Buckets(sources, targets, batch_tokens=8192).epoch(0)
    assert np.array_equal(np.sort(batches.order), np.arange(1_000_000))
