"""A run from its first step to its folder: limits, what is kept, what is warned of, and that nothing else matters."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from run_cases import Recorder, bits, overrides, steps_saved, trained
from safetensors.torch import load_file

from malgil.config import read_yaml
from malgil.errors import InputError, NonFiniteError, StorageError
from malgil.runs import training
from malgil.runs.folder import RunFolder
from malgil.runs.run import Run
from malgil.runs.training import Session, train
from malgil.runtime.files import FolderLock

CONTRACT = {"step", "tokens", "seconds", "loss", "lr", "tokens_per_second"}
EVALUATION = {"val_loss", "val_perplexity", "val_bits_per_byte"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """A run of `gpt` that nobody disturbed."""
    out = tmp_path_factory.mktemp("runs") / "gpt"
    trained("gpt", corpus, out)
    return out


def evaluations(monkeypatch: pytest.MonkeyPatch, *losses: float) -> None:
    """Have the evaluations of the next run find these losses."""
    found: Iterator[float] = iter(losses)

    def evaluate(self: Session) -> dict[str, Any]:
        loss = next(found)
        return {"val_loss": loss, "val_perplexity": math.exp(loss), "val_bits_per_byte": None}

    monkeypatch.setattr(Session, "_evaluate", evaluate)


def weights_of(out: Path, step: int) -> dict[str, torch.Tensor]:
    stored = load_file(out / "checkpoints" / f"step-{step:06d}" / "model.safetensors")
    return {name.removeprefix("body."): tensor for name, tensor in stored.items()}


def assert_kept(out: Path, step: int) -> None:
    kept, expected = load_file(out / "model.safetensors"), weights_of(out, step)
    assert kept.keys() == expected.keys()
    assert all(torch.equal(kept[k], expected[k]) for k in kept)


# -- what a run leaves ------------------------------------------------------------------------------


def test_a_run_is_a_folder(finished: Path) -> None:
    assert sorted(p.name for p in finished.iterdir() if p.name != ".lock") == [
        "checkpoints", "config.yaml", "metrics.jsonl", "model.safetensors", "report.html", "samples.jsonl",
        "tokenizer.json",
    ]  # fmt: skip
    run = Run(finished)
    assert [line["step"] for line in run.metrics] == list(range(1, 13))
    assert all(line.keys() >= CONTRACT for line in run.metrics)
    assert [line["step"] for line in run.metrics if line.keys() >= EVALUATION] == [5, 10, 12]
    assert [line["tokens"] for line in run.metrics] == [48 * line["step"] for line in run.metrics]
    seconds = [line["seconds"] for line in run.metrics]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0
    samples = [json.loads(line) for line in (finished / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [s["step"] for s in samples] == [6, 12]
    report = (finished / "report.html").read_text(encoding="utf-8")
    assert "<svg" in report
    assert "gpt" in report
    assert steps_saved(finished)[-1] == 12
    assert isinstance(run.generate("물이", max_tokens=5, seed=1), str)


def test_the_validation_figures_are_those_of_evaluate(finished: Path) -> None:
    run = Run(finished, threads=1)
    best = min((line for line in run.metrics if "val_loss" in line), key=lambda line: line["val_loss"])
    score = run.evaluate()
    assert score["loss"] == pytest.approx(best["val_loss"], rel=1e-6)
    assert score["bits_per_byte"] == pytest.approx(best["val_bits_per_byte"], rel=1e-6)
    assert best["val_perplexity"] == pytest.approx(math.exp(best["val_loss"]))


def test_config_has_no_auto_and_repeats_the_run(finished: Path, tmp_path: Path) -> None:
    config = finished / "config.yaml"
    assert "auto" not in json.dumps({k: v for k, v in read_yaml(config)["training"].items() if k != "compile"})
    train(None, {}, out=tmp_path / "again", config_files=[config], display=Recorder())
    assert bits(tmp_path / "again") == bits(finished)
    assert read_yaml(tmp_path / "again" / "config.yaml") == read_yaml(config)


def test_config_repeats_a_run_with_a_trained_vocabulary(corpus: Path, tmp_path: Path) -> None:
    """The vocabulary that was found, smaller than asked, stands in config.yaml and leads to the same tokenizer."""
    trained("lstm", corpus, tmp_path / "a", tokenizer={"kind": "bpe", "vocab_size": 2000}, training={"steps": 3})
    config = read_yaml(tmp_path / "a" / "config.yaml")
    assert config["tokenizer"]["vocab_size"] < 2000
    train(None, {}, out=tmp_path / "b", config_files=[tmp_path / "a" / "config.yaml"], display=Recorder())
    assert bits(tmp_path / "b") == bits(tmp_path / "a")
    assert config["recipe"] == "lstm" == read_yaml(tmp_path / "b" / "config.yaml")["recipe"]


# -- equal bits -------------------------------------------------------------------------------------


def test_equal_seeds_give_equal_bits_and_others_do_not(finished: Path, corpus: Path, tmp_path: Path) -> None:
    trained("gpt", corpus, tmp_path / "same")
    assert bits(tmp_path / "same") == bits(finished)
    trained("gpt", corpus, tmp_path / "other", training={"seed": 4})
    assert bits(tmp_path / "other")["kept"] != bits(finished)["kept"]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["gpt2", "lstm"])
def test_workers_change_nothing(recipe: str, corpus: Path, tmp_path: Path) -> None:
    trained(recipe, corpus, tmp_path / "none")
    trained(recipe, corpus, tmp_path / "two", data={"workers": 2})
    assert bits(tmp_path / "two") == bits(tmp_path / "none")


@pytest.mark.parametrize("recipe", ["gpt", "lstm"])
def test_evaluating_and_sampling_leave_training_alone(recipe: str, corpus: Path, tmp_path: Path) -> None:
    often = {"evaluate_every": 2, "sample_every": 3, "checkpoint_every": 1, "keep": "last"}
    never = {"evaluate_every": None, "sample_every": None, "checkpoint_every": None, "keep": "last", "log_every": 5}
    trained(recipe, corpus, tmp_path / "often", training=often)
    trained(recipe, corpus, tmp_path / "never", training=never)
    a, b = bits(tmp_path / "often"), bits(tmp_path / "never")
    for part in ("kept", "model.safetensors", "optimizer.safetensors"):
        assert a[part] == b[part]
    last = [line["loss"] for line in a["logged"]][-1]
    assert last == b["logged"][-1]["loss"]
    assert a["logged"][-1]["val_loss"] == b["logged"][-1]["val_loss"]


# -- limits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "steps"),
    [({"steps": 3}, 3), ({"steps": None, "tokens": 100}, 3), ({"steps": 2, "tokens": 1000}, 2)],
)
def test_limits(limit: dict[str, Any], steps: int, corpus: Path, tmp_path: Path) -> None:
    run = trained("gpt2", corpus, tmp_path / "run", training=limit)
    assert run.metrics[-1]["step"] == steps
    assert run.metrics[-1].keys() >= EVALUATION
    assert steps_saved(tmp_path / "run")[-1] == steps


def test_a_limit_by_epochs(corpus: Path, tmp_path: Path) -> None:
    run = trained("lstm", corpus, tmp_path / "run", training={"steps": None, "epochs": 0.05, "batch_size": 8})
    lanes, length = 16, 6
    tokens = len(corpus.read_text(encoding="utf-8")) * 0.9
    per_epoch = tokens / lanes / length
    assert run.metrics[-1]["step"] == pytest.approx(0.05 * per_epoch, abs=1.1)


def test_a_limit_by_time(corpus: Path, tmp_path: Path) -> None:
    auto = {"evaluate_every": "auto", "checkpoint_every": "auto", "log_every": "auto", "sample_every": "auto"}
    limit = {"steps": None, "seconds": 0.3, "warmup": 0.1, **auto}
    run = trained("gpt2", corpus, tmp_path / "run", training=limit)
    assert 0.3 <= run.metrics[-1]["seconds"] < 0.6
    config = read_yaml(tmp_path / "run" / "config.yaml")["training"]
    assert config["warmup"] >= 1
    assert all(isinstance(config[key], int) for key in auto)
    rates = [line["lr"] for line in run.metrics]
    assert rates[-1] < 0.35 * max(rates)  # the schedule ends when the time does


# -- what is kept -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("keep", "step"), [("best", 5), ("last", 12)])
def test_best_or_last(keep: str, step: int, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluations(monkeypatch, 2.0, 2.5, 2.4)
    said = Recorder()
    trained("gpt2", corpus, tmp_path / "run", said, training={"keep": keep})
    assert steps_saved(tmp_path / "run") == [5, 9, 12]
    assert_kept(tmp_path / "run", step)
    assert ("the kept weights are those of step 5, the best of the evaluations" in said.text) == (keep == "best")


def test_a_damaged_best_gives_way_to_the_last(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluations(monkeypatch, 2.0, 2.5, 2.4)
    out, said = tmp_path / "run", Recorder()

    class Vandal(Recorder):
        def progress(self, progress: Any, report: Any, share: float) -> None:
            if progress.step == 11:
                with (out / "checkpoints" / "step-000005" / "model.safetensors").open("ab") as file:
                    file.write(b"\0")

    said = Vandal()
    trained("gpt2", corpus, out, said)
    assert "step-000005 is not used: model.safetensors was altered or cut short; the last weights are kept" in said.text
    assert_kept(out, 12)


def test_early_stopping_says_why(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluations(monkeypatch, 2.0, 2.5, 2.4)
    said = Recorder()
    run = trained("gpt2", corpus, tmp_path / "run", said, training={"steps": 90, "evaluate_every": 2, "patience": 2})
    reason = "stopped early at step 6: 2 evaluations in a row without a better validation loss than 2.0000 at step 2"
    assert reason in said.text
    assert reason in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert run.metrics[-1]["step"] == 6
    assert_kept(tmp_path / "run", 2)


# -- warnings ---------------------------------------------------------------------------------------


def test_overfitting_is_warned_of_once(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluations(monkeypatch, 2.0, 2.1, 2.2, 2.3, 2.4, 2.5)
    said = Recorder()
    trained("gpt2", corpus, tmp_path / "run", said, training={"evaluate_every": 2})
    warned = [line for line in said.said if "overfits" in line]
    assert warned == [
        "warning: the model overfits: validation loss rose from 2.000 at step 2 to 2.200;"
        " stop earlier, or use more dropout or more text"
    ]
    assert "overfits" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_repeated_data_is_warned_of(corpus: Path, tmp_path: Path) -> None:
    said, plain = Recorder(), Recorder()
    trained("lstm", corpus, tmp_path / "short", plain, training={"steps": 1})
    assert "times" not in plain.text
    size = {"steps": None, "epochs": 9, "batch_size": 200, "log_every": 50, "evaluate_every": None}
    trained("lstm", corpus, tmp_path / "long", said, training=size)
    assert "warning: the training text will be read about 9 times; beyond 4 times" in said.text


def test_a_first_loss_that_is_off_is_warned_of(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: Path
) -> None:
    from malgil.runs import prepare

    plain = prepare.build_model

    def shouting(*arguments: Any) -> Any:
        model = plain(*arguments)
        with torch.no_grad():
            model.embedding.weight.mul_(100)
        return model

    monkeypatch.setattr(prepare, "build_model", shouting)
    said = Recorder()
    run = trained("gpt2", corpus, tmp_path / "run", said, training={"steps": 1})
    expected = math.log(run.tokenizer.vocab_size)
    assert f"warning: the first loss is {run.metrics[0]['loss']:.2f}" in said.text
    assert f"ln(vocabulary) = {expected:.2f}" in said.text
    assert Run(finished).metrics[0]["loss"] == pytest.approx(expected, abs=0.2)


# -- when things go wrong ---------------------------------------------------------------------------


def test_bad_numbers_stop_the_run_and_leave_finite_checkpoints(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    explosive = {"learning_rate": 1e30, "clip": None, "warmup": 0, "checkpoint_every": 1, "schedule": "constant"}
    with pytest.raises(NonFiniteError, match=r"is not finite; step \d+; lower training.learning_rate"):
        trained("gpt2", corpus, out, training=explosive)
    for step in steps_saved(out):
        assert all(t.isfinite().all() for t in weights_of(out, step).values())
    assert not (out / "model.safetensors").exists()
    assert "failed: " in (out / "report.html").read_text(encoding="utf-8")
    lines = RunFolder(out).lines(out / "metrics.jsonl")
    assert all(math.isfinite(line["loss"]) for line in lines)


@pytest.mark.parametrize(
    ("sample_every", "message"),
    [(None, r"weight 'body\.embedding\.weight' is not finite"), (6, "the model's scores are not finite")],
)
def test_poisoned_weights_are_not_saved(sample_every: int | None, message: str, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    sessions: list[Session] = []

    class Poisoner(Recorder):
        def start(self, prepared: Any, trainer: Any) -> None:
            sessions.append(trainer)

        def progress(self, progress: Any, report: Any, share: float) -> None:
            if progress.step == 6:  # a checkpoint is due now
                with torch.no_grad():
                    next(sessions[0].assembled.parameters())[0, 0] = math.nan  # type: ignore[attr-defined]

    with pytest.raises(NonFiniteError, match=rf"{message}; step 6; lower training.learning_rate"):
        trained("gpt2", corpus, out, Poisoner(), training={"sample_every": sample_every})
    assert steps_saved(out) == [3, 5]


@pytest.mark.parametrize("where", ["save_file", "append"])
def test_a_full_disk_stops_the_run_with_its_checkpoint_intact(
    where: str, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"

    plain = Path.open

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    def full_for_appending(path: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        return full() if mode == "a" else plain(path, mode, *rest, **options)

    class Filler(Recorder):
        def progress(self, progress: Any, report: Any, share: float) -> None:
            if progress.step == 6:
                if where == "append":
                    monkeypatch.setattr(Path, "open", full_for_appending)
                else:
                    monkeypatch.setattr("malgil.training.checkpoint.save_file", full)

    with pytest.raises(StorageError, match="No space left on device"):
        trained("gpt2", corpus, out, Filler())
    monkeypatch.undo()
    assert steps_saved(out) == [3, 5]
    assert training.newest_checkpoint(out / "checkpoints") == out / "checkpoints" / "step-000005"


def test_one_writer(finished: Path, corpus: Path) -> None:
    with FolderLock(finished), pytest.raises(InputError, match=f"in use by process {os.getpid()}"):
        train(None, {}, out=finished, resume=True, display=Recorder())
    with pytest.raises(InputError, match="exists already; name another folder"):
        train("gpt", overrides("gpt", corpus), out=finished, display=Recorder())


def test_settings_that_do_not_work_leave_no_folder(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(InputError):
        trained("gpt2", corpus, out, model={"n_heads": 3})
    with pytest.raises(InputError, match="too short"):
        trained("lstm", corpus, out, training={"batch_size": 10**6})
    assert not out.exists()
