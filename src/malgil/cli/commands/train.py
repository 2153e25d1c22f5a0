"""Commands that train: recipes, train, finetune."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from malgil.cli.app import Float, Int, Paths, app, files, given, place
from malgil.errors import InputError


@app.command(sort_key=1)
def recipes(name: str | None = None, /) -> None:
    """What can be trained, one line each; with NAME, all its settings.

    Parameters
    ----------
    name
        A recipe; prints each setting with its default and its meaning.
    """
    from malgil.cli.recipes import show_recipe, show_recipes

    given.only()
    print(show_recipe(name) if name else show_recipes())


@app.command(sort_key=2, usage="Usage: malgil train [RECIPE] --data PATH... [OPTIONS] [--SECTION.NAME VALUE ...]")
def train(
    recipe: str | None = None,
    /,
    *,
    data: Paths = [],  # noqa: B006
    source: Paths = [],  # noqa: B006
    target: Paths = [],  # noqa: B006
    validation_source: Paths = [],  # noqa: B006
    validation_target: Paths = [],  # noqa: B006
    out: Path | None = None,
    time: str | None = None,
    steps: Int = None,
    tokens: Int = None,
    epochs: Float = None,
    config: list[Path] = [],  # noqa: B006
    seed: Int = None,
    device: str | None = None,
    threads: Int = None,
    skip_bad: Int = None,
    resume: bool = False,
    dry_run: bool = False,
) -> None:
    """Train a model on your text.

    What is left open is fitted to the data, the time and the device, and said.
    Any setting may be given as --section.name VALUE, such as --model.d-model 256;
    `malgil recipes RECIPE` lists them.

    Parameters
    ----------
    recipe
        What to train; `malgil recipes` lists them. The default is gpt.
    data
        Files, folders, globs, or "builtin": txt, jsonl, csv, tsv, parquet, each also gzipped. For pairs: tsv, csv,
        jsonl or parquet with two columns.
    source
        Pairs: the file of sources, a line each, in place of --data.
    target
        Pairs: the file whose lines belong to those of --source.
    validation_source
        Pairs: the sources of the validation part.
    validation_target
        Pairs: the targets of the validation part.
    out
        The run folder to make; by default runs/<recipe>-<date>-<n>.
    time
        How long, such as 90s, 5m or 1h30m: time for data and optimisation.
    steps
        How many steps.
    tokens
        How many tokens.
    epochs
        How many passes over the data.
    config
        A YAML file of settings; may be given again.
    seed
        Of initialisation, data order and dropout.
    device
        auto, cpu, cuda, cuda:N or mps.
    threads
        CPU threads; by default all cores.
    skip_bad
        How many malformed rows to skip before giving up.
    resume
        Go on with the run in --out, or with the newest one; a limit may be raised.
    dry_run
        Print the parameters, memory and time it expects, and stop.
    """
    from malgil.cli.display import LiveDisplay
    from malgil.config import merge, nested
    from malgil.runs import estimate, training

    options = {
        **files(data, source, target, validation_source, validation_target),
        "data.skip_bad": ("--skip-bad", skip_bad),
        "training.seed": ("--seed", seed),
        **_limits(time, steps, tokens, epochs),
        **place(device, threads),
    }
    if dry_run and resume:
        raise InputError("--dry-run and --resume do not go together", fix="leave one of them out")
    overrides = merge(nested(given.values), nested(given.options(options)))
    if dry_run:
        for line in estimate.dry_run(recipe, overrides, config_files=config, display=LiveDisplay()).lines():
            print(line)
        return
    training.train(recipe, overrides, out=out, config_files=config, resume=resume, display=LiveDisplay())


@app.command(sort_key=2, usage="Usage: malgil finetune RUN RECIPE --data PATH... [OPTIONS] [--SECTION.NAME VALUE ...]")
def finetune(
    run: Path,
    recipe: str,
    /,
    *,
    data: Paths = [],  # noqa: B006
    out: Path | None = None,
    time: str | None = None,
    steps: Int = None,
    tokens: Int = None,
    epochs: Float = None,
    config: list[Path] = [],  # noqa: B006
    seed: Int = None,
    device: str | None = None,
    threads: Int = None,
    skip_bad: Int = None,
    dry_run: bool = False,
) -> None:
    """Train on labelled data, beginning with the encoder of a run.

    The model, its weights and the tokenizer are those of RUN, everything else is RECIPE's.
    `malgil train --resume --out DIR` goes on with it.

    Parameters
    ----------
    run
        The folder of the run to begin with: bert, roberta, modernbert, ... or an imported one.
    recipe
        What to train: classify, similarity, tag, answer or embed; `malgil recipes RECIPE` lists its settings.
    data
        Files, folders, globs, or "builtin": labelled texts as csv, tsv, jsonl or parquet, and what the recipe reads.
    out
        The run folder to make; by default runs/<recipe>-<date>-<n>.
    time
        How long, such as 90s, 5m or 1h30m: time for data and optimisation.
    steps
        How many steps.
    tokens
        How many tokens.
    epochs
        How many passes over the data.
    config
        A YAML file of settings; may be given again.
    seed
        Of new layers, data order and dropout.
    device
        auto, cpu, cuda, cuda:N or mps.
    threads
        CPU threads; by default all cores.
    skip_bad
        How many malformed rows to skip before giving up.
    dry_run
        Print the parameters, memory and time it expects, and stop.
    """
    from malgil.cli.display import LiveDisplay
    from malgil.config import merge, nested
    from malgil.runs import estimate, training

    options = {
        "data.paths": ("--data", data or None),
        "data.skip_bad": ("--skip-bad", skip_bad),
        "training.seed": ("--seed", seed),
        **_limits(time, steps, tokens, epochs),
        **place(device, threads),
    }
    overrides = merge(nested(given.values), nested(given.options(options)))
    if dry_run:
        display = LiveDisplay()
        for line in estimate.dry_run(recipe, overrides, config_files=config, display=display, start=run).lines():
            print(line)
        return
    training.train(recipe, overrides, out=out, config_files=config, display=LiveDisplay(), start=run)


def _limits(time: str | None, steps: Any, tokens: Any, epochs: Any) -> dict[str, tuple[str, Any]]:
    """The short options of what ends a run, by the names of their settings."""
    from malgil.runs.durations import seconds_of

    return {
        "training.seconds": ("--time", seconds_of(time) if time is not None else None),
        "training.steps": ("--steps", steps),
        "training.tokens": ("--tokens", tokens),
        "training.epochs": ("--epochs", epochs),
    }
