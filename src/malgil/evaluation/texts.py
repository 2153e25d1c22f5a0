"""What a model makes of each record of a store: in batches of similar length, given back in the records' order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from malgil.data.buckets import Buckets
from malgil.data.epochs import Int64s
from malgil.evaluation.language import TOKENS_PER_BATCH
from malgil.models.base import parameter_device
from malgil.objectives.base import Assembled
from malgil.objectives.texts import Readable, Texts, collate_texts
from malgil.runtime.device import Precision


class Records(Readable, Protocol):
    """A store whose records' lengths are known before they are read."""

    @property
    def lengths(self) -> Int64s: ...


def read_all(
    assembled: Assembled,
    store: Records,
    compute: Callable[[Assembled, Texts], Tensor],
    precision: Precision,
    check: Callable[[], None] = lambda: None,
    collate: Callable[[Any, Int64s], Texts] = collate_texts,
) -> Tensor:
    """(records, ...) in fp32 on the CPU: a row of results for each record.

    Args:
        compute: the results (B, ...) of B rows, in evaluation mode and without a gradient.
        check: called between batches; may raise to stop.
        collate: some of the store's records as a batch.
    """
    device = parameter_device(assembled.body)
    training = assembled.training
    assembled.eval()
    results: list[Tensor] = []
    batches = batches_by_length(store.lengths, TOKENS_PER_BATCH.get(device.type, TOKENS_PER_BATCH["cpu"]))
    try:
        with torch.no_grad(), precision.autocast(device):
            for rows in batches:
                check()
                results.append(compute(assembled, collate(store, rows).to(device)).float().cpu())
    finally:
        assembled.train(training)
    order = torch.from_numpy(np.concatenate(batches))
    found = torch.cat(results)
    return torch.empty_like(found).index_copy_(0, order, found)


def batches_by_length(lengths: Int64s, budget: int) -> list[Int64s]:
    """All records once, those of similar length together, in batches of at most `budget` tokens with padding."""
    epoch = Buckets(lengths, np.zeros_like(lengths), batch_tokens=budget).epoch(0)
    return [epoch.group(number) for number in range(len(epoch))]
