"""Exact resume: runs of every family, killed (SIGKILL) at random moments and resumed, against runs left in peace.

    python benchmarks/resume.py --kills 20

A kill may fall on anything from the first step to the writing of the last weights, a checkpoint included. Compared
bit by bit: the kept weights, the last checkpoint's weights, optimizer and carried states, every logged number
(but seconds and speed), and the samples. Dropout, shuffling, accumulation and checkpoints every few steps are on;
every second run prepares its batches in two worker processes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

from common import machine, table
from malgil.cli.main import main as malgil

# forked from a server that has imported PyTorch and done nothing else: a process begins at once
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["malgil.runs.training", "malgil.cli.main", "torch._dynamo"])

TRAINING = [
    *("--training.steps", "60", "--training.batch-size", "4", "--training.accumulate", "2", "--training.warmup", "5"),
    *("--training.checkpoint-every", "4", "--training.evaluate-every", "15", "--training.sample-every", "30"),
    *("--training.log-every", "1", "--training.precision", "fp32", "--threads", "1", "--device", "cpu"),
]
SIZE = ["--tokenizer.kind", "char", "--model.n-layers", "2", "--model.d-model", "32", "--model.dropout", "0.1"]
ATTENTION, RECURRENT = ["--model.n-heads", "2", "--model.max-len", "32"], ["--model.max-len", "16"]
FAMILIES = {"rnn": RECURRENT, "gru": RECURRENT, "lstm": RECURRENT, "gpt2": ATTENTION, "gpt": ATTENTION}


def start(words: list[str], log: Path) -> ForkServerProcess:
    process = CONTEXT.Process(target=_work, args=(words, str(log)))
    process.start()
    return process


def complete(words: list[str], log: Path) -> None:
    process = start(words, log)
    process.join()
    if process.exitcode:
        sys.exit(f"{' '.join(words)} ended with status {process.exitcode}:\n{log.read_text(encoding='utf-8')}")


def killed(words: list[str], out: Path, log: Path, after: float) -> tuple[bool, int, bool]:
    """Start a run and kill it `after` seconds from its first file.

    Returns: whether it was still running; its last logged step; whether it was writing a checkpoint.
    """
    process = start(words, log)
    while not (out / "config.yaml").exists() and process.is_alive():
        time.sleep(0.001)
    process.join(after)
    process.kill()
    process.join()
    metrics = out / "metrics.jsonl"
    steps = metrics.read_bytes().count(b"\n") if metrics.exists() else 0
    writing = any((out / "checkpoints").glob(".step-*.partial"))
    return process.exitcode == -signal.SIGKILL, steps, writing


def bits(out: Path) -> dict[str, Any]:
    """All that two runs which are one have in common."""
    last = max((out / "checkpoints").glob("step-*"))
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    for line in lines:
        del line["seconds"], line["tokens_per_second"]
    files = {p.name: p.read_bytes() for p in last.glob("*.safetensors")}
    kept, samples = (out / "model.safetensors").read_bytes(), (out / "samples.jsonl").read_bytes()
    return {**files, "kept": kept, "samples": samples, "metrics": lines}


def trial(recipe: str, kills: int, folder: Path, seed: int) -> dict[str, Any]:
    """One family: a run left in peace, then runs that are killed once and resumed."""
    text, log = folder / "text.txt", folder / "log"

    def words(out: Path, workers: int) -> list[str]:
        place = ["--data", str(text), "--out", str(out), "--data.workers", str(workers)]
        return ["train", recipe, *place, *SIZE, *FAMILIES[recipe], *TRAINING]

    began = time.monotonic()
    whole = folder / f"{recipe}-whole"
    complete(words(whole, 0), log)
    lasted = time.time() - (whole / "config.yaml").stat().st_mtime
    draw, expected = random.Random(f"{seed} {recipe}"), bits(whole)
    identical, done, writing, steps = 0, 0, 0, set()
    while done < kills:
        out = folder / f"{recipe}-{time.monotonic_ns()}"
        was_running, step, was_writing = killed(words(out, 2 * (done % 2)), out, log, draw.uniform(0, lasted))
        if not was_running:
            continue  # it was faster than the undisturbed one
        complete(["train", "--resume", "--out", str(out)], log)
        done, writing = done + 1, writing + was_writing
        steps.add(step)
        identical += bits(out) == expected
    return {
        "recipe": recipe,
        "kills": kills,
        "identical bits": identical,
        "distinct steps": len(steps),
        "while a checkpoint was written": writing,
        "a run lasts": f"{lasted:.1f} s",
        "minutes": f"{(time.monotonic() - began) / 60:.1f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="kills a family")
    parser.add_argument("--recipes", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    print(machine(), flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "text.txt").write_text("\n\n".join(topics.values())[:40_000], encoding="utf-8")
        for recipe in arguments.recipes:
            rows.append(trial(recipe, arguments.kills, Path(name), arguments.seed))
            print(rows[-1], file=sys.stderr, flush=True)
    print(table(rows))
    if any(row["identical bits"] != row["kills"] for row in rows):
        sys.exit("some runs did not end with the same bits")


def _work(words: list[str], log: str) -> None:
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(handle, stream)
    multiprocessing.set_start_method("fork", force=True)  # the platform's own for the loader's workers
    sys.exit(malgil(words))


if __name__ == "__main__":
    main()
