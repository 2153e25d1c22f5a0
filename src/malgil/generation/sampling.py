"""From scores to a choice: what each setting does to the logits (B, V) of the next token.

The order is fixed: repetition penalty, temperature, top-k, top-p, min-p, and then one draw. Each filter
renormalises, so top-p counts the mass of what top-k left. The likeliest token survives every filter.
Among equal scores the lowest id comes first, in filters and in greedy choice alike.

A draw inverts the cumulative distribution at one uniform number a row and step. Those numbers come from
(seed, sample) alone: a row is written the same whoever else is in the batch.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from malgil.generation.settings import GenerationSettings

# Nuclei are nearly always smaller; sorting a whole vocabulary of 50,000 costs 30 times more than this part.
_NUCLEUS_TRIAL = 1024
# Tokens of a block, of which the largest score is found first; measured on a CPU with 8,000 and 65,000 tokens.
_BLOCK = 64
# Rows whose log-probabilities are computed at a time: of a vocabulary of 8,000 they stay in a processor's cache.
_ROWS = 16


def uniforms(seed: int, sample: int, count: int) -> Tensor:
    """The random numbers (count,) in [0, 1) of a sample: fp32, a Philox stream of its own (Salmon et al. 2011).

    A longer stream begins with the shorter one.
    """
    stream = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, sample))))
    return torch.from_numpy(stream.random(count, dtype=np.float32))


def choose(logits: Tensor, settings: GenerationSettings, uniform: Tensor | None, seen: Tensor | None) -> Tensor:
    """The next tokens (B,) under all settings.

    Args:
        logits: (B, V) fp32.
        uniform: (B,) in [0, 1); None at temperature 0.
        seen: (B, V), True = occurred before; None without a repetition penalty.
    """
    if seen is not None:
        logits = penalise_repetition(logits, seen, settings.repetition_penalty)
    if uniform is None:
        return likeliest(logits, 1)[1][:, 0]
    logits = apply_temperature(logits, settings.temperature)
    if settings.top_k is not None:
        logits = keep_top_k(logits, settings.top_k)
    if settings.top_p is not None:
        logits = keep_top_p(logits, settings.top_p)
    if settings.min_p is not None:
        logits = keep_min_p(logits, settings.min_p)
    return draw(logits, uniform)


def penalise_repetition(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Scores x of seen tokens: x / penalty where x > 0, x * penalty elsewhere (Keskar et al. 2019, section 4.1).

    The paper divides only; multiplying negative scores, as everybody does since, lowers them as well.
    """
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def apply_temperature(logits: Tensor, temperature: float) -> Tensor:
    """(x - max x) / temperature: p^(1/T), renormalised. Shifted first, so that no temperature overflows."""
    return (logits - logits.amax(dim=-1, keepdim=True)) / temperature


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """All but the k largest become -inf (Fan et al. 2018, section 5.4)."""
    if k >= logits.shape[-1]:
        return logits
    return _keep_largest(logits, k, logits.topk(k).values[:, -1:])


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """All but the nucleus become -inf: the fewest likeliest tokens of mass >= p (Holtzman et al. 2020, equation 2)."""
    if p >= 1:
        return logits
    normaliser = logits.logsumexp(dim=-1, keepdim=True)
    likeliest = logits.topk(min(_NUCLEUS_TRIAL, logits.shape[-1])).values
    mass = (likeliest - normaliser).exp().cumsum(dim=-1)
    if mass.shape[-1] < logits.shape[-1] and bool((mass[:, -1] < p).any()):
        likeliest = logits.sort(dim=-1, descending=True).values
        mass = (likeliest - normaliser).exp().cumsum(dim=-1)
    count = ((mass < p).sum(dim=-1, keepdim=True) + 1).clamp(max=mass.shape[-1])  # (B, 1)
    return _keep_largest(logits, count, likeliest.gather(1, count - 1))


def keep_min_p(logits: Tensor, min_p: float) -> Tensor:
    """Tokens with p < min_p * max p become -inf (Nguyen et al. 2024, section 3)."""
    if min_p <= 0:
        return logits
    least = logits.amax(dim=-1, keepdim=True) + math.log(min_p)
    return logits.masked_fill(logits < least, -torch.inf)


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """One token a row (B,): the first whose cumulative probability exceeds uniform (B,)."""
    probability = logits.softmax(dim=-1)
    # tokens of probability 0 can never be reached, however a device rounds its running sums
    reach = probability.cumsum(dim=-1).masked_fill(probability == 0, 0.0)
    target = uniform[:, None] * reach.amax(dim=-1, keepdim=True)
    return (reach > target).to(torch.uint8).argmax(dim=-1)


def likeliest(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest scores (B, V) of each row and their ids, (B, count) each, from the largest on.

    Of equal scores the lower ids come first. Only the `count` blocks of tokens with the largest maxima are looked
    into, since no other block can hold one of them: 3 to 6 times faster than `topk` over a vocabulary.
    """
    n_blocks = scores.shape[1] // _BLOCK
    if n_blocks <= 2 * count:
        ids = _first_largest(scores, count)
        return scores.gather(1, ids), ids
    within = torch.arange(_BLOCK, device=scores.device)
    rest = torch.arange(n_blocks * _BLOCK, scores.shape[1], device=scores.device).expand(len(scores), -1)
    maxima = scores[:, : n_blocks * _BLOCK].reshape(-1, n_blocks, _BLOCK).amax(dim=-1)
    blocks = _first_largest(maxima, count).sort(dim=-1).values  # in order, so that ids rise in what follows
    ids = torch.cat(((blocks[:, :, None] * _BLOCK + within).flatten(1), rest), dim=1)
    ids = ids.gather(1, _first_largest(scores.gather(1, ids), count))
    return scores.gather(1, ids), ids


def logprobs_of(ids: Tensor, logits: Tensor) -> Tensor:
    """log p (B, K) of the ids (B, K) of each row, given its logits (B, V)."""
    rows = zip(torch.split(logits, _ROWS), torch.split(ids, _ROWS), strict=True)
    return torch.cat([scores.log_softmax(dim=-1).gather(1, chosen) for scores, chosen in rows])


def _first_largest(scores: Tensor, count: int) -> Tensor:
    """The places (B, count) of the largest of each row, of equal ones the first: `topk` alone takes any of those.

    fp32 numbers as integers of the same order leave room for the place in the lower half of an int64.
    """
    bits = (scores + 0.0).view(torch.int32)  # -0.0 and 0.0 are equal, and become so
    rising = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # of negative numbers all bits but the sign turn
    places = torch.arange(scores.shape[1], device=scores.device)
    return ((rising.long() << 32) - places).topk(count).indices


def _keep_largest(logits: Tensor, count: int | Tensor, least: Tensor) -> Tensor:
    """The `count` largest of each row, of which `least` (B, 1) is the smallest; of equal ones those with low ids."""
    above, tied = logits > least, logits == least
    room = count - above.sum(dim=-1, keepdim=True)
    return logits.masked_fill(~(above | (tied & (tied.cumsum(dim=-1) <= room))), -torch.inf)
