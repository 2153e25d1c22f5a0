"""A job does its work in steps, each of which is kept: trained, measured, finished."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from comparison_cases import TINY

from malgil.comparison import job as job_module
from malgil.comparison.folder import ComparisonFolder, read_json, write_json
from malgil.comparison.job import Reporter, main, work
from malgil.comparison.jobs import runs, trials
from malgil.comparison.planning import make_plan
from malgil.comparison.request import Request
from malgil.comparison.table import summarise
from malgil.config import Tree, merge
from malgil.report.compare_report import render_comparison
from malgil.runs.pretraining import place_of
from malgil.runs.run import Run
from malgil.runs.tasks import task_of

RECIPES = {".txt": ("rnn", "gpt2"), ".tsv": ("seq2seq", "transformer"), ".csv": ("classify-birnn", "classify")}


@pytest.fixture
def jobs(tmp_path: Path, corpus: Path, request: pytest.FixtureRequest) -> list[Tree]:
    """Those of a tiny comparison of text, or of the data whose suffix a test names."""
    return planned(tmp_path, corpus, getattr(request, "param", ".txt"))[1]


def planned(where: Path, corpus: Path, suffix: str, **changed: Any) -> tuple[Tree, list[Tree]]:
    tiny = merge(TINY, {"model": {"max_len": 40}, "data": {"paths": [str(corpus.with_suffix(suffix))]}})
    request = Request(**{"recipes": RECIPES[suffix], "tokens": 3000, "settings": tiny, **changed})
    folder = ComparisonFolder(where / "c")
    plan = make_plan(request, folder, lambda text: None)
    made = [*trials(plan, folder), *runs(plan, folder, {})]
    return plan, [{**one, "lengths": [8, 16, 32]} for one in made]


def told(capsys: pytest.CaptureFixture[str]) -> list[Tree]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", RECIPES)
def test_everything_is_measured(tmp_path: Path, corpus: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    plan, (first, second) = planned(tmp_path, corpus, suffix)
    results = [work(first, Reporter()), work(second, Reporter())]
    stages = [fact["stage"] for fact in told(capsys) if "stage" in fact]
    assert stages == 2 * ["training", "loading", "evaluating", "errors", "samples", "use", "lengths"]
    compared = task_of(plan["objective"]).compared
    assert compared is not None
    for job, result in zip((first, second), results, strict=True):
        assert result == read_json(Path(job["folder"]) / "job.json")
        assert result["status"] == "finished"
        assert result["tokens"] >= 2900  # pairs are counted by their mean
        heads = sum(p.numel() for p in Run(job["folder"]).assembled.parts.parameters())
        assert result["parameters"] == plan["recipes"][job["recipe"]]["parameters"] + heads
        assert set(result["figures"]) == {figure.name for figure in compared.figures}
        # the last point of the curve and the evaluation are of the same weights
        assert result["curve"][-1]["val_loss"] == pytest.approx(result["figures"]["loss"], rel=1e-5)
        assert result["use"]["latency"] > 0
        assert result["use"]["throughput"] > 0
        assert [one["length"] for one in result["lengths"]] == [8, 16, 32]
        assert all(one[key] > 0 for one in result["lengths"] for key in ("training", "reading"))
        writes = compared.kind != "labels"
        assert all((one["writing"] is not None) == writes for one in result["lengths"])
        assert result["size"] == (Path(job["folder"]) / "model.safetensors").stat().st_size
        assert result["peak_memory"] > 50 * 2**20
        assert all(math.isfinite(band["value"]) for profile in result["profiles"] for band in profile["bands"])
        assert result["settings"]["training"]["keep"] == "last"
        assert 0 < result["wall"]["evaluations"] < result["wall"]["training"]
    prompts = [[sample["prompt"] for sample in result["samples"]] for result in results]
    assert prompts[0] == prompts[1]
    assert len(prompts[0]) >= 2
    table = summarise(plan, compared, results, {}, "finished")
    assert [row["runs"] for row in table["rows"]] == [1, 1]
    assert "<html" in render_comparison(table, "ko")


@pytest.mark.slow
def test_what_a_pretraining_takes_is_of_the_budget(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tokens, time and energy of both trainings count; of the first one's figures none is told."""
    asked = {"recipes": ("classify", "classify-pretrained"), "tune": 2}
    _, (*_, trial, plain, pretrained) = planned(tmp_path, corpus, ".csv", **asked)
    first, after = work(plain, Reporter()), work(pretrained, Reporter())
    facts = told(capsys)
    assert {tuple(fact["evaluated"]) for fact in facts if "evaluated" in fact} == {
        ("val_loss", "val_accuracy", "val_f1", "val_matthews")
    }
    assert after["tokens"] == pytest.approx(first["tokens"], rel=0.05)
    parts = [Run(place) for place in (place_of(Path(pretrained["folder"])), pretrained["folder"])]
    assert after["tokens"] == sum(run.metrics[-1]["tokens"] for run in parts)
    assert after["seconds"] == pytest.approx(sum(run.metrics[-1]["seconds"] for run in parts))
    assert after["curve"][0]["tokens"] > parts[0].metrics[-1]["tokens"] > 1000
    assert after["curve"][-1]["tokens"] == after["tokens"]
    assert after["energy"]["joules"] > 0
    work(trial, Reporter())
    assert [path.name for path in (tmp_path / "c" / "tuning").iterdir()] == [Path(trial["folder"]).name]
    shares = [fact["share"] for fact in told(capsys) if "share" in fact]
    assert shares == sorted(shares)


