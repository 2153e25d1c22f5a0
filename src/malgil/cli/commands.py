"""The commands. Each imports what it needs when it runs, so that `--help` answers at once."""

from __future__ import annotations

import json as json_module
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Group, Parameter, Token

from malgil.cli.arguments import Given
from malgil.errors import InputError
from malgil.version import __version__

_EXAMPLES = """\
First:   malgil train --data builtin --time 1m
Then:    malgil generate --prompt "The"
Your own text:   malgil train gpt --data my.txt --time 10m
Every setting:   malgil recipes gpt"""

app = App(
    name="malgil",
    version=__version__,
    help="Language models from the RNN to GPT, on your own text.",
    help_epilogue=_EXAMPLES,
    help_format="plaintext",
    default_parameter=Parameter(negative=(), show_default=False, json_list=False),
    suppress_keyboard_interrupt=False,
)
app["--help"].group = app["--version"].group = Group("Help")
tokenizer_app = App(name="tokenizer", help="Train a tokenizer, or compare all kinds on your text.", sort_key=6)
cache_app = App(name="cache", help="The cache of tokenised text.", sort_key=10)
app.command(tokenizer_app)
app.command(cache_app)


def _as_typed(kind: Any, tokens: Sequence[Token]) -> Any:
    """The text itself: numbers are read where every setting is, which takes 1.5 for no integer."""
    return tokens[0].value


Paths = Annotated[list[str], Parameter(consume_multiple=True)]
Int = Annotated[int | None, Parameter(converter=_as_typed)]
Float = Annotated[float | None, Parameter(converter=_as_typed)]
Json = Annotated[bool, Parameter(name="--json")]
#: the `--section.name VALUE` arguments of this call, taken out before the rest is parsed
given = Given()


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
        Files, folders, globs, or "builtin": txt, jsonl, csv, tsv, parquet, each also gzipped.
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


@app.command(sort_key=3)
def evaluate(
    run: Path | None = None,
    /,
    *,
    data: Paths = [],  # noqa: B006
    device: str | None = None,
    threads: Int = None,
    json: Json = False,
) -> None:
    """Loss, perplexity and bits per byte of a run on a text, all of it.

    Parameters
    ----------
    run
        The run folder; the newest run where it is left out.
    data
        Files, folders or globs; the run's own validation part where it is left out.
    device
        auto, cpu, cuda, cuda:N or mps.
    threads
        CPU threads; by default all cores.
    json
        Print one JSON object.
    """
    from malgil.cli.tables import score_lines
    from malgil.runs.run import load

    given.only("data")
    result = load(run, **_machine(device, threads)).evaluate(data or None, **given.section("data"))
    print(_json(result) if json else score_lines(result))


@app.command(sort_key=4, usage="Usage: malgil generate [RUN] --prompt TEXT [OPTIONS]")
def generate(
    run: Path | None = None,
    /,
    *,
    prompt: list[str] = [],  # noqa: B006
    max_tokens: Int = None,
    temperature: Float = None,
    top_k: Int = None,
    top_p: Float = None,
    min_p: Float = None,
    repetition_penalty: Float = None,
    seed: Int = None,
    samples: Int = None,
    stop: list[str] = [],  # noqa: B006
    device: str | None = None,
    threads: Int = None,
    json: Json = False,
) -> None:
    """Write text with a run's model: the prompt and what follows it.

    Parameters
    ----------
    run
        The run folder; the newest run where it is left out.
    prompt
        What the text begins with; may be given again for several at once. Without it a new document begins.
    max_tokens
        The longest continuation, in tokens.
    temperature
        0 = always the likeliest token; 1 = as the model has it; more = wilder.
    top_k
        Choose among the K likeliest tokens.
    top_p
        Choose among the likeliest tokens that together have this probability.
    min_p
        Choose among tokens with at least this share of the likeliest one's probability.
    repetition_penalty
        Above 1: tokens that were already written become less likely.
    seed
        The same seed writes the same text.
    samples
        How many continuations of each prompt.
    stop
        End before this text; may be given again.
    device
        auto, cpu, cuda, cuda:N or mps.
    threads
        CPU threads; by default all cores.
    json
        Print a JSON object a continuation: prompt, text, finish_reason, logprob.
    """
    from malgil.cli.writing import write_all, write_streaming
    from malgil.runs.run import load

    options = {
        "generation.max_tokens": ("--max-tokens", max_tokens),
        "generation.temperature": ("--temperature", temperature),
        "generation.top_k": ("--top-k", top_k),
        "generation.top_p": ("--top-p", top_p),
        "generation.min_p": ("--min-p", min_p),
        "generation.repetition_penalty": ("--repetition-penalty", repetition_penalty),
        "generation.seed": ("--seed", seed),
        "generation.samples": ("--samples", samples),
        "generation.stop": ("--stop", stop or None),
    }
    given.only("generation")
    chosen = given.section("generation") | {
        key.partition(".")[2]: value for key, value in given.options(options).items()
    }
    loaded = load(run, **_machine(device, threads))
    settings = loaded.generation_settings(**chosen)
    if len(prompt) <= 1 and settings.samples == 1 and not json:
        write_streaming(loaded, prompt[0] if prompt else "", chosen)
    else:
        write_all(loaded, prompt or [""], chosen, as_json=json)


