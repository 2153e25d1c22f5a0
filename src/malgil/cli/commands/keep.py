"""Commands about what is there: runs, import, export, cache."""

from __future__ import annotations

from pathlib import Path

from malgil.cli.app import Json, app, as_json, cache_app, given


@app.command(sort_key=7)
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
            print(as_json(run_facts(found)))
    else:
        print(runs_table(folder))


@app.command(name="import", sort_key=9)
def import_(source: Path, out: Path, /, *, allow_pickle: bool = False) -> None:
    """Make a run folder of a Hugging Face model folder (GPT-2, Llama, Qwen3, Marian, BERT's family) and its tokenizer.

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


@app.command(sort_key=10)
def export(run: Path, out: Path, /, *, format: str = "hf") -> None:
    """Export a run, load what was exported, and compare before saying so.

    Parameters
    ----------
    run
        The run folder.
    out
        The folder to make.
    format
        hf = a Hugging Face model folder (GPT-2, Llama, Qwen3, Marian, BERT's family); torch = PyTorch's names
        (recurrent models).
    """
    from malgil.runs.exchange import export_run

    given.only()
    print(export_run(run, out, format))


@cache_app.command(name="clear")
def cache_clear() -> None:
    """Delete all tokenised text; it is made again when it is needed."""
    from malgil.data.cache import clear_cache

    given.only()
    files, n_bytes = clear_cache()
    print(f"removed {files} files, {n_bytes / 2**20:.1f} MiB")
