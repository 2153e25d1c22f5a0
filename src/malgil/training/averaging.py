"""Averages of the weights, which are evaluated, shown and kept in place of the weights themselves.

Training goes on with the weights w as they are and never sees their average a:

    moving average    a <- d a + (1 - d) w after a step that t steps came before, d = min(decay, (1 + t) / (10 + t));
                      the warm-up forgets the initial weights
    last points       a = mean of the w at the last N evaluations (Vaswani et al. 2017, section 6.1)

The points are kept here and not read from the files of old checkpoints: those come at other moments too (signals), so
that a run which was stopped and went on would average other weights than one that was not. The price is memory for N
copies; a running sum could not drop the oldest without leaving its rounding behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from malgil.training.optimizers import copy_into, whole

_RAW = "raw"


class Averages:
    """Of one run's trained weights, of one kind or of none. Shards are averaged where they lie.

    Args:
        weights: the parameters by name.
        decay: of the moving average.
        last: how many evaluation points are averaged.
    """

    def __init__(self, weights: Mapping[str, Tensor], *, decay: float | None, last: int | None) -> None:
        self.decay, self.last = decay, last
        self.weights = {} if decay is None and last is None else dict(weights)
        #: the averages; the weights while these are shown
        self.other = {name: p.detach().clone() for name, p in self.weights.items()}
        self.points: dict[int, list[Tensor]] = {}  # step -> copies of the weights, oldest first
        self._shown = False

    @property
    def averaged(self) -> dict[str, Tensor]:
        """What is kept, by name; nothing where nothing is averaged."""
        return self.weights if self._shown else self.other

    @property
    def raw(self) -> dict[str, Tensor]:
        """What is trained, by name."""
        return self.other if self._shown else self.weights

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Move the moving average; `step` steps were done before this one."""
        if self.last is not None and not self.points:  # until there is one, the weights stand for themselves
            torch._foreach_copy_(_local(self.averaged), _local(self.raw))
        if self.decay is not None:
            share = 1 - min(self.decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(_local(self.averaged), _local(self.raw), share)

    @torch.no_grad()
    def at_evaluation(self, step: int) -> None:
        """Take the weights after so many steps as a point, once however often it is asked for."""
        if self.last is None:
            return
        self.points[step] = [p.detach().clone() for p in self.raw.values()]
        while len(self.points) > self.last:
            del self.points[next(iter(self.points))]
        mean = _local(self.averaged)
        first, *rest = (_local(point) for point in self.points.values())
        torch._foreach_copy_(mean, first)
        for point in rest:
            torch._foreach_add_(mean, point)
        torch._foreach_div_(mean, len(self.points))

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The model has the averages; afterwards it has its weights again, bit for bit."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def state(self) -> dict[str, Tensor]:
        """What goes on beside the averages: the weights and the points, whole; a collective call when sharded."""
        tensors = {f"{_RAW}.{name}": whole(p) for name, p in self.raw.items()}
        for step, point in self.points.items():
            tensors |= {f"{step}.{name}": whole(p) for name, p in zip(self.weights, point, strict=True)}
        return tensors

    @torch.no_grad()
    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `state`, when the averages have been put into the model."""
        if self.weights:
            torch._foreach_copy_(_local(self.other), _local(self.weights))
        for name, p in self.weights.items():
            copy_into(p, tensors[f"{_RAW}.{name}"])
        steps = {int(key.partition(".")[0]) for key in tensors if not key.startswith(f"{_RAW}.")}
        for step in sorted(steps):
            self.points[step] = [torch.empty_like(p) for p in self.other.values()]
            for name, p in zip(self.weights, self.points[step], strict=True):
                copy_into(p, tensors[f"{step}.{name}"])

    @torch.no_grad()
    def _exchange(self) -> None:
        """By copying, a tensor at a time: the storage of a shard must stay where it is."""
        self._shown = not self._shown
        for a, b in zip(_local(self.weights), _local(self.other), strict=True):
            held = a.clone()
            a.copy_(b)
            b.copy_(held)


def _local(tensors: Mapping[str, Tensor] | Iterable[Tensor]) -> list[Tensor]:
    """This process's shards, or the tensors themselves."""
    values = tensors.values() if isinstance(tensors, Mapping) else tensors
    return [t.to_local() if isinstance(t, DTensor) else t for t in values]
