"""What is compared of models of one kind of data: the figures, the speed in use, where errors lie, the same inputs.

A task that can be compared names its `Compared`. The comparison itself (`malgil.comparison`) knows no kind and no
family: it trains, asks what stands here, and lays the answers side by side. Everything is measured of one model, alone
in its process, after its training.
"""

from __future__ import annotations

import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch

from malgil.metrics.bands import Band
from malgil.models import build_model
from malgil.models.base import Model
from malgil.objectives.base import Assembled
from malgil.runtime.device import Precision, resolve_precision, synchronise

if TYPE_CHECKING:
    from malgil.runs.run import Run
    from malgil.runs.task import Task

#: sequence lengths at which speed is measured
LENGTHS = (64, 128, 256, 512, 1024)
#: tokens of a training step at any of them, so that a step differs in nothing but the length
STEP_TOKENS = 2048
#: tokens that are written behind a text of such a length
WRITTEN = 8
#: a length is measured again until so many seconds are spent, three times at most
SECONDS_A_LENGTH = 0.2


@dataclass(frozen=True)
class Figure:
    """A number by which models are told apart.

    Attributes:
        name: its key in what `Run.evaluate` returns, or in metrics.jsonl.
        more: whether more of it is better.
    """

    name: str
    more: bool = False


@dataclass(frozen=True)
class Profile:
    """Where errors lie: a figure in bands.

    Attributes:
        by: what the bands are of: `rarity` (times a token stands in the training text), `place` (tokens read before
            it), `words` (of the source).
        figure: what a band's value is.
    """

    by: str
    figure: Figure
    bands: Sequence[Band]


@dataclass(frozen=True)
class Use:
    """Speed of a trained model in use.

    Attributes:
        unit: what it makes, `token`, `sentence` or `text`.
        latency: seconds for one, alone.
        throughput: of them a second, many at a time.
    """

    unit: str
    latency: float
    throughput: float


@dataclass(frozen=True)
class AtLength:
    """Speed with sequences of `length` tokens, weights at random; None where a model cannot take so many.

    Attributes:
        training: tokens a second, forwards and backwards, with 2,048 tokens a step whatever the length.
        reading: seconds to read one such sequence.
        writing: seconds for a token behind it; None where nothing is written.
    """

    length: int
    training: float | None
    reading: float | None
    writing: float | None


@dataclass(frozen=True)
class Sample:
    """What a model made of an input that all models got."""

    prompt: str
    text: str
    reference: str | None = None


class Opened(NamedTuple):
    """Data as a run reads it: two parts, and both as tokens."""

    data: Any
    train: Any
    validation: Any

    @classmethod
    def of(cls, run: Run, task: Task) -> Opened:
        """Read once more."""
        data, tree = task.opened(run.settings.data), run.config
        train = task.training_store(data.train, run.tokenizers, tree, None)
        return cls(data, train, task.validation_store(data.validation, run.tokenizers, tree, None))


@dataclass
class Subject:
    """A trained model and what it is asked about.

    Attributes:
        part: the validation part.
        counts: (V,) how often each token stands in the training part, of what the model writes.
    """

    run: Run
    task: Task
    part: Any
    store: Any
    counts: Any

    @property
    def model(self) -> Any:
        return self.run.assembled.body


