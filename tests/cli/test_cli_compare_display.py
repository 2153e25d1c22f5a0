"""The table on a terminal: it fills as jobs come in, fits the width, and is plain lines elsewhere."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from malgil.cli.compare_display import LiveComparison
from malgil.comparison.display import FIRST_GUESS, CompareDisplay
from malgil.comparison.table import Table
from malgil.config import Tree

PLAN: Tree = {"recipes": {"말길": {"parameters": 1_500_000}, "river": {"parameters": 900}}}


def job(recipe: str, *, measure: bool = True, seconds: float | None = 30.0) -> Tree:
    settings = {"training": {"seconds": seconds}}
    return {"name": f"{recipe}-7", "recipe": recipe, "measure": measure, "settings": settings, "factor": 1.0}


def result(status: str = "finished") -> Tree:
    if status == "failed":
        return {"status": status, "error": "메모리 부족"}
    return {
        "status": status,
        "curve": [{"val_bits_per_byte": 2.3456}],
        "tokens_per_second": 12345.6,
        "use": {"latency": 0.00123},
        "peak_memory": 300 * 2**20,
    }


@pytest.fixture
def display() -> LiveComparison:
    made = LiveComparison()
    made.console = Console(file=io.StringIO(), force_terminal=True, width=100, highlight=False)
    return made


def shown(display: LiveComparison) -> str:
    out = io.StringIO()
    Console(file=out, width=100).print(display._picture())
    return out.getvalue()


def test_the_table_fills(display: LiveComparison) -> None:
    jobs = [job("말길"), job("river")]
    display.planned(PLAN, jobs)
    try:
        assert "0 of 2 done" in shown(display)
        display.begin(jobs[0])
        display.heard({"share": 0.5, "loss": 3.21})
        assert "loss 3.21" in shown(display)
        display.heard({"evaluated": {"val_loss": 3.0, "val_bits_per_byte": 2.5}})
        assert "2.500 bits/byte" in shown(display)
        display.heard({"stage": "lengths"})
        assert "measuring: lengths" in shown(display)
        display.done(jobs[0], result(), "")
        text = shown(display)
        for word in ("✓", "2.346 bits/byte", "1.50 M", "12,346 tokens/s", "1.23 ms", "300.0 MiB", "1 of 2 done"):
            assert word in text
        display.begin(jobs[1])
        display.done(jobs[1], result("failed"), "")
        assert "✗" in shown(display)
    finally:
        display.stop()


def test_time_left_comes_from_what_jobs_took(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("malgil.comparison.display.time.monotonic", lambda: now[0])
    display = CompareDisplay()
    display.say = lambda text: None  # type: ignore[method-assign]
    jobs = [job("말길"), job("river"), job("tree", seconds=None)]
    display.planned(PLAN, jobs)
    assert display.left == pytest.approx(33 + 33 + 60 + 3 * FIRST_GUESS)
    display.begin(jobs[0])
    now[0] += 10
    assert display.left == pytest.approx(33 + 33 + 60 + 3 * FIRST_GUESS - 10)
    now[0] += 40
    display.done(jobs[0], result(), "")
    assert display.left == pytest.approx(2 * 50)  # as long as the first took
    display.kept(jobs[1], result())
    assert display.left == pytest.approx(50)


def table(names: list[str]) -> Table:
    rows = [
        {
            "recipe": name,
            "parameters": 1_000_000,
            "loss": 2.0 + i,
            "loss_interval": None,
            "time_to_quality": 3.0,
            "at_most": False,
            "unit": "token",
            "tokens_per_second": 5000.0,
            "latency": 0.001,
            "throughput": 900.0,
            "peak_memory": 2**28,
            "energy": 100.0,
            "size": 2**20,
            "tie": i == 1,
            "runs": 1,
            "failed": ["메모리 부족"] if i == 2 else [],
        }
        for i, name in enumerate(names)
    ]
    headline = {"name": "loss", "more": False}
    tree = {
        "rows": rows,
        "figures": [headline],
        "kind": "text",
        "differences": [{"a": names[0], "b": names[1], "mean": 0.0, "half": None, "tie": True}],
        "headline": headline,
        "curve": {"name": "val_loss", "more": False},
        "quality": 4.0,
        "budget": {"seconds": 30.0, "tokens": None},
        "seeds": [7],
        "language": "en",
        "models": [{"recipe": name} for name in names],
    }
    return Table(rows, tree, Path("비교"))


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_end_fits_the_terminal(display: LiveComparison, width: int) -> None:
    out = io.StringIO()
    display.console = Console(file=out, width=width, highlight=False)
    display.plan = PLAN
    display.finished(table(["말길", "river", "a-recipe-with-a-long-name"]))
    text = out.getvalue()
    lines = [line for line in text.splitlines() if "a-recipe-with-a-long-name" in line and "warning" not in line]
    assert len(lines[0]) <= width
    assert "4.000" in lines[0]
    assert ("Energy" in text) == (width == 140)
    assert "river =" in text
    assert "warning: a-recipe-with-a-long-name failed: 메모리 부족" in text
    assert "The report: " in text
