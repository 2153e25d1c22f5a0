"""Documents as sequences that fit a model, and sequences as rows: nothing is lost, nothing is cut that need not be."""

from __future__ import annotations

import doctest
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from malgil.data import sequences as module
from malgil.data.sequences import Rows, Sequences, pack
from malgil.data.store import TokenStore
from malgil.errors import ConfigError, DataError

StoreOf = Callable[..., TokenStore]
DOCUMENTS = ("말길은 말이 가는 길이다", "", "산", "river", "물이 흐른다, 산은 높다. The end")
ONE, TWO = {}, {"begin_id": 0, "end_id": 1}


def test_doctests() -> None:
    result = doctest.testmod(module)
    assert result.attempted >= 1
    assert result.failed == 0


@pytest.mark.parametrize("ends", [ONE, TWO], ids=["one token", "two tokens"])
@pytest.mark.parametrize("longest", [3, 7, 8, 100])
def test_documents_are_cut_evenly_into_as_few_pieces_as_fit(
    ends: dict[str, int], longest: int, store_of: StoreOf, code_points: Any
) -> None:
    tokenizer = code_points(**ends)
    sequences = Sequences(store_of(*DOCUMENTS, tokenizer=tokenizer), longest)
    made = [sequences.ids(i) for i in range(len(sequences))]
    assert [len(ids) for ids in made] == sequences.lengths.tolist()
    assert all(ids.dtype == np.int64 and (ids[0], ids[-1]) == (0, tokenizer.end_id) for ids in made)
    for document in filter(None, DOCUMENTS):
        pieces: list[str] = []
        while len("".join(pieces)) < len(document):
            pieces.append(tokenizer.decode(made.pop(0).tolist()))
        assert "".join(pieces) == document
        assert len(pieces) == -(-len(document) // (longest - 2))
        sizes = [len(piece) for piece in pieces]
        assert max(sizes) - min(sizes) <= 1
    assert not made


def test_a_copy_reads_the_same_file(store_of: StoreOf) -> None:
    sequences = Sequences(store_of(*DOCUMENTS), 6)
    copy = pickle.loads(pickle.dumps(sequences))
    assert all(np.array_equal(copy.ids(i), sequences.ids(i)) for i in range(len(sequences)))


def test_what_gives_no_sequence_is_refused(store_of: StoreOf, code_points: Any) -> None:
    class Deaf(code_points):  # type: ignore[misc]
        def encode_batch(self, texts: list[str]) -> list[list[int]]:
            return [[] for _ in texts]

    with pytest.raises(DataError, match="too short for one sequence"):
        Sequences(store_of("산", "물", tokenizer=Deaf()), 9)
    with pytest.raises(ConfigError, match="max_len 2 has no room"):
        Sequences(store_of("산"), 2)


def test_many_documents_are_cut_at_once() -> None:
    store = TokenStore.__new__(TokenStore)
    store.folder = Path()
    store.tokens = np.broadcast_to(np.zeros(1, dtype=np.uint16), 9_000_001)
    store.starts = np.arange(0, 9_000_000, 30)
    started = time.process_time()
    sequences = Sequences(store, 20)
    epoch = Rows(sequences.lengths, 64, seed=0).epoch(0)
    assert time.process_time() - started < 1  # a loop over 600,000 sequences would take longer
    assert len(sequences) == 600_000
    assert 150_000 < len(epoch) < 200_000


# -- rows -------------------------------------------------------------------------------------------


@pytest.fixture
def lengths() -> np.ndarray:
    return np.random.default_rng(0).integers(3, 21, 301)


def test_rows_hold_every_sequence_once_and_no_more_than_fits(lengths: np.ndarray) -> None:
    rows = Rows(lengths, 40, seed=7)
    for epoch in (rows.epoch(0), rows.epoch(1)):
        assert sorted(epoch.order.tolist()) == list(range(301))
        sizes = [int(lengths[epoch.group(i)].sum()) for i in range(len(epoch))]
        assert max(sizes) <= 40
        firsts = [int(lengths[epoch.group(i)[0]]) for i in range(1, len(epoch))]
        assert all(size + first > 40 for size, first in zip(sizes[:-1], firsts, strict=True))  # the next did not fit
        assert np.mean(sizes) > 0.8 * 40


def test_orders_follow_from_seed_and_epoch(lengths: np.ndarray) -> None:
    first = Rows(lengths, 40, seed=7).epoch(3)
    assert np.array_equal(first.order, Rows(lengths, 40, seed=7).epoch(3).order)
    for other in (Rows(lengths, 40, seed=7).epoch(4), Rows(lengths, 40, seed=8).epoch(3)):
        assert (first.order == other.order).mean() < 0.05


def test_without_room_a_sequence_is_a_row(lengths: np.ndarray) -> None:
    epoch = Rows(lengths, None, seed=0).epoch(0)
    assert len(epoch) == 301
    assert all(len(epoch.group(i)) == 1 for i in range(301))


def test_a_sequence_without_room_has_a_row_of_its_own() -> None:
    assert pack(np.array([2, 9, 2, 2]), 5).tolist() == [0, 1, 2, 4]
