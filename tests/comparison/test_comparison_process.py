"""The process of a job, with a script in its place: what it tells, how it ends, and how it is stopped."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from malgil.comparison.folder import ComparisonFolder, read_json
from malgil.comparison.process import run_job
from malgil.config import Tree
from malgil.errors import Interrupted

DONE = {"name": "말-7", "recipe": "말", "seed": 7, "status": "finished", "tokens": 5}


@pytest.fixture
def spec(tmp_path: Path) -> Tree:
    (tmp_path / "runs" / "말-7").mkdir(parents=True)
    return {"name": "말-7", "recipe": "말", "seed": 7, "folder": str(tmp_path / "runs" / "말-7")}


def script(monkeypatch: pytest.MonkeyPatch, where: Path, lines: str) -> None:
    """Takes the place of Python; $3 is the job's file."""
    path = where / "python"
    path.write_text(f"#!/bin/sh\n{lines}\n", encoding="utf-8")
    path.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(path))


def test_what_it_tells_is_heard_and_its_result_returned(
    tmp_path: Path, spec: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = Path(spec["folder"]) / "job.json"
    told = """echo '{"say": "말길"}'
printf '{"share": '
sleep 0.3
echo '0.5}'
echo 'no json'
echo 'a warning' >&2"""
    script(monkeypatch, tmp_path, f"{told}\ntest -f \"$3\" && echo '{json.dumps(DONE)}' > '{result}'")
    heard: list[Tree] = []
    assert run_job(spec, ComparisonFolder(tmp_path), heard.append, lambda: 0) == DONE
    assert [fact for fact in heard if fact] == [{"say": "말길"}, {"share": 0.5}]
    assert {} in heard  # so that a clock can move
    assert (tmp_path / "jobs" / "말-7.log").read_text() == "a warning\n"
    assert read_json(tmp_path / "jobs" / "말-7.json") == spec


@pytest.mark.parametrize(
    "lines, said",
    [("kill -9 $$", "killed by signal 9 (out of memory?)"), ("exit 3", "its process ended with 3")],
)
def test_a_process_that_dies_has_failed(
    tmp_path: Path, spec: Tree, monkeypatch: pytest.MonkeyPatch, lines: str, said: str
) -> None:
    script(monkeypatch, tmp_path, lines)
    result = run_job(spec, ComparisonFolder(tmp_path), lambda fact: None, lambda: 0)
    assert result["status"] == "failed"
    assert result["error"].startswith(said)
    assert read_json(Path(spec["folder"]) / "job.json") == result


def test_its_own_word_on_a_failure_is_kept(tmp_path: Path, spec: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = {**DONE, "status": "failed", "error": "손실이 유한하지 않음"}
    script(monkeypatch, tmp_path, f"echo '{json.dumps(failed)}' > '{spec['folder']}/job.json'; exit 1")
    assert run_job(spec, ComparisonFolder(tmp_path), lambda fact: None, lambda: 0) == failed


def test_a_signal_is_passed_on_and_waited_for(tmp_path: Path, spec: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = tmp_path / "saved"
    trap = f"trap 'touch {saved}; exit 143' TERM\necho '{{\"share\": 0.1}}'\nwhile true; do sleep 0.05; done"
    script(monkeypatch, tmp_path, trap)
    heard: list[Tree] = []
    with pytest.raises(Interrupted, match="--resume goes on") as error:
        run_job(spec, ComparisonFolder(tmp_path), heard.append, lambda: 2 if {"share": 0.1} in heard else 0)
    assert error.value.exit_status == 130
    assert saved.exists()
    assert read_json(Path(spec["folder"]) / "job.json") is None


def test_nothing_outlives_an_error_of_the_comparison(
    tmp_path: Path, spec: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, tmp_path, 'echo "{\\"pid\\": $$}"\nwhile true; do sleep 0.05; done')
    pids: list[int] = []

    def heard(fact: Tree) -> None:
        if "pid" in fact:
            pids.append(fact["pid"])
            raise KeyError("말길")

    with pytest.raises(KeyError):
        run_job(spec, ComparisonFolder(tmp_path), heard, lambda: 0)
    until = time.monotonic() + 10
    while Path(f"/proc/{pids[0]}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
