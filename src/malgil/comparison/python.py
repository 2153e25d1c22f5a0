"""`malgil.compare`: the command of this name, for Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from malgil.comparison.comparing import run_comparison
from malgil.comparison.display import CompareDisplay, Quiet
from malgil.comparison.table import Table
from malgil.config import merge, nested
from malgil.runs.durations import seconds_of
from malgil.runs.failures import failures
from malgil.runs.given import given_files


def compare(
    recipes: str | Sequence[str] = (),
    *,
    data: str | Path | Sequence[str | Path] | None = None,
    source: str | Path | Sequence[str | Path] | None = None,
    target: str | Path | Sequence[str | Path] | None = None,
    validation_source: str | Path | Sequence[str | Path] | None = None,
    validation_target: str | Path | Sequence[str | Path] | None = None,
    kind: str | None = None,
    time: str | float | None = None,
    tokens: int | None = None,
    seeds: int | None = None,
    seed: int | None = None,
    tune: int | None = None,
    equal_parameters: bool | int = False,
    quality: float | None = None,
    out: str | Path | None = None,
    device: str | None = None,
    threads: int | None = None,
    language: str | None = None,
    resume: bool = False,
    quiet: bool = False,
    **settings: Mapping[str, Any],
) -> Table:
    """Train several recipes on the same data with the same budget, measure them, and return the table.

        table = malgil.compare(["lstm", "gpt"], data="my.txt", time="60s")
        print(table.to_markdown(), table.report)

    Args:
        recipes: names; by default those of the kind of data.
        data: files, folders, globs, or `builtin`.
        source, target: pairs as two aligned files, in place of `data`.
        validation_source, validation_target: the same for the validation part.
        kind: `text`, `pairs` or `labels`; by default seen from the recipes or from the data.
        time: for each model, seconds or text such as `60s`: time for data and optimisation.
        tokens: for each model, in place of `time`.
        seeds: runs of each recipe; from two on there are intervals.
        seed: of the first.
        tune: learning rates that are tried for each recipe, on a part of the training data.
        equal_parameters: the same total for all, within 5 %: the median of what they choose, or a number.
        quality: the figure whose time is reported (bits per byte, the loss of pairs, accuracy as a share of 1); by
            default what the slowest learner reaches.
        out: the folder; by default a new one under runs/.
        language: of the report, `en` or `ko`; by default that of the text.
        resume: go on with the comparison in `out`.
        quiet: say nothing.
        settings: sections for all recipes, such as `training={"precision": "fp32"}`.

    Raises:
        MalgilError: see `malgil.errors`; input errors are `ValueError`s too.
    """
    files = given_files(data, source, target, validation_source, validation_target)
    sections = {
        **files,
        "training.device": device,
        "training.threads": threads,
    }
    laid = merge(settings, nested({key: value for key, value in sections.items() if value is not None}))
    parameters = None if equal_parameters is False else 0 if equal_parameters is True else equal_parameters
    given = {
        "recipes": (recipes,) if isinstance(recipes, str) else tuple(recipes),
        "kind": kind,
        "seconds": None if time is None else seconds_of(time),
        "tokens": tokens,
        "seeds": seeds,
        "seed": seed,
        "tune": tune,
        "parameters": parameters,
        "quality": quality,
        "language": language,
        "settings": laid,
    }
    asked = {key: value for key, value in given.items() if value not in (None, (), {})}
    with failures():
        display = Quiet() if quiet else CompareDisplay()
        return run_comparison(asked, out=None if out is None else Path(out), resume=resume, display=display)
