"""One model of a comparison, in a process of its own: trained, then measured, so that its peak of memory is its own.

    python -m malgil.comparison.job DIR/jobs/NAME.json

What it does it tells on standard output, a JSON object a line: `say`, `share` (of the training), `evaluated`, `stage`.
What it found it writes as job.json into the folder of the run, first when it is trained and again when it is measured;
so a job that was killed goes on behind what is done.

Exit status: 0 done, 1 failed (job.json says why), 128 + n stopped.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from malgil.comparison.folder import read_json, write_json
from malgil.comparison.starter import end_with_parent
from malgil.config import Tree
from malgil.errors import CheckpointError, Interrupted, MalgilError
from malgil.models.base import count_parameters
from malgil.runs.compared import Opened
from malgil.runs.display import Display
from malgil.runs.failures import failures
from malgil.runs.folder import RunFolder
from malgil.runs.prepare import Prepared
from malgil.runs.pretraining import place_of
from malgil.runs.run import Run
from malgil.runs.tasks import task_of
from malgil.runs.training import train
from malgil.runtime.energy import Energy
from malgil.runtime.files import storage_errors
from malgil.runtime.hardware import peak_memory
from malgil.training.checkpoint import load_state, newest_checkpoint
from malgil.training.trainer import Trainer

TRAINED, FINISHED, FAILED = "trained", "finished", "failed"
RESULT = "job.json"
SECONDS_BETWEEN_LINES = 0.2


class Reporter(Display):
    """Tells the comparison what happens; a comparison that has gone breaks the pipe, and the job ends."""

    def __init__(self) -> None:
        super().__init__()
        self._told = 0.0
        self.part = (0.0, 1.0)  # of the budget, from where to where this training goes
        self.opened: Opened | None = None  # what this process has trained on

    def tell(self, **fact: Any) -> None:
        print(json.dumps(fact, ensure_ascii=False), flush=True)

    def say(self, text: str) -> None:
        self.tell(say=text)

    def start(self, prepared: Prepared, trainer: Trainer) -> None:
        self.opened = Opened(prepared.data, prepared.train, prepared.validation)
        super().start(prepared, trainer)

    def progress(self, progress: Any, report: Any, share: float) -> None:
        self.loss = report.loss if self.loss is None else 0.9 * self.loss + 0.1 * report.loss
        now = time.monotonic()
        if now - self._told > SECONDS_BETWEEN_LINES:
            self._told = now
            begin, end = self.part
            share = begin + (end - begin) * share
            self.tell(share=share, loss=self.loss, seconds=progress.seconds, tokens=progress.tokens)

    def pretraining(self, share: float) -> Display:
        self.part = (share, 1.0)
        return _First(share)

    def evaluated(self, line: dict[str, Any]) -> None:
        self.tell(evaluated={key: value for key, value in line.items() if key.startswith("val_")})

    def finished(self, folder: RunFolder, status: str) -> None:
        """The comparison says so."""


class _First(Reporter):
    """Of a training before the one that is compared: how far it is, but not its figures, which say something else."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.part = (0.0, share)

    def evaluated(self, line: dict[str, Any]) -> None:
        pass


def work(spec: Tree, reporter: Reporter) -> Tree:
    """Do what a job's file says, as far as it is not done; returns what is in job.json then."""
    folder = RunFolder(Path(spec["folder"]))
    known = read_json(folder.path / RESULT)
    if known is not None and known["status"] == FAILED:  # what made it fail may lie in its checkpoints
        shutil.rmtree(folder.path)
        shutil.rmtree(place_of(folder.path), ignore_errors=True)
        known = None
    if known is None:
        known = _trained(spec, folder, reporter)
        write_json(folder.path / RESULT, known)
    if known["status"] == TRAINED and spec["measure"]:
        known = {**known, **_measured(folder, spec, reporter)}
    known["status"] = FINISHED
    write_json(folder.path / RESULT, known)
    if not spec["measure"]:  # a trial of a learning rate: its figure is all that is wanted
        shutil.rmtree(folder.checkpoints, ignore_errors=True)
        folder.weights.unlink(missing_ok=True)
        shutil.rmtree(place_of(folder.path), ignore_errors=True)
    return known


