"""What an objective is: how its examples are made, and how its loss is computed.

An objective and its collator stand in one file, because the shift of targets, the positions that do not
count and the denominator of the loss are one agreement. The model knows no labels; the trainer knows this
base and no objective.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from malgil.errors import ConfigError
from malgil.models.base import Model, State

B = TypeVar("B", bound="Batch")


@dataclass(frozen=True)
class Specials:
    """The ids that a collator and the decoder need to know; models know none of them."""

    begin_id: int
    end_id: int


@dataclass(frozen=True)
class BatchPlan:
    """How a step's rows are shared out.

    A step reads `batch_size x accumulate` rows whatever the number of processes: micro-batch m of rank r
    holds the rows (m x world + r) x (batch_size / world) and following, so that a run under `torchrun`
    takes the same steps as one process.

    Args:
        batch_tokens: where rows differ in length, the most tokens of a micro-batch of all processes, padding included;
            it then takes as many rows as fit, and `batch_size` is not used.
    """

    batch_size: int
    accumulate: int = 1
    rank: int = 0
    world: int = 1
    seed: int = 0
    batch_tokens: int | None = None

    def __post_init__(self) -> None:
        if self.batch_tokens is None and self.batch_size % self.world:
            raise ConfigError(
                f"training.batch_size {self.batch_size} cannot be shared by {self.world} processes",
                fix=f"take a multiple of {self.world}",
            )

    @property
    def rows(self) -> int:
        """Rows of a step, over all micro-batches and processes."""
        return self.batch_size * self.accumulate

    def micro_batches(self) -> list[range]:
        """The row numbers of each of this process's micro-batches."""
        share = self.batch_size // self.world
        starts = [(m * self.world + self.rank) * share for m in range(self.accumulate)]
        return [range(s, s + share) for s in starts]


class Batch(Protocol):
    """A frozen dataclass of tensors which can move to a device."""

    def to(self: B, device: torch.device) -> B: ...


class Batches(Protocol):
    """The micro-batches of every step, as a function of the step alone; picklable for worker processes.

    Attributes:
        steps_per_epoch: how many steps read everything once; a mean where epochs differ.
        tokens_per_step: of all processes, without padding; a mean where steps differ.
    """

    steps_per_epoch: float
    tokens_per_step: int

    def __call__(self, step: int) -> list[Any]: ...

    def tokens(self, step: int) -> int:
        """The tokens that all processes read in a step, without padding."""
        ...


class Assembled(nn.Module):
    """The body and its trained parts: the only module that is wrapped for distribution.

    Every use goes through `forward` (loss, evaluation), because what bypasses it also bypasses the
    synchronisation of gradients, silently.
    """

    def __init__(self, body: Model, parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.body = body
        self.parts = nn.ModuleDict(dict(parts))

    def forward(self, task: Any, *args: Any) -> Any:
        return task(self, *args)


class Objective(ABC, Generic[B]):
    """Base of every objective."""

    #: the protocols of models that fit
    requires: ClassVar[type[Model] | tuple[type[Model], ...]]
    #: names and weights of the losses
    terms: ClassVar[Mapping[str, float]]

    def parts(self, body: Model) -> dict[str, nn.Module]:
        """Heads that are trained and saved with the body."""
        return {}

    def begin(self, body: Model) -> None:
        """Called once with a new body, before an optimizer is made: parameters that the loss does not reach are
        frozen, since nothing waits for gradients that never come."""

    def prime(self, parts: Mapping[str, nn.Module], store: Any) -> None:
        """Called once with new parts, before the first step: what they know of the training part without training."""

    @abstractmethod
    def training_batches(self, store: Any, body: Model, length: int, plan: BatchPlan) -> Batches:
        """The batches of training.

        Args:
            store: the training part as tokens, in the form that the objective reads.
            length: the tokens of a row, where rows are cut from a longer text.
        """

    @abstractmethod
    def counts(self, batch: B) -> dict[str, int]:
        """How many targets count for each term; known before the forward pass."""

    @abstractmethod
    def loss(self, model: Assembled, batch: B, carry: State | None) -> tuple[dict[str, Tensor], State | None]:
        """The *sum* of each term over the batch, in nats, connected to the graph even when nothing counts;
        and what the next batch of the same slot carries on."""


def check_fit(objective: type[Objective[Any]], model: type[Model], families: Mapping[str, type]) -> None:
    """Refuse an objective that models of a class cannot serve, naming the families that can.

    Raises:
        ConfigError
    """
    if not issubclass(model, objective.requires):
        fitting = [name for name, cls in families.items() if issubclass(cls, objective.requires)]
        raise ConfigError(
            f"objective {objective.__name__} does not fit model {model.__name__}",
            fix=f"models that fit: {', '.join(fitting)}",
        )
