"""How the learning rate moves over a run: a factor of the rates in the settings.

Progress is the share of the run that is done, by steps or, under a time limit, by seconds: a schedule that
must reach its end when the time does cannot count steps, whose number nobody knows exactly.
"""

from __future__ import annotations

import math

from malgil.training.settings import TrainingSettings


def rate_factor(settings: TrainingSettings, step: int, progress: float) -> float:
    """The factor for a step, `rate_scale` in it.

    Args:
        step: the number of steps before this one.
        progress: the share of the run before this step, 0 to 1.

    The rate rises linearly, (step + 1) / (warmup + 1), and falls to `final_rate`: along half a cosine
    (Loshchilov & Hutter 2017), a line, or, in a trapezoid, not before the last `cooldown` of the run
    (Hägele et al. 2024).
    """
    return settings.rate_scale * _shape(settings, step, progress)


def _shape(settings: TrainingSettings, step: int, progress: float) -> float:
    """The factor of the highest rate."""
    if step < settings.warmup:
        return (step + 1) / (settings.warmup + 1)
    warm = progress * settings.warmup / step if step else 0.0  # the share of the run that the warm-up took
    end = settings.final_rate
    if settings.schedule == "constant":
        return 1.0
    if settings.schedule == "trapezoid":
        left = (1.0 - progress) / settings.cooldown if settings.cooldown else 1.0
        return end + (1.0 - end) * min(1.0, left)
    done = min(1.0, (progress - warm) / (1.0 - warm)) if warm < 1.0 else 1.0
    if settings.schedule == "linear":
        return end + (1.0 - end) * (1.0 - done)
    return end + (1.0 - end) * 0.5 * (1.0 + math.cos(math.pi * done))