@pytest.mark.slow
def test_what_is_done_is_not_done_again(jobs: list[Tree], monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after its training, a job measures; killed later, it has nothing left to do."""
    job = jobs[0]
    known = job_module._trained(job, job_module.RunFolder(Path(job["folder"])), Reporter())
    write_json(Path(job["folder"]) / "job.json", known)
    monkeypatch.setattr(job_module, "train", None)
    found = work(job, Reporter())
    assert found["status"] == "finished"
    assert found["curve"] == known["curve"]
    monkeypatch.setattr(job_module, "_measured", None)
    assert work(job, Reporter()) == found


@pytest.mark.slow
def test_a_training_that_was_stopped_ends_with_the_same_figures(jobs: list[Tree]) -> None:
    """The run's own exact resume: from its last checkpoint, as after a kill."""
    job = jobs[0]
    whole = work(job, Reporter())
    folder = Path(job["folder"])
    steps = sorted((folder / "checkpoints").glob("step-*"))
    assert len(steps) > 1
    shutil.rmtree(steps[-1])
    (folder / "model.safetensors").unlink()
    (folder / "job.json").unlink()
    again = work(job, Reporter())
    assert [point["val_loss"] for point in again["curve"]] == [point["val_loss"] for point in whole["curve"]]


@pytest.mark.slow
def test_a_run_that_was_only_begun_is_begun_anew(jobs: list[Tree]) -> None:
    folder = Path(jobs[0]["folder"])
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text("말", encoding="utf-8")
    assert work(jobs[0], Reporter())["status"] == "finished"
    (folder / "job.json").unlink()
    (folder / "config.yaml").write_text("recipe: [", encoding="utf-8")
    with pytest.raises(ValueError, match="not valid YAML"):
        Run(folder).config  # noqa: B018 - what a damaged run says
    assert work(jobs[0], Reporter())["status"] == "finished"


@pytest.mark.slow
def test_a_trial_leaves_its_figure_alone(tmp_path: Path, corpus: Path) -> None:
    _, made = planned(tmp_path, corpus, ".txt", tune=2)
    trial = made[0]
    result = work(trial, Reporter())
    assert len(result["curve"]) == 1
    left = {path.name for path in Path(trial["folder"]).iterdir()}
    assert "model.safetensors" not in left
    assert "checkpoints" not in left
    # the validation part of the comparison was not touched
    text = corpus.read_text(encoding="utf-8")
    whole = Run(trial["folder"]).settings.data
    part = task_of("causal_lm").opened(whole)
    held = "".join(chunk for document in part.validation.documents() for chunk in document)
    rest = "".join(chunk for document in part.train.documents() for chunk in document)
    cut = int(0.9 * len(text))
    assert rest + held == text[:cut]
    assert len(held) == cut - int(0.9 * cut)


@pytest.mark.slow
def test_a_failure_is_written_down(jobs: list[Tree], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = merge(jobs[0], {"settings": {"training": {"learning_rate": 1e30, "clip": None}}})
    path = tmp_path / "말.json"
    write_json(path, job)
    assert main(str(path)) == 1
    result = read_json(Path(job["folder"]) / "job.json")
    assert result is not None
    assert result["status"] == "failed"
    assert "not finite" in result["error"]
    assert "NonFiniteError" in capsys.readouterr().err
    write_json(path, jobs[0])
    assert main(str(path)) == 0  # tried again, it may succeed
    assert main(str(tmp_path / "없음.json")) == 2
