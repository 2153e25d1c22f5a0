"""What models remember between calls: a recurrent vector, or the keys and values of every layer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class RecurrentState:
    """The hidden (and, in an LSTM, cell) vectors of every layer.

    Args:
        parts: one tensor (n_layers, B, D) for RNN and GRU, two for LSTM.
    """

    row_dim = 1

    def __init__(self, *parts: Tensor) -> None:
        self.parts = parts

    def select(self, rows: Tensor) -> RecurrentState:
        return RecurrentState(*(p.index_select(1, rows) for p in self.parts))

    def detach(self) -> RecurrentState:
        return RecurrentState(*(p.detach() for p in self.parts))

    def tensors(self) -> list[Tensor]:
        return list(self.parts)

    def with_tensors(self, tensors: list[Tensor]) -> RecurrentState:
        return RecurrentState(*tensors)


#: places that a cache begins with, and by which its buffers are rounded up where its rows are selected
_ROOM = 16


class KVCache:
    """Keys and values of the tokens read so far, in buffers with room for more, which grow where that is used up.

    Rows may have different lengths. New tokens of row b go to places lengths[b], lengths[b] + 1, ...;
    what right padding leaves behind lies beyond the row's length, is seen by nobody, and is
    overwritten by the next token.

    The buffers are shared with the state that came before, which is spent; `select` copies what is filled, and a few
    places more, so that a beam search does not carry the room for its longest translation from step to step.
    """

    row_dim = 0

    def __init__(self, keys: list[Tensor], values: list[Tensor], lengths: Tensor, longest: int, even: bool) -> None:
        self.keys, self.values = keys, values  # a layer each: (B, H_kv, room, D_head)
        self.lengths = lengths  # (B,)
        self.longest = longest  # max(lengths), known without asking the device
        self.even = even  # all rows have `longest` tokens

    @classmethod
    def empty(cls, n_layers: int, batch_size: int, n_kv_heads: int, max_len: int, d_head: int, like: Tensor) -> KVCache:
        """A cache without tokens, on the device and in the precision of `like`; texts often end before `max_len`."""
        shape = (batch_size, n_kv_heads, min(max_len, _ROOM), d_head)
        keys = [like.new_zeros(shape) for _ in range(n_layers)]
        values = [like.new_zeros(shape) for _ in range(n_layers)]
        return cls(keys, values, torch.zeros(batch_size, dtype=torch.long, device=like.device), 0, True)

    def positions(self, n_new: int) -> Tensor:
        """(B, T): where the next `n_new` tokens of each row will stand."""
        return self.lengths[:, None] + torch.arange(n_new, device=self.lengths.device)

    def write(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store (B, H_kv, T, D_head) behind what each row has; returns all keys and values (B, H_kv, S, D_head)."""
        n_new = key.shape[2]
        self._grow(layer, self.longest + n_new)
        keys, values = self.keys[layer], self.values[layer]
        if self.even:
            keys[:, :, self.longest : self.longest + n_new] = key
            values[:, :, self.longest : self.longest + n_new] = value
        else:
            rows = torch.arange(len(key), device=key.device)[:, None]
            places = self.positions(n_new)
            keys[rows, :, places] = key.transpose(1, 2).to(keys.dtype)
            values[rows, :, places] = value.transpose(1, 2).to(values.dtype)
        seen = self.longest + n_new
        return keys[:, :, :seen], values[:, :, :seen]

    def _grow(self, layer: int, needed: int) -> None:
        """Larger buffers, where the layer's are too small: twice as large at least, so that growing stays rare."""
        room = self.keys[layer].shape[2]
        if needed > room:
            more = (0, 0, 0, max(needed - room, room))
            self.keys[layer], self.values[layer] = F.pad(self.keys[layer], more), F.pad(self.values[layer], more)

    def advance(self, n_new: int, token_mask: Tensor | None) -> KVCache:
        """The cache after the tokens that were written, of which those with a True mask are real."""
        if token_mask is None:
            return KVCache(self.keys, self.values, self.lengths + n_new, self.longest + n_new, self.even)
        lengths = self.lengths + token_mask.sum(dim=1)
        shortest, longest = int(lengths.min()), int(lengths.max())
        return KVCache(self.keys, self.values, lengths, longest, shortest == longest)

    def select(self, rows: Tensor) -> KVCache:
        room = (self.longest // _ROOM + 1) * _ROOM
        keys = [k[:, :, :room].index_select(0, rows) for k in self.keys]
        values = [v[:, :, :room].index_select(0, rows) for v in self.values]
        lengths = self.lengths.index_select(0, rows)
        longest = int(lengths.max()) if len(rows) else 0
        return KVCache(keys, values, lengths, longest, self.even)

    def detach(self) -> KVCache:
        keys, values = [k.detach() for k in self.keys], [v.detach() for v in self.values]
        return KVCache(keys, values, self.lengths, self.longest, self.even)

    def tensors(self) -> list[Tensor]:
        return [self.lengths, *self.keys, *self.values]

    def with_tensors(self, tensors: list[Tensor]) -> KVCache:
        lengths, *rest = tensors
        half = len(rest) // 2
        longest = int(lengths.max())
        return KVCache(rest[:half], rest[half:], lengths, longest, bool((lengths == longest).all()))


class Shared:
    """Tensors of N encoded sources that N x group rows read: row r reads source r // group.

    The beams of a sentence share its memory in this way: however they are reordered, nothing is copied. Unequal groups
    are copied out, a source a row.

    Attributes:
        tensors: (N, ...) each, never written to.
        group: rows of a source.
    """

    def __init__(self, tensors: tuple[Tensor, ...], group: int = 1) -> None:
        self.tensors, self.group = tensors, group

    def select(self, rows: Tensor) -> Shared:
        """What the given rows (R,) read."""
        sources = rows // self.group
        kept, counts = torch.unique_consecutive(sources, return_counts=True)
        group = int(counts[0]) if len(rows) else 1
        if not bool((counts == group).all()):
            kept, group = sources, 1
        n_sources = len(self.tensors[0])
        if len(kept) == n_sources and bool((kept == torch.arange(n_sources, device=kept.device)).all()):
            return Shared(self.tensors, group)
        return Shared(tuple(t.index_select(0, kept) for t in self.tensors), group)

    def gather(self, rows: Tensor) -> Tensor:
        """Rows (N x group, H, T, D) as the queries of their sources (N, H, group x T, D)."""
        if self.group == 1:
            return rows
        n_rows, heads, length, width = rows.shape
        split = rows.view(n_rows // self.group, self.group, heads, length, width)
        return split.transpose(1, 2).reshape(-1, heads, self.group * length, width)

    def scatter(self, queries: Tensor) -> Tensor:
        """The inverse of `gather`."""
        if self.group == 1:
            return queries
        n_sources, heads, rows, width = queries.shape
        split = queries.view(n_sources, heads, self.group, rows // self.group, width)
        return split.transpose(1, 2).reshape(n_sources * self.group, heads, -1, width)


class TransformerState:
    """What a Transformer's decoder remembers: its own tokens, and the keys and values of the source for every layer.

    Those of the source are computed once and shared by all rows that go on from it.

    Args:
        cache: of the self-attention.
        sources: a mask (N, 1, 1, S), then a layer's keys and values (N, H, S, D_head) after the other's.
    """

    row_dim = 0

    def __init__(self, cache: KVCache, sources: Shared) -> None:
        self.cache, self.sources = cache, sources

    def source(self, layer: int) -> Shared:
        """The mask, keys and values that a layer's cross-attention reads."""
        mask, *read = self.sources.tensors
        return Shared((mask, *read[2 * layer : 2 * layer + 2]), self.sources.group)

    def advance(self, n_new: int, token_mask: Tensor | None) -> TransformerState:
        """The state after the tokens that were written, as `KVCache.advance`."""
        return TransformerState(self.cache.advance(n_new, token_mask), self.sources)

    def select(self, rows: Tensor) -> TransformerState:
        return TransformerState(self.cache.select(rows), self.sources.select(rows))

    def detach(self) -> TransformerState:
        sources = Shared(tuple(t.detach() for t in self.sources.tensors), self.sources.group)
        return TransformerState(self.cache.detach(), sources)

    def tensors(self) -> list[Tensor]:
        """The rows' own copies of the sources: rows of one source share them no longer."""
        shared = [t.repeat_interleave(self.sources.group, 0) for t in self.sources.tensors]
        return [*self.cache.tensors(), *shared]

    def with_tensors(self, tensors: list[Tensor]) -> TransformerState:
        n_own = len(self.cache.tensors())
        return TransformerState(self.cache.with_tensors(tensors[:n_own]), Shared(tuple(tensors[n_own:])))
