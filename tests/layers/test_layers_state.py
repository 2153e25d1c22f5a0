"""Where new keys go, what a row sees of them, and that selected rows are copies."""

from __future__ import annotations

import torch
from torch import Tensor

from malgil.layers.state import KVCache, RecurrentState


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
