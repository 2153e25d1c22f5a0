"""Where tokens stand: a list of the real ones for position-wise layers, a grid of documents for attention.

    batch (B, T)     a b c x y .        list (N,)    a b c x y p q       grid (G, L)    a b c
                     p q . . . .                                                        x y .
                                                                                        p q .

Linear layers, norms and activations do not care where a token stands; given the real tokens alone they spend nothing on
padding. Attention wants a row for each document: that is less work than a packed row whose documents are
masked from one another. Both give what the padded batch would give.

On other devices than a CPU nothing is dropped: sizes that depend on the data would make the processor wait for
the device and break compiled graphs. There the grid is the batch, and masks part its documents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from malgil.layers import masks


@dataclass(frozen=True)
class Layout:
    """The layout of a batch (B, T) of N tokens, in a grid (G, L) of documents; from `Layout.of`.

    Attributes:
        batch: B and T.
        grid: G and L.
        real: (N,) places of the tokens in the batch's B T; None: all of them.
        cells: (N,) places of the same tokens in the grid's G L; None: all of them.
        positions: within documents, of the grid: (L,), or (G, L) where a row holds several documents.
        mask: which keys a query of the grid sees, broadcastable to (G, 1, L, L); None: all.
    """

    batch: tuple[int, int]
    grid: tuple[int, int]
    real: Tensor | None
    cells: Tensor | None
    positions: Tensor
    mask: Tensor | None

    @classmethod
    def of(cls, tokens: Tensor, token_mask: Tensor | None = None, segment_ids: Tensor | None = None) -> Layout:
        """The layout of tokens (B, T); arguments as of `models.base.Encoder.forward`."""
        batch = (tokens.shape[0], tokens.shape[1])
        if segment_ids is None:
            if token_mask is None:
                return cls(batch, batch, None, None, torch.arange(batch[1], device=tokens.device), None)
            segment_ids = token_mask.long()  # a row is a document
        positions = masks.segment_positions(segment_ids)
        if tokens.device.type != "cpu":
            return cls(batch, batch, None, None, positions, masks.segments(segment_ids))
        return cls._dropping_padding(batch, segment_ids, positions)

    @classmethod
    def _dropping_padding(cls, batch: tuple[int, int], segment_ids: Tensor, positions: Tensor) -> Layout:
        real = segment_ids.flatten().nonzero().squeeze(1)  # (N,)
        within = positions.flatten()[real]
        begins = (within == 0).nonzero().squeeze(1)
        lengths = begins.diff(append=begins.new_tensor([len(real)]))
        grid = (len(lengths), int(lengths.max()) if len(lengths) else 0)
        n_rows, length = batch
        if grid[0] * grid[1] ** 2 > n_rows * length**2:  # one long document among many short ones
            cells = None if len(real) == n_rows * length else real
            return cls(batch, batch, cells, cells, positions, masks.segments(segment_ids))
        document = torch.repeat_interleave(torch.arange(grid[0]), lengths)
        full = len(real) == grid[0] * grid[1]
        return cls(
            batch,
            grid,
            None if len(real) == n_rows * length else real,
            None if full else document * grid[1] + within,
            torch.arange(grid[1]),
            None if full else masks.prefixes(lengths, grid[1]),
        )

    def take(self, x: Tensor) -> Tensor:
        """The list (N, ...) of what stands in the batch as (B, T, ...)."""
        return _taken(x.flatten(0, 1), self.real)

    def put(self, x: Tensor) -> Tensor:
        """The batch (B, T, ...) of a list, with zeros at padding."""
        return _placed(x, self.real, self.batch)

    def spread(self, x: Tensor) -> Tensor:
        """The grid (G, L, ...) of a list, with zeros where no token stands."""
        return _placed(x, self.cells, self.grid)

    def gather(self, x: Tensor) -> Tensor:
        """The list (N, ...) of what stands in the grid as (G, L, ...)."""
        return _taken(x.flatten(0, 1), self.cells)

    def token_positions(self) -> Tensor:
        """(N,): the position of each token of the list within its document."""
        return self.gather(self.positions.expand(self.grid))

    def window(self, reach: int) -> Tensor | None:
        """`mask` for queries that see `reach` tokens to each side."""
        length = self.grid[1]
        if length <= reach + 1:
            return self.mask
        device = self.positions.device
        near = masks.window(length, reach, device)
        if self.mask is None:
            return near
        return near & (self.mask | masks.window(length, 0, device))  # a cell without a token sees itself at least


def _taken(x: Tensor, places: Tensor | None) -> Tensor:
    if places is None:
        return x
    taken: Tensor = _Take.apply(x, places)  # type: ignore[no-untyped-call]
    return taken


def _placed(x: Tensor, places: Tensor | None, shape: tuple[int, int]) -> Tensor:
    if places is not None:
        x = x.new_zeros(shape[0] * shape[1], *x.shape[1:]).index_copy(0, places, x)
    return x.view(*shape, *x.shape[1:])


class _Take(torch.autograd.Function):
    """Rows at places that are all different: the gradient is put back and not, as PyTorch's, added up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.shape = x.shape
        return x.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        return grad.new_zeros(ctx.shape).index_copy(0, places, grad), None
