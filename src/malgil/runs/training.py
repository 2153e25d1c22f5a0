"""`train`: a recipe and data in, a run folder out; and how a run goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from malgil.config import AUTO, Tree
from malgil.errors import Interrupted, MalgilError, NonFiniteError, ResumeMismatch
from malgil.models.base import count_parameters
from malgil.objectives.base import Assembled
from malgil.report.run_report import RunFacts, render_run
from malgil.report.words import Words, language_of
from malgil.runs.display import Display, Silent
from malgil.runs.folder import RunFolder, new_folder, newest_run
from malgil.runs.prepare import prepare
from malgil.runs.pretraining import pretrained, pretrains
from malgil.runs.resume import finish_of, resumed_tree
from malgil.runs.run import Run
from malgil.runs.start import composed
from malgil.runs.task import Preview, ReportSection, Tokenizers
from malgil.runs.weights import save_run_weights
from malgil.runtime.device import resolve_device
from malgil.runtime.energy import Energy, EnergyMeter
from malgil.runtime.files import FolderLock, atomic_write
from malgil.runtime.hardware import describe_hardware, peak_memory
from malgil.training.checkpoint import (
    checkpoint_place,
    fault_in,
    load_checkpoint,
    load_model,
    newest_checkpoint,
    save_checkpoint,
)
from malgil.training.distributed import join_world, leave_world
from malgil.training.signals import SignalWatch
from malgil.training.trainer import CURE, Hooks
from malgil.training.watching import LOSS

MANY_EPOCHS = 4
OVERFITS = "the model overfits"


def train(
    recipe: str | None,
    overrides: Mapping[str, Any],
    *,
    out: Path | None = None,
    config_files: list[Path] | None = None,
    resume: bool = False,
    display: Display | None = None,
    start: Path | None = None,
    sections: bool = True,
) -> Run:
    """Train, or go on training.

    Args:
        recipe: its name; the default is `gpt`.
        overrides: a tree of settings laid over the recipe.
        out: the run folder; by default a new one under runs/.
        config_files: YAML files laid over the recipe, under the overrides.
        resume: go on with the run in `out`.
        start: the folder of a run whose body training begins with, see `runs.start`.
        sections: whether the report gets what a task adds to it, which may take longer than a short training.

    Raises:
        MalgilError: see `malgil.errors`.
    """
    display = display or Display()
    if resume:
        folder = RunFolder(out) if out is not None else newest_run()
        tree = resumed_tree(folder, recipe, config_files or [], overrides)
    else:
        tree = composed(recipe, config_files or [], overrides, start)
        if pretrains(tree):
            out = new_folder(out, tree["recipe"]).path
            tree = pretrained(tree, out, train, display)
    with ExitStack() as stack:
        world = join_world(resolve_device(tree["training"].get("device", AUTO)))
        stack.callback(leave_world)
        if not world.leads:
            display = Silent()
        if not resume:
            folder = RunFolder(world.agree(new_folder(out, tree["recipe"]).path if world.leads else None))
        else:
            if world.leads:  # one process takes the lock and looks
                stack.enter_context(FolderLock(folder.path))
            if finished := world.agree(finish_of(folder, tree) if world.leads else None):
                display.say(f"this run is finished, {finished}; raise a limit to train longer")
                return Run(folder.path)
        session = Session(folder, tree, display, resume=resume, sections=sections)
        if world.leads and not resume:  # nothing is made on disk before the settings and the data are known to be good
            folder.path.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FolderLock(folder.path))
            new_folder(folder.path, tree["recipe"])
        session.run()
    return Run(folder.path)


class Session:
    """One process's work on a run, from the first look at the data to the last word of the report."""

    def __init__(self, folder: RunFolder, tree: Tree, display: Display, *, resume: bool, sections: bool = True) -> None:
        self.folder, self.display, self.resume, self.shows_sections = folder, display, resume, sections
        tokenizers = Tokenizers.load(folder) if resume and folder.tokenizer.exists() else None
        self.checkpoint = newest_checkpoint(folder.checkpoints) if resume else None
        fresh = self.checkpoint is None
        self.prepared = prepare(tree, display.say, tokenizers, display.tokenising, fresh=fresh)
        self.task = self.prepared.task
        self.leads = self.prepared.world.leads
        self.evaluate = self.prepared.evaluator()
        self.warnings: list[str] = []
        self.first_step = 0  # of what this session trains
        self.meter = self._meter(None)
        self.started = f"{datetime.now():%Y-%m-%d %H:%M}"
        self.status = "running"
        self.sections: Sequence[ReportSection] = ()  # of the report, once the run is finished
        self.watch = SignalWatch()
        self.trainer = self.prepared.trainer(
            Hooks(
                log=self._log,
                evaluate=self._evaluate,
                sample=self._sample,
                save=self._save,
                signal=lambda: self.watch.pending,
                progress=display.progress,
            )
        )
        if not resume and self.trainer.watched.figure not in (LOSS, self.task.metric[0]):
            self.trainer.watched.value(self._evaluate())  # an unknown figure is refused before the first step

    def run(self) -> None:
        """Train to the end, or raise what stopped it, with the run folder telling the same."""
        if self.checkpoint is not None:
            self._restore(self.checkpoint)
        self.first_step = self.trainer.progress.step
        if self.resume and self.trainer.done and self.folder.weights.exists():
            self.display.say(f"this run is {self.trainer.stopped or 'finished'}; raise a limit to train longer")
            return
        if self.leads:
            self._begin()
        self.display.start(self.prepared, self.trainer)
        try:
            with self.watch, self.meter:
                self.status = self.trainer.run()
        except MalgilError as error:
            self.status = "interrupted" if isinstance(error, Interrupted) else f"failed: {error}"
            self._report()
            raise
        finally:
            self.display.stop()
        self._finish()

    # -- what the trainer asks for between steps --------------------------------------------------

    def _log(self, line: dict[str, Any]) -> None:
        self.meter.read()  # counters wrap around: read them now and then
        if not self.leads:
            return
        self.folder.append(self.folder.metrics, line)
        if line["step"] == 1:
            self._check_first_loss(line["loss"])
        if "val_loss" in line:
            self.display.evaluated(line)
            self._check_overfitting(line)
            self._report()

    def _evaluate(self) -> dict[str, Any]:
        def score(assembled: Assembled) -> Any:
            return self.evaluate(assembled, self._stop_evaluating)

        return self.task.figures(self.trainer.beside(score))

    def _stop_evaluating(self) -> None:
        """A signal during evaluation saves what the last step left and stops."""
        if self.watch.pending and self.prepared.world.size == 1:
            self._save()
            raise self.trainer.interrupted(self.watch.pending)

    def _sample(self, step: int) -> None:
        run = self.prepared

        def write(assembled: Assembled) -> list[Preview]:
            # a compiled block would be compiled anew for every length of the cache
            with torch.compiler.set_stance("force_eager"):
                return self.task.previews(assembled.eval(), run.tokenizers, run.data.validation, run.settings)

        try:
            previews = self.trainer.beside(write)
        except NonFiniteError as error:  # it speaks of a finished model
            raise NonFiniteError(error.what, f"step {step}", CURE) from None
        if self.leads:
            for preview in previews:
                self.folder.append(self.folder.samples, {"step": step, **asdict(preview)})
            self.display.sample(step, previews)

    def _save(self) -> None:
        snapshot = self.trainer.snapshot(
            {
                "fingerprints": self._fingerprints(),
                "energy": asdict(self.meter.read()),
                "warnings": self.warnings,
                "started": self.started,
            }
        )
        if self.leads:
            progress = self.trainer.progress
            save_checkpoint(self.folder.checkpoints, progress.step, snapshot, progress.best_step)

    # -- beginning and end ------------------------------------------------------------------------

    def _begin(self) -> None:
        """Write what describes the run, before the first step."""
        self.folder.write_config(self.prepared.tree)
        self.prepared.tokenizers.save(self.folder)
        self.folder.weights.unlink(missing_ok=True)  # of a run that is trained longer: no longer its own
        self.folder.forget_after(self.trainer.progress.step)
        epochs = self.prepared.planned_steps / self.prepared.batches.steps_per_epoch
        if epochs > MANY_EPOCHS:
            self._warn(
                f"the training text will be read about {epochs:.0f} times; beyond {MANY_EPOCHS} times repeated text"
                " teaches less and less: more text, a smaller model or dropout would help"
            )

    def _restore(self, checkpoint: Path) -> None:
        snapshot = load_checkpoint(checkpoint)
        state = snapshot.state
        changed = [k for k, v in self._fingerprints().items() if state["fingerprints"].get(k) != v]
        if changed:
            raise ResumeMismatch(
                f"the {' and the '.join(changed)} changed since this run began",
                str(self.folder.path),
                "bring back what it was, or train a new run",
            )
        self.trainer.restore(snapshot)
        self.meter = self._meter(Energy(**state["energy"]))
        self.warnings, self.started = list(state["warnings"]), state["started"]
        self.display.say(f"going on from step {self.trainer.progress.step:,}")

    def _finish(self) -> None:
        """Leave the weights that were asked for, and the report."""
        progress = self.trainer.progress
        weights = self.trainer.weights() if self._alone else {}  # of the last step
        self.trainer.release()
        if self.leads:
            step = self._kept_step()
            if not weights or step != progress.step:
                weights = load_model(checkpoint_place(self.folder.checkpoints, step))
            save_run_weights(weights, self.folder.weights)
            if step != progress.step:
                self._warn(
                    f"the kept weights are those of step {step}, the best of the evaluations by"
                    f" {self.trainer.watched.spoken} and not the last: evaluate on other text for a figure that nothing"
                    " was selected by"
                )
            if self.shows_sections:
                words = Words(self._language())
                with torch.compiler.set_stance("force_eager"):  # see _sample
                    self.sections = self.task.sections(self.prepared, self._kept(weights), words, self.display.say)
            self._report()
            self.display.finished(self.folder, self.status)

    @property
    def _alone(self) -> bool:
        """Whether all of the model is this process's."""
        return self.prepared.world.size == 1

    def _kept(self, weights: dict[str, Tensor]) -> Assembled:
        """The model with the weights that the run keeps: a second one only where other processes have parts of it."""
        if not self._alone:
            return Run(self.folder.path, device=str(self.prepared.device)).assembled
        self.trainer.load_weights(weights)
        return self.prepared.assembled.eval()

    def _kept_step(self) -> int:
        """The step whose weights the run keeps: the best if that was asked for and it is intact, or the last."""
        progress = self.trainer.progress
        if self.prepared.settings.training.keep == "last" or progress.best_step is None:
            return progress.step
        best = checkpoint_place(self.folder.checkpoints, progress.best_step)
        if fault := fault_in(best):
            self._warn(f"the best checkpoint {best} is not used: {fault}; the last weights are kept")
            return progress.step
        return progress.best_step

    def _fingerprints(self) -> dict[str, str]:
        return {
            "training data": self.prepared.train.fingerprint,
            "validation data": self.prepared.validation.fingerprint,
            **self.prepared.tokenizers.fingerprints,
            **self.task.fingerprints(self.prepared.settings),
        }

    def _meter(self, previous: Energy | None) -> EnergyMeter:
        device = self.prepared.device
        cards = (device.index or 0,) if device.type == "cuda" else ()
        return EnergyMeter(cuda_devices=cards, previous=previous)

    # -- what a person should know ----------------------------------------------------------------

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)
            self.display.warn(text)

    def _check_first_loss(self, loss: float) -> None:
        untrained = self.task.untrained_loss(self.prepared.settings, self.prepared.tokenizers)
        if untrained is None or self.prepared.settings.training.start is not None:  # it may know this already
            return
        expected, how = untrained
        if abs(loss - expected) > 0.15 * expected + 0.2:
            self._warn(
                f"the first loss is {loss:.2f}, but a model that knows nothing has {how} = {expected:.2f}:"
                " something is wrong with the initialisation or the data"
            )

    def _check_overfitting(self, line: dict[str, Any]) -> None:
        """By the loss, whatever figure is watched; a finished run that is trained longer begins with a high rate again,
        and its loss rises for a while."""
        if any(warning.startswith(OVERFITS) for warning in self.warnings):
            return
        evaluated = [one for one in self._metrics() if "val_loss" in one and one["step"] > self.first_step]
        if not evaluated:  # of the step that it goes on from, whose evaluation a signal cut off
            return
        lowest = min(evaluated, key=lambda one: one["val_loss"])
        since = sum(one["step"] > lowest["step"] for one in evaluated)
        if since >= 2 and line["val_loss"] > 1.01 * lowest["val_loss"]:
            self._warn(
                f"{OVERFITS}: validation loss rose from {lowest['val_loss']:.3f} at step {lowest['step']}"
                f" to {line['val_loss']:.3f}; stop earlier, or use more dropout or more text"
            )

    def _language(self) -> str:
        """Of the report: Korean where the text is."""
        text = self.task.excerpt(self.prepared.validation, self.prepared.tokenizers)
        return language_of(text)

    def _metrics(self) -> list[dict[str, Any]]:
        return self.folder.lines(self.folder.metrics)

    def _report(self) -> None:
        if not self.leads:
            return
        run = self.prepared
        progress, gpu = self.trainer.progress, run.device.type == "cuda"
        facts = RunFacts(
            recipe=run.settings.recipe,
            family=run.settings.family,
            parameters=count_parameters(run.model),
            data=replace(self.task.facts(run), epochs=progress.step / run.batches.steps_per_epoch),
            status=self.status,
            metrics=self._metrics(),
            samples=self.folder.lines(self.folder.samples),
            warnings=self.warnings,
            config=run.tree,
            hardware=describe_hardware(),
            energy=self.meter.read(),
            peak_memory=peak_memory(),
            peak_gpu_memory=torch.cuda.max_memory_allocated(run.device) if gpu else None,
            name=self.folder.path.name,
            started=self.started,
            sections=self.sections,
            watched=(self.trainer.watched.figure, self.trainer.watched.more_is_better),
        )
        atomic_write(self.folder.report, render_run(facts, self._language()))
