"""`malgil.train`, `malgil.finetune` and `malgil.import_model`: the commands of these names, for Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from malgil.config import merge, nested
from malgil.runs.display import Display, Silent
from malgil.runs.durations import seconds_of
from malgil.runs.exchange import import_run
from malgil.runs.failures import failures
from malgil.runs.given import given_files, given_paths
from malgil.runs.run import Run
from malgil.runs.training import train as _train


def train(
    recipe: str | None = None,
    *,
    data: str | Path | Sequence[str | Path] | None = None,
    source: str | Path | Sequence[str | Path] | None = None,
    target: str | Path | Sequence[str | Path] | None = None,
    validation_source: str | Path | Sequence[str | Path] | None = None,
    validation_target: str | Path | Sequence[str | Path] | None = None,
    config: str | Path | Sequence[str | Path] = (),
    out: str | Path | None = None,
    time: str | float | None = None,
    steps: int | None = None,
    tokens: int | None = None,
    epochs: float | None = None,
    seed: int | None = None,
    device: str | None = None,
    threads: int | None = None,
    resume: bool = False,
    quiet: bool = False,
    **settings: Mapping[str, Any],
) -> Run:
    """Train a model and return its run.

    Args:
        recipe: what to train; the default is `gpt`.
        data: files, folders, globs, or `builtin`.
        source, target: pairs as two aligned files, in place of `data`.
        validation_source, validation_target: the same for the validation part.
        config: YAML files of settings, laid over the recipe in their order, under everything that is named here.
        out: the run folder; by default a new one under runs/.
        time: seconds, or text such as `90s` and `5m`: time for data and optimisation.
        steps, tokens, epochs: other limits; the first that is reached ends the run.
        resume: go on with the run in `out`.
        quiet: say nothing.
        settings: sections, such as `model={"d_model": 64}` or `training={"batch_size": 8}`.

    Raises:
        MalgilError: see `malgil.errors`; input errors are `ValueError`s too.
    """
    files = given_files(data, source, target, validation_source, validation_target)
    given = {**files, **_training(time, steps, tokens, epochs, seed, device, threads)}
    overrides = merge(settings, nested({k: v for k, v in given.items() if v is not None}))
    where = None if out is None else Path(out)
    configs = [Path(p) for p in given_paths(config)]
    with failures():
        display = Silent() if quiet else Display()
        return _train(recipe, overrides, out=where, config_files=configs, resume=resume, display=display)


def finetune(
    run: str | Path | Run,
    recipe: str,
    *,
    data: str | Path | Sequence[str | Path],
    config: str | Path | Sequence[str | Path] = (),
    out: str | Path | None = None,
    time: str | float | None = None,
    steps: int | None = None,
    tokens: int | None = None,
    epochs: float | None = None,
    seed: int | None = None,
    device: str | None = None,
    threads: int | None = None,
    quiet: bool = False,
    **settings: Mapping[str, Any],
) -> Run:
    """Train on labelled data, beginning with the encoder of a run; returns the new run.

    Args:
        run: what to begin with: its model, weights and tokenizer are taken, everything else is the recipe's.
        recipe: `classify`, `similarity`, `tag`, `answer` or `embed`.
        data, config, out, time, steps, tokens, epochs, seed, device, threads, quiet, settings: as of `train`.

    Raises:
        MalgilError: see `malgil.errors`; input errors are `ValueError`s too.
    """
    given = {
        "data.paths": given_paths(data),
        **_training(time, steps, tokens, epochs, seed, device, threads),
    }
    overrides = merge(settings, nested({k: v for k, v in given.items() if v is not None}))
    where, start = None if out is None else Path(out), run.path if isinstance(run, Run) else Path(run)
    files = [Path(p) for p in given_paths(config)]
    with failures():
        display = Silent() if quiet else Display()
        return _train(recipe, overrides, out=where, config_files=files, display=display, start=start)


def import_model(source: str | Path, out: str | Path, *, allow_pickle: bool = False) -> Run:
    """Make a run of a Hugging Face model folder (GPT-2, Llama, Qwen3, Marian), tokenizer included, and return it.

    Args:
        source: the model's folder.
        out: the run folder to make; it does not exist or is empty.
        allow_pickle: also read a pickle of weights: only from those you trust.

    Raises:
        CheckpointError: the model cannot be imported.
        InputError: `out` is in use.
    """
    with failures():
        import_run(Path(source), Path(out), allow_pickle)
    return Run(out)


def _training(
    time: str | float | None,
    steps: int | None,
    tokens: int | None,
    epochs: float | None,
    seed: int | None,
    device: str | None,
    threads: int | None,
) -> dict[str, Any]:
    """What ends a run and where it is made, by the names of the settings."""
    return {
        "training.seconds": None if time is None else seconds_of(time),
        "training.steps": steps,
        "training.tokens": tokens,
        "training.epochs": epochs,
        "training.seed": seed,
        "training.device": device,
        "training.threads": threads,
    }
