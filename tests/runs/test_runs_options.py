"""Freezing, rates by depth and the figure that is watched, in whole runs: what moves, what is kept, what is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from run_cases import TRAINING, Recorder, bits, overrides, resumed, trained
from run_processes import arguments, run_pair
from safetensors.torch import load_file
from test_runs_resume import CutAt, PowerCut

from malgil.config import Tree, read_yaml
from malgil.errors import ConfigError, NotFoundError
from malgil.runs.estimate import estimate
from malgil.runs.prepare import prepare
from malgil.runs.recipe import compose
from malgil.runs.run import Run
from malgil.runs.training import Session, train


@pytest.fixture(scope="module")
def start(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained("bert", corpus, tmp_path_factory.mktemp("start") / "bert", training={"steps": 2})


def settings(corpus: Path, **training: Any) -> Tree:
    return {
        "data": {"paths": [str(corpus.with_name("reviews.tsv"))], "label_field": "label"},
        "training": {**TRAINING, **training},
    }


# -- freezing ---------------------------------------------------------------------------------------


def test_a_frozen_body_keeps_its_bits_and_resume_is_exact(start: Run, corpus: Path, tmp_path: Path) -> None:
    asked = settings(corpus, freeze="body", ema=0.9, keep="last")
    whole, out = tmp_path / "whole", tmp_path / "cut"
    run = train("classify", asked, out=whole, start=start.path, display=Recorder())
    before, after = start.model.state_dict(), run.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(p.abs().sum() > 0 for p in run.assembled.parts.parameters())  # both began at or near zero
    optimizer = load_file(whole / "checkpoints" / "step-000012" / "optimizer.safetensors")
    assert {name.rpartition(".")[0] for name in optimizer} == {"parts.labels.linear.weight", "parts.labels.linear.bias"}
    with pytest.raises(PowerCut):
        train("classify", asked, out=out, start=start.path, display=CutAt(8))
    train(None, {}, out=out, resume=True, display=Recorder())
    assert bits(out) == bits(whole)


def test_lower_layers_stay_and_upper_ones_move(start: Run, corpus: Path, tmp_path: Path) -> None:
    asked = settings(corpus, freeze=1, layer_decay=0.5, steps=3)
    run = train("classify", asked, out=tmp_path / "run", start=start.path, display=Recorder())
    before, after = start.model.state_dict(), run.model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if name.startswith("layers.1.")}
    assert read_yaml(run.path / "config.yaml")["training"]["freeze"] == "1"


def test_a_model_of_language_has_nothing_left_without_its_body(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing is left to train.*training.freeze; freeze fewer layers"):
        trained("gpt2", corpus, tmp_path / "run", training={"freeze": "body"})


@pytest.mark.parametrize("freeze", [None, "embeddings", "1", "body"])
def test_the_memory_of_what_is_frozen_is_that_of_its_weights(freeze: str | None, corpus: Path) -> None:
    changed = {"freeze": freeze, "ema": 0.9, "optimizer": "adamw"}
    tree = compose("classify", [], overrides("classify", corpus, training=changed))
    run = prepare(tree, lambda text: None)
    found = estimate(run)
    everything = list(run.assembled.parameters())
    trained_now = sum(p.numel() for p in everything if p.requires_grad)
    d, vocab = 16, run.tokenizers.target.vocab_size
    block, heads, stem = 12 * d * d + 13 * d, 3 * d + 3, (vocab + 32 + 2) * d + 2 * d
    unread = d * d + d + 2 * d + vocab  # the head for masked tokens, which nothing asks
    by_hand = {None: heads + 2 * block + stem, "embeddings": heads + 2 * block, "1": heads + block, "body": heads}
    assert trained_now == by_hand[freeze] == found.trained
    assert found.parameters == sum(p.numel() for p in everything) == by_hand[None] + unread
    assert found.weights == 4 * found.parameters
    assert found.gradients == found.averages == 4 * found.trained
    assert found.optimizer == 8 * found.trained
    assert f"parameters: {found.parameters:,}, {found.trained:,} of them trained" in found.lines()


def test_frozen_layers_keep_nothing_for_a_backward_pass(corpus: Path) -> None:
    def activations(freeze: str) -> int:
        tree = compose("classify", [], overrides("classify", corpus, training={"freeze": freeze}))
        return estimate(prepare(tree, lambda text: None)).activations

    whole, half, none = (activations(freeze) for freeze in ("embeddings", "1", "body"))
    assert whole > 1.5 * half > 3 * none


@pytest.mark.slow
@pytest.mark.parametrize("shard", [False, True])
def test_two_processes_freeze_as_one_does(shard: bool, corpus: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"freeze": "1", "layer_decay": 0.5, "batch_size": 4, "steps": 6, "ema": 0.9}
    one = trained("classify", corpus, tmp_path / "one", model={"dropout": 0.0}, training=options)
    words = arguments("classify", corpus, tmp_path / "two", {"dropout": 0.0}, **options, shard=shard)
    words += ["--data.label-field", "label"]
    assert run_pair(words, tmp_path / "log") == [0, 0], (tmp_path / "log.0").read_text(encoding="utf-8")
    two = Run(tmp_path / "two")
    for name, weight in one.assembled.state_dict().items():
        torch.testing.assert_close(two.assembled.state_dict()[name], weight, rtol=0, atol=1e-5)
    losses = [[line["loss"] for line in run.metrics] for run in (one, two)]
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)


# -- the figure that is watched ---------------------------------------------------------------------


def evaluations(monkeypatch: pytest.MonkeyPatch, *figures: tuple[float, float]) -> None:
    """Have the evaluations of the next run find these losses and accuracies."""
    found: Iterator[tuple[float, float]] = iter(figures)

    def evaluate(self: Session) -> dict[str, Any]:
        loss, accuracy = next(found)
        return {"val_loss": loss, "val_accuracy": accuracy, "val_f1": 1 - accuracy}

    monkeypatch.setattr(Session, "_evaluate", evaluate)


def kept_step(run: Run) -> int:
    """The step of the checkpoint with the run's weights."""
    kept = load_file(run.folder.weights)["embedding.weight"]
    for folder in run.folder.checkpoints.glob("step-*"):
        if torch.equal(load_file(folder / "model.safetensors")["body.embedding.weight"], kept):
            return int(folder.name[5:])
    raise AssertionError("the weights of no checkpoint")


