"""Where a run stands, what its last step measured, and how far it is to go."""

from __future__ import annotations

import math
from dataclasses import dataclass

from malgil.objectives.base import Batches
from malgil.training.settings import TrainingSettings


@dataclass
class Progress:
    """Where a run stands; what a checkpoint keeps beside tensors. `best` is the best value of the watched figure, and
    `best_loss` the validation loss there.

    `seconds` are of data and optimisation; evaluations have seconds of their own.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_loss: float | None = None
    best_step: int | None = None
    worse_in_a_row: int = 0
    evaluations: int = 0
    evaluation_seconds: float = 0.0
    #: what the last step measured, while the work that follows a step (evaluation, log, sample) is not done
    unfinished: dict[str, float] | None = None


@dataclass
class StepReport:
    """What one step measured: the mean loss in nats, the gradient's norm, and AdamW's rate."""

    loss: float
    norm: float
    rate: float


@dataclass(frozen=True)
class Limits:
    """When a run ends: whichever comes first; times in seconds of data and optimisation."""

    steps: int | None = None
    seconds: float | None = None

    def share(self, progress: Progress) -> float:
        """How much of the run is done, 0 to 1."""
        shares = [0.0]
        if self.steps:
            shares.append(progress.step / self.steps)
        if self.seconds:
            shares.append(progress.seconds / self.seconds)
        return min(1.0, max(shares))


def step_limit(settings: TrainingSettings, batches: Batches) -> int | None:
    """The number of steps that the limits by steps, tokens and epochs come to; None under a time limit alone."""
    limits = []
    if settings.steps is not None:
        limits.append(settings.steps)
    if settings.tokens is not None:
        limits.append(math.ceil(settings.tokens / batches.tokens_per_step))
    if settings.epochs is not None:
        limits.append(math.ceil(settings.epochs * batches.steps_per_epoch))
    return min(limits) if limits else None
