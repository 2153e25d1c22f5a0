"""Commands that train: recipes, train."""

from __future__ import annotations

from pathlib import Path

from malgil.cli.app import Float, Int, Paths, app, given
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
    from malgil.runs import training
    from malgil.runs.durations import seconds_of

    options = {
        "data.paths": ("--data", data or None),
        "data.source": ("--source", source or None),
        "data.target": ("--target", target or None),
        "data.validation_source": ("--validation-source", validation_source or None),
        "data.validation_target": ("--validation-target", validation_target or None),
        "training.seconds": ("--time", seconds_of(time) if time is not None else None),
        "training.steps": ("--steps", steps),
        "training.tokens": ("--tokens", tokens),
        "training.epochs": ("--epochs", epochs),
        "training.seed": ("--seed", seed),
        "training.device": ("--device", device),
        "training.threads": ("--threads", threads),
        "data.skip_bad": ("--skip-bad", skip_bad),
    }
    if dry_run and resume:
        raise InputError("--dry-run and --resume do not go together", fix="leave one of them out")
    overrides = merge(nested(given.values), nested(given.options(options)))
    if dry_run:
        for line in training.dry_run(recipe, overrides, config_files=config, display=LiveDisplay()).lines():
            print(line)
        return
    training.train(recipe, overrides, out=out, config_files=config, resume=resume, display=LiveDisplay())
