"""The loss of every single token, for those who ask where a model is wrong and not only how often.

A mean over a text hides that most of it is easy. Here each target keeps its loss, what it was and how much the model
had read before it; all models of a comparison are asked about the same targets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from malgil.evaluation.language import LanguageEvaluator
from malgil.evaluation.translation import TranslationEvaluator
from malgil.models.base import CausalLM, EncoderDecoder, Model, parameter_device
from malgil.runtime.device import Precision

IGNORED = -100
#: about so many tokens say enough
TOKENS = 40_000
Int64s = npt.NDArray[np.int64]


class TokenLosses(NamedTuple):
    """A row for each target that was scored, N in all.

    Attributes:
        targets: (N,) ids.
        places: (N,) tokens of the text that the model had read before it; of a target of pairs, of the target.
        nll: (N,) -log p in nats.
    """

    targets: Int64s
    places: Int64s
    nll: npt.NDArray[np.float32]


def language_losses(
    evaluator: LanguageEvaluator, model: CausalLM, most: int = TOKENS, check: Callable[[], None] = lambda: None
) -> TokenLosses:
    """Of a text, in the windows in which it is scored: batches spread over it, about `most` tokens.

    Args:
        check: called between batches; may raise to stop.
    """
    batches = _spread(evaluator.windows(model), len(evaluator.store), most)
    found = []
    with _reading(model, evaluator.precision):
        for batch in batches:
            check()
            moved = batch.to(parameter_device(model))
            mask = moved.token_mask if model.context is None else None
            hidden = model(moved.tokens, token_mask=mask, segment_ids=moved.segment_ids).hidden
            nll = model.nll(hidden.flatten(0, 1), moved.targets.flatten())
            found.append(_rows(batch.targets, _since(batch.tokens, evaluator.specials.begin_id), nll))
    return _joined(found)


def pair_losses(
    evaluator: TranslationEvaluator, model: EncoderDecoder, most: int = TOKENS, check: Callable[[], None] = lambda: None
) -> TokenLosses:
    """Of the targets of pairs, each token with the right ones before it; as `language_losses`."""
    total = int(evaluator.store.source_lengths.sum() + evaluator.store.target_lengths.sum())
    found = []
    with _reading(model, evaluator.precision):
        for batch in _spread(evaluator.batches(model), total, most):
            check()
            moved = batch.to(parameter_device(model))
            memory = model.encode(moved.source, source_mask=moved.source_mask)
            hidden = model(moved.tokens, token_mask=moved.token_mask, memory=memory).hidden
            nll = model.nll(hidden.flatten(0, 1), moved.targets.flatten())
            places = torch.arange(batch.tokens.shape[1]).expand(batch.tokens.shape)
            found.append(_rows(batch.targets, places, nll))
    return _joined(found)


def _spread(batches: Iterable[Any], total: int, most: int) -> Iterable[Any]:
    """Every k-th batch, so that about `most` of `total` tokens are read."""
    return islice(batches, 0, None, max(1, math.ceil(total / most)))


def _since(tokens: Tensor, begin_id: int) -> Tensor:
    """(B, T): how many tokens of its document stand before the target, in its row: `[a b begin c] -> [1 2 1 2]`."""
    place = torch.arange(tokens.shape[1]).expand(tokens.shape)
    begun = torch.where(tokens == begin_id, place, torch.zeros_like(place)).cummax(dim=1).values
    return place - begun + 1


def _rows(targets: Tensor, places: Tensor, nll: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    flat = targets.flatten()
    counts = flat != IGNORED
    return flat[counts], places.flatten()[counts], nll.float().cpu()[counts]


def _joined(found: list[tuple[Tensor, Tensor, Tensor]]) -> TokenLosses:
    targets, places, nll = (torch.cat(parts).numpy() for parts in zip(*found, strict=True))
    return TokenLosses(targets, places, nll)


@contextmanager
def _reading(model: Model, precision: Precision) -> Iterator[None]:
    """The model as it is used, without gradients; its mode as before afterwards."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), precision.autocast(parameter_device(model)):
            yield
    finally:
        model.train(training)
