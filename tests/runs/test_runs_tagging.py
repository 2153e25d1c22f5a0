"""Runs of `tag`: figures, what is predicted and where it stands, what is refused, and the same bits after a break."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from run_cases import CutAt, PowerCut, Recorder, bits, overrides, resumed, tagged, trained

import malgil
from malgil.errors import InputError
from malgil.runs.run import Run
from malgil.runs.training import train

NAMES = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]


@pytest.fixture(scope="module")
def said() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def run(corpus: Path, said: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained("tag", corpus, tmp_path_factory.mktemp("tag") / "run", said)


def test_the_run_says_what_it_found_and_keeps_it(run: Run, said: Recorder) -> None:
    assert "tags: O, and B and I of LOC, PER" in said.text
    assert "sentences are longer than 20 tokens, read in overlapping parts" in said.text
    assert "something is wrong" not in said.text
    assert run.config["objective"]["labels"] == NAMES
    evaluated = [line for line in run.metrics if "val_loss" in line]
    assert [line["step"] for line in evaluated] == [5, 10, 12]
    for line in evaluated:
        assert {"val_f1", "val_precision", "val_recall", "val_accuracy"} <= line.keys()
    assert any(name.startswith("parts.tags.") for name in _names(run))
    report = (run.path / "report.html").read_text(encoding="utf-8")
    assert "종류별 개체" in report or "Entities by type" in report
    assert report.count("(LOC)") > 3  # right entities of sentences with mistakes


def test_evaluations_are_equal_and_of_all_that_is_named(run: Run, corpus: Path) -> None:
    first = run.evaluate()
    assert first == Run(run.path, threads=1).evaluate()
    everything = run.evaluate(corpus.with_name("tagged.conll"))
    assert everything["sentences"] == 90 > first["sentences"]
    assert set(everything["types"]) == {"LOC", "PER"}


def test_rows_keep_their_order_and_places_whatever_is_read_together(run: Run) -> None:
    rows = [
        {"tokens": ["민수", "는", "New", "York", "에서", "온다"], "id": 7},
        {"text": "  말길은\t부산 항에서   왔다. "},
        {"text": ""},
        {"tokens": []},
        {"tokens": ["지영"] * 60},
    ]
    together = run.predict(rows)
    assert [{k: row[k] for k in given} for row, given in zip(together, rows, strict=True)] == rows
    for row, (alone,) in zip(together, (run.predict([row]) for row in rows), strict=True):
        text = row.get("text", " ".join(row.get("tokens", [])))
        for entity, same in zip(row["entities"], alone["entities"], strict=True):
            assert text[entity["start"] : entity["end"]] == entity["text"] == entity["text"].strip()
            assert 0 < entity["score"] <= 1
            assert entity["score"] == pytest.approx(same.pop("score"), rel=1e-4)
            assert {k: v for k, v in entity.items() if k != "score"} == same
        if "tokens" in row:
            assert len(row["tags"]) == len(row["tokens"])
            assert len(row["entities"]) == sum(tag.startswith("B") for tag in row["tags"])
    assert together[2]["entities"] == together[3]["entities"] == []


def test_rows_that_cannot_be_read_are_named(run: Run) -> None:
    for row, what in (
        ({"words": ["a"]}, "neither a text nor tokens"),
        ({"tokens": "말길"}, "'tokens' is no list of words"),
        ({"tokens": ["말길", " "]}, "'tokens' is no list of words"),
        ({"tokens": ["말길", 3]}, "'tokens' is no list of words"),
        ({"text": 3}, "neither a text nor tokens"),
    ):
        with pytest.raises(InputError, match=what) as caught:
            run.predict(["말길", row])
        assert "2" in str(caught.value)


def test_a_run_that_was_broken_off_ends_with_the_same_bits(run: Run, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "cut"
    with pytest.raises(PowerCut):
        trained("tag", corpus, out, CutAt(5))
    resumed(out)
    assert bits(out) == bits(run.path)


def test_names_that_are_given_stand(corpus: Path, tmp_path: Path) -> None:
    names = ["O", "B-PER", "I-PER"]
    said = Recorder()
    run = trained("tag", corpus, tmp_path / "run", said, objective={"labels": names}, training={"steps": 2})
    assert run.config["objective"]["labels"] == names
    assert "words for training have tags that are not to be learnt: B-LOC, I-LOC" in said.text
    score = run.evaluate()
    assert score["unknown_tags"] > 0
    assert set(score["types"]) == {"LOC", "PER"}


@pytest.mark.slow
def test_a_small_set_is_learnt_and_its_entities_stand_where_they_are_found(tmp_path: Path) -> None:
    data, out = tmp_path / "글.conll", tmp_path / "run"
    data.write_text(tagged(300), encoding="utf-8")
    small = {
        "model": {"n_layers": 1, "n_heads": 2, "d_model": 32, "dropout": 0.0},
        "training": {"steps": 150, "learning_rate": 0.01, "batch_size": 16, "precision": "fp32", "threads": 1},
        "tokenizer": {"kind": "wordpiece", "vocab_size": 300},
    }
    settings = overrides("bert", data, **small)
    del settings["model"]["max_len"], settings["training"]["accumulate"]
    run = train("tag", settings, out=out, display=Recorder())
    assert run.evaluate(data)["f1"] == 1.0
    text = "민수 이 한강 공원  산은 높고"
    (found,) = malgil.load(out).predict([text])
    assert [(e["type"], e["text"], e["start"], e["end"]) for e in found["entities"]] == [
        ("PER", "민수", 0, 2),
        ("LOC", "한강 공원", 5, 10),
    ]
    assert json.loads(json.dumps(found)) == found


def _names(run: Run) -> list[str]:
    from safetensors import safe_open

    with safe_open(run.path / "model.safetensors", "pt") as file:
        return list(file.keys())
