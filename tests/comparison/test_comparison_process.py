"""The processes of jobs, with a few lines in the place of a job: what they tell, how they end, how they are stopped."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from malgil.comparison.folder import ComparisonFolder, read_json
from malgil.comparison.process import JobProcesses
from malgil.config import Tree
from malgil.errors import Interrupted

DONE = {"name": "말-7", "recipe": "말", "seed": 7, "status": "finished", "tokens": 5}
#: takes the place of `python -m malgil.comparison.starter`, and of `python -m malgil.comparison.job FILE`
STAND_IN = """\
import sys, types
import malgil.comparison

job = types.ModuleType("malgil.comparison.job")
exec(open({lines!r}, encoding="utf-8").read(), vars(job))
malgil.comparison.job = sys.modules[job.__name__] = job
from malgil.comparison import starter

starter.FORKS, sys.executable = {forks}, {python!r}
if sys.argv[2] == starter.__name__:
    sys.exit(starter.main())
starter.end_with_parent()
sys.exit(job.main(sys.argv[3]))
"""
FOREVER = """
while True:
    time.sleep(0.05)"""
Told = Callable[[Tree], None]


@pytest.fixture
def spec(tmp_path: Path) -> Tree:
    (tmp_path / "runs" / "말-7").mkdir(parents=True)
    return {"name": "말-7", "recipe": "말", "seed": 7, "folder": str(tmp_path / "runs" / "말-7")}


@pytest.fixture(params=[True, False], ids=["forks", "new processes"])
def does(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a job of lines of Python, in which `spec` is what its file says, and what `answer` is given its result."""

    def lines(code: str) -> None:
        head = """\
import json, os, pathlib, signal, sys, time

def main(path):
    spec = json.loads(pathlib.Path(path).read_text())
    def answer(result):
        (pathlib.Path(spec["folder"]) / "job.json").write_text(json.dumps(result))
"""
        (tmp_path / "lines.py").write_text(head + textwrap.indent(code, "    "), encoding="utf-8")
        stand_in, python = tmp_path / "stand_in.py", tmp_path / "python"
        facts = {"lines": str(tmp_path / "lines.py"), "forks": request.param, "python": str(python)}
        stand_in.write_text(STAND_IN.format(**facts), encoding="utf-8")
        python.write_text(f'#!/bin/sh\nexec "{executable}" "{stand_in}" "$@"\n', encoding="utf-8")
        python.chmod(0o755)
        monkeypatch.setattr("sys.executable", str(python))

    executable = sys.executable
    return lines


def run_job(spec: Tree, folder: Path, heard: Told = lambda fact: None, pending: Callable[[], int] = lambda: 0) -> Tree:
    with JobProcesses(ComparisonFolder(folder), pending) as processes:
        return processes.run(spec, heard)


def ends(pid: int) -> bool:
    """Whether a process ends within a while."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_what_it_tells_is_heard_and_its_result_returned(
    tmp_path: Path, spec: Tree, does: Callable[[str], None]
) -> None:
    does(f"""\
print(json.dumps({{"say": "말길"}}), flush=True)
print('{{"share": ', end="", flush=True)
time.sleep(0.3)
print("0.5}}\\nno json\\n5")
print("a warning", file=sys.stderr)
answer({DONE})
return 0""")
    heard: list[Tree] = []
    assert run_job(spec, tmp_path, heard.append) == DONE
    assert [fact for fact in heard if fact] == [{"say": "말길"}, {"share": 0.5}]
    assert {} in heard  # so that a clock can move
    assert (tmp_path / "jobs" / "말-7.log").read_text() == "a warning\n"
    assert read_json(tmp_path / "jobs" / "말-7.json") == spec


def test_each_job_is_a_process_of_its_own(tmp_path: Path, spec: Tree, does: Callable[[str], None]) -> None:
    does("""\
