"""Whole comparisons, in processes: to the end, with a failure, killed, and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from comparison_cases import TINY, Recorder

import malgil
from malgil.comparison import comparing, job
from malgil.comparison.comparing import run_comparison
from malgil.comparison.folder import ComparisonFolder, new_comparison, read_json, write_json
from malgil.comparison.planning import make_plan
from malgil.comparison.process import JobProcesses
from malgil.comparison.request import resumed
from malgil.config import Tree, merge
from malgil.errors import CheckpointError, ConfigError, InputError, ResumeMismatch, RunError

RECIPES = ("rnn", "gru")


def asked(corpus: Path, **changed: Any) -> dict[str, Any]:
    settings = merge(TINY, {"data": {"paths": [str(corpus)]}})
    return {"recipes": RECIPES, "tokens": 1500, "settings": settings, **changed}


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are done here: a process a job, which `test_comparison_process` tries, takes seconds to import PyTorch."""

    def do(processes: JobProcesses, spec: Tree, heard: Any) -> Tree:
        path = processes.folder.path / "spec.json"
        write_json(path, {**spec, "lengths": [8, 16]})
        job.main(str(path))
        heard({"share": 1.0})
        found = read_json(Path(spec["folder"]) / job.RESULT)
        assert found is not None
        return found

    monkeypatch.setattr(JobProcesses, "run", do)


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_a_comparison_from_python_and_more_of_it(tmp_path: Path, corpus: Path) -> None:
    """Two models with a choice of rates; then another seed and another recipe, and what was done is kept."""
    out = tmp_path / "비교"
    table = malgil.compare(RECIPES, data=corpus, tokens=1500, tune=2, out=out, quiet=True, **TINY)
    assert {row["recipe"] for row in table.rows} == set(RECIPES)
    assert table.report.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert table.to_markdown().count("\n") == 3
    assert table.result["language"] == "ko"
    assert set(table.result["tuning"]) == set(RECIPES)
    assert json.loads((out / "compare.json").read_text(encoding="utf-8")) == table.result
    training = table.result["models"][0]["runs"][0]["settings"]["training"]
    assert (training["learning_rate"], training["rate_scale"]) == (0.01, table.result["tuning"]["rnn"]["factor"])

    display = Recorder()
    more = run_comparison({"recipes": ("lstm",), "seeds": "2"}, out=out, resume=True, display=display)
    assert {f"{name}-1337" for name in RECIPES} <= set(display.were_done)
    assert display.begun == ["lstm-x0.5", "lstm-x1", "lstm-1337", *(f"{name}-1338" for name in (*RECIPES, "lstm"))]
    assert [row["runs"] for row in more.rows] == [2, 2, 2]
    assert all(row["bits_per_byte_interval"] is not None for row in more.rows)

    again = Recorder()
    run_comparison({}, out=out, resume=True, display=again)
    assert again.begun == []


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_a_recipe_that_fails_does_not_end_the_others(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(*arguments: Any) -> Tree:
        plan = make_plan(*arguments)
        plan["recipes"]["rnn"]["settings"]["training"] |= {"learning_rate": 1e30, "clip": None}
        return plan

    monkeypatch.setattr(comparing, "make_plan", spoilt)
    display = Recorder()
    table = run_comparison(asked(corpus), out=tmp_path / "c", display=display)
    assert [row["recipe"] for row in table.rows] == ["gru", "rnn"]
    assert "not finite" in table.rows[1]["failed"][0]
    assert any("failed: " in line for line in display.said)
    assert "rnn" in table.report.read_text(encoding="utf-8")
    monkeypatch.setattr(comparing, "make_plan", make_plan)
    spoiling = merge(asked(corpus)["settings"], {"training": {"learning_rate": 1e30, "clip": None}})
    with pytest.raises(RunError, match="every model has failed"):
        run_comparison(asked(corpus, settings=spoiling), out=tmp_path / "d", display=Recorder())


def started(corpus: Path, out: Path) -> subprocess.Popen[bytes]:
    """`malgil compare` in a process, in whose first job a training has begun."""
    options = [f"--{section}.{k.replace('_', '-')}={v}" for section, values in TINY.items() for k, v in values.items()]
    command = [sys.executable, "-m", "malgil", "compare", "--data", str(corpus), "--recipes", ",".join(RECIPES)]
    process = subprocess.Popen(
        [*command, "--tokens", "40000", "--out", str(out), "--training.checkpoint-every=5", *options],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    checkpoints, until = out / "runs" / "rnn-1337" / "checkpoints", time.monotonic() + 120
    while not list(checkpoints.glob("step-*/manifest.json")):
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.05)
    return process


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_stopped_it_goes_on(tmp_path: Path, corpus: Path, number: int, status: int) -> None:
    out = tmp_path / "c"
    process = started(corpus, out)
    os.kill(process.pid, number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == status
    if number != signal.SIGKILL:
        assert b"--resume goes on from there" in said
        kept = read_json(out / "compare.json")
        assert kept is not None
        assert kept["status"] == "interrupted"
    lock = out / "runs" / "rnn-1337" / ".lock"
    until = time.monotonic() + 30
    while lock.exists() and _alive(int(lock.read_text().strip() or 0)):  # its job ends with it
        assert time.monotonic() < until
        time.sleep(0.1)
    display = Recorder()
    table = run_comparison({}, out=out, resume=True, display=display)
    assert [row["runs"] for row in table.rows] == [1, 1]
    assert display.begun == ["rnn-1337", "gru-1337"]
    log = (out / "jobs" / "rnn-1337.log").read_text(encoding="utf-8")
    assert "Traceback" not in log


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OSError):
        return False
    return Path(f"/proc/{pid}/status").exists() and "zombie" not in Path(f"/proc/{pid}/status").read_text()


def test_data_that_changed_are_refused(tmp_path: Path, corpus: Path) -> None:
    text = tmp_path / "글.txt"
    text.write_text(corpus.read_text(encoding="utf-8"), encoding="utf-8")
    folder = ComparisonFolder(tmp_path / "c")
    plan = make_plan(comparing.Request(**asked(text)), folder, lambda said: None)
    folder.write_plan(plan)
    text.write_text(corpus.read_text(encoding="utf-8") + "한 줄 더.\n", encoding="utf-8")
    with pytest.raises(ResumeMismatch, match=r"the data have changed since this comparison began"):
        run_comparison({}, out=folder.path, resume=True, display=Recorder())
    assert read_json(folder.plan) == plan


def test_a_folder_that_was_moved_has_its_tokenizer_with_it(tmp_path: Path, corpus: Path) -> None:
    request, before = comparing.Request(**asked(corpus)), ComparisonFolder(tmp_path / "앞")
    before.write_plan(make_plan(request, before, lambda said: None))
    after = ComparisonFolder(before.path.rename(tmp_path / "뒤"))
    plan = make_plan(request, after, lambda said: None)
    paths = {plan["recipes"][name]["settings"]["tokenizer"]["path"] for name in RECIPES}
    assert paths == {str(after.tokenizer)}


def test_a_plan_that_failed_can_be_made_again(tmp_path: Path, corpus: Path) -> None:
    out = tmp_path / "c"
    with pytest.raises(ConfigError, match="no width gives"):
        make_plan(comparing.Request(**asked(corpus), parameters=10), ComparisonFolder(out), lambda said: None)
    assert not out.exists()
    out.mkdir()
    (out / "tokenizer.json").write_text("{}", encoding="utf-8")  # of a plan that was killed before it was written
    assert new_comparison(out).path == out
    folder = ComparisonFolder(out)
    folder.write_plan(make_plan(comparing.Request(**asked(corpus)), folder, lambda said: None))
    assert len(folder.tokenizer.read_text(encoding="utf-8")) > 100
    with pytest.raises(InputError, match="exists already"):
        new_comparison(out)


def test_each_begun_comparison_has_a_folder_of_its_own(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = new_comparison(None), new_comparison(None)
    assert first.path != second.path
    assert first.path.is_dir()
    with pytest.raises(ConfigError, match="no width gives"):  # a plan that fails leaves none behind
        run_comparison(asked(corpus, parameters=10), display=Recorder())
    assert sorted(Path("runs").iterdir()) == sorted([first.path, second.path])


def test_numbers_that_are_not_finite_are_null(tmp_path: Path) -> None:
    write_json(tmp_path / "수.json", {"a": [float("inf"), 1.5], "b": float("nan")})
    assert read_json(tmp_path / "수.json") == {"a": [None, 1.5], "b": None}


def test_the_default_budget_may_be_repeated(tmp_path: Path) -> None:
    before = comparing.Request()
    assert resumed(before, {"seconds": 60.0, "seeds": 2}).seeds == 2
    with pytest.raises(ResumeMismatch, match=r"seconds: 60\.0 before, 30\.0 asked"):
        resumed(before, {"seconds": 30.0})


def test_a_share_above_one_is_refused(tmp_path: Path, corpus: Path) -> None:
    request = comparing.Request(
        tokens=100, quality=80.0, settings={**TINY, "data": {"paths": [str(corpus.with_suffix(".csv"))]}}
    )
    with pytest.raises(ConfigError, match=r"accuracy is a share of 1, and 80 is more; --quality; say --quality 0\.8"):
        make_plan(request, ComparisonFolder(tmp_path / "c"), lambda said: None)


def test_what_cannot_go_on_is_refused(tmp_path: Path, corpus: Path) -> None:
    with pytest.raises(CheckpointError, match="no comparison here"):
        run_comparison({}, out=tmp_path / "없음", resume=True, display=Recorder())
    folder = ComparisonFolder(tmp_path / "c")
    request = comparing.Request(**asked(corpus))
    plan = make_plan(request, folder, lambda text: None)
    folder.write_plan(plan)
    with pytest.raises(ResumeMismatch, match="tokens: 1500 before, 2000 asked"):
        run_comparison({"tokens": 2000}, out=folder.path, resume=True, display=Recorder())
    with pytest.raises(InputError, match="exists already"):
        run_comparison(asked(corpus), out=folder.path, display=Recorder())
    assert read_json(folder.plan) == plan
