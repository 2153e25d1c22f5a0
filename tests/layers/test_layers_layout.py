"""Layouts against the batch they were made of: nothing is lost, nothing of a document reaches another."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from malgil.layers import masks
from malgil.layers.layout import Layout

TOKENS = torch.arange(21).view(3, 7)
PACKED = torch.tensor([[1, 1, 1, 2, 2, 0, 0], [1, 2, 2, 2, 3, 3, 3], [4, 4, 4, 4, 0, 0, 0]])
SKEWED = torch.tensor([[1, 1, 1, 1, 1, 1, 1], [1, 2, 3, 4, 5, 6, 0], [1, 2, 3, 4, 0, 0, 0]])
FULL = torch.tensor([[1, 1, 1, 1, 1, 1, 1], [2, 2, 2, 2, 2, 2, 2], [1, 1, 1, 1, 1, 1, 1]])
EVEN = torch.tensor([[1, 1, 2, 2, 3, 3], [7, 7, 8, 8, 9, 9]])
EMPTY = torch.tensor([[0, 0, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0]])
NOTHING = torch.zeros(2, 3, dtype=torch.long)
every_batch = pytest.mark.parametrize("segment_ids", [PACKED, SKEWED, FULL, EVEN, EMPTY, NOTHING])


def mixed(layout: Layout, x: Tensor, mask: Tensor | None) -> Tensor:
    """(B, T, D): every token's mean over what it sees, by way of the grid."""
    grid = layout.spread(layout.take(x))
    sees = torch.ones(grid.shape[1], grid.shape[1], dtype=torch.bool) if mask is None else mask[:, 0]
    weights = sees.expand(len(grid), grid.shape[1], -1).float()
    means = weights @ grid / weights.sum(-1, keepdim=True)
    return layout.put(layout.gather(means))


@every_batch
def test_tokens_come_back_to_their_places(segment_ids: Tensor) -> None:
    layout = Layout.of(segment_ids, segment_ids=segment_ids)
    x = torch.randn(*segment_ids.shape, 5)
    taken = layout.take(x)
    assert taken.shape == (int((segment_ids > 0).sum()), 5)
    assert torch.equal(layout.gather(layout.spread(taken)), taken)
    assert torch.equal(layout.put(taken), x.masked_fill(segment_ids[:, :, None] == 0, 0.0))
    expected = masks.segment_positions(segment_ids)[segment_ids > 0]
    assert torch.equal(layout.token_positions(), expected)


@every_batch
@pytest.mark.parametrize("reach", [None, 0, 1, 6])
def test_attention_sees_its_own_document(segment_ids: Tensor, reach: int | None) -> None:
    layout = Layout.of(segment_ids, segment_ids=segment_ids)
    x = torch.randn(*segment_ids.shape, 3)
    mask = layout.mask if reach is None else layout.window(reach)
    if mask is not None:
        assert mask.any(-1).all() or reach is None
    actual = mixed(layout, x, mask)
    for b, row in enumerate(segment_ids.tolist()):
        for t, number in enumerate(row):
            near = [s for s, n in enumerate(row) if n == number and (reach is None or abs(s - t) <= reach)]
            expected = x[b, near].mean(0) if number else torch.zeros(3)
            torch.testing.assert_close(actual[b, t], expected)


def test_a_row_is_a_document_where_nothing_else_is_said() -> None:
    mask = torch.arange(7) < torch.tensor([[7], [2], [4]])
    layout = Layout.of(TOKENS, token_mask=mask)
    assert layout.grid == (3, 7)
    assert layout.take(TOKENS).tolist() == TOKENS[mask].tolist()
    assert layout.mask is not None
    assert layout.mask[:, 0, 0].tolist() == mask.tolist()
    whole = Layout.of(TOKENS)
    assert (whole.real, whole.cells, whole.mask) == (None, None, None)
    assert torch.equal(whole.token_positions(), torch.arange(7).repeat(3))


def test_documents_become_rows_unless_that_is_more_work() -> None:
    assert Layout.of(PACKED, segment_ids=PACKED).grid == (6, 4)
    assert Layout.of(SKEWED, segment_ids=SKEWED).grid == (3, 7)
    even = Layout.of(EVEN, segment_ids=EVEN)
    assert (even.grid, even.mask, even.cells) == ((6, 2), None, None)


@every_batch
def test_gradients(segment_ids: Tensor) -> None:
    layout = Layout.of(segment_ids, segment_ids=segment_ids)
    x = torch.randn(*segment_ids.shape, 2, dtype=torch.float64, requires_grad=True)
    factor = torch.randn(*segment_ids.shape, 2, dtype=torch.float64)

    def through(x: Tensor) -> Tensor:
        return layout.put(layout.gather(layout.spread(layout.take(x)) ** 2)) * factor

    assert torch.autograd.gradcheck(through, x)


def test_other_devices_keep_the_batch_as_it_is() -> None:
    ids = PACKED.to("meta")
    layout = Layout.of(ids, segment_ids=ids)
    assert (layout.batch, layout.grid, layout.real, layout.cells) == ((3, 7), (3, 7), None, None)
    assert layout.mask is not None
    assert layout.mask.shape == (3, 1, 7, 7)
    assert layout.token_positions().shape == (21,)
