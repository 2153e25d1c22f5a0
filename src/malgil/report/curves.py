"""The lines of metrics.jsonl as curves: what was logged while training, and what was found at evaluations.

A line may belong to both. A step that stands there twice (a run that was resumed) counts once, the
later line winning; a loss that is not finite is no point of a curve but is remembered.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Line = Mapping[str, Any]

TRAIN_KEYS = ("step", "tokens", "seconds", "loss", "lr", "tokens_per_second")
VALIDATION_KEYS = ("step", "tokens", "seconds", "val_loss", "val_perplexity", "val_bits_per_byte")


@dataclass(frozen=True)
class Curves:
    """Points by ascending step.

    Attributes:
        train: lines with a finite `loss`.
        smooth: a centred mean of their losses, one for each: no lag, unlike a running mean.
        validation: lines with a finite `val_loss`.
        broken: the steps whose training loss was not finite.
        watched: the figure by which a run keeps weights, and whether more of it is better.
    """

    train: list[Line]
    smooth: list[float]
    validation: list[Line]
    broken: list[int]
    watched: tuple[str, bool] = ("val_loss", False)

    @classmethod
    def of(cls, metrics: Iterable[Line], watched: tuple[str, bool] = watched) -> Curves:
        """The curves of the lines of a metrics.jsonl, in any order."""
        lines = list(metrics)
        train = _by_step(line for line in lines if number(line, "loss") is not None)
        validation = _by_step(line for line in lines if number(line, "val_loss") is not None)
        broken = sorted(
            {int(line["step"]) for line in lines if line.get("loss") is not None and number(line, "loss") is None}
        )
        return cls(train, smoothed([float(line["loss"]) for line in train]), validation, broken, watched)

    @property
    def best(self) -> Line | None:
        """The evaluation with the lowest loss, the earliest of equals."""
        return min(self.validation, key=lambda line: float(line["val_loss"]), default=None)

    @property
    def kept(self) -> Line | None:
        """The best evaluation by the watched figure, the earliest of equals: that of the weights which a run keeps."""
        figure, more_is_better = self.watched
        known = [line for line in self.validation if number(line, figure) is not None]
        sign = -1 if more_is_better else 1
        return min(known, key=lambda line: sign * float(line[figure]), default=self.best)

    def smooth_at(self, step: float) -> float | None:
        """The smoothed training loss at the last logged step that is not after `step`."""
        before = [value for line, value in zip(self.train, self.smooth, strict=True) if line["step"] <= step]
        return before[-1] if before else None

    def columns(self, limit: int = 1500) -> dict[str, dict[str, list[float | None]]]:
        """What a chart draws: `train` and `validation`, a list a key, None where a value is missing.

        More than `limit` training lines are thinned to the means of equal groups, each at the place of its last line.
        """
        size = math.ceil(len(self.train) / limit) or 1
        groups = [range(start, min(start + size, len(self.train))) for start in range(0, len(self.train), size)]
        train: dict[str, list[float | None]] = {}
        for key in TRAIN_KEYS:
            column = [number(line, key) for line in self.train]
            mean = key in ("loss", "tokens_per_second")
            train[key] = [_mean([column[i] for i in group]) if mean else column[group[-1]] for group in groups]
        train["smooth"] = [self.smooth[group[-1]] for group in groups]
        return {
            "train": train,
            "validation": {key: [number(line, key) for line in self.validation] for key in VALIDATION_KEYS},
        }


def number(line: Line, key: str) -> float | None:
    """A finite number, or None."""
    value = line.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return value


def smoothed(values: Sequence[float]) -> list[float]:
    """Means over about 4 % of the curve around each point; towards the ends the window narrows on both sides alike."""
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    reach = len(values) // 50 + (len(values) >= 20)
    result = []
    for i in range(len(values)):
        half = min(reach, i, len(values) - 1 - i)
        result.append((sums[i + half + 1] - sums[i - half]) / (2 * half + 1))
    return result


def _by_step(lines: Iterable[Line]) -> list[Line]:
    last = {int(line["step"]): line for line in lines}
    return [last[step] for step in sorted(last)]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
