"""What the benchmarks share: processes with one or two threads, this machine in a line, and where real data lies."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from argparse import ArgumentParser
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


def timing_arguments(parser: ArgumentParser, *, steps: int, peer: str) -> None:
    """The options of benchmarks that time so many training steps against a peer's.

    Args:
        peer: the package that the peer's Python has.
    """
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--cpus", help="pin to these processors")
    parser.add_argument("--clock", default="wall", choices=["wall", "cpu"], help="of the wall, or of the processor")
    parser.add_argument("--peer-python", default=sys.executable, help=f"the Python that has {peer}")
    parser.add_argument("--measure", type=Path, help="for the process that is timed: the folder with what it reads")


def trainer_of(objective: Any, model: Any, batches: Any, settings: Any) -> Any:
    """A trainer where the model is that neither evaluates nor saves, in the precision that a run would have."""
    from malgil.models.base import parameter_device
    from malgil.objectives.base import Assembled
    from malgil.runtime.device import resolve_precision
    from malgil.training.distributed import World
    from malgil.training.progress import Limits
    from malgil.training.trainer import Hooks, Trainer

    device = parameter_device(model)
    return Trainer(
        assembled=Assembled(model, objective.parts(model)),
        objective=objective,
        batches=batches,
        settings=settings,
        limits=Limits(steps=settings.steps),
        device=device,
        precision=resolve_precision("auto", device),
        world=World(),
        workers=0,
        hooks=Hooks(),
    )


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
