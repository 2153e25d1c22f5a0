"""Recurrent layers: PyTorch's cells over whole rows, and the same cells one step at a time.

Whole rows are read by `nn.RNN`, `nn.GRU` and `nn.LSTM`. Where a step's input depends on the step before (a decoder that
is fed what it attended to) time must pass in Python; `step` then takes what inputs give to the gates, which its
caller computes for all steps at once as far as it can. Legend: B rows, T steps, D hidden width, G = D x gates.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from malgil.layers.dropout import dropout

CELLS: dict[str, type[Any]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
#: a layer's vectors (B, D), or all layers' (n_layers, B, D): one in RNN and GRU, hidden and cell in the LSTM
Parts = tuple[Tensor, ...]


def initialise(cells: nn.RNNBase, input_std: float) -> None:
    """Orthogonal recurrences; an LSTM begins by remembering (Jozefowicz et al. 2015); sums of inputs begin at size 1.

    Args:
        input_std: standard deviation of a number of the first layer's inputs. Where it is small, as in embeddings,
            Glorot's scale leaves gates that hardly depend on the token.
    """
    d = cells.hidden_size
    for name, parameter in cells.named_parameters():
        if name.startswith("weight_hh"):
            for gate in torch.split(parameter.data, d):
                nn.init.orthogonal_(gate)
        elif name.startswith("weight_ih_l0"):
            nn.init.normal_(parameter, std=1 / (input_std * math.sqrt(cells.input_size)))
        elif name.startswith("weight_ih"):
            nn.init.xavier_uniform_(parameter)
        else:
            nn.init.zeros_(parameter)
            if isinstance(cells, nn.LSTM) and name.startswith("bias_ih"):
                parameter.data[d : 2 * d] = 1.0  # forget gate


def parameters_by_layer(cells: nn.RNNBase) -> list[list[nn.Parameter]]:
    """The parameters of each layer, the first one first, both directions together."""
    layers: list[list[nn.Parameter]] = [[] for _ in range(cells.num_layers)]
    for name, parameter in cells.named_parameters():
        layers[int(name.removesuffix("_reverse").rpartition("_l")[2])].append(parameter)
    return layers


def read(cells: nn.RNNBase, x: Tensor, before: Parts | None, mask: Tensor | None) -> tuple[Tensor, Parts]:
    """Read rows x (B, T, D_in), from zeros or from `before`.

    Args:
        mask: (B, T) bool, True = real, a prefix of each row; None: all are real.

    Returns:
        (B, T, D) and each part after the last real step of its row.
    """
    if mask is None:
        return _run(cells, x, before)
    if x.device.type == "cpu" and torch.is_grad_enabled() and not isinstance(cells, nn.LSTM):
        return _read_by_steps(cells, x, before, mask)
    lengths = mask.sum(dim=1)
    # PyTorch takes no empty row: it reads one token, which is then forgotten
    packed = pack_padded_sequence(x, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
    hidden, after = _run(cells, packed, before)
    hidden, _ = pad_packed_sequence(hidden, batch_first=True, total_length=x.shape[1])
    if before is not None:
        any_read = (lengths > 0)[:, None]
        after = tuple(torch.where(any_read, new, old) for new, old in zip(after, before, strict=True))
    return hidden, after


def _read_by_steps(cells: nn.RNNBase, x: Tensor, before: Parts | None, mask: Tensor) -> tuple[Tensor, Parts]:
    """What an RNN or GRU reads, without packing: of packed rows the gradient of each step is as large as that of all.

    A row keeps what it has while others read on; backwards it keeps zeros until its last real token comes.
    """
    directions = (False, True) if cells.bidirectional else (False,)
    if before is None:
        shape = (cells.num_layers * len(directions), len(x), cells.hidden_size)
        before = (next(cells.parameters()).new_zeros(shape),)
    ends = list(before[0].unbind(0))
    for layer in range(cells.num_layers):
        if layer:
            x = dropout(x, cells.dropout, cells.training)
        both = []
        for reverse in directions:
            place = layer * len(directions) + reverse
            hidden, ends[place] = _one_way(cells, layer, x, ends[place], mask, reverse)
            both.append(hidden)
        x = torch.cat(both, dim=-1).masked_fill(~mask[:, :, None], 0.0)
    return x, (torch.stack(ends),)


def _one_way(cells: nn.RNNBase, layer: int, x: Tensor, h: Tensor, mask: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
    """A layer's vectors (B, T, D) in one direction, and the last one of each row (B, D)."""
    hidden = []
    steps = list(zip(input_sums(cells, layer, x, reverse).unbind(1), mask[:, :, None].unbind(1), strict=True))
    for sums, real in reversed(steps) if reverse else steps:
        h = torch.where(real, step(cells, layer, sums, (h,), reverse)[0], h)
        hidden.append(h)
    return torch.stack(hidden[::-1] if reverse else hidden, dim=1), h


def _run(cells: nn.RNNBase, x: Any, before: Parts | None) -> tuple[Any, Parts]:
    """In fp32 where PyTorch has no cells in bf16: it has the LSTM's on a CPU."""
    is_lstm = isinstance(cells, nn.LSTM)
    device = next(cells.parameters()).device.type
    widened = not is_lstm or device != "cpu"
    with torch.autocast(device, enabled=False) if widened else nullcontext():
        hidden, after = cells(x, before if before is None or is_lstm else before[0])
    return hidden, after if is_lstm else (after,)


def input_sums(cells: nn.RNNBase, layer: int, x: Tensor, reverse: bool = False) -> Tensor:
    """What inputs x (..., D_in) give to the gates of a layer, or of its other direction: (..., G)."""
    weight, bias = _weights(cells, "ih", layer, reverse)
    return F.linear(x, weight, bias)


def step(cells: nn.RNNBase, layer: int, sums: Tensor, before: Parts, reverse: bool = False) -> Parts:
    """One step of a layer, from its `input_sums` (B, G) and what it remembers, in whose precision it is computed."""
    h, dtype = before[0], before[0].dtype
    sums = sums.to(dtype)
    weight, bias = _weights(cells, "hh", layer, reverse)
    recurrent = F.linear(h, weight, bias).to(dtype)
    if isinstance(cells, nn.LSTM):
        return _lstm(sums + recurrent, before[1])
    if isinstance(cells, nn.GRU):
        return (_gru(sums, recurrent, h),)
    return (torch.tanh(sums + recurrent),)


def _weights(cells: nn.RNNBase, kind: str, layer: int, reverse: bool) -> tuple[Tensor, Tensor]:
    name = f"{kind}_l{layer}" + ("_reverse" if reverse else "")
    return getattr(cells, f"weight_{name}"), getattr(cells, f"bias_{name}")


def _lstm(sums: Tensor, c: Tensor) -> Parts:
    """Input, forget, candidate and output gate in PyTorch's order (Gers et al. 2000)."""
    i, f, g, o = sums.chunk(4, dim=-1)
    c = torch.addcmul(f.sigmoid() * c, i.sigmoid(), g.tanh())
    return o.sigmoid() * c.tanh(), c


def _gru(sums: Tensor, recurrent: Tensor, h: Tensor) -> Tensor:
    """h' = (1 - z) n + z h, in PyTorch's order r, z, n; the reset gate acts behind the recurrent matrix."""
    d = h.shape[-1]
    (from_inputs, candidate), (from_h, reset) = (torch.split(x, [2 * d, d], dim=-1) for x in (sums, recurrent))
    r, z = torch.sigmoid(from_inputs + from_h).chunk(2, dim=-1)
    n = torch.tanh(torch.addcmul(candidate, r, reset))
    return torch.lerp(n, h, z)