left = globals().setdefault("left", [])
left.append(spec["name"])
answer({"status": "finished", "left": left, "pid": os.getpid()})
print("half a li", end="", flush=True)
print(spec["name"], file=sys.stderr)
return 0""")
    other = {**spec, "name": "길-8"}
    with JobProcesses(ComparisonFolder(tmp_path), lambda: 0) as processes:
        first, second = processes.run(spec, lambda fact: None), processes.run(other, lambda fact: None)
    assert (first["left"], second["left"]) == (["말-7"], ["길-8"])
    assert first["pid"] != second["pid"]
    assert (tmp_path / "jobs" / "길-8.log").read_text() == "길-8\n"


@pytest.mark.parametrize(
    "code, said",
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed by signal 9 (out of memory?)"),
        ("return 3", "its process ended with 3"),
        pytest.param(
            "os.kill(os.getppid(), signal.SIGKILL)" + FOREVER,
            "killed by signal 9 (out of memory?)",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="a job learns of its parent's end there alone"),
            id="parent",
        ),
    ],
)
def test_a_process_that_dies_has_failed_and_the_next_is_begun(
    tmp_path: Path, spec: Tree, does: Callable[[str], None], code: str, said: str
) -> None:
    other = {**spec, "name": "길-8"}
    does(f"""\
if spec["name"] == "길-8":
    answer({DONE})
    return 0
{code}""")
    with JobProcesses(ComparisonFolder(tmp_path), lambda: 0) as processes:
        result = processes.run(spec, lambda fact: None)
        assert result["status"] == "failed"
        assert result["error"].startswith(said)
        assert read_json(Path(spec["folder"]) / "job.json") == result
        assert processes.run(other, lambda fact: None) == DONE


def test_its_own_word_on_a_failure_is_kept(tmp_path: Path, spec: Tree, does: Callable[[str], None]) -> None:
    failed = {**DONE, "status": "failed", "error": "손실이 유한하지 않음"}
    does(f"answer({failed})\nreturn 1")
    assert run_job(spec, tmp_path) == failed


def test_a_signal_is_passed_on_and_waited_for(tmp_path: Path, spec: Tree, does: Callable[[str], None]) -> None:
    does("""\
def save(number, frame):
    time.sleep(0.3)
    pathlib.Path(spec["folder"], "saved").touch()
    sys.exit(128 + number)
signal.signal(signal.SIGTERM, save)
print(json.dumps({"share": 0.1}), flush=True)"""
        + FOREVER)  # fmt: skip
    heard: list[Tree] = []
    with pytest.raises(Interrupted, match="--resume goes on") as error:
        run_job(spec, tmp_path, heard.append, lambda: 2 if {"share": 0.1} in heard else 0)
    assert error.value.exit_status == 130
    assert (Path(spec["folder"]) / "saved").exists()
    assert read_json(Path(spec["folder"]) / "job.json") is None


def test_a_job_that_does_not_stop_is_killed(
    tmp_path: Path, spec: Tree, does: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("malgil.comparison.process.PATIENCE", 0.3)
    does('signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint(json.dumps({"pid": os.getpid()}), flush=True)' + FOREVER)
    heard: list[Tree] = []
    with pytest.raises(Interrupted):
        run_job(spec, tmp_path, heard.append, lambda: 15 if any(heard) else 0)
    assert ends(next(fact["pid"] for fact in heard if fact))


def test_nothing_outlives_an_error_of_the_comparison(tmp_path: Path, spec: Tree, does: Callable[[str], None]) -> None:
    does('print(json.dumps({"pid": os.getpid(), "parent": os.getppid()}), flush=True)' + FOREVER)
    pids: list[int] = []

    def heard(fact: Tree) -> None:
        if fact:
            pids.extend(fact.values())
            raise KeyError("말길")

    with pytest.raises(KeyError):
        run_job(spec, tmp_path, heard)
    assert len(pids) == 2
    assert all(map(ends, pids))
