"""Time to quality: `nanogpt-char` against `gpt` on tiny Shakespeare by characters, on one thread.

    python benchmarks/shakespeare.py [--seeds 1337,1,2] [--cpus 1] [--nanogpt DIR]

For each seed, one after the other on one core: the baseline `nanogpt-char` for its 2,000 steps; `gpt` for a
fourteenth and a seventh of the time that took; `gpt` for the same time. Both read windows of 64 characters of
the first 90 % and are scored once, at their end, on the whole last 10 %; nothing is selected by that score
(`keep: last`, no evaluation on the way), and `gpt` has no more parameters than the baseline. With `--nanogpt`,
a checkout of nanoGPT trains beside them with the settings of its README for a CPU and is scored in the same
way.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import PEERS, data, machine, run, run_json, table


def train(recipe: str, folder: Path, seed: int, cpus: str | None, *limits: str) -> dict[str, Any]:
    """Train by the command line; the last line of metrics, and the parameters."""
    command = [sys.executable, "-m", "malgil", "train", recipe, "--data", str(data("lm/tinyshakespeare.txt"))]
    command += ["--out", str(folder), "--seed", str(seed), "--threads", "1", "--tokenizer.kind", "char"]
    command += ["--model.max-len", "64", "--training.keep", "last", "--training.evaluate-every", "none"]
    command += ["--training.sample-every", "none", "--training.checkpoint-every", "none", *limits]
    run(command, 1, cpus)
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "pt") as weights:
        keys = weights.keys()
        last["parameters"] = sum(_count(weights.get_slice(k).get_shape()) for k in keys)
    return last


def _count(shape: list[int]) -> int:
    product = 1
    for n in shape:
        product *= n
    return product


def row(name: str, seed: int, last: dict[str, Any], baseline: dict[str, Any]) -> dict[str, Any]:
    return {
        "run": name,
        "seed": seed,
        "parameters": f"{last['parameters']:,}",
        "steps": last["step"],
        "tokens": f"{last['tokens']:,}",
        "seconds": f"{last['seconds']:.1f}",
        "tokens/s": f"{last['tokens'] / last['seconds']:,.0f}",
        "held-out loss": f"{last['val_loss']:.4f}",
        "time / baseline": f"{last['seconds'] / baseline['seconds']:.3f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="1337")
    parser.add_argument("--cpus", help="pin to these processors, such as 1")
    parser.add_argument("--nanogpt", type=Path, help="a checkout of nanoGPT (its model.py is used)")
    parser.add_argument("--peer-python", default=sys.executable, help="the Python that has nanoGPT's needs")
    options = parser.parse_args()
    rows = []
    print(machine())
    for seed in map(int, options.seeds.split(",")):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            baseline = train("nanogpt-char", folder / "baseline", seed, options.cpus)
            rows.append(row("nanogpt-char", seed, baseline, baseline))
            if options.nanogpt:
                command = [options.peer_python, str(PEERS / "nanogpt_char.py"), str(options.nanogpt)]
                command += [str(data("lm/tinyshakespeare.txt")), str(seed)]
                rows.append(row("nanoGPT itself", seed, run_json(command, 1, options.cpus), baseline))
            for label, share in (("gpt, a fourteenth", 1 / 14), ("gpt, a seventh", 1 / 7), ("gpt, the same time", 1.0)):
                limit = ["--time", f"{baseline['seconds'] * share:.2f}s"]
                last = train("gpt", folder / f"gpt-{share:.3f}", seed, options.cpus, *limit)
                rows.append(row(label, seed, last, baseline))
    print(table(rows))


if __name__ == "__main__":
    main()
