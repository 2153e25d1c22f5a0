"""The real command in a process of its own: one for each exit status, and how soon it answers."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_cases import TEXT, TINY

MALGIL = [sys.executable, "-m", "malgil"]


def malgil(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [*MALGIL, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, encoding="utf-8", timeout=120, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path


def test_done_is_0_and_help_answers_at_once(folder: Path) -> None:
    for arguments in ([], ["--help"], ["train", "--help"]):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        said = malgil(*arguments, cwd=folder)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert said.returncode == 0
        assert "train" in said.stdout
        assert said.stderr == ""
        # the processor's time, which a busy machine does not stretch
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


@pytest.mark.slow
def test_the_users_fault_is_2(folder: Path) -> None:
    said = malgil("train", "gpt2", "--data", "missing-말.txt", cwd=folder)
    assert said.returncode == 2
    assert said.stdout == ""
    assert said.stderr.splitlines()[-1].startswith("error[data]: no such file or folder; missing-말.txt; ")
    assert "Traceback" not in said.stderr
    shown = malgil("train", "gpt2", "--data", "missing-말.txt", "--debug", cwd=folder)
    assert "Traceback" in shown.stderr


@pytest.mark.slow
def test_a_run_that_failed_is_1(folder: Path) -> None:
    arguments = ("--steps", 3, *TINY, "--training.learning-rate", "1e30")
    said = malgil("train", "gpt2", "--data", "text.txt", *arguments, cwd=folder)
    assert said.returncode == 1
    assert said.stderr.splitlines()[-1].startswith("error[non_finite]: ")


@pytest.mark.slow
@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_leaves(folder: Path, number: int, status: int) -> None:
    command = [*MALGIL, "train", "gpt2", "--data", "text.txt", "--out", "run", "--time", "60s", *TINY]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True, encoding="utf-8")
    metrics = folder / "run" / "metrics.jsonl"
    try:
        deadline = time.monotonic() + 60
        while not (metrics.exists() and metrics.stat().st_size):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        started = time.monotonic()
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
        assert time.monotonic() - started < 10
    finally:
        process.kill()
    assert process.returncode == status
    assert err.splitlines()[-1].startswith("error[interrupted]: ")
    assert "Traceback" not in err
    assert list((folder / "run" / "checkpoints").glob("step-*/manifest.json"))
    said = malgil("runs", ".", cwd=folder)
    assert "interrupted" in said.stdout


@pytest.mark.slow
def test_a_reader_that_leaves_is_no_error(folder: Path, run: Path) -> None:
    command = [
        *MALGIL,
        "generate",
        run,
        "--prompt",
        "말길",
        "--max-tokens",
        "4000",
        "--temperature",
        "2",
        "--threads",
        "1",
    ]
    arguments = list(map(str, command))
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(6) == "말길".encode()  # it comes while the rest is still being written
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 0


@pytest.mark.slow
def test_a_terminal_that_knows_no_hangul(folder: Path, run: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [*MALGIL, "generate", str(run), "--prompt", "말길", "--max-tokens", "2"]
    said = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=60, check=False)
    assert said.returncode == 0
    assert said.stdout.startswith(b"\\ub9d0\\uae38")