def test_a_run_that_goes_on_after_its_end_is_not_said_to_overfit(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rate is high again, and the loss with it."""
    evaluations(monkeypatch, (1.0, 0.6), (0.9, 0.6), (1.2, 0.6), (1.1, 0.6))
    trained("classify", corpus, tmp_path / "run", training={"steps": 4, "evaluate_every": 2})
    said = Recorder()
    resumed(tmp_path / "run", said, training={"steps": 8})
    assert "step 8: validation loss 1.1000" in said.text
    assert "overfits" not in said.text


@pytest.mark.parametrize(
    ("watch", "step", "spoken"),
    [("val_accuracy", 4, "validation accuracy"), ("auto", 2, "validation f1"), ("val_loss", 2, "validation loss")],
)
def test_weights_are_kept_by_what_is_watched(
    watch: str, step: int, spoken: str, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = (9.0, 0.1)  # an explicit figure is looked for once, before the first step
    found = [(1.0, 0.6), (1.5, 0.8), (2.0, 0.7), (2.5, 0.7)]
    evaluations(monkeypatch, *([score] if watch == "val_accuracy" else []), *found)
    said = Recorder()
    options = {"watch": watch, "steps": 8, "evaluate_every": 2, "checkpoint_every": None}
    run = trained("classify", corpus, tmp_path / "run", said, training=options)
    assert kept_step(run) == step
    figure = "val_f1" if watch == "auto" else watch
    assert read_yaml(run.path / "config.yaml")["training"]["watch"] == figure
    assert f"the kept weights are those of step {step}, the best of the evaluations by {spoken}" in said.text
    # whatever is watched: the loss was lowest at step 2
    assert "the model overfits: validation loss rose from 1.000 at step 2 to 2.000" in said.text
    monkeypatch.undo()
    assert f"chosen by this text ({spoken}): give --data" in run.evaluate()["caution"]


def test_a_run_stops_early_by_accuracy_while_its_loss_rises(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(1.0, 0.5), (1.1, 0.6), (1.2, 0.8), (1.3, 0.7), (1.4, 0.7), (1.5, 0.9)]
    evaluations(monkeypatch, (9.0, 0.1), *found)
    options = {"watch": "val_accuracy", "steps": 12, "evaluate_every": 2, "patience": 2, "checkpoint_every": None}
    run = trained("classify", corpus, tmp_path / "run", training=options)
    assert run.metrics[-1]["step"] == 10
    assert kept_step(run) == 6
    report = (run.path / "report.html").read_text(encoding="utf-8")
    assert "a better validation accuracy than 0.8000 at step 6" in report


def test_an_unknown_figure_is_refused_before_anything_is_made(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"unknown figure 'val_acuracy'; training.watch; did you mean val_accuracy"):
        trained("classify", corpus, tmp_path / "run", training={"watch": "val_acuracy"})
    assert not (tmp_path / "run").exists()


# -- the arithmetic of predictions ------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["classify", "similarity", "tag", "answer"])
def test_predictions_in_bf16_are_near_those_in_fp32(recipe: str, corpus: Path, tmp_path: Path) -> None:
    run = trained(recipe, corpus, tmp_path / "run", training={"learning_rate": 0.05})
    text = "서울에서 온 말길이 새벽 강가를 걷는다"
    rows = [{"question": "누가 왔니?", "context": text}] if recipe == "answer" else [text, "the river carries light"]
    plain, rounded = run.predict(rows), run.predict(rows, precision="bf16")
    assert run.predict(rows, precision="fp32") == plain
    assert numbers(rounded) == pytest.approx(numbers(plain), rel=0.1, abs=0.05)
    assert numbers(rounded) != numbers(plain)
    with pytest.raises(NotFoundError, match="precision"):
        run.predict(rows, precision="fp8")


def numbers(found: Any) -> list[float]:
    """All numbers with a fraction that stand in predictions."""
    if isinstance(found, dict):
        return numbers(list(found.values()))
    if isinstance(found, list):
        return [number for one in found for number in numbers(one)]
    return [found] if isinstance(found, float) else []
