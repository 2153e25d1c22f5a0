"""What a comparison costs beside its trainings: five models for T seconds each, and everything around them.

    python benchmarks/compare.py [--time 60] [--threads 2] [--data builtin] [--recipes A,B,C] [--cold] [--out DIR]

The bars: for T of 60 seconds and more, at most 1.15 x models x T beside evaluations; `--data builtin --time 30s` on a
machine that has never seen the data (`--cold`: an empty cache) under five minutes. Evaluations are those along the way,
as the trainer times them, and the one that follows training.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import environment, machine, table

STAGES = ("loading", "evaluating", "errors", "samples", "use", "lengths")


def compare(options: argparse.Namespace, out: Path, cache: Path) -> float:
    """Seconds of `malgil compare`, from the command to its end."""
    command = [sys.executable, "-m", "malgil", "compare", "--data", options.data, "--time", str(options.time)]
    command += ["--threads", str(options.threads), "--out", str(out)]
    command += ["--recipes", options.recipes] if options.recipes else []
    own = {**environment(options.threads), **({"MALGIL_CACHE": str(cache)} if options.cold else {})}
    started = time.perf_counter()
    subprocess.run(command, env=own, check=True)
    return time.perf_counter() - started


def rows_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each model: what its process spent seconds on."""
    rows = []
    for model in result["models"]:
        (run,) = model["runs"]
        wall = run["wall"]
        beside = wall["training"] - run["seconds"] - wall["evaluations"]
        rows.append(
            {
                "model": model["recipe"],
                "training": f"{run['seconds']:.1f}",
                "evaluations": f"{wall['evaluations']:.1f}",
                "set-up, saving, sample": f"{beside:.1f}",
                **{stage: f"{wall[stage]:.1f}" for stage in STAGES},
            }
        )
    return rows


def main() -> None:
    """Prints two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--time", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--data", default="builtin")
    parser.add_argument("--recipes", default="")
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--out", type=Path, help="a folder to leave the comparison in")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        out = options.out or Path(name) / "compare"
        wall = compare(options, out, Path(name) / "cache")
        result = json.loads((out / "compare.json").read_text(encoding="utf-8"))
    print(machine(), f"{options.threads} threads", sep=", ")
    print(f"\n{table(rows_of(result))}\n")
    runs = [run for model in result["models"] for run in model["runs"]]
    evaluating = sum(run["wall"]["evaluations"] + run["wall"]["evaluating"] for run in runs)
    training = options.time * len(runs)
    summary = {
        "wall": f"{wall:.0f} s",
        "models x T": f"{training:.0f} s",
        "evaluations": f"{evaluating:.0f} s",
        "all but evaluations / models x T": f"{(wall - evaluating) / training:.2f}",
    }
    print(table([summary]))


if __name__ == "__main__":
    main()
