"""Runs of `answer`: what is chosen from the data, answers as stretches of the very text, rows that are refused."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from run_cases import Recorder, overrides, questions, trained

from malgil.errors import InputError
from malgil.runs.run import Run
from malgil.runs.training import train


@pytest.fixture(scope="module")
def said() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def run(corpus: Path, said: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained("answer", corpus, tmp_path_factory.mktemp("answer") / "run", said)


def test_the_run_says_what_it_chose_and_found(run: Run, said: Recorder) -> None:
    chosen = run.config["objective"]
    assert chosen["max_answer"] == len("New York")  # the longest answer, in characters
    assert chosen["null_threshold"] == 0.0
    assert "questions are about texts too long for 40 tokens, read in overlapping windows" in said.text
    assert "have no answer in their text" in said.text
    evaluated = [line for line in run.metrics if "val_loss" in line]
    assert [line["step"] for line in evaluated] == [5, 10, 12]
    for line in evaluated:
        assert {"val_f1", "val_exact_match", "val_character_f1"} <= line.keys()
    report = (run.path / "report.html").read_text(encoding="utf-8")
    assert "어디에서 왔니?" in report


def test_evaluations_are_equal_and_of_all_that_is_named(run: Run, corpus: Path) -> None:
    first = run.evaluate()
    assert first == Run(run.path, threads=1).evaluate()
    everything = run.evaluate(corpus.with_name("questions.jsonl"))
    assert everything["questions"] == 90 > first["questions"]
    assert 0 <= everything["exact_match"] <= everything["f1"] <= 1


def test_where_all_questions_have_answers_one_is_always_given(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in questions(60).splitlines()]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows if row["answers"]), encoding="utf-8")
    said = Recorder()
    settings = overrides("answer", data, data={"paths": [str(data)]}, training={"steps": 2})
    run = train("answer", settings, out=tmp_path / "run", display=said)
    assert run.config["objective"]["null_threshold"] is None
    assert "every question has an answer, so one is always given" in said.text
    assert all(found["answer"] for found in run.predict(rows[:9]))


def test_answers_are_stretches_of_the_text_as_it_was_written(run: Run, tmp_path: Path) -> None:
    always = Run(run.path)
    always.config["objective"]["null_threshold"] = None
    rows = [json.loads(line) for line in questions(12, seed=5).splitlines()]
    rows += [{**row, "context": unicodedata.normalize("NFD", row["context"])} for row in rows]
    rows.append({"question": "누가?", "context": "é " * 200})
    together = always.predict(rows)
    for number, (row, found) in enumerate(zip(rows, together, strict=True)):
        assert {k: found[k] for k in row} == row
        assert row["context"][found["start"] : found["end"]] == found["answer"] != ""
        assert 0 < found["score"] <= 1
        (alone,) = always.predict([row])
        assert (alone["start"], alone["end"]) == (found["start"], found["end"])
        assert alone["score"] == pytest.approx(found["score"], rel=1e-4)
        if number < 12:  # decomposed or not, the same answer
            assert unicodedata.normalize("NFC", together[number + 12]["answer"]) == found["answer"]


def test_no_answer_is_empty_and_stands_nowhere(run: Run) -> None:
    never = Run(run.path)
    never.config["objective"]["null_threshold"] = 1000.0
    (found,) = never.predict([{"question": "누가?", "context": "말길은 서울에서 왔다."}])
    assert (found["answer"], found["start"], found["end"]) == ("", None, None)
    assert 0 < found["score"] < 1
    score = never.evaluate()
    assert score["unanswerable"] == 1.0
    assert score["answerable_f1"] == 0.0


def test_rows_that_cannot_be_read_are_named(run: Run) -> None:
    for row, what in (
        ("말길은 서울에서 왔다.", "no question"),
        ({"question": "누가?"}, "no context"),
        ({"question": " ", "context": "말길"}, "no question"),
        ({"question": 3, "context": "말길"}, "no question"),
    ):
        with pytest.raises(InputError, match=what):
            run.predict([row])


@pytest.mark.slow
def test_answers_are_learnt_also_behind_the_first_window(tmp_path: Path) -> None:
    """Who and where, told apart by the question; a text has two windows or three, a third of questions no answer."""
    data, held_out = tmp_path / "rows.jsonl", tmp_path / "others.jsonl"
    data.write_text(questions(600), encoding="utf-8")
    held_out.write_text(questions(100, seed=9), encoding="utf-8")
    small = {
        "model": {"n_layers": 2, "n_heads": 2, "d_model": 32, "dropout": 0.0, "max_len": 48},
        "training": {
            "optimizer": "adamw",
            "steps": 250,
            "learning_rate": 0.004,
            "batch_size": 16,
            "accumulate": 1,
        },
        "data": {"paths": [str(data)]},
    }
    run = train("answer", overrides("answer", data, **small), out=tmp_path / "run", display=Recorder())
    score = run.evaluate(held_out)
    assert score["exact_match"] > 0.9
    assert score["unanswerable"] > 0.9
    rows = [json.loads(line) for line in held_out.read_text(encoding="utf-8").splitlines()]
    late = [row for row in rows if row["answers"] and _end(row["answers"][0]) > 48 - 3 - len(row["question"])]
    found = run.predict(late)
    assert len(late) > 3
    assert sum(one["answer"] == row["answers"][0]["text"] for one, row in zip(found, late, strict=True)) > 0.8 * len(
        late
    )


def _end(answer: dict[str, Any]) -> int:
    return int(answer["answer_start"]) + len(answer["text"])