@app.command(sort_key=5)
def runs(folder: Path = Path("runs"), /, *, json: Json = False) -> None:
    """What has been trained here, newest first.

    Parameters
    ----------
    folder
        Where the runs lie; by default runs.
    json
        Print a JSON object a run.
    """
    from malgil.cli.tables import run_facts, runs_table
    from malgil.runs.folder import find_runs

    given.only()
    if json:
        for found in find_runs(folder):
            print(_json(run_facts(found)))
    else:
        print(runs_table(folder))


@app.command(name="import", sort_key=7)
def import_(source: Path, out: Path, /, *, allow_pickle: bool = False) -> None:
    """Make a run folder of a Hugging Face model folder (GPT-2, Llama, Qwen3), tokenizer included.

    Parameters
    ----------
    source
        The model's folder: config.json, *.safetensors, tokenizer files.
    out
        The run folder to make.
    allow_pickle
        Also read a pickle of weights, which can run code if it was made to: only from those you trust.
    """
    from malgil.runs.exchange import import_run

    given.only()
    print(import_run(source, out, allow_pickle))


@app.command(sort_key=8)
def export(run: Path, out: Path, /, *, format: str = "hf") -> None:
    """Export a run, load what was exported, and compare before saying so.

    Parameters
    ----------
    run
        The run folder.
    out
        The folder to make.
    format
        hf = a Hugging Face model folder (GPT-2, Llama, Qwen3); torch = PyTorch's names (recurrent models).
    """
    from malgil.runs.exchange import export_run

    given.only()
    print(export_run(run, out, format))


@tokenizer_app.command(name="train")
def tokenizer_train(
    *,
    data: Paths,
    out: Path,
    kind: str | None = None,
    vocab_size: Int = None,
    min_frequency: Int = None,
    normalization: str | None = None,
) -> None:
    """Train a tokenizer on text and save it as one file.

    Parameters
    ----------
    data
        Files, folders, globs, or "builtin".
    out
        The file to write, usually tokenizer.json.
    kind
        char, byte, bpe, wordpiece, unigram or word; by default bpe.
    vocab_size
        How many tokens there may be; by default 4096.
    min_frequency
        How often a word or pair must be seen.
    normalization
        nfc, none or nfkc; by default nfc.
    """
    from malgil.runs.tokenizers import train_on

    options = {
        "tokenizer.kind": ("--kind", kind),
        "tokenizer.vocab_size": ("--vocab-size", vocab_size),
        "tokenizer.min_frequency": ("--min-frequency", min_frequency),
        "tokenizer.normalization": ("--normalization", normalization),
    }
    given.only("data", "tokenizer")
    chosen = given.section("tokenizer") | {
        key.partition(".")[2]: value for key, value in given.options(options).items()
    }
    print(train_on(data, out, chosen, given.section("data")))


@tokenizer_app.command(name="compare")
def tokenizer_compare(*, data: Paths, vocab_size: Int = None) -> None:
    """Every kind of tokenizer, trained and tried on text: tokens a character, unknown rate, round trip, seconds.

    Parameters
    ----------
    data
        Files, folders, globs, or "builtin". Each is a line of its own in the table, so that an English and a
        Korean file stand side by side: 9/10 of all of them train, the rest of each is its sample.
    vocab_size
        How many tokens there may be; by default 4096.
    """
    from malgil.runs.tokenizers import compare_on

    given.only("data")
    chosen = given.options({"tokenizer.vocab_size": ("--vocab-size", vocab_size)})
    print(compare_on(data, chosen.get("tokenizer.vocab_size"), given.section("data")))


@cache_app.command(name="clear")
def cache_clear() -> None:
    """Delete all tokenised text; it is made again when it is needed."""
    from malgil.data.cache import clear_cache

    given.only()
    files, n_bytes = clear_cache()
    print(f"removed {files} files, {n_bytes / 2**20:.1f} MiB")


for _command in ("train", "evaluate", "generate", "recipes", "runs", "import", "export", "tokenizer", "cache"):
    app[_command].help_epilogue = ""  # the first steps are for those who ask for no command


def _machine(device: str | None, threads: int | None) -> dict[str, Any]:
    """Where a run is loaded."""
    chosen = given.options({"training.device": ("--device", device), "training.threads": ("--threads", threads)})
    return {name.partition(".")[2]: value for name, value in chosen.items()}


def _json(value: Any) -> str:
    return json_module.dumps(value, ensure_ascii=False)
