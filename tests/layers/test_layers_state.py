"""Where new keys go, what a row sees of them, and that selected rows are copies."""

from __future__ import annotations

import torch
from torch import Tensor

from malgil.layers.state import KVCache, RecurrentState, Shared, TransformerState


def empty(rows: int = 3) -> KVCache:
    return KVCache.empty(n_layers=2, batch_size=rows, n_kv_heads=2, max_len=7, d_head=5, like=torch.zeros(1))


def entries(rows: int, length: int, value: float) -> Tensor:
    """(B, H_kv, T, D_head), every token's number in each of its places."""
    numbers = value + torch.arange(length).float()
    return (numbers[None, None, :, None] + 100 * torch.arange(rows)[:, None, None, None]).expand(rows, 2, length, 5)


def write(cache: KVCache, length: int, value: float, mask: Tensor | None = None) -> KVCache:
    for layer in range(2):
        cache.write(layer, entries(len(cache.lengths), length, value), -entries(len(cache.lengths), length, value))
    return cache.advance(length, mask)


def seen(cache: KVCache, row: int) -> list[float]:
    numbers: list[float] = cache.keys[1][row, 1, : int(cache.lengths[row]), 3].tolist()
    assert (cache.values[1][row, 1, : len(numbers), 3] == -torch.tensor(numbers)).all()
    return numbers


def test_padding_is_overwritten_by_the_next_token() -> None:
    mask = torch.tensor([[True, True, False], [True, True, True], [True, False, False]])
    cache = write(empty(), 3, 1, mask)
    assert cache.lengths.tolist() == [2, 3, 1]
    assert (cache.longest, cache.even) == (3, False)
    assert cache.positions(2).tolist() == [[2, 3], [3, 4], [1, 2]]
    cache = write(cache, 2, 8)
    assert [seen(cache, b) for b in range(3)] == [[1, 2, 8, 9], [101, 102, 103, 108, 109], [201, 208, 209]]


def test_write_returns_what_may_be_seen() -> None:
    cache = write(empty(), 3, 1)
    keys, values = cache.write(0, entries(3, 1, 9), -entries(3, 1, 9))
    assert keys.shape == values.shape == (3, 2, 4, 5)
    assert keys[2, 0, :, 0].tolist() == [201, 202, 203, 209]


def test_rows_that_become_equal_take_the_short_way() -> None:
    full = torch.ones(3, 3, dtype=torch.bool)
    assert write(empty(), 3, 1, full).even
    uneven = torch.tensor([[True, True, False], [True, True, True], [True, True, True]])
    cache = write(empty(), 3, 1, uneven)
    assert not cache.even
    cache = write(cache, 2, 5, torch.tensor([[True, True], [True, False], [True, False]]))
    assert cache.even
    cache = write(cache, 1, 7)
    assert [seen(cache, b) for b in range(3)] == [
        [1, 2, 5, 6, 7],
        [101, 102, 103, 105, 107],
        [201, 202, 203, 205, 207],
    ]


def test_selected_rows_are_copies() -> None:
    cache = write(empty(), 2, 1, torch.tensor([[True, True], [True, False], [True, True]]))
    branch = cache.select(torch.tensor([1, 1, 2, 0]))
    assert branch.lengths.tolist() == [1, 1, 2, 2]
    before = [t.clone() for t in cache.tensors()]
    write(branch, 1, 50)
    assert all(torch.equal(a, b) for a, b in zip(before, cache.tensors(), strict=True))


def test_round_trip_of_uneven_rows() -> None:
    cache = write(empty(), 2, 1, torch.tensor([[True, True], [True, False], [True, True]]))
    again = empty().with_tensors([t.clone() for t in cache.tensors()])
    assert (again.longest, again.even) == (2, False)
    assert again.lengths.tolist() == [2, 1, 2]
    again = write(again, 1, 4)
    assert seen(again, 1) == [101, 104]


def test_recurrent_state() -> None:
    state = RecurrentState(torch.randn(2, 3, 5, requires_grad=True), torch.randn(2, 3, 5))
    picked = state.select(torch.tensor([2, 0, 0, 1]))
    assert [p.shape for p in picked.parts] == [(2, 4, 5), (2, 4, 5)]
    assert torch.equal(picked.parts[0][:, 1], state.parts[0][:, 0])
    assert not any(p.requires_grad for p in state.detach().parts)
    again = state.with_tensors(state.tensors())
    assert all(torch.equal(a, b) for a, b in zip(again.parts, state.parts, strict=True))


def test_selecting_copies_what_is_filled_and_writing_grows_again() -> None:
    cache = KVCache.empty(n_layers=2, batch_size=2, n_kv_heads=2, max_len=100, d_head=5, like=torch.zeros(1))
    cache = write(cache, 3, 1).select(torch.tensor([1, 0, 1]))
    assert {tuple(k.shape) for k in [*cache.keys, *cache.values]} == {(3, 2, 16, 5)}
    for token in range(4, 34):
        cache = write(cache, 1, token)
    assert cache.keys[0].shape[2] == 64  # 16, 32, 64: twice as much each time
    assert seen(cache, 0)[:6] == [101, 102, 103, 4, 5, 6]
    assert seen(cache, 1) == [1, 2, 3, *range(104, 134)]
    assert cache.select(torch.tensor([1])).keys[1].shape[2] == 48


def test_growing_takes_all_that_is_new() -> None:
    cache = write(empty(), 3, 1)  # has room for 7
    cache = write(cache, 20, 4)
    assert seen(cache, 0) == list(range(1, 24))


def test_beams_share_their_source_until_they_are_unequal() -> None:
    memory = torch.arange(6.0).view(3, 2)
    beams = Shared((memory,)).select(torch.tensor([0, 0, 1, 1, 2, 2]))
    assert beams.group == 2
    assert beams.tensors[0] is memory
    reordered = beams.select(torch.tensor([1, 0, 3, 3, 4, 5]))
    assert reordered.tensors[0] is memory
    fewer = reordered.select(torch.tensor([0, 1, 4, 5]))
    assert (fewer.group, fewer.tensors[0].tolist()) == (2, [[0, 1], [4, 5]])
    unequal = fewer.select(torch.tensor([0, 2, 3]))
    assert (unequal.group, unequal.tensors[0].tolist()) == (1, [[0, 1], [4, 5], [4, 5]])


def test_queries_of_beams_become_queries_of_their_source() -> None:
    beams = Shared((torch.zeros(2, 1),), group=3)
    rows = torch.randn(5, 6, 4, 7).transpose(0, 1)[:, :, :2]  # (N x group, H, T, D), not in order in memory
    queries = beams.gather(rows)
    assert queries.shape == (2, 5, 6, 7)
    assert torch.equal(queries[1, 2, 2:4], rows[4, 2])
    assert torch.equal(beams.scatter(queries), rows)


def test_a_decoders_state_keeps_keys_and_values_of_the_source_by_layer() -> None:
    tensors = [torch.full((2, 1, 1, 3), float(i)) for i in range(5)]
    state = TransformerState(empty(2), Shared(tuple(tensors))).select(torch.tensor([0, 0, 1, 1]))
    mask, key, value = state.source(1).tensors
    assert (mask is tensors[0], key is tensors[3], value is tensors[4]) == (True, True, True)
    assert [len(t) for t in state.tensors()] == [4] * 10
    again = state.with_tensors(state.tensors())
    assert (again.sources.group, len(again.source(0).tensors[1])) == (1, 4)
