"""Runs on labelled data that learn from the texts first: what each of the two runs has, and how both go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from run_cases import LABELS, Recorder, overrides

from malgil.config import Tree, merge, parse
from malgil.data.settings import DataSettings
from malgil.errors import ConfigError, DataError, Interrupted, ResumeMismatch
from malgil.models.base import count_parameters
from malgil.runs.classify import ClassifyTask
from malgil.runs.estimate import dry_run
from malgil.runs.fit import FEW_EPOCHS
from malgil.runs.pretraining import HELD, place_of, pretrained
from malgil.runs.recipe import compose
from malgil.runs.run import Run
from malgil.runs.training import train

STILL = {"learning_rate": 1e-30, "muon_learning_rate": 1e-30, "weight_decay": 0.0, "ema": None}


def settings(corpus: Path, recipe: str = "classify", **changed: Any) -> Tree:
    first = {"pretraining": {"recipe": "bert", "share": 0.75}, "tokenizer": {"kind": "wordpiece", "vocab_size": 300}}
    return merge(overrides(recipe, corpus), merge(first, changed))


def made(corpus: Path, out: Path, said: Recorder | None = None, recipe: str = "classify", **changed: Any) -> Run:
    chosen = settings(corpus, recipe, **changed)
    return train(recipe, chosen, out=out, display=said or Recorder(), sections=False)


def test_a_body_that_read_the_texts_is_where_the_task_begins(corpus: Path, tmp_path: Path) -> None:
    said = Recorder()
    run = made(corpus, tmp_path / "리뷰", said, training={**STILL, "steps": 8})
    first = Run(place_of(run.path))
    assert first.path == tmp_path / "리뷰-pretraining"
    assert run.config["training"]["start"] == str(first.path)
    assert (first.config["training"]["steps"], run.config["training"]["steps"]) == (6, 2)
    assert first.config["objective"]["name"] == "masked_lm"
    assert first.config["objective"]["also"] == "none"
    assert first.config["model"] == {**run.config["model"], "dropout": 0.0}
    assert run.config["model"]["dropout"] == 0.1
    assert not first.config["model"]["pooler"]
    before, after = first.model.state_dict(), run.model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in after)
    assert run.tokenizer.fingerprint == first.tokenizer.fingerprint
    assert f"first bert, for 75% of the budget, on the texts without labels: {first.path}" in said.text
    assert "then classify, for the other 25%" in said.text
    assert run.predict(["물이 훌륭하다"])[0]["label"] in LABELS


def test_no_text_of_the_validation_part_is_read_first(corpus: Path, tmp_path: Path) -> None:
    run = made(corpus, tmp_path / "run", training={"steps": 4})
    first = Run(place_of(run.path)).config["data"]
    parts = [_texts(first[name]) for name in ("paths", "validation")]
    everything = {line.split("\t")[0] for line in _lines(corpus.with_name("reviews.tsv"))[1:]}
    assert parts[0]
    assert parts[1]
    assert not parts[0] & parts[1]
    assert parts[0] | parts[1] < everything
    kept = ClassifyTask().opened(parse(DataSettings, run.config["data"], "data")).validation.records
    assert kept
    assert not {record.text for record in kept} & (parts[0] | parts[1])
    assert len(parts[1]) == pytest.approx(len(parts[0] | parts[1]) / HELD, abs=1)


@pytest.mark.parametrize("limits", [{"epochs": 2.0}, {"tokens": 2000}, {"seconds": 0.4}])
def test_limits_are_shared(limits: dict[str, Any], corpus: Path, tmp_path: Path) -> None:
    run = made(corpus, tmp_path / "run", training={"steps": None, **limits})
    (key, whole) = next(iter(limits.items()))
    parts = [one.config["training"][key] for one in (Run(place_of(run.path)), run)]
    assert sum(parts) == pytest.approx(whole)
    assert parts[0] == pytest.approx(0.75 * whole)


def test_the_same_command_goes_on(corpus: Path, tmp_path: Path) -> None:
    """Stopped between the two, or within the first: what is done is not done again."""
    run = made(corpus, tmp_path / "run", training={"steps": 8})
    first, weights = place_of(run.path), run.assembled.state_dict()
    stamp = (first / "model.safetensors").stat().st_mtime_ns
    run.path.rename(tmp_path / "other")
    said = Recorder()
    again = made(corpus, tmp_path / "run", said, training={"steps": 8})
    assert "this run is finished" in said.text
    assert (first / "model.safetensors").stat().st_mtime_ns == stamp
    found = again.assembled.state_dict()
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    again.path.rename(tmp_path / "third")
    (first / "model.safetensors").unlink()  # as if killed before its end
    for late in sorted((first / "checkpoints").glob("step-*"))[1:]:
        for file in late.iterdir():
            file.unlink()
        late.rmdir()
    said = Recorder()
    again = made(corpus, tmp_path / "run", said, training={"steps": 8})
    assert "going on from step" in said.text
    found = again.assembled.state_dict()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


def test_a_signal_says_how_both_go_on(corpus: Path, tmp_path: Path) -> None:
    def stopped(*args: Any, **options: Any) -> Run:
        raise Interrupted(2, "stopped by signal 2", "saved at step 3", "--resume goes on from there")

    out = tmp_path / "리뷰"
    with pytest.raises(Interrupted, match="saved at step 3 of the pretraining; the same command with --out ") as error:
        pretrained(compose("classify", [], settings(corpus)), out, stopped, Recorder())
    assert str(out) in error.value.fix
    assert (error.value.signal_number, error.value.exit_status) == (2, 130)


def test_what_both_runs_have_alike(corpus: Path, tmp_path: Path) -> None:
    run = made(corpus, tmp_path / "run", training={"steps": 4, "seed": 3, "evaluation_share": 0.25})
    first = Run(place_of(run.path))
    for key, value in {"seed": 3, "evaluation_share": 0.25, "precision": run.config["training"]["precision"]}.items():
        assert first.config["training"][key] == run.config["training"][key] == value


def test_another_run_in_its_place_is_not_touched(corpus: Path, tmp_path: Path) -> None:
    made(corpus, tmp_path / "run", training={"steps": 4})
    (tmp_path / "run").rename(tmp_path / "other")
    with pytest.raises(ResumeMismatch, match=r"training\.seed"):
        made(corpus, tmp_path / "run", training={"steps": 4, "seed": 5})


def test_a_dry_run_is_of_both_and_chooses_as_they_do(corpus: Path, tmp_path: Path) -> None:
    said = Recorder()
    chosen = {**settings(corpus, training={"steps": 8}), "model": {}}
    found = dry_run("classify", chosen, display=said)
    run = train("classify", chosen, out=tmp_path / "run", display=Recorder(), sections=False)
    assert (found.parameters, found.steps) == (count_parameters(run.assembled), 2)
    before = count_parameters(Run(place_of(run.path)).assembled)
    first = said.text.split("then classify\n")[0].split("first bert\n")[1]
    assert f"parameters: {before:,}" in first
    assert "steps:      6," in first


def test_a_dry_run_without_a_limit_is_of_a_body_that_was_trained(corpus: Path) -> None:
    found = dry_run("classify", settings(corpus, training={"steps": None}), display=Recorder())
    assert found.epochs == pytest.approx(FEW_EPOCHS, rel=0.2)


@pytest.mark.parametrize("recipe", ["tag", "similarity", "answer", "embed"])
def test_every_task_on_labelled_data_can(recipe: str, corpus: Path, tmp_path: Path) -> None:
    run = made(corpus, tmp_path / "run", recipe=recipe, training={"steps": 4})
    assert run.config["training"]["start"] == str(place_of(run.path))
    assert (run.path / "model.safetensors").exists()


@pytest.mark.parametrize(
    "recipe, first, said",
    [
        ("classify", "modernbert", "'modernbert' trains a modernbert model"),
        ("classify", "tag", "does not learn from texts alone"),
        ("bert", "bert", "only what learns from labels is pretrained"),
    ],
)
def test_what_does_not_fit_is_said(recipe: str, first: str, said: str, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        made(corpus, tmp_path / "run", recipe=recipe, pretraining={"recipe": first})
    assert not list(tmp_path.glob("run*"))


@pytest.mark.parametrize("name", ["albert", "modernbert"])
def test_recipes_that_pretrain(name: str, corpus: Path, tmp_path: Path) -> None:
    tiny = overrides("classify", corpus, training={"steps": 4}, tokenizer={"kind": "wordpiece"})
    run = train(f"classify-{name}-pretrained", tiny, out=tmp_path / name, display=Recorder(), sections=False)
    first = Run(place_of(run.path))
    assert (run.settings.family, first.settings.family, first.settings.recipe) == (name, name, name)


def test_one_text_is_too_few(tmp_path: Path, corpus: Path) -> None:
    for name in ("train", "held"):
        (tmp_path / f"{name}.tsv").write_text("text\tlabel\n말길\t1\n말길\t2\n", encoding="utf-8")
    data = {"paths": [str(tmp_path / "train.tsv")], "validation": [str(tmp_path / "held.tsv")]}
    with pytest.raises(DataError, match="too few to pretrain on"):
        made(corpus, tmp_path / "run", recipe="similarity", data={**data, "label_field": "label"})


def test_a_finetuned_run_cannot_be_pretrained(corpus: Path, tmp_path: Path) -> None:
    run = made(corpus, tmp_path / "run", training={"steps": 4})
    start = place_of(run.path)
    wanted = {"data": run.config["data"], "training": {"steps": 2}}
    for recipe, more in (("classify", {"pretraining": {"recipe": "bert"}}), ("classify-pretrained", {})):
        with pytest.raises(ConfigError, match=r"leave pretraining.recipe out: malgil finetune .* classify$"):
            train(recipe, {**wanted, **more}, out=tmp_path / "again", start=start, display=Recorder())
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(("kind", "expected"), [("char", 88), ("byte", 88), ("wordpiece", 32)])
def test_a_context_is_chosen_by_what_a_token_is(kind: str, expected: int, tmp_path: Path, corpus: Path) -> None:
    path = tmp_path / "긴.tsv"
    rows = "".join(f"{'word ' * 16} {i % 7}\t{i % 2}\n" for i in range(60))
    path.write_text(f"text\tlabel\n{rows}", encoding="utf-8")
    data = {"paths": [str(path)], "label_field": "label"}
    open_ = {"model": {"max_len": "auto"}, "tokenizer": {"kind": kind}, "training": {"steps": 2}}
    run = made(corpus, tmp_path / "run", data=data, **open_)
    assert run.settings.model.max_len == Run(place_of(run.path)).settings.model.max_len == expected


def test_a_context_holds_both_texts_of_a_pair(tmp_path: Path, corpus: Path) -> None:
    path = tmp_path / "짝.tsv"
    rows = "".join(f"{'word ' * 8}{i % 7}\t{'말길 ' * 13}{i}\t{i % 2}\n" for i in range(60))
    path.write_text(f"sentence1\tsentence2\tlabel\n{rows}", encoding="utf-8")
    data = {"paths": [str(path)], "label_field": "label"}
    open_ = {"model": {"max_len": "auto"}, "tokenizer": {"kind": "char"}, "training": {"steps": 2}}
    said = Recorder()
    run = made(corpus, tmp_path / "run", said, recipe="similarity", data=data, **open_)
    assert run.settings.model.max_len == 88
    assert "their ends are not read" not in said.text


def _lines(path: str | Path) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()


def _texts(paths: list[str]) -> set[str]:
    return {json.loads(line)["text"] for path in paths for line in _lines(path)}
