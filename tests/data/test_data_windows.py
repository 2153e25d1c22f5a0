"""Windows, lanes and the permutation: every token its turn, and nothing but (seed, epoch, index) decides."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from malgil.data.lanes import Lanes
from malgil.data.shuffle import Permutation
from malgil.data.store import TokenStore
from malgil.data.windows import EvaluationWindows, Windows
from malgil.errors import DataError, InputError

StoreOf = Callable[..., TokenStore]


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], TokenStore]:
    """A store whose tokens are 0, 1, 2, ... so that a window shows where it lies."""

    def make(n: int) -> TokenStore:
        store = TokenStore.__new__(TokenStore)
        store.folder = Path()
        store.tokens = np.arange(n, dtype=np.uint32)
        store.starts = np.arange(0, n, 13, dtype=np.int64)
        store.n_characters = 2 * n
        return store

    return make


@pytest.mark.parametrize("n", [1, 2, 3, 5, 16, 17, 64, 65, 257, 1000])
def test_a_permutation_is_one(n: int) -> None:
    order = Permutation(n, (7, 3))
    assert sorted(order[i] for i in range(n)) == list(range(n))
    for outside in (-1, n):
        with pytest.raises(IndexError):
            order[outside]


def test_permutations_differ_by_key_and_look_random() -> None:
    n = 1000
    orders = np.array([[Permutation(n, key)[i] for i in range(n)] for key in ((0, 0), (0, 1), (1, 0))])
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert (orders[a] == orders[b]).mean() < 0.02
    for order in orders:
        assert abs(np.corrcoef(np.arange(n), order)[0, 1]) < 0.12
        assert np.abs(np.diff(order)).mean() == pytest.approx(n / 3, rel=0.1)


def test_small_permutations_take_every_order() -> None:
    seen = Counter(tuple(Permutation(3, (seed,))[i] for i in range(3)) for seed in range(600))
    assert len(seen) == 6
    assert min(seen.values()) > 50


def test_a_permutation_of_a_trillion_needs_no_list() -> None:
    order = Permutation(10**12, (1, 2))
    assert len({order[i] for i in range(1000)}) == 1000


# --- windows --------------------------------------------------------------------------------


@pytest.mark.parametrize("n, length", [(6, 5), (7, 5), (36, 5), (37, 5), (101, 7), (1000, 3)])
def test_each_window_once_an_epoch(counting: Callable[[int], TokenStore], n: int, length: int) -> None:
    windows = Windows(counting(n), length, seed=3)
    for epoch in range(4):
        made = [windows.window(epoch, i)[0] for i in range(len(windows))]
        starts = sorted(int(tokens[0]) for tokens in made)
        assert all(tokens.tolist() == list(range(tokens[0], tokens[0] + length + 1)) for tokens in made)
        assert np.diff(starts).tolist() == [length] * (len(starts) - 1)  # a grid: no target twice, none left out inside
        assert n - 1 - len(starts) * length < 2 * length


def test_borders_and_order_differ_between_epochs_and_seeds(counting: Callable[[int], TokenStore]) -> None:
    def starts(seed: int, epoch: int) -> list[int]:
        windows = Windows(counting(1000), 11, seed=seed)
        return [int(windows.window(epoch, i)[0][0]) for i in range(len(windows))]

    assert len({min(starts(0, epoch)) for epoch in range(40)}) > 8  # of the 11 offsets
    assert starts(0, 1) != starts(0, 0) != starts(1, 0)
    assert starts(5, 2) == starts(5, 2)
    covered = {token for epoch in range(40) for start in starts(0, epoch) for token in range(start, start + 12)}
    assert covered == set(range(1000))


def test_few_windows_stay_where_they_are(counting: Callable[[int], TokenStore]) -> None:
    windows = Windows(counting(36), 5, seed=0)
    assert len(windows) == 7
    assert {int(windows.window(e, i)[0][0]) for e in range(9) for i in range(7)} == {0, 5, 10, 15, 20, 25, 30}


def test_random_sampling_reaches_every_start(counting: Callable[[int], TokenStore]) -> None:
    windows = Windows(counting(33), 5, seed=0, sampling="random")
    assert len(windows) == 6
    starts = Counter(int(windows.window(epoch, i)[0][0]) for epoch in range(400) for i in range(6))
    assert set(starts) == set(range(28))
    assert max(starts.values()) < 2 * min(starts.values())
    assert windows.window(3, 2)[0].tolist() == windows.window(3, 2)[0].tolist()
    with pytest.raises(IndexError):
        windows.window(0, 6)


def test_the_order_does_not_change_with_time(counting: Callable[[int], TokenStore]) -> None:
    """Golden values: runs are resumed by later versions too."""
    windows = Windows(counting(101), 7, seed=1234)
    assert [int(windows.window(2, i)[0][0]) for i in range(5)] == [16, 23, 65, 44, 9]
    sampled = Windows(counting(101), 7, seed=1234, sampling="random")
    assert [int(sampled.window(2, i)[0][0]) for i in range(5)] == [89, 20, 83, 56, 60]


def test_starts_of_documents_are_flagged(store_of: StoreOf) -> None:
    store = store_of("말길", "가", "나다")  # 0 말 길 0 가 0 나 다 0
    tokens, starts = Windows(store, 8, seed=0).window(0, 0)
    assert tokens.tolist() == store.tokens.tolist()
    assert starts.tolist() == [True, False, False, True, False, True, False, False, False]


@pytest.mark.parametrize("n, length", [(2, 5), (6, 5), (7, 5), (36, 5), (100, 7)])
def test_evaluation_scores_each_token_but_the_first_once(
    counting: Callable[[int], TokenStore], n: int, length: int
) -> None:
    windows = EvaluationWindows(counting(n), length)
    made = [windows.window(i) for i in range(len(windows))]
    assert [t for tokens, _ in made for t in tokens[1:].tolist()] == list(range(1, n))
    assert all(len(tokens) == len(starts) == length + 1 for tokens, starts in made[:-1])
    with pytest.raises(IndexError):
        windows.window(len(windows))


def test_too_little_data_says_how_much_is_needed(counting: Callable[[int], TokenStore]) -> None:
    with pytest.raises(DataError, match=r"20 tokens of the 65 needed; data; give at least about 130 characters"):
        Windows(counting(20), 64, seed=0)
    with pytest.raises(DataError, match="one validation window"):
        EvaluationWindows(counting(1), 64)
    with pytest.raises(DataError, match="5 lanes of 7 tokens: 35 tokens of the 36 needed"):
        Lanes(counting(35), 5, 7, seed=0)
    with pytest.raises(InputError, match=r"data\.sampling"):
        Windows(counting(20), 5, seed=0, sampling="shufle")


# --- lanes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n, lanes, length", [(16, 3, 5), (100, 3, 7), (1000, 5, 3), (1001, 1, 11)])
def test_lanes_continue_and_do_not_overlap(
    counting: Callable[[int], TokenStore], n: int, lanes: int, length: int
) -> None:
    streams = Lanes(counting(n), lanes, length, seed=0)
    for epoch in range(5):
        targets: list[int] = []
        for lane in range(lanes):
            columns = [streams.window(epoch, lane, column)[0] for column in range(streams.columns)]
            assert all(len(tokens) == length + 1 for tokens in columns)
            for before, after in itertools.pairwise(columns):
                assert before[-1] == after[0]
            targets += [int(t) for tokens in columns for t in tokens[1:]]
        assert len(set(targets)) == len(targets)
        assert len(targets) > n - 1 - 2 * lanes * length


def test_lanes_start_elsewhere_each_epoch(counting: Callable[[int], TokenStore]) -> None:
    streams = Lanes(counting(1000), 3, 11, seed=4)
    assert len({int(streams.window(epoch, 0, 0)[0][0]) for epoch in range(30)}) > 8
    assert streams.window(7, 2, 1)[0].tolist() == Lanes(counting(1000), 3, 11, seed=4).window(7, 2, 1)[0].tolist()
    for lane, column in ((3, 0), (0, streams.columns), (-1, 0)):
        with pytest.raises(IndexError):
            streams.window(0, lane, column)


def test_lanes_flag_documents(store_of: StoreOf) -> None:
    store = store_of("말길", "가", "나다")
    tokens, starts = Lanes(store, 2, 4, seed=0).window(0, 1, 0)
    assert tokens.tolist() == store.tokens[4:9].tolist()
    assert starts.tolist() == [False, True, False, False, False]
