"""Beam search: the likeliest translations, looked for along `beam` beginnings of each source at a time.

Greedy choice takes the likeliest next token and lives with it; a beam keeps the `beam` likeliest beginnings, goes on
with each, and keeps the `beam` likeliest of what comes out (Sutskever et al. 2014, section 3.2). One step, beam 3:

    live           x tokens  ->  ranked by log p                      ->  live
    0: 나는                      1  나는 집    (from 0)                    0: 나는 집
    1: 난                        2  난 </s>    (from 1), has finished      1: 나는 학교
    2: 저는                      3  나는 학교  (from 0)                    2: 저는 집
                                 4  저는 집    (from 2)

A continuation that ends and is among the first `beam` has finished; the first `beam` others live on. Finished ones are
compared by log p / ((5 + length) / 6)^alpha (Wu et al. 2016, equation 14), since every token more makes a text less
likely; `length` counts the end token. What still lives after max_tokens is compared with them as it is.

A sentence is done when it has `beam` finished hypotheses and no live one would beat them if it ended as it is, at its
present length. With alpha 0 that is exact, as log p only falls; with alpha above 0 it is the usual estimate. A beam of
1 is greedy choice; one as wide as the space finds the best of all texts.

The model computes on its device, and of each step only a few candidates a row come back. Their bookkeeping is NumPy's,
on small arrays: N sentences of the batch, n those not done, W live hypotheses of each (1 at first, `beam` soon after),
rows n x W, C candidates a row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from malgil.errors import InputError
from malgil.generation.decode import END, LENGTH, damaged, evaluating
from malgil.generation.sampling import likeliest, logprobs_of
from malgil.generation.settings import GenerationSettings
from malgil.models.base import EncoderDecoder, Memory, Output, parameter_device

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class Hypothesis:
    """A translation that was found.

    Attributes:
        ids: its tokens, without the end token.
        score: by which hypotheses are compared: logprob over the length penalty.
        logprob: log of the probability that the model gives to all of it, the end included (nats).
        finish_reason: `end` (the end token came) or `length` (max_tokens, or as many as the context holds).
    """

    ids: list[int]
    score: float
    logprob: float
    finish_reason: str


def penalty(length: int, alpha: float) -> float:
    """((5 + length) / 6)^alpha, by which log p is divided (Wu et al. 2016, equation 14); length in tokens, >= 1."""
    return float(((5 + length) / 6) ** alpha)


@torch.inference_mode()
def beam_search(
    model: EncoderDecoder,
    memory: Memory,
    settings: GenerationSettings,
    *,
    begin_id: int,
    end_ids: Iterable[int],
    vocab_size: int | None = None,
) -> list[list[Hypothesis]]:
    """The best `n_best` translations of each encoded source, best first; fewer where there are no more.

    What is found for a source does not depend on the others of the batch. Equal scores go to the earlier beam and the
    lower id. Of the settings `beam`, `n_best`, `length_penalty` and `max_tokens` count.

    Args:
        memory: from `model.encode`, N rows.
        begin_id: begins every target, and is written only where it is also among `end_ids`.
        end_ids: tokens that finish a translation.
        vocab_size: only ids below are written; None: all that the model has.

    Raises:
        InputError: a begin_id outside the vocabulary.
        NonFiniteError: the model's scores are NaN or infinite.
    """
    if not 0 <= begin_id < model.vocab_size:
        raise InputError(
            f"begin_id {begin_id} is no id of the model",
            "beam_search",
            f"ids are 0 to {model.vocab_size - 1}: use the run's own tokenizer",
        )
    size = min(model.vocab_size, vocab_size or model.vocab_size)
    ends = [i for i in set(end_ids) if i < size]
    never = [i for i in (begin_id,) if i < size and i not in ends]
    max_tokens = min(settings.max_tokens, model.context or settings.max_tokens)
    search = _Search(len(memory.mask), ends, max_tokens, settings)
    with evaluating(model):
        state = model.init_state(memory, max_tokens)
        tokens = torch.full((len(memory.mask),), begin_id, device=parameter_device(model))
        while not search.done:
            read: Output = model(tokens[:, None], state=state)
            logits = model.logits(read.hidden[:, 0]).float()[:, :size]
            if never:
                logits[:, never] = -torch.inf
            rows, tokens = search.step(logits)
            assert read.state is not None
            state = read.state if rows is None else read.state.select(rows)
    return search.best()


class _Finished(NamedTuple):
    """A hypothesis as the place where its last token but the end stands: `beam` after `step` steps."""

    score: float
    logprob: float
    step: int
    beam: int
    reason: str


class _Search:
    """The bookkeeping of one batch: what lives, what has finished, and who came from whom."""

    def __init__(self, n_sources: int, end_ids: list[int], max_tokens: int, settings: GenerationSettings) -> None:
        self._end_ids, self._max_tokens, self._settings = end_ids, max_tokens, settings
        self._length = 0  # tokens of every live hypothesis
        self._live: Ints = np.arange(n_sources)  # (n,) the sentences that go on, in the order of the rows
        self._logprobs: Floats = np.zeros((n_sources, 1))  # (n, W), falling; -inf where nothing lives
        self._history: list[tuple[Ints, Ints]] = []  # a step each: tokens and earlier beams, (N, W)
        self._finished: list[list[_Finished]] = [[] for _ in range(n_sources)]  # the best `beam`, best first
        self._to_beat: Floats = np.full(n_sources, -np.inf)  # the worst of them, once there are `beam`

    @property
    def done(self) -> bool:
        return not len(self._live)

    def step(self, logits: Tensor) -> tuple[Tensor | None, Tensor]:
        """From the scores (n x W, V) of the next token to the rows that go on (R,), and their newest tokens (R,).

        The rows are None where there is nothing to select: all go on in their order, or none does.
        """
        width = self._logprobs.shape[1]
        self._length += 1
        logprobs, beams, ids = self._ranked(logits)
        ends = np.isin(ids, self._end_ids)
        self._finish(logprobs, beams, ends & (np.arange(ends.shape[1]) < self._settings.beam))

        going = np.argsort(ends, axis=1, kind="stable")[:, : self._settings.beam]  # those that do not end, in order
        logprobs = _taken(np.where(ends, -np.inf, logprobs), going)
        beams, ids = _taken(beams, going), _taken(ids, going)
        self._remember(beams, ids)
        if self._length == self._max_tokens:
            self._finish_unended(logprobs)
        staying = self._staying(logprobs)
        rows = (np.arange(len(beams))[:, None] * width + beams)[staying].ravel()
        self._live, self._logprobs = self._live[staying], logprobs[staying]
        tokens = torch.from_numpy(ids[staying].ravel()).to(logits.device)
        if self.done or (len(rows) == len(logits) and (rows[:-1] < rows[1:]).all()):
            return None, tokens
        return torch.from_numpy(rows).to(logits.device), tokens

    def best(self) -> list[list[Hypothesis]]:
        """The `n_best` of every sentence."""
        return [
            [
                Hypothesis(self._trace(sentence, f.step, f.beam), f.score, f.logprob, f.reason)
                for f in finished[: self._settings.n_best]
            ]
            for sentence, finished in enumerate(self._finished)
        ]

    def _ranked(self, logits: Tensor) -> tuple[Floats, Ints, Ints]:
        """The candidates of each sentence from the likeliest on, (n, W x C) each: log p, beam and token.

        C = `beam` + the number of end tokens, so that enough are left when all ends are among them.
        """
        count = min(self._settings.beam + len(self._end_ids), logits.shape[1])
        scores, ids = likeliest(logits, count)
        gained = logprobs_of(ids, logits).cpu().numpy()
        if not np.isfinite(gained[:, 0]).all():
            raise damaged(self._length)
        n_live, width = self._logprobs.shape
        logprobs = (self._logprobs.reshape(-1, 1) + gained).reshape(n_live, -1)
        beams = np.broadcast_to(np.arange(width).repeat(count), logprobs.shape)
        tokens = ids.cpu().numpy().reshape(n_live, -1)
        # scores that differ may be rounded to equal logprobs; the last key counts first
        order = np.lexsort((tokens, -scores.cpu().numpy().reshape(n_live, -1), beams, -logprobs), axis=1)
        return _taken(logprobs, order), _taken(beams, order), _taken(tokens, order)

    def _finish(self, logprobs: Floats, beams: Ints, chosen: NDArray[np.bool_]) -> None:
        """The chosen candidates end with this step."""
        for place, rank in zip(*np.nonzero(chosen & np.isfinite(logprobs)), strict=True):
            self._add(place, logprobs[place, rank], self._length - 1, beams[place, rank], END)

    def _finish_unended(self, logprobs: Floats) -> None:
        """What lives (n, W) after the last step is taken as it is."""
        for place, beam in zip(*np.nonzero(np.isfinite(logprobs)), strict=True):
            self._add(place, logprobs[place, beam], self._length, beam, LENGTH)

    def _add(self, place: int, logprob: float, step: int, beam: int, reason: str) -> None:
        sentence, width = self._live[place], self._settings.beam
        score = logprob / penalty(self._length, self._settings.length_penalty)
        finished = self._finished[sentence]
        finished.append(_Finished(float(score), float(logprob), step, int(beam), reason))
        finished.sort(key=lambda f: -f.score)
        del finished[width:]
        if len(finished) == width:
            self._to_beat[sentence] = finished[-1].score

    def _staying(self, logprobs: Floats) -> NDArray[np.bool_]:
        """(n,): which sentences go on, given what lives of them (n, W)."""
        if self._length == self._max_tokens:
            return np.zeros(len(logprobs), dtype=np.bool_)
        reach = logprobs.max(axis=1) / penalty(self._length, self._settings.length_penalty)
        stays: NDArray[np.bool_] = reach > self._to_beat[self._live]
        return stays

    def _remember(self, beams: Ints, ids: Ints) -> None:
        shape = (len(self._finished), beams.shape[1])
        tokens, earlier = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        tokens[self._live], earlier[self._live] = ids, beams
        self._history.append((tokens, earlier))

    def _trace(self, sentence: int, step: int, beam: int) -> list[int]:
        """The tokens of a hypothesis, from its last one back."""
        ids = []
        for tokens, earlier in reversed(self._history[:step]):
            ids.append(int(tokens[sentence, beam]))
            beam = int(earlier[sentence, beam])
        return ids[::-1]


def _taken(values: NDArray[T], places: Ints) -> NDArray[T]:
    """From each row (n, K) the values at these places (n, L)."""
    return np.take_along_axis(values, places, axis=1)
