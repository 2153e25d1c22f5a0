"""The command compare: one data set, one budget, several architectures."""

from __future__ import annotations

from pathlib import Path

from malgil.cli.app import Float, Int, Json, Paths, app, as_json, files, given, place


@app.command(
    sort_key=2.5, usage="Usage: malgil compare --data PATH... [--recipes A,B,C] [OPTIONS] [--SECTION.NAME VALUE ...]"
)
def compare(
    *,
    data: Paths = [],  # noqa: B006
    source: Paths = [],  # noqa: B006
    target: Paths = [],  # noqa: B006
    validation_source: Paths = [],  # noqa: B006
    validation_target: Paths = [],  # noqa: B006
    recipes: str | None = None,
    kind: str | None = None,
    time: str | None = None,
    tokens: Int = None,
    seeds: Int = None,
    seed: Int = None,
    tune: Int = None,
    equal_parameters: bool = False,
    parameters: Int = None,
    quality: Float = None,
    out: Path | None = None,
    device: str | None = None,
    threads: Int = None,
    skip_bad: Int = None,
    lang: str | None = None,
    resume: bool = False,
    json: Json = False,
) -> None:
    """Which model is best for your data: train several with the same budget, measure them, write a report.

    All get the same split, tokenizer, batches and context. Runs go one at a time; stopped, the comparison
    goes on with --resume. Any setting may be given for all of them as --section.name VALUE.

    Parameters
    ----------
    data
        Files, folders, globs, or "builtin"; text, pairs or labelled texts.
    source
        Pairs: the file of sources, a line each, in place of --data.
    target
        Pairs: the file whose lines belong to those of --source.
    validation_source
        Pairs: the sources of the validation part.
    validation_target
        Pairs: the targets of the validation part.
    recipes
        What to compare, names with commas between; by default the usual ones for the kind of data.
    kind
        text, pairs or labels; by default seen from the recipes or from the data.
    time
        How long each model is trained, such as 60s or 5m; the default is 60s.
    tokens
        How many tokens each model is trained on, in place of --time.
    seeds
        How many runs of each; from two on there are intervals, and ties.
    seed
        Of the first run.
    tune
        Try so many learning rates for each, alike for all, on a part of the training data.
    equal_parameters
        The same number of parameters for all, within 5 %: the median of what they choose.
    parameters
        The same, with a number of your own.
    quality
        Report the time to this figure, which is that of the curves: bits per byte of text, the loss of pairs, accuracy
        of labels as a share of 1. By default it is what the slowest learner reaches.
    out
        The folder to make; by default runs/compare-<date>-<n>.
    device
        auto, cpu, cuda, cuda:N or mps.
    threads
        CPU threads; by default all cores.
    skip_bad
        How many malformed rows to skip before giving up.
    lang
        The language of the report, en or ko; by default that of the text.
    resume
        Go on with the comparison in --out, or with the newest one; --seeds and --recipes may grow.
    json
        Print the rows of the table as JSON, one an object a line.
    """
    from malgil.cli.compare_display import LiveComparison
    from malgil.comparison.comparing import run_comparison
    from malgil.config import merge, nested
    from malgil.errors import InputError
    from malgil.runs.durations import seconds_of

    if equal_parameters and parameters is not None:
        raise InputError("--parameters says already that all have as many", fix="leave --equal-parameters out")
    sections = {
        **files(data, source, target, validation_source, validation_target),
        **place(device, threads),
        "data.skip_bad": ("--skip-bad", skip_bad),
    }
    options = {
        "compare.kind": ("--kind", kind),
        "compare.seconds": ("--time", seconds_of(time) if time is not None else None),
        "compare.tokens": ("--tokens", tokens),
        "compare.seeds": ("--seeds", seeds),
        "compare.seed": ("--seed", seed),
        "compare.tune": ("--tune", tune),
        "compare.parameters": ("--parameters", 0 if equal_parameters else parameters),
        "compare.quality": ("--quality", quality),
        "compare.language": ("--lang", lang),
    }
    given.only("data", "tokenizer", "model", "objective", "training", "generation")
    settings = merge(nested(given.values), nested(given.options(sections)))
    asked = {name.partition(".")[2]: value for name, value in given.options(options).items()}
    if recipes is not None:
        asked["recipes"] = tuple(name.strip() for name in recipes.split(",") if name.strip())
    if settings:
        asked["settings"] = settings
    table = run_comparison(asked, out=out, resume=resume, display=LiveComparison())
    if json:
        for row in table.rows:
            print(as_json(row))
