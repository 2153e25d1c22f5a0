"""Who attends to whom, as boolean masks: True = may attend. Every query sees at least one key.

A packed row holds several documents; here 7 positions, two documents and padding:

    tokens        a  b  c  x  y  .  .
    segment_ids   1  1  1  2  2  0  0
    positions     0  1  2  0  1  0  1
"""

from __future__ import annotations

import torch
from torch import Tensor


def causal(length: int, device: torch.device | None = None) -> Tensor:
    """(1, 1, T, T): query t sees keys 0..t."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()[None, None]


def causal_segments(segment_ids: Tensor) -> Tensor:
    """(B, 1, T, T): query t sees the keys 0..t of its own document; padding sees padding."""
    return segments(segment_ids) & causal(segment_ids.shape[1], segment_ids.device)


def segments(segment_ids: Tensor) -> Tensor:
    """(B, 1, T, T): query t sees all keys of its own document, in both directions; padding sees padding."""
    return segment_ids[:, None, :, None] == segment_ids[:, None, None, :]


def prefixes(lengths: Tensor, n_keys: int) -> Tensor:
    """(B, 1, 1, S): every query of a row sees its first `lengths` (B,) keys."""
    return (torch.arange(n_keys, device=lengths.device) < lengths[:, None])[:, None, None, :]


def window(length: int, reach: int, device: torch.device | None = None) -> Tensor:
    """(1, 1, T, T): query t sees the keys t - reach to t + reach."""
    index = torch.arange(length, device=device)
    return ((index[:, None] - index[None, :]).abs() <= reach)[None, None]


def cached(positions: Tensor, n_keys: int) -> Tensor:
    """(B, 1, T, S): a query at position p (B, T) of its row sees the keys 0..p of a cache."""
    return torch.arange(n_keys, device=positions.device) <= positions[:, None, :, None]


def segment_positions(segment_ids: Tensor) -> Tensor:
    """(B, T): the position of each token within its document."""
    index = torch.arange(segment_ids.shape[1], device=segment_ids.device).expand_as(segment_ids)
    first = torch.ones_like(segment_ids, dtype=torch.bool)
    first[:, 1:] = segment_ids[:, 1:] != segment_ids[:, :-1]
    return index - torch.where(first, index, 0).cummax(dim=1).values
