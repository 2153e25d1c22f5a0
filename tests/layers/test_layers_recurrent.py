"""Cells over whole rows and one step at a time, against PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from malgil.layers.recurrent import CELLS, Parts, initialise, input_sums, read, step

B, T, D_IN, D = 4, 7, 5, 11
every_cell = pytest.mark.parametrize("cell", CELLS)
#: rows are read in another way where gradients are wanted
both_modes = pytest.mark.parametrize("gradients", [False, True])


def cells_of(cell: str, **settings: object) -> nn.RNNBase:
    made: nn.RNNBase = CELLS[cell](D_IN, D, num_layers=2, batch_first=True, **settings)
    return made


def start(cell: str) -> Parts:
    return tuple(torch.randn(2, B, D) for _ in range(2 if cell == "lstm" else 1))


@every_cell
def test_steps_equal_whole_rows(cell: str) -> None:
    cells, x, before = cells_of(cell), torch.randn(B, T, D_IN), start(cell)
    expected, expected_after = read(cells, x, before, None)
    layers = [tuple(part[layer] for part in before) for layer in range(2)]
    hidden: list[Tensor] = []
    for sums in input_sums(cells, 0, x).unbind(1):
        layers[0] = step(cells, 0, sums, layers[0])
        layers[1] = step(cells, 1, input_sums(cells, 1, layers[0][0]), layers[1])
        hidden.append(layers[1][0])
    torch.testing.assert_close(torch.stack(hidden, 1), expected, atol=1e-6, rtol=1e-5)
    for layer in range(2):
        for part, whole in zip(layers[layer], expected_after, strict=True):
            torch.testing.assert_close(part, whole[layer], atol=1e-6, rtol=1e-5)


@every_cell
@both_modes
@pytest.mark.parametrize("lengths", [(3, 7, 1, 5), (7, 0, 2, 0)])
def test_padding_is_not_read(cell: str, gradients: bool, lengths: tuple[int, ...]) -> None:
    cells, x, before = cells_of(cell), torch.randn(B, T, D_IN), start(cell)
    mask = torch.arange(T) < torch.tensor(lengths)[:, None]
    with torch.set_grad_enabled(gradients):
        hidden, after = read(cells, x, before, mask)
    for b, length in enumerate(lengths):
        assert not hidden[b, max(length, 1) :].any()
        row = tuple(part[:, b : b + 1].contiguous() for part in before)
        ends = row
        if length:
            alone, ends = read(cells, x[b : b + 1, :length], row, None)
            torch.testing.assert_close(hidden[b, :length], alone[0], atol=1e-6, rtol=1e-5)
        for part, end in zip(after, ends, strict=True):
            torch.testing.assert_close(part[:, b : b + 1], end, atol=1e-6, rtol=1e-5)


@every_cell
@both_modes
def test_both_ways_ends_at_each_rows_own_end(cell: str, gradients: bool) -> None:
    cells, x = cells_of(cell, bidirectional=True), torch.randn(B, T, D_IN)
    lengths = (3, 7, 1, 5)
    with torch.set_grad_enabled(gradients):
        hidden, after = read(cells, x, None, torch.arange(T) < torch.tensor(lengths)[:, None])
    for b, length in enumerate(lengths):
        alone, ends = read(cells, x[b : b + 1, :length], None, None)
        torch.testing.assert_close(hidden[b, :length], alone[0], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(after[0][:, b], ends[0][:, 0], atol=1e-6, rtol=1e-5)


@every_cell
@pytest.mark.parametrize("input_std", [0.02, 1.0])
def test_sums_of_inputs_begin_at_size_one(cell: str, input_std: float) -> None:
    cells = CELLS[cell](160, 96)
    initialise(cells, input_std)
    sums = torch.randn(50, 160) * input_std @ cells.weight_ih_l0.T
    assert 0.9 < sums.std().item() < 1.1
    recurrence = cells.weight_hh_l0[-96:]
    torch.testing.assert_close(recurrence @ recurrence.T, torch.eye(96), atol=1e-5, rtol=0)


def test_an_lstm_begins_by_remembering() -> None:
    cells = nn.LSTM(5, D, num_layers=2, bidirectional=True)
    initialise(cells, 1.0)
    for name, parameter in cells.named_parameters():
        if name.startswith("bias_ih"):
            assert torch.equal(parameter, torch.tensor([0.0, 1.0, 0.0, 0.0]).repeat_interleave(D))
