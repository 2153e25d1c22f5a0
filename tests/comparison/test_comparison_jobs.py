"""Jobs that follow from a plan, and the choice of a learning rate."""

from __future__ import annotations

from pathlib import Path

from comparison_cases import plan, result

from malgil.comparison.folder import ComparisonFolder, write_json
from malgil.comparison.jobs import figure_of, is_done, result_of, runs, trials, tuning_of
from malgil.runs.compared import Figure

BITS, RIGHT = Figure("val_bits_per_byte"), Figure("val_accuracy", more=True)


def test_runs_take_turns_by_seed(tmp_path: Path) -> None:
    jobs = runs(plan({"말": 5, "길": 6}, seeds=2), ComparisonFolder(tmp_path), {"길": 2.0})
    assert [job["name"] for job in jobs] == ["말-7", "길-7", "말-8", "길-8"]
    assert [job["settings"]["training"]["seed"] for job in jobs] == [7, 7, 8, 8]
    scales = [job["settings"]["training"]["rate_scale"] for job in jobs]
    assert scales == [1.0, 2.0, 1.0, 2.0]
    assert all(job["settings"]["training"]["learning_rate"] == 0.1 for job in jobs)
    assert jobs[0]["settings"]["training"]["seconds"] == 30.0
    assert all(job["measure"] for job in jobs)


def test_trials_use_a_part_of_the_training_data_and_another_seed(tmp_path: Path) -> None:
    jobs = trials(plan({"말": 5, "길": 6}, request={"tune": 3}), ComparisonFolder(tmp_path))
    assert [job["name"] for job in jobs] == ["말-x0.5", "말-x1", "말-x2", "길-x0.5", "길-x1", "길-x2"]
    for job in jobs:
        settings = job["settings"]
        assert settings["data"]["inner"] is True
        assert settings["training"]["seconds"] == 7.5
        assert settings["training"]["seed"] == 6
        assert not job["measure"]
    assert trials(plan({"말": 5, "길": 6}), ComparisonFolder(tmp_path)) == []


def _tried(tmp_path: Path, figures: dict[str, float | None], key: str) -> dict[str, object]:
    jobs = trials(plan({"말": 5}, request={"tune": 3}), ComparisonFolder(tmp_path))
    for job in jobs:
        value = figures[job["name"].partition("-x")[2]]
        failed = {"status": "failed", "curve": []} if value is None else {"curve": [{"step": 1, key: value}]}
        Path(job["folder"]).mkdir(parents=True)
        write_json(Path(job["folder"]) / "job.json", result("말", 6, 2.0, **failed))
    return tuning_of(jobs, (BITS, RIGHT))["말"]


def test_the_best_factor_is_taken(tmp_path: Path) -> None:
    found = _tried(tmp_path, {"0.5": 2.2, "1": 2.0, "2": 2.1}, "val_bits_per_byte")
    assert found == {"factor": 1.0, "edge": False, "tried": [[0.5, 2.2], [1.0, 2.0], [2.0, 2.1]]}


def test_more_may_be_better_and_an_edge_is_said(tmp_path: Path) -> None:
    found = _tried(tmp_path, {"0.5": 0.2, "1": 0.3, "2": 0.4}, "val_accuracy")
    assert (found["factor"], found["edge"]) == (2.0, True)


def test_a_rate_that_failed_is_not_taken(tmp_path: Path) -> None:
    found = _tried(tmp_path, {"0.5": 2.2, "1": 2.1, "2": None}, "val_bits_per_byte")
    assert (found["factor"], found["tried"][2]) == (1.0, [2.0, None])  # type: ignore[index]


def test_the_recipes_own_rate_where_all_failed(tmp_path: Path) -> None:
    found = _tried(tmp_path, dict.fromkeys(("0.5", "1", "2")), "val_bits_per_byte")
    assert (found["factor"], found["edge"]) == (1.0, False)


def test_done_is_what_is_finished(tmp_path: Path) -> None:
    job = {"folder": str(tmp_path)}
    assert not is_done(job)
    for status, done in (("trained", False), ("failed", False), ("finished", True)):
        write_json(tmp_path / "job.json", result("말", 6, 2.0, status=status))
        assert is_done(job) is done
    (tmp_path / "job.json").write_text('{"status": "fini', encoding="utf-8")
    assert result_of(job) is None


def test_figure_is_the_first_that_is_there() -> None:
    assert figure_of(result("말", 6, 2.0), (RIGHT, BITS)) == 2.0
    assert figure_of(None, (BITS,)) is None
    assert figure_of({"curve": []}, (BITS,)) is None