class Compared(ABC):
    """A kind of comparison.

    Attributes:
        kind: its name, `text`, `pairs` or `labels`.
        once: settings that are chosen once for all models, `auto` before.
        figures: what is kept of an evaluation, the headline first; the next one takes its place where it is None.
        curves: columns of metrics.jsonl to draw, the first that has numbers is drawn.
        sides: texts of an example: 2 where one is made of another.
    """

    kind: ClassVar[str]
    once: ClassVar[tuple[str, ...]]
    figures: ClassVar[tuple[Figure, ...]]
    curves: ClassVar[tuple[Figure, ...]]
    sides: ClassVar[int] = 1

    def subject(self, run: Run, task: Task, opened: Opened) -> Subject:
        """What the other methods ask about."""
        counts = np.bincount(np.asarray(self.written(opened.train)), minlength=run.tokenizer.vocab_size)
        return Subject(run, task, opened.data.validation, opened.validation, counts)

    def written(self, store: Any) -> Any:
        """The tokens of a part that the model writes, or reads where it writes none (tokens,)."""
        return store.tokens

    @abstractmethod
    def evaluate(self, subject: Subject) -> dict[str, Any]:
        """All figures on the validation part, by name."""

    @abstractmethod
    def profiles(self, subject: Subject, evaluation: dict[str, Any]) -> list[Profile]:
        """Where errors lie."""

    @abstractmethod
    def use(self, subject: Subject) -> Use:
        """Speed in use."""

    @abstractmethod
    def samples(self, subject: Subject) -> list[Sample]:
        """What it makes of inputs that are the same for all models."""

    @abstractmethod
    def batch(self, subject: Subject, rows: int, length: int) -> Any:
        """A training batch of ids at random, `rows` examples with `length` tokens a side."""

    @abstractmethod
    def reader(self, subject: Subject, model: Model, length: int) -> Callable[[], Callable[[], None] | None]:
        """Called, it reads one sequence of `length` tokens; what it returns then writes a token at each call."""

    def at_lengths(self, subject: Subject, lengths: Sequence[int] = LENGTHS) -> list[AtLength]:
        """Speed by length, of a model with weights at random and room for the longest."""
        run = subject.run
        room = max(lengths) + WRITTEN + 1
        settings = replace(run.settings, model=replace(run.settings.model, max_len=room))
        body = build_model(settings.family, settings.model, *settings.vocab_sizes)
        objective = subject.task.objective(settings, run.tokenizers)
        assembled = Assembled(body, objective.parts(body)).to(run.device)
        precision = resolve_precision(settings.training.precision, run.device)
        found = []
        for number, length in enumerate(lengths):
            rows = max(1, STEP_TOKENS // (self.sides * length))
            step = _training_step(assembled, objective, self.batch(subject, rows, length).to(run.device), precision)
            if number == 0:
                step()
            training = rows * self.sides * length / _median_seconds(step, run.device)
            with torch.inference_mode():
                reading, writing = self._in_use(assembled.eval(), self.reader(subject, body, length), run.device)
            assembled.train()
            found.append(AtLength(length, training, reading, writing))
        return found

    def _in_use(
        self, assembled: Assembled, read: Callable[[], Callable[[], None] | None], device: torch.device
    ) -> tuple[float, float | None]:
        """Seconds to read, and seconds a token behind it."""
        write = read()
        reading = _median_seconds(read, device)
        if write is None:
            return reading, None
        write()
        return reading, statistics.median(_seconds(write, device) for _ in range(WRITTEN - 1))


def latency_of(
    act: Callable[[], Any], device: torch.device, *, warm: int = 4, most: int = 64, seconds: float = 1
) -> float:
    """The median of the seconds that an act takes, after a few to warm up; at most so many acts or seconds."""
    for _ in range(warm):
        act()
    times: list[float] = []
    while len(times) < most and sum(times) < seconds:
        times.append(_seconds(act, device))
    return statistics.median(times)


def _training_step(assembled: Assembled, objective: Any, batch: Any, precision: Precision) -> Callable[[], None]:
    """Forwards and backwards; the optimizer, whose cost knows no length, is left out."""

    def step() -> None:
        with precision.autocast(next(assembled.parameters()).device):
            sums, _ = assembled(objective.loss, batch, None)
        loss = torch.stack(list(sums.values())).sum() / max(1, sum(objective.counts(batch).values()))
        loss.backward()
        assembled.zero_grad()

    return step


def _median_seconds(act: Callable[[], Any], device: torch.device) -> float:
    times: list[float] = []
    while len(times) < 3 and sum(times) < SECONDS_A_LENGTH:
        times.append(_seconds(act, device))
    return statistics.median(times)


def _seconds(act: Callable[[], Any], device: torch.device) -> float:
    synchronise(device)
    started = time.perf_counter()
    act()
    synchronise(device)
    return time.perf_counter() - started