def _trained(spec: Tree, folder: RunFolder, reporter: Reporter) -> Tree:
    """Train, or go on where a job was stopped."""
    started = time.perf_counter()
    reporter.tell(stage="training")
    if folder.config.exists():
        try:
            train(None, {}, out=folder.path, resume=True, display=reporter, sections=False)
        except CheckpointError as error:  # damaged
            reporter.say(f"begun anew: {error}")
            shutil.rmtree(folder.path)
    if not folder.weights.exists():
        shutil.rmtree(folder.path, ignore_errors=True)
        train(spec["recipe"], spec["settings"], out=folder.path, display=reporter, sections=False)
    seconds = time.perf_counter() - started
    run = Run(folder.path)
    lines = run.metrics
    last = lines[-1]
    keys = ("step", "tokens", "seconds")
    first = RunFolder(place_of(folder.path))
    before = first.lines(first.metrics)[-1] if first.weights.exists() else dict.fromkeys(keys, 0)
    spent = {key: before[key] + last[key] for key in keys}
    states = [_state(one) for one in (first, folder)]
    energies = [Energy(**found) for state in states if (found := state.get("energy")) is not None]
    on_gpu = run.settings.training.device.startswith("cuda")
    return {
        "name": spec["name"],
        "recipe": spec["recipe"],
        "seed": run.settings.training.seed,
        "status": TRAINED,
        **spent,
        "tokens_per_second": spent["tokens"] / spent["seconds"],
        "curve": [
            {k: v + before[k] if k in keys else v for k, v in line.items() if k in keys or k.startswith("val_")}
            for line in lines
            if "val_loss" in line
        ],
        "peak_memory": peak_memory(),
        "peak_gpu_memory": torch.cuda.max_memory_allocated() if on_gpu else None,
        "energy": asdict(sum(energies[1:], energies[0])) if energies else None,
        "warnings": states[-1].get("warnings", []),
        "size": folder.weights.stat().st_size,
        "wall": {"training": seconds, "evaluations": sum(state.get("evaluation_seconds", 0.0) for state in states)},
    }


def _state(folder: RunFolder) -> Tree:
    """What the newest checkpoint says beside its tensors."""
    checkpoint = newest_checkpoint(folder.checkpoints)
    return {} if checkpoint is None else load_state(checkpoint)


def _measured(folder: RunFolder, spec: Tree, reporter: Reporter) -> Tree:
    """Everything that is asked of a trained model."""
    run = Run(folder.path)
    task = task_of(run.settings.objective.name)
    compared = task.compared
    assert compared is not None
    wall: dict[str, float] = {}

    def timed(stage: str, act: Callable[[], Any]) -> Any:
        reporter.tell(stage=stage)
        started = time.perf_counter()
        found = act()
        wall[stage] = time.perf_counter() - started
        return found

    subject = timed("loading", lambda: compared.subject(run, task, reporter.opened or Opened.of(run, task)))
    evaluation = timed("evaluating", lambda: compared.evaluate(subject))
    profiles = timed("errors", lambda: compared.profiles(subject, evaluation))
    samples = timed("samples", lambda: compared.samples(subject))
    use = timed("use", lambda: compared.use(subject))
    lengths = timed("lengths", lambda: compared.at_lengths(subject, spec["lengths"]))
    before = read_json(folder.path / RESULT) or {}
    return {
        "parameters": count_parameters(run.assembled),
        "figures": {figure.name: evaluation.get(figure.name) for figure in compared.figures},
        "evaluation": {k: v for k, v in evaluation.items() if isinstance(v, (int, float, str, type(None)))},
        "profiles": [
            {
                "by": one.by,
                "figure": one.figure.name,
                "more": one.figure.more,
                "bands": [b._asdict() for b in one.bands],
            }
            for one in profiles
        ],
        "samples": [asdict(sample) for sample in samples],
        "use": asdict(use),
        "lengths": [asdict(one) for one in lengths],
        "settings": run.config,
        "wall": {**before.get("wall", {}), **wall},
    }


def main(path: str) -> int:
    """Returns the exit status."""
    spec = read_json(Path(path))
    if spec is None:
        print(f"no job here: {path}", file=sys.stderr)
        return 2
    try:
        with failures():
            work(spec, Reporter())
    except Interrupted as error:
        return error.exit_status
    except BrokenPipeError:
        return 1
    except Exception as error:  # whatever it is, the other models of the comparison go on
        traceback.print_exc()
        said = str(error) if isinstance(error, MalgilError) else f"{type(error).__name__}: {error}"
        folder = Path(spec["folder"])
        with contextlib.suppress(MalgilError, OSError), storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            facts = {"name": spec["name"], "recipe": spec["recipe"], "seed": spec["seed"]}
            write_json(folder / RESULT, {**facts, "status": FAILED, "error": said})
        return 1
    return 0


if __name__ == "__main__":
    end_with_parent()
    sys.exit(main(sys.argv[1]))
