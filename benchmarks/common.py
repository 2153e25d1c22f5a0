"""What the benchmarks share: processes with one or two threads, this machine in a line, and where real data lies."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
PEERS = PROJECT / "benchmarks" / "peers"


def data(name: str) -> Path:
    """A file of the data folder (MALGIL_DATA, by default ../shared/data), or an exit that says what is missing."""
    folder = Path(os.environ.get("MALGIL_DATA") or PROJECT.parent / "shared" / "data")
    path = folder / name
    if not path.exists():
        sys.exit(f"this benchmark needs {path}; set MALGIL_DATA to the folder with the data")
    return path


def lines_of(path: Path) -> list[str]:
    """The lines of a text that was packed by gzip."""
    return gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")[:-1]


def environment(threads: int) -> dict[str, str]:
    """The environment of a child that computes with so many threads."""
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


def run(command: list[str], threads: int, cpus: str | None = None) -> str:
    """A child's standard output; its standard error goes where ours goes. `cpus` pins it, as `taskset` does."""
    pinned = ["taskset", "-c", cpus, *command] if cpus else command
    done = subprocess.run(pinned, env=environment(threads), stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with status {done.returncode}")
    return done.stdout


def run_json(command: list[str], threads: int, cpus: str | None = None) -> dict[str, Any]:
    """The JSON object in the last line that a child prints."""
    result: dict[str, Any] = json.loads(run(command, threads, cpus).strip().splitlines()[-1])
    return result


def clock(name: str) -> Callable[[], float]:
    """Seconds of the `wall`, or those that this process had a processor (`cpu`): other work does not lengthen these."""
    return time.process_time if name == "cpu" else time.perf_counter


def machine() -> str:
    """Processor, cores and versions in a line."""
    from malgil.runtime.hardware import describe_hardware

    facts = describe_hardware()
    return f"{facts['cpu']}, {facts['cores']} cores, Python {facts['python']}, PyTorch {facts['torch']}"


def table(rows: list[dict[str, Any]]) -> str:
    """Rows with the same keys as a Markdown table."""
    keys = list(rows[0])
    lines = ["| " + " | ".join(keys) + " |", "|" + "---|" * len(keys)]
    lines += ["| " + " | ".join(str(row[k]) for k in keys) + " |" for row in rows]
    return "\n".join(lines)
