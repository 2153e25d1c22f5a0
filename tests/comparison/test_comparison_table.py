"""Rows, intervals, ties and times from results whose figures are known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from comparison_cases import plan, result

from malgil.comparison.table import Table, reached, summarise
from malgil.config import Tree
from malgil.errors import NotFoundError
from malgil.runs.compared import Figure
from malgil.runs.compared_pairs import ComparedPairs
from malgil.runs.compared_text import ComparedText

LESS, MORE = Figure("loss"), Figure("right", more=True)


def summary(bits: dict[str, list[float]], **changed: object) -> Tree:
    """Of recipes with a run for each value."""
    seeds = max(map(len, bits.values()))
    results = [result(name, 7 + i, value) for name, values in bits.items() for i, value in enumerate(values)]
    parameters = {name: 1000 * (i + 1) for i, name in enumerate(bits)}
    return summarise(plan(parameters, seeds=seeds, **changed), ComparedText(), results, {}, "finished")


def test_rows_stand_best_first() -> None:
    found = summary({"느린": [3.0], "빠른": [2.0], "중간": [2.5]})
    assert [row["recipe"] for row in found["rows"]] == ["빠른", "중간", "느린"]
    assert [row["bits_per_byte"] for row in found["rows"]] == [2.0, 2.5, 3.0]
    assert [row["parameters"] for row in found["rows"]] == [2000, 3000, 1000]
    assert found["headline"] == {"name": "bits_per_byte", "more": False}
    assert {row["tie"] for row in found["rows"]} == {False}
    row = found["rows"][0]
    assert (row["latency"], row["throughput"], row["energy"], row["unit"]) == (0.001, 2000.0, 120.0, "token")


def test_more_may_be_better() -> None:
    runs = []
    for name, bleu in (("a", 20.0), ("b", 31.0)):
        run = result(name, 7, 2.0)
        run["figures"] = {"bleu": bleu, "chrf": 50.0, "exact_match": 0.1, "loss": 2.0, "perplexity": 7.4}
        runs.append(run)
    found = summarise(plan({"a": 1, "b": 2}), ComparedPairs(), runs, {}, "finished")
    assert [row["recipe"] for row in found["rows"]] == ["b", "a"]
    assert found["curve"]["name"] == "val_loss"


def test_seeds_give_means_intervals_and_ties() -> None:
    found = summary({"a": [2.0, 2.1, 2.2], "b": [2.05, 2.15, 2.25], "c": [3.0, 3.01, 3.02]})
    first, second, third = found["rows"]
    assert first["bits_per_byte"] == pytest.approx(2.1)
    assert first["bits_per_byte_interval"] == pytest.approx(4.302653 * 0.1 / 3**0.5, rel=1e-5)
    assert (second["tie"], third["tie"]) == (True, False)
    assert {(d["a"], d["b"], d["tie"]) for d in found["differences"]} == {
        ("a", "b", True),
        ("a", "c", False),
        ("b", "c", False),
    }


def test_what_a_tokenizer_spoils_is_not_the_headline() -> None:
    """Unknown tokens make bits per byte mean nothing; then the loss is compared, as the tokenizer is one."""
    runs = [result(name, 7, bits) for name, bits in (("a", 2.0), ("b", 3.0))]
    for run in runs:
        run["figures"]["bits_per_byte"] = None
        for point in run["curve"]:
            point["val_bits_per_byte"] = None
    found = summarise(plan({"a": 1, "b": 2}), ComparedText(), runs, {}, "finished")
    assert (found["headline"]["name"], found["curve"]["name"]) == ("loss", "val_loss")
    assert found["rows"][0]["bits_per_byte"] is None


@pytest.mark.parametrize(
    "figure, values, goal, expected",
    [
        (LESS, [4.0, 3.0, 2.0], 2.5, (25.0, False)),
        (LESS, [4.0, 3.0, 2.0], 3.0, (20.0, False)),
        (LESS, [4.0, 3.0, 2.0], 5.0, (10.0, True)),
        (LESS, [4.0, 3.0, 2.0], 1.9, (None, False)),
        (LESS, [4.0, 2.0, 3.0], 2.9, (15.5, False)),
        (MORE, [0.1, 0.3, 0.5], 0.4, (25.0, False)),
        (MORE, [0.1, 0.3, 0.5], 0.05, (10.0, True)),
        (MORE, [], 0.4, (None, False)),
        (LESS, [4.0], None, (None, False)),
    ],
)
def test_time_to_a_quality(
    figure: Figure, values: list[float], goal: float | None, expected: tuple[float | None, bool]
) -> None:
    curve = [{"seconds": 10.0 * (i + 1), figure.name: value} for i, value in enumerate(values)]
    seconds, bound = reached(curve, figure, goal)
    assert (seconds, bound) == (pytest.approx(expected[0]), expected[1])


def test_the_usual_quality_is_what_the_slowest_reaches() -> None:
    found = summary({"a": [2.0], "b": [3.0]})
    assert found["quality"] == 3.0
    assert found["rows"][1]["time_to_quality"] == pytest.approx(30.0)
    # a's curve is 2 (2 - i / 10) at 3 i seconds: 3.0 at i = 5
    assert found["rows"][0]["time_to_quality"] == pytest.approx(15.0)


def test_a_named_quality_may_be_out_of_reach() -> None:
    found = summary({"a": [2.0], "b": [3.0]}, request={"quality": 2.2})
    assert found["quality_named"]
    assert found["rows"][0]["time_to_quality"] == pytest.approx(27.0)
    assert found["rows"][1]["time_to_quality"] is None


def test_what_failed_stands_last_and_says_why() -> None:
    failed = {"name": "b-7", "recipe": "b", "seed": 7, "status": "failed", "error": "손실이 유한하지 않음"}
    found = summarise(plan({"b": 1, "a": 2}), ComparedText(), [failed, result("a", 7, 2.0)], {}, "running")
    assert [row["recipe"] for row in found["rows"]] == ["a", "b"]
    assert found["rows"][1]["failed"] == ["손실이 유한하지 않음"]
    assert found["rows"][1]["bits_per_byte"] is None
    assert found["differences"] == []


def test_nothing_done_yet_is_a_table_too() -> None:
    found = summarise(plan({"a": 1, "b": 2}), ComparedText(), [], {}, "running")
    assert [row["runs"] for row in found["rows"]] == [0, 0]
    assert found["quality"] is None


def test_the_table_for_people(tmp_path: Path) -> None:
    found = summary({"말": [2.0, 2.02], "길": [3.0, 3.1]})
    table = Table(found["rows"], found, tmp_path)
    lines = table.to_markdown().splitlines()
    assert lines[0].startswith("| Model | Bits per byte | Parameters | Time to 3.100 |")
    assert lines[1].startswith("| --- | ---: |")
    assert lines[2].startswith("| 말 | 2.010 ± 0.127 | 1,000 | ")
    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {lines[0].count("|")}
    assert table.to_markdown("ko").startswith("| 모델 | 바이트당 비트 |")
    assert table.report == tmp_path / "report.html"
    assert len(table.sentences) == 3
    plain = str(table).splitlines()
    assert len({sum(2 if "가" <= c <= "힣" else 1 for c in line) for line in plain}) == 1
    with pytest.raises(NotFoundError, match="report language 'de'"):
        table.to_markdown("de")


def test_compare_json_is_json() -> None:
    found = summary({"a": [2.0, 2.1], "b": [3.0, 3.1]})
    assert json.loads(json.dumps(found, allow_nan=False)) == found
