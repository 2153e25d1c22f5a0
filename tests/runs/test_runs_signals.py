"""Real processes: killed at a random moment, asked to stop, or shut out of a folder that is in use."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from run_cases import bits, sentences, steps_saved
from run_processes import arguments, finish, lines_in, run, start, wait_for

pytestmark = pytest.mark.slow

LONG = {"steps": 100_000, "evaluate_every": 50_000, "sample_every": 50_000, "checkpoint_every": 7, "log_every": 1}


@pytest.mark.parametrize(("recipe", "workers", "seed"), [("lstm", 2, 1), ("gpt", 0, 2)])
def test_a_killed_run_ends_with_the_same_bits(
    recipe: str, workers: int, seed: int, corpus: Path, tmp_path: Path
) -> None:
    rhythm = {"steps": 40, "evaluate_every": 9, "sample_every": 20, "checkpoint_every": 4}

    def words(name: str) -> list[str]:
        return [*arguments(recipe, corpus, tmp_path / name, **rhythm), "--data.workers", str(workers)]

    draw = random.Random(seed)
    process = start(words("killed"), tmp_path / "log")
    metrics = tmp_path / "killed" / "metrics.jsonl"
    step = draw.randrange(5, 35)
    wait_for(lambda: lines_in(metrics) >= step)
    time.sleep(draw.uniform(0, 0.03))
    process.kill()
    assert finish(process) == -signal.SIGKILL
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    assert run(["train", "--resume", "--out", str(tmp_path / "killed")], tmp_path / "log") == 0
    assert "going on from step" in (tmp_path / "log").read_text(encoding="utf-8")

    assert run(words("whole"), tmp_path / "log") == 0
    assert bits(tmp_path / "killed") == bits(tmp_path / "whole")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_exits(number: signal.Signals, status: int, corpus: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "run", tmp_path / "log"
    words = arguments("lstm", corpus, out, **LONG)
    process: subprocess.Popen[bytes] | None = None
    if number == signal.SIGTERM:  # the command itself, as a shell would start it
        with log.open("wb") as file:
            process = subprocess.Popen([sys.executable, "-m", "malgil.cli.main", *words], stdout=file, stderr=file)
        number_of_process, wait = process.pid, lambda: process.wait(60)
    else:
        forked = start(words, log)
        number_of_process, wait = forked.pid or 0, lambda: finish(forked)
    wait_for(lambda: lines_in(out / "metrics.jsonl") > 20)
    asked = time.monotonic()
    os.kill(number_of_process, number)
    assert wait() == status
    assert time.monotonic() - asked < 10
    told = log.read_text(encoding="utf-8")
    last = told.strip().splitlines()[-1]
    saying = rf"error\[interrupted\]: stopped by signal {int(number)}; saved at step (\d+); --resume goes on from there"
    found = re.fullmatch(saying, last)
    assert found, last
    assert steps_saved(out)[-1] == int(found[1])
    # what was saved goes on
    again = start(["train", "--resume", "--out", str(out)], tmp_path / "log")
    wait_for(lambda: lines_in(out / "metrics.jsonl") > int(found[1]) + 5)
    again.kill()
    finish(again)
    assert f"going on from step {found[1]}" in (tmp_path / "log").read_text(encoding="utf-8")


def test_a_signal_while_evaluating(corpus: Path, tmp_path: Path) -> None:
    """The validation text takes minutes; the run is left within seconds and evaluates when it goes on."""
    long = tmp_path / "long.txt"
    long.write_text(sentences(400_000), encoding="utf-8")
    out, log = tmp_path / "run", tmp_path / "log"
    rhythm = {"steps": 4, "evaluate_every": 2, "sample_every": 2, "checkpoint_every": 50, "log_every": 1}
    process = start([*arguments("rnn", corpus, out, **rhythm), "--data.validation", str(long)], log)
    wait_for(lambda: lines_in(out / "metrics.jsonl") >= 1)
    time.sleep(0.5)  # step 2 is over long since
    asked = time.monotonic()
    os.kill(process.pid or 0, signal.SIGTERM)
    assert finish(process) == 143
    assert time.monotonic() - asked < 10
    assert "saved at step 2; --resume" in log.read_text(encoding="utf-8")
    assert steps_saved(out) == [2]
    assert lines_in(out / "metrics.jsonl") == 1  # the line of step 2 waits for its evaluation


def test_the_second_signal_stops_at_once(corpus: Path, tmp_path: Path) -> None:
    """While the first one is being served: here, by a step that takes for ever."""
    out, log = tmp_path / "run", tmp_path / "log"
    endless = {"steps": 2, "batch_size": 2000, "accumulate": 1000, "log_every": 1, "evaluate_every": 2}
    big = tmp_path / "big.txt"
    big.write_text(sentences(70_000), encoding="utf-8")
    process = start([*arguments("gpt2", big, out, **endless), "--data.sampling", "random"], log)
    wait_for(lambda: (out / "tokenizer.json").exists() and "parameters" in log.read_text(encoding="utf-8"))
    time.sleep(0.3)
    for number in (signal.SIGTERM, signal.SIGTERM):
        assert process.is_alive()
        os.kill(process.pid or 0, number)
        time.sleep(0.3)
    asked = time.monotonic()
    assert finish(process) == -signal.SIGTERM
    assert time.monotonic() - asked < 5
    assert not (out / "checkpoints").exists()


def test_a_second_process_is_shut_out(corpus: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "run", tmp_path / "log"
    first = start(arguments("lstm", corpus, out, **LONG), log)
    wait_for(lambda: lines_in(out / "metrics.jsonl") >= 1)
    assert run(["train", "--resume", "--out", str(out)], tmp_path / "second") == 2
    told = (tmp_path / "second").read_text(encoding="utf-8")
    assert f"error[input]: the folder is in use by process {first.pid}; {out}; wait until" in told
    assert run(arguments("lstm", corpus, out, **LONG), tmp_path / "third") == 2
    assert "exists already" in (tmp_path / "third").read_text(encoding="utf-8")
    assert first.is_alive()
    first.kill()
    finish(first)


def test_bad_numbers_exit_with_1(corpus: Path, tmp_path: Path) -> None:
    words = arguments("gpt2", corpus, tmp_path / "run", learning_rate="1e30", warmup=0, clip="none")
    assert run(words, tmp_path / "log") == 1
    told = (tmp_path / "log").read_text(encoding="utf-8")
    assert re.search(r"error\[non_finite\]: the loss is not finite; step \d+; lower \S*training\.learning_rate", told)
    assert "Traceback" not in told
