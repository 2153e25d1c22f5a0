"""Which figure of the evaluations says which weights are the best ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from malgil.config import AUTO, not_found

LOSS = "val_loss"
#: in the names of figures of which less is better
_LESS = ("loss", "perplexity", "bits", "error", "mse")


@dataclass(frozen=True)
class Watched:
    """A figure of the evaluations, and whether more of it is better."""

    figure: str = LOSS
    more_is_better: bool = False

    @classmethod
    def of(cls, figure: str, metric: tuple[str, bool]) -> Watched:
        """A figure by its name, or `auto`.

        Args:
            metric: what the task is judged by, and whether more of it is better; other names say themselves.
        """
        if figure in (AUTO, metric[0]):
            return cls(*metric)
        return cls(figure, not any(word in figure for word in _LESS))

    @property
    def spoken(self) -> str:
        """`val_f1_macro` as `validation f1 macro`."""
        return spoken(self.figure)

    def value(self, figures: Mapping[str, Any]) -> float:
        """The figure of an evaluation; NaN where it has no value, as a correlation of equal scores.

        Raises:
            NotFoundError: there is no figure of that name.
        """
        if self.figure not in figures:
            known = [name for name, value in figures.items() if value is None or isinstance(value, (int, float))]
            raise not_found("figure", self.figure, known, "training.watch")
        value = figures[self.figure]
        return math.nan if value is None else float(value)

    def better(self, value: float, best: float | None, loss: float = math.inf, best_loss: float | None = None) -> bool:
        """Whether a value is better than the best before it; NaN never is, and nothing is as good as any number.

        Args:
            loss, best_loss: the validation losses of both, of which the lower one decides where values are equal: a
                figure that never moves chooses nothing.
        """
        if math.isnan(value):
            return False
        if best is None:
            return True
        if value == best:
            return loss < (math.inf if best_loss is None else best_loss)
        return value > best if self.more_is_better else value < best


def spoken(figure: str) -> str:
    """A figure's name as words."""
    return figure.replace("val_", "validation ", 1).replace("_", " ")
