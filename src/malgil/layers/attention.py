"""Scaled dot-product attention: softmax(Q K^T / sqrt(d)) V (Vaswani et al. 2017, equation 1), by the fastest kernel.

One operator for every family. PyTorch's fused kernel is the best on CUDA; on a CPU it is beaten by three
plain matrix operations in bf16 while the scores fit, and has no dropout, so `attend` chooses by device, type and shape.
Shapes: B batch, H query heads, Hkv key heads (H is a multiple of it: grouped queries), T queries, S keys, D width
of a head. Under `causal` the last query sees the last key: query i sees keys up to i + S - T.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from malgil.errors import ConfigError
from malgil.layers.dropout import dropout as dropped

# Scores (B * H * T * S) up to which plain operations beat PyTorch's kernel in bf16 on a CPU: 32 MiB of them.
_MOST_SCORES = 1 << 24
# Scores that are computed at a time by plain operations, about what a processor's cache holds.
_SCORES_AT_A_TIME = 1 << 22
# Queries of a block in causal attention by plain operations; measured: 64 costs more in calls than it saves.
_BLOCK = 128


def check_heads(d_model: int, n_heads: int, *, even: bool = False) -> None:
    """Refuse heads that do not divide the width of a model.

    Args:
        even: whether the width of a head must be even, as rotations need it.

    Raises:
        ConfigError
    """
    step = 2 * n_heads if even else n_heads
    if d_model % step:
        raise ConfigError(
            f"model.d_model {d_model} is not divisible by model.n_heads {n_heads}{' into even widths' * even}",
            fix=f"take {d_model // step * step or step} or another number of heads",
        )


class Attention(nn.Module):
    """`attend` as a module without weights, so that who attends to whom can be observed from outside by hooks.

    Args:
        dropout: probability that an attention weight is dropped in training.
    """

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, *, causal: bool = False, mask: Tensor | None = None
    ) -> Tensor:
        """(B, H, T, D); arguments as in `attend`."""
        return attend(query, key, value, causal=causal, mask=mask, dropout=self.dropout, training=self.training)

    def weights(
        self, query: Tensor, key: Tensor, value: Tensor, *, causal: bool = False, mask: Tensor | None = None
    ) -> Tensor:
        """(B, H, T, S): the weights with which the same call mixes values, without dropout."""
        return attention_weights(query, key, mask=mask, causal=causal)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    causal: bool = False,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    training: bool = False,
) -> Tensor:
    """Attention's result, (B, H, T, D).

    Args:
        query: (B, H, T, D).
        key: (B, Hkv, S, D).
        value: (B, Hkv, S, D).
        causal: a query sees no later key.
        mask: boolean, True = may attend, broadcastable to (B, 1, T, S); joined with `causal`. A query
            that may attend to nothing gives 0.
        dropout: probability that a weight is dropped, while `training`.

    Raises:
        ConfigError: H is no multiple of Hkv.
    """
    heads, length = query.shape[1], query.shape[2]
    if heads % key.shape[1]:
        raise ConfigError(
            f"{heads} query heads cannot share {key.shape[1]} key heads", "attention", "make n_heads a multiple"
        )
    if _plain_is_faster(query, key, dropout if training else 0.0):
        key, value = key.contiguous(), value.contiguous()  # a product would copy part of a cache, and more slowly
        if causal and mask is None and length == key.shape[2]:
            return _causal_in_blocks(query, key, value, dropout, training)
        return _in_pieces(query, key, value, causal, mask, dropout, training)
    plain = causal and mask is None and length == key.shape[2]
    if query.device.type == "cuda" and not plain and heads != key.shape[1]:
        # with a mask only the memory-efficient kernel is left, and that one wants a key for every query
        key, value = (x.repeat_interleave(heads // x.shape[1], dim=1) for x in (key, value))
    return F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=None if plain else _allowed(query, key, mask, causal),
        dropout_p=dropout if training else 0.0,
        is_causal=plain,
        enable_gqa=key.shape[1] != heads,
    )


def attention_weights(query: Tensor, key: Tensor, *, mask: Tensor | None = None, causal: bool = False) -> Tensor:
    """Who attends to whom, (B, H, T, S): rows sum to 1, or to 0 where nothing may be attended to.

    Arguments as in `attend`. Keys are not copied for grouped queries: the queries of a group are
    rows of one matrix.
    """
    batch, heads, length, width = query.shape
    groups, size = key.shape[1], key.shape[2]
    rows = (query * (1.0 / math.sqrt(width))).reshape(batch * groups, heads // groups * length, width)
    columns = key.reshape(batch * groups, size, width).transpose(1, 2)
    if mask is None and causal:
        bias = _causal_bias(query, size).repeat(heads // groups, 1)
        return torch.baddbmm(bias, rows, columns).softmax(-1).view(batch, heads, length, size)
    scores = torch.bmm(rows, columns).view(batch, heads, length, size)
    allowed = _allowed(query, key, mask, causal)
    if allowed is None:
        return scores.softmax(-1)
    weights = scores.masked_fill_(~allowed, torch.finfo(scores.dtype).min).softmax(-1)
    blind = ~allowed.any(-1, keepdim=True)
    return weights.masked_fill(blind, 0.0) if bool(blind.any()) else weights


def _causal_in_blocks(query: Tensor, key: Tensor, value: Tensor, dropout: float, training: bool) -> Tensor:
    """Causal attention a block of queries at a time, so that most keys of the future are never computed."""
    blocks = []
    for start in range(0, query.shape[2], _BLOCK):
        end = start + _BLOCK
        weights = attention_weights(query[:, :, start:end], key[:, :, :end], causal=True)
        blocks.append(_mix(dropped(weights, dropout, training), value[:, :, :end]))
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=2)


def _in_pieces(
    query: Tensor, key: Tensor, value: Tensor, causal: bool, mask: Tensor | None, dropout: float, training: bool
) -> Tensor:
    """Attention by plain operations, some rows of the batch at a time."""
    batch, heads, length, _ = query.shape
    rows = max(1, _SCORES_AT_A_TIME // max(1, heads * length * key.shape[2]))
    whole = mask is None or mask.dim() < 4 or mask.shape[0] == 1  # one mask for all rows
    made = []
    for first in range(0, max(1, batch), rows):
        some = slice(first, first + rows)
        seen = mask if mask is None or whole else mask[some]
        weights = attention_weights(query[some], key[some], mask=seen, causal=causal)
        made.append(_mix(dropped(weights, dropout, training), value[some]))
    return made[0] if len(made) == 1 else torch.cat(made)


def _plain_is_faster(query: Tensor, key: Tensor, dropout: float) -> bool:
    """With dropout PyTorch has no fused kernel on a CPU: its own plain operations hold all scores, and draw doubles."""
    if query.device.type != "cpu":
        return False
    batch, heads, length, _ = query.shape
    few = batch * heads * length * key.shape[2] <= _MOST_SCORES
    return dropout > 0 or (few and query.dtype is torch.bfloat16)


def _mix(weights: Tensor, value: Tensor) -> Tensor:
    """(B, H, T, S) weights of (B, Hkv, S, D) values -> (B, H, T, D)."""
    batch, heads, length, size = weights.shape
    groups, width = value.shape[1], value.shape[3]
    rows = weights.reshape(batch * groups, heads // groups * length, size)
    return torch.bmm(rows, value.reshape(batch * groups, size, width)).view(batch, heads, length, width)


def _causal_bias(query: Tensor, size: int) -> Tensor:
    """(T, S): 0 where the query may look, minus infinity where it may not."""
    length = query.shape[2]
    return query.new_full((length, size), -torch.inf).triu_(size - length + 1)


def _allowed(query: Tensor, key: Tensor, mask: Tensor | None, causal: bool) -> Tensor | None:
    """`mask` and `causal` as one boolean mask."""
    if not causal:
        return mask
    length, size = query.shape[2], key.shape[2]
    lower = torch.ones(length, size, dtype=torch.bool, device=query.device).tril_(size - length)
    return lower if mask is None else lower & mask
