"""Start-up and memory: seconds from the command to the first step, and memory against what --dry-run expects.

    python benchmarks/startup.py [--rounds 3]

Start-up: `malgil train gpt --data builtin --time 30s` on warm caches (one run before, not counted), from the
start of the process to the first line of metrics.jsonl. Memory: a process imports everything, notes its
resident memory, trains twenty steps, and compares its peak's growth with the estimate (weights + gradients +
optimizer + activations).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import environment, machine, run_json, table

SHAPES = {
    "gpt2, 6 x 384, 8 x 256": ("gpt2", {"n_layers": 6, "n_heads": 6, "d_model": 384, "max_len": 256}, 8),
    "gpt, 6 x 384, 8 x 256": ("gpt", {"n_layers": 6, "d_model": 384, "max_len": 256}, 8),
    "lstm, 2 x 400, 20 x 64": ("lstm", {"d_model": 400, "max_len": 64}, 20),
}


def first_step(threads: int) -> float:
    """Seconds to the first line of metrics.jsonl."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "run"
        command = [
            sys.executable,
            "-m",
            "malgil",
            "train",
            "gpt",
            "--data",
            "builtin",
            "--time",
            "30s",
            "--out",
            str(out),
        ]
        started = time.perf_counter()
        process = subprocess.Popen(command, env=environment(threads), stderr=subprocess.DEVNULL)
        try:
            while not (out / "metrics.jsonl").exists():
                if process.poll() is not None:
                    sys.exit(f"the run ended with status {process.returncode}")
                time.sleep(0.02)
            return time.perf_counter() - started
        finally:
            process.kill()
            process.wait()


def memory(name: str, threads: int) -> None:
    """In a process of its own: the growth of memory in training, and the estimate; prints a JSON object."""
    from malgil.runs import training
    from malgil.runs.display import Silent
    from malgil.runs.estimate import estimate
    from malgil.runs.prepare import prepare
    from malgil.runs.recipe import compose
    from malgil.runtime.hardware import peak_memory, resident_memory

    recipe, model, batch_size = SHAPES[name]
    overrides: dict[str, Any] = {
        "model": model,
        "data": {"paths": ["builtin"]},
        "training": {"steps": 20, "batch_size": batch_size, "threads": threads},
    }
    if len(sys.argv) > 1 and sys.argv[-1] == "estimate":
        print(json.dumps({"estimate": estimate(prepare(compose(recipe, [], overrides), lambda text: None)).memory}))
        return
    prepared = prepare(compose(recipe, [], overrides), lambda text: None)  # tokenised, and every import made
    del prepared
    before = resident_memory() or 0
    with tempfile.TemporaryDirectory() as folder:
        training.train(recipe, overrides, out=Path(folder) / "run", display=Silent())
    print(json.dumps({"growth": peak_memory() - before}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    parser.add_argument("what", nargs="?", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        memory(options.memory, options.threads)
        return
    print(machine())
    first_step(options.threads)  # warms the caches
    times = [first_step(options.threads) for _ in range(options.rounds)]
    print(f"first step after {', '.join(f'{t:.2f}' for t in times)} s")
    rows = []
    for name in SHAPES:
        command = [sys.executable, __file__, "--threads", str(options.threads), "--memory", name]
        expected = run_json([*command, "estimate"], options.threads)["estimate"]
        growth = run_json(command, options.threads)["growth"]
        rows.append(
            {
                "run": name,
                "expected (MiB)": f"{expected / 2**20:.0f}",
                "grew by (MiB)": f"{growth / 2**20:.0f}",
                "ratio": f"{growth / expected:.2f}",
            }
        )
    print(table(rows))


if __name__ == "__main__":
    main()
