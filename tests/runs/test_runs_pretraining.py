"""Runs of what BERT's family learns beside hidden tokens: figures, what is kept, going on, and several processes."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from run_cases import MODELS, Recorder, bits, overrides, resumed, steps_saved, trained
from run_processes import arguments, run_pair
from safetensors.torch import load_file
from test_runs_distributed import assert_same
from test_runs_resume import cut

from malgil.config import read_yaml
from malgil.errors import CheckpointError, ConfigError, ResumeMismatch
from malgil.models.base import Encoder
from malgil.runs.estimate import dry_run
from malgil.runs.exchange import export_run
from malgil.runs.recipe import recipe
from malgil.runs.run import Run
from malgil.training.checkpoint import load_state

SAID: dict[str, Recorder] = {}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> dict[str, Run]:
    """Finished runs, made as they are asked for; the student's teacher is the run of `bert`."""
    folder = tmp_path_factory.mktemp("pretraining")

    class Runs(dict[str, Run]):
        def __missing__(self, name: str) -> Run:
            SAID[name] = Recorder()
            how = student(self["bert"]) if name == "distilbert" else {}
            self[name] = trained(name, corpus, folder / name, SAID[name], **how)
            return self[name]

    return Runs()


def student(teacher: Run) -> dict[str, Any]:
    return {"objective": {"teacher": str(teacher.path)}}


def evaluated(run: Run) -> list[dict[str, Any]]:
    return [line for line in run.metrics if "val_loss" in line]


# -- figures ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bert", "albert"])
def test_figures_of_hidden_tokens_and_of_pairs(name: str, runs: dict[str, Run]) -> None:
    run = runs[name]
    vocabulary = math.log(run.tokenizer.vocab_size)
    assert run.metrics[0]["loss"] == pytest.approx(vocabulary + math.log(2), abs=0.8)
    for line in evaluated(run):
        assert line["val_loss"] == pytest.approx(vocabulary, abs=0.8)  # hidden tokens alone, as for all recipes
        assert line["val_sentence_loss"] == pytest.approx(math.log(2), abs=0.3)
        assert 0.2 < line["val_sentence_accuracy"] < 0.8
    assert "something is wrong" not in SAID[name].text
    score = run.evaluate()
    assert score["sentence_accuracy"] in [line["val_sentence_accuracy"] for line in evaluated(run)]
    assert score["pairs"] > 50
    without = trained(name, Path(run.config["data"]["paths"][0]), run.path.parent / f"{name}-alone",
                      objective={"also": "none"}, training={"steps": 1})  # fmt: skip
    assert set(score) - set(without.evaluate()) == {"sentence_loss", "sentence_accuracy", "pairs", "caution"}


def test_figures_of_replaced_tokens(runs: dict[str, Run]) -> None:
    run = runs["electra"]
    expected = math.log(run.tokenizer.vocab_size) + 50 * math.log(2)
    assert run.metrics[0]["loss"] == pytest.approx(expected, rel=0.05)
    for line in evaluated(run):
        assert line["val_loss"] == pytest.approx(line["val_masked_loss"] + 50 * line["val_replaced_loss"])
        assert 0.5 < line["val_replaced_accuracy"] < 1
        assert "val_perplexity" not in line
    assert "something is wrong" not in SAID["electra"].text
    first, second = run.evaluate(), Run(run.path, threads=1).evaluate()
    assert first == second
    assert first["loss"] == pytest.approx(evaluated(run)[-1]["val_loss"], rel=1e-5)  # the last weights are kept
    assert "caution" not in first


def test_figures_of_a_student(runs: dict[str, Run]) -> None:
    run, teacher = runs["distilbert"], runs["bert"]
    assert run.tokenizer.fingerprint == teacher.tokenizer.fingerprint
    assert "whose tokenizer is used" in SAID["distilbert"].text
    own, theirs = run.config["model"], teacher.config["model"]
    assert (own["n_layers"], own["n_types"], own["pooler"]) == (1, 0, False)
    same = ("name", "n_heads", "d_model", "d_ff", "max_len", "dropout")
    assert {key: own[key] for key in same} == {key: theirs[key] for key in same}
    assert set(evaluated(run)[0]) >= {"val_loss", "val_perplexity", "val_accuracy"}
    assert "something is wrong" not in SAID["distilbert"].text
    assert run.evaluate()["masked"] == teacher.evaluate()["masked"]


