"""The answers that a model finds in texts, and how good they are.

A window has a distribution over starts and one over ends; the begin token stands for "no answer here". A stretch from
token i to token j of the window scores

    log p(start = i) + log p(end = j) - log p(start = begin) - log p(end = begin),

its log-odds against no answer (Devlin et al. 2019, section 4.3), which compare between windows. The best stretch of all
windows of a question is the answer, or none is where it does not pass a threshold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from malgil.data.answer_store import AnswerStore
from malgil.evaluation.language import TOKENS_PER_BATCH
from malgil.evaluation.texts import batches_by_length
from malgil.metrics.answers import AnswerScore, score_answers
from malgil.models.base import parameter_device
from malgil.objectives.answering import collate_answers, place_log_probs, place_nll
from malgil.objectives.base import Assembled
from malgil.runtime.device import Precision


@dataclass(frozen=True)
class FoundAnswer:
    """What was found for a question.

    Attributes:
        text: empty where there is no answer.
        start, end: characters of the context: text == context[start:end]; None where there is no answer.
        score: the probability of this start and end in their window, or of no answer in the window that came closest
            to one; 0 to 1.
        odds: log-odds of the best stretch against no answer; -inf where nothing could be chosen.
    """

    text: str
    start: int | None
    end: int | None
    score: float
    odds: float


@dataclass(frozen=True)
class FoundAnswers:
    """Of all questions of a store, in their order.

    Attributes:
        loss: the mean over windows of -log p of start and end, in nats, both counting half.
    """

    store: AnswerStore
    answers: list[FoundAnswer]
    loss: float


@dataclass(frozen=True)
class AnsweringScore(AnswerScore):
    """The figures of answers, and the loss that they were found with."""

    loss: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"loss": self.loss} | {name: value for name, value in asdict(self).items() if name != "loss"}


@dataclass(frozen=True)
class AnswerEvaluator:
    """Scores a model on all questions of a store.

    Attributes:
        longest: tokens of an answer at most.
        threshold: log-odds above which an answer is given; None: one is always given.
    """

    store: AnswerStore
    precision: Precision
    longest: int
    threshold: float | None

    def __call__(self, model: Assembled, check: Callable[[], None] = lambda: None) -> AnsweringScore:
        """The score; `check` is called between batches and may raise to stop."""
        return score_found(find_answers(model, self, check))


def find_answers(model: Assembled, how: AnswerEvaluator, check: Callable[[], None] = lambda: None) -> FoundAnswers:
    """The answers to all questions of a store; each depends on its own windows alone."""
    device, rows = parameter_device(model), how.store.rows
    best = np.full(len(rows), -np.inf), np.zeros((len(rows), 2), dtype=np.int64), np.zeros((len(rows), 2))
    budget = TOKENS_PER_BATCH.get(device.type, TOKENS_PER_BATCH["cpu"])
    training, nll = model.training, 0.0
    model.eval()
    try:
        with torch.no_grad(), how.precision.autocast(device):
            for chosen in batches_by_length(rows.lengths, budget):
                check()
                batch = collate_answers(rows, chosen.tolist()).to(device)
                log_probs = place_log_probs(model, batch)
                nll += sum(map(float, place_nll(log_probs, batch))) / 2
                for array, found in zip(best, best_stretches(log_probs, how.longest), strict=True):
                    array[chosen] = found.cpu()
    finally:
        model.train(training)
    answers = [_answer(how, question, Stretches(*best)) for question in range(len(how.store))]
    return FoundAnswers(how.store, answers, nll / max(len(rows), 1))


def score_found(found: FoundAnswers) -> AnsweringScore:
    """The score of some answers."""
    right = [[answer.text for answer in record.answers] for record in found.store.records]
    score = score_answers([answer.text for answer in found.answers], right)
    return AnsweringScore(**vars(score), loss=found.loss)


class Stretches(NamedTuple):
    """The best stretch of each of R rows.

    Attributes:
        odds: (R,) log-odds against no answer.
        places: (R, 2) of its first and last token.
        log_probs: (R, 2) of the stretch and of no answer.
    """

    odds: Any
    places: Any
    log_probs: Any


def best_stretches(log_probs: Tensor, longest: int) -> Stretches:
    """The best stretch of each row; of equally good ones the shortest, and then the first.

    Args:
        log_probs: (B, T, 2) of starts and ends, -inf where there is no choice; place 0 stands for no answer.
        longest: tokens of a stretch at most.
    """
    starts, ends = log_probs[..., 0].clone(), log_probs[..., 1]
    none = starts[:, 0] + ends[:, 0]
    starts[:, 0] = float("-inf")
    value, first, last = torch.full_like(none, float("-inf")), *torch.zeros(2, len(none), dtype=torch.long)
    first, last = first.to(none.device), last.to(none.device)
    for distance in range(min(longest, starts.shape[1])):
        reach = starts.shape[1] - distance
        best, place = (starts[:, :reach] + ends[:, distance:]).max(1)
        better = best > value
        value, first = torch.where(better, best, value), torch.where(better, place, first)
        last = torch.where(better, place + distance, last)
    return Stretches(value - none, torch.stack([first, last], 1), torch.stack([value, none], 1))


# ---------------------------------------------------------------------------------------------


def _answer(how: AnswerEvaluator, question: int, best: Stretches) -> FoundAnswer:
    """The best stretch of a question's windows as characters of its text."""
    store, rows = how.store, how.store.rows
    begin, end = np.searchsorted(rows.question, [question, question + 1])
    row = int(begin + np.argmax(best.odds[begin:end]))
    odds, (stretch, none) = float(best.odds[row]), np.exp(best.log_probs[row])
    if odds == -np.inf or (how.threshold is not None and odds <= how.threshold):
        return FoundAnswer("", None, None, float(none), odds)
    shift = int(rows.windows[row, 0]) - rows.first(row)
    context = store.contexts[store.context_of[question]]
    start, stop = context.characters(int(best.places[row, 0]) + shift, int(best.places[row, 1]) + shift)
    return FoundAnswer(context.text[start:stop], start, stop, float(stretch), odds)
