"""Losses and hits of many targets, with few logits in memory at a time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from malgil.models.base import Model

#: logits that are computed at a time; with all of a batch, most of the memory would be theirs
LOGITS = 1 << 22


def score_targets(model: Model, hidden: Tensor, targets: Tensor) -> tuple[float, int]:
    """Summed -log p of targets (N,) in nats, given hidden vectors (N, D), and how many were held the likeliest."""
    rows = max(1, LOGITS // model.vocab_size)
    parts = [_sums(model, h, t) for h, t in zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)]
    nll, right = zip(*torch.stack(parts).tolist(), strict=True)  # one wait for the device
    return sum(nll), int(sum(right))


def _sums(model: Model, hidden: Tensor, targets: Tensor) -> Tensor:
    """(2,): of some of them, the summed -log p and the hits."""
    logits = model.logits(hidden).float()
    nll = F.cross_entropy(logits, targets, reduction="sum")
    return torch.stack([nll, (logits.argmax(-1) == targets).sum().to(nll.dtype)])