def test_previews_and_report(runs: dict[str, Run]) -> None:
    for name, gap in (("electra", "→"), ("distilbert", "[__]"), ("albert", "[__]")):
        lines = [json.loads(x) for x in (runs[name].path / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
        assert all(gap in line["prompt"] for line in lines)
        assert gap in (runs[name].path / "report.html").read_text(encoding="utf-8")
        assert not any("→" in line["text"] for line in lines if name == "electra")


# -- what is kept -----------------------------------------------------------------------------------


def test_the_model_is_the_discriminator_and_its_generator_stands_beside_it(runs: dict[str, Run]) -> None:
    run = runs["electra"]
    generator = run.assembled.parts["generator"]
    assert isinstance(generator, Encoder)
    assert run.model.d_model == 16
    assert generator.d_model == 8  # one head of two
    assert generator.embedding.weight is run.model.embedding.weight
    stored = load_file(run.path / "model.safetensors")
    assert {name.split(".")[1] for name in stored if name.startswith("parts.")} == {"generator", "discriminator"}
    assert not [name for name in stored if name.startswith("parts.generator.") and "embedding" in name]
    weights = run.model.state_dict()
    assert all(torch.equal(stored[name], tensor) for name, tensor in weights.items())


def test_a_students_checkpoints_hold_no_teacher(runs: dict[str, Run]) -> None:
    run = runs["distilbert"]
    last = run.path / "checkpoints" / f"step-{steps_saved(run.path)[-1]:06d}"
    stored = load_file(last / "model.safetensors")
    assert set(stored) == {f"body.{name}" for name in run.model.state_dict()}
    assert "teacher" in load_state(last)["fingerprints"]


def test_a_student_is_used_without_its_teacher(runs: dict[str, Run], tmp_path: Path) -> None:
    moved = shutil.copytree(runs["distilbert"].path, tmp_path / "run")
    config = moved / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace(str(runs["bert"].path), "runs/gone"), encoding="utf-8")
    assert Run(moved, threads=1).evaluate() == runs["distilbert"].evaluate()


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("bert", "BertForPreTraining"),
        ("albert", "AlbertForPreTraining"),
        ("electra", "ElectraForPreTraining"),
        ("distilbert", "DistilBertForMaskedLM"),
    ],
)
def test_exported_as_the_class_of_its_name(name: str, architecture: str, runs: dict[str, Run], tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    told = export_run(runs[name].path, tmp_path / "hf")
    assert "transformers" in told
    assert "equal" in told
    assert json.loads((tmp_path / "hf" / "config.json").read_text(encoding="utf-8"))["architectures"] == [architecture]


# -- going on ---------------------------------------------------------------------------------------


def test_a_broken_student_ends_with_the_same_bits(runs: dict[str, Run], corpus: Path, tmp_path: Path) -> None:
    how = student(runs["bert"])
    cut("distilbert", corpus, tmp_path / "run", 8, **how)
    resumed(tmp_path / "run")
    assert bits(tmp_path / "run") == bits(runs["distilbert"].path)


def test_another_teacher_is_refused(runs: dict[str, Run], corpus: Path, tmp_path: Path) -> None:
    teacher = Run(shutil.copytree(runs["bert"].path, tmp_path / "teacher"))
    cut("distilbert", corpus, tmp_path / "run", 8, **student(teacher))
    weights = teacher.path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ResumeMismatch, match="the teacher changed since this run began"):
        resumed(tmp_path / "run")
    shutil.rmtree(teacher.path)
    with pytest.raises(CheckpointError, match="teacher"):
        resumed(tmp_path / "run")


# -- what does not fit ------------------------------------------------------------------------------


def test_students_that_are_refused(runs: dict[str, Run], corpus: Path, tmp_path: Path) -> None:
    teacher = student(runs["bert"])

    def refused(match: str, **changed: Any) -> None:
        with pytest.raises(ConfigError, match=match):
            trained("distilbert", corpus, tmp_path / "run", **changed)
        assert not (tmp_path / "run").exists()

    refused("a student needs a teacher; objective.teacher; add --objective.teacher DIR")
    refused(
        "the student is of the family albert, its teacher of the family bert; model.name",
        **teacher,
        model={"name": "albert"},
    )
    refused("its teacher has .*leave the model's settings out", **teacher, model={"d_model": 32})
    other_text = tmp_path / "다른.txt"
    other_text.write_text("다른 글이다. 낱말도 다르다!\n" * 200, encoding="utf-8")
    alien = trained("bert", other_text, tmp_path / "alien", training={"steps": 1})
    refused("another tokenizer than its teacher", **teacher, tokenizer={"path": str(alien.path / "tokenizer.json")})
    with pytest.raises(CheckpointError, match="no run here"):
        trained("distilbert", corpus, tmp_path / "run", objective={"teacher": str(tmp_path / "nothing")})
    (alien.path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="the teacher is not trained to its end"):
        trained("distilbert", corpus, tmp_path / "run", **student(alien))


