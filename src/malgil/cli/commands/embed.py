"""The command embed: vectors of texts, and what is near."""

from __future__ import annotations

from pathlib import Path

from malgil.cli.app import Int, app, given, machine


@app.command(sort_key=5)
def embed(
    run: Path | None = None,
    /,
    *,
    search: Path | None = None,
    top: int = 5,
    out: Path | None = None,
    raw: bool = False,
    precision: str = "fp32",
    batch: int | None = None,
    device: str | None = None,
    threads: Int = None,
) -> None:
    """Make vectors of texts: a line of standard input, a JSON line with its embedding on standard output.

    With --search the lines of a file that are nearest in meaning instead. A line is a text, or a JSON object with
    "text", whose other fields come back with it.

    Parameters
    ----------
    run
        The run folder, of any encoder; the newest run where it is left out.
    search
        Find the nearest texts of this file, a text a line.
    top
        How many of them.
    out
        Write all vectors to this .npy file, and print none.
    raw
        Leave vectors as long as they are; otherwise the run's settings say whether they are made of length 1.
    precision
        fp32; bf16 is faster where a machine has it, and auto takes it there. In fp32 a text's vector does not depend
        on the texts beside it.
    batch
        Lines that are read together; by default 1,024 of a file, and each line by itself where input comes as it is
        written.
    device
        auto, cpu, cuda, cuda:N or mps.
    threads
        CPU threads; by default all cores.
    """
    import sys

    from malgil.cli import embedding
    from malgil.errors import InputError
    from malgil.runs.run import load

    given.only()
    for name, value in (("--top", top), ("--batch", batch)):
        if value is not None and value < 1:
            raise InputError(f"{name} must be at least 1, not {value}", name, "take 1 or more")
    if search is not None and out is not None:
        raise InputError("--search finds texts and --out writes vectors", fix="leave one of them out")
    embedder = load(run, **machine(device, threads)).embedder(normalize=False if raw else None, precision=precision)
    lines = None if sys.stdin is None else sys.stdin.buffer
    if search is not None:
        embedding.write_found(embedder, lines, search, top, batch=batch)
    elif out is not None:
        embedding.write_vectors(embedder, lines, out, batch=batch)
    else:
        embedding.write_embeddings(embedder, lines, batch=batch)
