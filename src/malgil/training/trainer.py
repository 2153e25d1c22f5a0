"""The one training loop, blind to models, objectives and tasks.

A step: read its micro-batches, sum the losses, divide by what counts everywhere, check that the numbers are
finite, move the weights. Between steps: log, evaluate, sample, save, listen for signals. All that happens
between steps leaves the training itself untouched, so that a run with more of it ends with the same bits.

    weight gradient = sum over terms of  weight x sum of losses x world / count over all processes and micro-batches

which is the gradient of the mean over the whole step, whether it was cut into micro-batches, shared by
processes (whose gradients are averaged), or neither.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from malgil.data.loader import Loader
from malgil.errors import Interrupted, NonFiniteError, ResourceError
from malgil.models.base import State
from malgil.objectives.base import Assembled, Batches, Objective
from malgil.runtime.device import Precision
from malgil.training import distributed
from malgil.training.averaging import Averages
from malgil.training.checkpoint import Snapshot
from malgil.training.depth import freeze
from malgil.training.distributed import World
from malgil.training.optimizers import Optimizers, copy_into, gradient_norm, whole
from malgil.training.progress import Limits, Progress, StepReport
from malgil.training.schedules import rate_factor
from malgil.training.seeding import seed_dropout
from malgil.training.settings import TrainingSettings
from malgil.training.watching import LOSS, Watched

T = TypeVar("T")
CURE = "lower training.learning_rate, or set training.precision to fp32; checkpoints hold sound weights only"


@dataclass
class Hooks:
    """What a run does between steps; the trainer does not know what stands behind them.

    Attributes:
        log: write a line of metrics.
        evaluate: the validation figures, one of which selects; None when there is nothing to evaluate.
        sample: write a preview for the report.
        save: write a checkpoint of `snapshot()`.
        signal: the number of a signal that asks to stop, or 0.
        progress: show where the run stands.
    """

    log: Callable[[dict[str, Any]], None] = lambda line: None
    evaluate: Callable[[], dict[str, Any]] | None = None
    sample: Callable[[int], None] = lambda step: None
    save: Callable[[], None] = lambda: None
    signal: Callable[[], int] = lambda: 0
    progress: Callable[[Progress, StepReport, float], None] = lambda progress, report, share: None


@dataclass
class Trainer:
    """A run's training state and its loop.

    Build it, `restore` a snapshot if the run goes on, then `run`. The watched figure of evaluations selects the weights
    to keep, and stops a run early.
    """

    assembled: Assembled
    objective: Objective[Any]
    batches: Batches
    settings: TrainingSettings
    limits: Limits
    device: torch.device
    precision: Precision
    world: World
    workers: int
    hooks: Hooks
    watched: Watched = field(default_factory=Watched)
    progress: Progress = field(default_factory=Progress)
    carry: list[State | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        freeze(self.assembled, self.settings.freeze)
        if self.settings.shard and self.world.size > 1:
            distributed.shard(self.assembled)
        self.optimizers = Optimizers(self.assembled.body, self.assembled.parts, self.settings, self.precision)
        trained = {name: p for name, p in self.assembled.named_parameters() if p.requires_grad}
        self.averages = Averages(trained, decay=self.settings.ema, last=self.settings.average)
        self.module = distributed.replicate(self.assembled, self.world)
        if self.settings.compile == "on" or (self.settings.compile == "auto" and self.device.type == "cuda"):
            for block in self.assembled.body.blocks():
                block.compile()
        self.carry = [None] * self.settings.accumulate
        self._logged = (0, 0.0)  # tokens and seconds at the last line of metrics

    # -- the loop -----------------------------------------------------------------------------

    def run(self) -> str:
        """Train to the limit; returns why the run ended: 'finished', or a reason for stopping early.

        Raises:
            NonFiniteError, ResourceError
            Interrupted: by a signal, after saving.
        """
        self.assembled.train()
        loader = Loader(self.batches, self.progress.step, self.workers)
        self._logged = (self.progress.tokens, self.progress.seconds)
        try:
            self._loop(iter(loader))
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise self._out_of_memory(error) from None
        except RuntimeError as error:
            # PyTorch reports a killed loader process wherever the training happens to be
            if "can't allocate memory" in str(error) or "exited unexpectedly" in str(error):
                raise self._out_of_memory(error) from None
            raise
        return self.stopped or "finished"

    def _loop(self, loader: Iterator[list[Any]]) -> None:
        progress = self.progress
        if progress.unfinished is not None:  # a signal came between the last step and what follows it
            self._follow(StepReport(**progress.unfinished))
        while not self.done:
            started = time.perf_counter()
            report = self.step(next(loader))
            progress.tokens += self.batches.tokens(progress.step)
            progress.step += 1
            # a clock and a signal are the leader's, so that all processes decide alike
            progress.seconds, signal = self.world.agree(
                (progress.seconds + time.perf_counter() - started, self.hooks.signal())
            )
            self.hooks.progress(progress, report, self.limits.share(progress))
            progress.unfinished = vars(report)
            if signal:
                self.hooks.save()
                raise self.interrupted(signal)
            self._follow(report)

    def _follow(self, report: StepReport) -> None:
        """What follows a step, each where it is time: evaluate, log, sample, save."""
        settings, progress, step = self.settings, self.progress, self.progress.step
        last = self.limits.share(progress) >= 1.0
        figures = {}
        if last or (_due(step, settings.evaluate_every) and self._time_to_evaluate):
            self.averages.at_evaluation(step)
            figures = self._evaluate()
        if figures or last or step == 1 or _due(step, settings.log_every):
            self.hooks.log(self._line(report) | figures)
        if self.done or _due(step, settings.sample_every):
            self.hooks.sample(step)
        progress.unfinished = None
        improved = bool(figures) and progress.best_step == step
        if self.done or improved or _due(step, settings.checkpoint_every):
            self.hooks.save()

    def step(self, batches: list[Any]) -> StepReport:
        """One update from the micro-batches of this process.

        Raises:
            NonFiniteError: before any weight has moved.
        """
        settings, progress = self.settings, self.progress
        rate = self.optimizers.set_rate(rate_factor(settings, progress.step, self.limits.share(progress)))
        totals = self._counts(batches)
        loss = torch.zeros((), device=self.device)
        for slot, batch in enumerate(batches):
            seed_dropout(self.device, settings.seed, progress.step, slot, self.world.rank)
            with distributed.accumulating(self.module, slot == len(batches) - 1):
                loss += self._backward(batch.to(self.device), slot, totals)
        norm = gradient_norm(self.optimizers.parameters, settings.clip)
        measured = torch.stack([self.world.sum(loss), norm.to(loss.dtype)]).tolist()  # one wait for the device
        report = StepReport(measured[0], measured[1], rate)
        if not (math.isfinite(report.loss) and math.isfinite(report.norm)):
            self.optimizers.zero_grad()
            raise NonFiniteError(
                f"the {'gradient' if math.isfinite(report.loss) else 'loss'} is not finite",
                f"step {progress.step + 1}",
                CURE,
            )
        self.optimizers.step()
        self.optimizers.zero_grad()
        self.averages.after_step(progress.step)
        return report

    def _backward(self, batch: Any, slot: int, totals: dict[str, int]) -> Tensor:
        """The share of the step's loss that lies in one micro-batch, whose gradient is added up."""
        with self.precision.autocast(self.device):
            sums, carry = self.module(self.objective.loss, batch, self.carry[slot])
        loss = torch.stack([w * sums[term] / totals[term] for term, w in self.objective.terms.items()]).sum()
        (loss * self.world.size).backward()  # type: ignore[no-untyped-call]
        self.carry[slot] = carry
        return loss.detach()

    def _counts(self, batches: list[Any]) -> dict[str, int]:
        """What counts in this step for each term, over all micro-batches and processes; at least 1."""
        counts = [self.objective.counts(batch) for batch in batches]
        sums = torch.tensor([sum(c[term] for c in counts) for term in self.objective.terms])
        if self.world.size > 1:
            sums = self.world.sum(sums.to(self.device)).cpu()
        return {term: max(1, int(n)) for term, n in zip(self.objective.terms, sums, strict=True)}

    def _evaluate(self) -> dict[str, Any]:
        """The validation figures, if there are any, noting whether they are the best so far."""
        if self.hooks.evaluate is None:
            return {}
        progress, started = self.progress, time.perf_counter()
        figures: dict[str, Any] = self.hooks.evaluate()
        figures, seconds = self.world.agree((figures, time.perf_counter() - started))
        progress.evaluations += 1
        progress.evaluation_seconds += seconds
        value = self.watched.value(figures)
        if not math.isfinite(figures[LOSS]):
            raise NonFiniteError("the validation loss is not finite", f"step {progress.step}", CURE)
        if self.watched.better(value, progress.best, figures[LOSS], progress.best_loss):
            progress.best, progress.best_loss = value, figures[LOSS]
            progress.best_step, progress.worse_in_a_row = progress.step, 0
        else:
            progress.worse_in_a_row += 1
        return figures

    @property
    def _time_to_evaluate(self) -> bool:
        """Whether evaluations stay within their share of the time with one more, if it takes as long as the others."""
        share, p = self.settings.evaluation_share, self.progress
        if share is None or p.evaluations == 0:
            return True
        return p.evaluation_seconds * (p.evaluations + 1) / p.evaluations <= share * p.seconds

    def beside(self, task: Callable[[Assembled], T]) -> T:
        """The result of a task that is no training, such as an evaluation or a sample; a collective call.

        The task sees averaged weights where the run averages them.
        """
        with self.averages.shown():
            try:
                with torch.no_grad():
                    result: T = self.assembled(task)
                return result
            finally:
                self.assembled.train()
                distributed.reshard(self.assembled)

    @property
    def stopped(self) -> str:
        """Why the run ended before its limit, or nothing."""
        p, patience = self.progress, self.settings.patience
        if patience is None or p.worse_in_a_row < patience:
            return ""
        return (
            f"stopped early at step {p.step}: {p.worse_in_a_row} evaluations in a row without a better"
            f" {self.watched.spoken}" + ("" if p.best is None else f" than {p.best:.4f} at step {p.best_step}")
        )

    def interrupted(self, signal: int) -> Interrupted:
        """The error for a run that a signal stopped after it was saved."""
        where = f"saved at step {self.progress.step}"
        return Interrupted(signal, f"stopped by signal {signal}", where, "--resume goes on from there")

    @property
    def done(self) -> bool:
        """Whether a limit is reached or the run stopped early."""
        return bool(self.stopped) or self.limits.share(self.progress) >= 1.0

    def _line(self, report: StepReport) -> dict[str, Any]:
        """A line of metrics, with the speed since the line before."""
        p, (tokens, seconds) = self.progress, self._logged
        self._logged = (p.tokens, p.seconds)
        speed = (p.tokens - tokens) / (p.seconds - seconds) if p.seconds > seconds else 0.0
        return {
            "step": p.step,
            "tokens": p.tokens,
            "seconds": round(p.seconds, 4),
            "loss": report.loss,
            "lr": report.rate,
            "grad_norm": report.norm,
            "tokens_per_second": round(speed, 1),
        }

    def _out_of_memory(self, error: BaseException) -> ResourceError:
        return ResourceError(
            "out of memory",
            f"step {self.progress.step + 1} on {self.device}",
            "lower training.batch_size and raise training.accumulate by as much, or lower model.d_model",
        )

    # -- state --------------------------------------------------------------------------------

    def snapshot(self, state: dict[str, Any]) -> Snapshot:
        """Everything that the run needs to go on; a collective call. `state` is kept beside the progress.

        Its `model` is what the run would keep: where weights are averaged, the averages.
        """
        weights, averaging = self.weights(), self.averages.state()
        bad = next((name for name, w in (weights | averaging).items() if not w.isfinite().all()), None)
        if bad:
            raise NonFiniteError(f"weight '{bad}' is not finite", f"step {self.progress.step}", CURE)
        state = {**vars(self.progress), **state}
        return Snapshot(weights, self.optimizers.state(), self._whole_carry(), state, averaging)

    def weights(self) -> dict[str, Tensor]:
        """What the run would keep as it stands, whole and on the CPU, not copied if it lies there; collective."""
        averaged = self.averages.averaged
        weights = {name: whole(averaged.get(name, p)) for name, p in self.assembled.named_parameters()}
        return weights | {name: whole(b) for name, b in self._saved_buffers().items()}

    def restore(self, snapshot: Snapshot) -> None:
        """Put a snapshot back, whatever the number of processes that made it."""
        self.load_weights(snapshot.model)
        self.averages.load_state(snapshot.averaging)
        self.optimizers.load_state(snapshot.optimizer)
        state = {"best": snapshot.state.get("best_loss"), **snapshot.state}  # its name while only losses were watched
        self.progress = Progress(**{name: state[name] for name in vars(Progress()) if name in state})
        self._load_carry(snapshot.carry)

    def release(self) -> None:
        """Let go of all that only further steps need: training is over, and saved."""
        self.optimizers.release()
        self.averages = Averages({}, decay=None, last=None)
        self.carry = [None] * len(self.carry)

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Overwrite all weights and buffers."""
        for name, p in [*self.assembled.named_parameters(), *self._saved_buffers().items()]:
            copy_into(p, weights[name])

    def _saved_buffers(self) -> dict[str, Tensor]:
        kept = self.assembled.state_dict().keys()
        return {name: b for name, b in self.assembled.named_buffers() if name in kept}

    def _whole_carry(self) -> dict[str, Tensor]:
        """The carried states of all rows in their order, put together from slots and processes."""
        slots = [state.tensors() if state is not None else [] for state in self.carry]
        if not slots or not slots[0]:
            return {}
        everyone = self.world.gather([[t.cpu() for t in tensors] for tensors in slots])  # rank, slot, tensor
        dim = self.carry[0].row_dim  # type: ignore[union-attr]
        return {
            str(i): torch.cat([everyone[r][m][i] for m in range(len(slots)) for r in range(self.world.size)], dim)
            for i in range(len(slots[0]))
        }

    def _load_carry(self, tensors: dict[str, Tensor]) -> None:
        if not tensors:
            return
        ordered = [tensors[str(i)].to(self.device) for i in range(len(tensors))]
        empty = self.assembled.body.init_state(1, 1)  # type: ignore[operator]
        state = empty.with_tensors(ordered)
        share = self.settings.batch_size // self.world.size
        for slot in range(self.settings.accumulate):
            first = (slot * self.world.size + self.world.rank) * share
            self.carry[slot] = state.select(torch.arange(first, first + share, device=self.device))


def _due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0
