"""The output layer and its loss in one operator.

With a vocabulary of tens of thousands the output layer is most of a step (93 % for an LSTM of 2 x 200
over 33,278 words), and most of that is memory traffic: logits written, widened to fp32, exponentiated,
read again. Here logits stay in the compute precision, are widened a slice at a time inside the
processor's cache, and turn into their own gradient in place.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

IGNORED = -100
#: bytes of fp32 logits that are worked on at a time on a CPU: a slice fits the second-level cache
_SLICE_BYTES = 1 << 20
#: logits that are computed at a time where no gradient is wanted
_KEPT_LOGITS = 1 << 20


def linear_nll(
    hidden: Tensor, weight: Tensor, targets: Tensor, *, bias: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """-sum over v of q(v) log softmax(hidden weight^T + bias)[v], in nats.

    q is 1 at the target; with label smoothing it is 1 - smoothing there plus smoothing / V everywhere (Szegedy et al.
    2016, section 7).

    Args:
        hidden: (N, D).
        weight: (V, D), the output matrix.
        targets: (N,) ids; -100 counts nothing.
        bias: (V,).
        smoothing: 0 to below 1.

    Returns:
        (N,) in fp32 (fp64 for fp64 input), 0 where the target is -100.
    """
    if torch.is_grad_enabled() or len(hidden) <= (rows := max(1, _KEPT_LOGITS // len(weight))):
        return _LinearNLL.apply(hidden, weight, targets, bias, smoothing)  # type: ignore[no-any-return,no-untyped-call]
    # nobody will ask for the logits again, so they need not be there all at once
    parts = zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)
    return torch.cat([linear_nll(h, weight, t, bias=bias, smoothing=smoothing) for h, t in parts])


class _LinearNLL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None, smoothing: float
    ) -> Tensor:
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        with torch.autocast(device, enabled=False):
            h, w, b = hidden.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
            logits = F.linear(h, w, b)  # (N, V)
            ignored = targets == IGNORED
            normaliser = _compiled(_log_z) if device == "cuda" else _log_z
            log_z = torch.cat([normaliser(logits[rows]) for rows in _slices(logits)])
            picked = logits.gather(1, targets.masked_fill(ignored, 0)[:, None]).squeeze(1).to(log_z.dtype)
            if smoothing:
                mean = torch.cat([logits[rows].mean(1, dtype=log_z.dtype) for rows in _slices(logits)])
                picked = torch.lerp(picked, mean, smoothing)
        ctx.save_for_backward(h, w, b, targets, log_z)
        ctx.logits = logits  # not saved through autograd: it becomes its own gradient, once
        ctx.dtypes = hidden.dtype, weight.dtype, None if bias is None else bias.dtype
        ctx.smoothing = smoothing
        return (log_z - picked).masked_fill(ignored, 0.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, Tensor | None, None]:
        h, w, b, targets, log_z = ctx.saved_tensors
        logits, ctx.logits = ctx.logits, None
        if logits is None:  # a second pass over a retained graph
            logits = F.linear(h, w, b)
        scale = grad.to(log_z.dtype).masked_fill(targets == IGNORED, 0.0)
        slope = _compiled(_fused_slope_) if logits.device.type == "cuda" else _slope_
        for rows in _slices(logits):
            slope(logits[rows], log_z[rows], targets[rows], scale[rows], ctx.smoothing)
        d_hidden = (logits @ w).to(ctx.dtypes[0]) if ctx.needs_input_grad[0] else None
        d_weight = (logits.t() @ h).to(ctx.dtypes[1]) if ctx.needs_input_grad[1] else None
        d_bias = logits.sum(0, dtype=ctx.dtypes[2]) if ctx.needs_input_grad[3] else None
        return d_hidden, d_weight, None, d_bias, None


def _log_z(logits: Tensor) -> Tensor:
    """log sum exp of each row, (n, V) -> (n,), in fp32 or wider."""
    return torch.logsumexp(logits.to(_wide(logits)), dim=-1)


def _slope_(logits: Tensor, log_z: Tensor, targets: Tensor, scale: Tensor, smoothing: float) -> None:
    """Overwrite logits (n, V) with scale (softmax - q), q the smoothed target; a slice of a processor's cache."""
    p = logits.to(log_z.dtype).sub_(log_z[:, None]).exp_()
    p.scatter_add_(1, targets.clamp(min=0)[:, None], p.new_full((len(p), 1), smoothing - 1.0))
    if smoothing:
        p.sub_(smoothing / p.shape[1])
    logits.copy_(p.mul_(scale[:, None]))


def _fused_slope_(logits: Tensor, log_z: Tensor, targets: Tensor, scale: Tensor, smoothing: float) -> None:
    """The same without a scatter, which a compiler could not fuse: one pass over the logits."""
    p = (logits.to(log_z.dtype) - log_z[:, None]).exp() - smoothing / logits.shape[1]
    p = torch.where(torch.arange(p.shape[1], device=p.device) == targets[:, None], p - (1.0 - smoothing), p)
    logits.copy_(p * scale[:, None])


def _wide(logits: Tensor) -> torch.dtype:
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """One kernel of the function, which reads and writes the logits once."""
    compiled: Callable[..., Any] = torch.compile(function, dynamic=True)
    return compiled


def _slices(logits: Tensor) -> list[slice]:
    """Row ranges of a cache's size on a CPU; elsewhere everything at once."""
    n, vocab = logits.shape
    step = max(1, _SLICE_BYTES // (4 * vocab)) if logits.device.type == "cpu" else max(1, n)
    return [slice(i, min(i + step, n)) for i in range(0, n, step)] or [slice(0, 0)]