@pytest.mark.parametrize("name", ["modernbert", "birnn"])
def test_a_generator_needs_narrow_embeddings(name: str, corpus: Path, tmp_path: Path) -> None:
    model = {"name": name, "n_layers": 1, "d_model": 8, "max_len": 12}
    with pytest.raises(ConfigError, match=f"those of a {name} model are as wide as it is.*bert, albert"):
        trained("electra", corpus, tmp_path / "run", model=model)


def test_albert_may_be_a_discriminator_and_a_student(runs: dict[str, Run], corpus: Path, tmp_path: Path) -> None:
    model = {"name": "albert", **MODELS["albert"]}
    run = trained("electra", corpus, tmp_path / "run", model=model, training={"steps": 2})
    assert run.evaluate()["replaced_accuracy"] > 0.5
    how = {**student(runs["albert"]), "model": {"name": "albert"}}
    small = trained("distilbert", corpus, tmp_path / "small", **how, training={"steps": 2})
    assert small.config["model"]["n_layers"] == 1
    assert small.evaluate()["loss"] > 0


def test_a_recurrent_encoder_reads_pairs_too(corpus: Path, tmp_path: Path) -> None:
    for also in ("next_sentence", "sentence_order"):
        run = trained(
            "birnn", corpus, tmp_path / also, objective={"also": also}, model={"max_len": 16}, training={"steps": 2}
        )
        assert run.evaluate()["pairs"] > 50


def test_a_dry_run_counts_the_generator(corpus: Path) -> None:
    def parameters(width: float) -> int:
        tree = overrides("electra", corpus, objective={"generator_width": width})
        return dry_run("electra", tree, display=Recorder()).parameters

    assert parameters(1.0) > parameters(0.5) + 1000


def test_recipes_name_what_they_change() -> None:
    bert = recipe("bert")
    assert bert["objective"] == {"name": "masked_lm", "also": "next_sentence"}
    assert {name: recipe(name)["objective"]["also"] for name in ("albert", "roberta", "modernbert", "birnn")} == {
        "albert": "sentence_order", "roberta": "none", "modernbert": "none", "birnn": "none",
    }  # fmt: skip
    assert recipe("electra")["objective"]["name"] == "replaced_tokens"
    assert recipe("distilbert")["objective"]["name"] == "distillation"
    for name in ("electra", "distilbert"):
        assert recipe(name)["training"] | {"keep": "best"} == bert["training"] | {"keep": "best"}


# -- several processes ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shard"),
    [("bert", False), ("albert", True), ("electra", False), ("electra", True), ("distilbert", False)],
)
def test_two_processes_take_the_steps_of_one(
    name: str, shard: bool, runs: dict[str, Run], corpus: Path, tmp_path: Path
) -> None:
    rhythm = {"steps": 6, "evaluate_every": 3, "checkpoint_every": 3, "sample_every": 6, "log_every": 1}
    training = {**rhythm, "batch_size": 4, "shard": shard}
    given = student(runs["bert"]) if name == "distilbert" else {}
    trained(name, corpus, tmp_path / "one", model={"dropout": 0.0}, training={**training, "shard": False}, **given)
    words = arguments(name, corpus, tmp_path / "two", {"dropout": 0.0}, **training)
    if given:
        words += ["--objective.teacher", given["objective"]["teacher"]]
    assert run_pair(words, tmp_path / "log") == [0, 0], (tmp_path / "log.0").read_text(encoding="utf-8")
    assert (tmp_path / "log.1").read_text(encoding="utf-8") == ""
    assert_same(tmp_path / "one", tmp_path / "two", tolerance=1e-4 if name == "electra" else 1e-5)
    assert read_yaml(tmp_path / "two" / "config.yaml")["objective"] == Run(tmp_path / "one").config["objective"]


def test_a_break_right_after_the_first_step(runs: dict[str, Run], corpus: Path, tmp_path: Path) -> None:
    """Before any checkpoint: the parts begin as they began."""
    cut("electra", corpus, tmp_path / "run", 1)
    resumed(tmp_path / "run")
    assert bits(tmp_path / "run") == bits(runs["electra"].path)
