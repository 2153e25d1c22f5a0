"""Going on with a run: the same bits as without the break, and only with what is the same run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from run_cases import CutAt, PowerCut, Recorder, bits, overrides, resumed, steps_saved, trained

from malgil.config import read_yaml, to_yaml
from malgil.errors import CheckpointError, Interrupted, ResumeMismatch
from malgil.runs.training import Session, train
from malgil.runtime.files import FolderLock
from malgil.training.checkpoint import CheckpointWarning
from malgil.training.distributed import World
from malgil.training.signals import SignalWatch


def cut(recipe: str, corpus: Path, out: Path, step: int, **changed: Any) -> None:
    with pytest.raises(PowerCut):
        trained(recipe, corpus, out, CutAt(step), **changed)


def everything(out: Path) -> dict[str, tuple[bytes, int]]:
    files = (p for p in out.rglob("*") if p.is_file() and p.name != ".lock")
    return {str(p.relative_to(out)): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> dict[str, Path]:
    """Undisturbed runs, made as they are asked for."""
    folder = tmp_path_factory.mktemp("whole")

    class Runs(dict[str, Path]):
        def __missing__(self, recipe: str) -> Path:
            trained(recipe, corpus, folder / recipe)
            self[recipe] = folder / recipe
            return self[recipe]

    return Runs()


@pytest.fixture
def copied(whole: dict[str, Path], tmp_path: Path) -> Path:
    """A finished run of `gpt2` to change."""
    shutil.copytree(whole["gpt2"], tmp_path / "copy")
    return tmp_path / "copy"


# -- the same bits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "step"),
    [
        ("gpt2", 8),
        ("rnn", 4),
        ("gru", 11),
        ("gpt", 7),
        ("lstm", 6),
        ("seq2seq-bahdanau", 8),
        ("transformer", 7),
        ("bert", 8),
        ("birnn", 5),
        ("albert", 7),
        ("electra", 8),
    ],
)
def test_a_broken_run_ends_with_the_same_bits(
    recipe: str, step: int, whole: dict[str, Path], corpus: Path, tmp_path: Path
) -> None:
    out, said = tmp_path / "run", Recorder()
    cut(recipe, corpus, out, step)
    assert not (out / "model.safetensors").exists()
    last = steps_saved(out)[-1]
    assert last < step
    resumed(out, said)
    assert f"going on from step {last}" in said.text
    assert bits(out) == bits(whole[recipe])


def test_broken_again_and_again(whole: dict[str, Path], corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    cut("lstm", corpus, out, 4)
    for step in (5, 8, 10, 12):
        with pytest.raises(PowerCut):
            resumed(out, CutAt(step))
    resumed(out)
    assert bits(out) == bits(whole["lstm"])


def test_without_a_checkpoint_a_run_starts_at_step_0(whole: dict[str, Path], corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    cut("gpt2", corpus, out, 2)
    assert not (out / "checkpoints").exists()
    resumed(out)
    assert bits(out) == bits(whole["gpt2"])


def test_another_number_of_workers_is_the_same_run(whole: dict[str, Path], corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    cut("gpt2", corpus, out, 7)
    resumed(out, data={"workers": 1})
    assert bits(out) == bits(whole["gpt2"])


def test_a_torn_checkpoint_gives_way_and_the_bits_are_the_same(
    whole: dict[str, Path], corpus: Path, tmp_path: Path
) -> None:
    out, said = tmp_path / "run", Recorder()
    cut("lstm", corpus, out, 11)
    assert steps_saved(out)[-2:] == [9, 10]
    path = out / "checkpoints" / "step-000010" / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.warns(CheckpointWarning, match=r"step-000010 is not used: optimizer.safetensors was altered or cut"):
        resumed(out, said)
    assert "going on from step 9" in said.text
    assert bits(out) == bits(whole["lstm"])


def test_litter_of_a_killed_process_is_no_hindrance(whole: dict[str, Path], corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    cut("gpt2", corpus, out, 8)
    (out / ".report.html.77-abcd.part").write_text("half", encoding="utf-8")
    (out / "checkpoints" / ".step-000009.partial").mkdir()
    with (out / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 8, "tok')
    with (out / "samples.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 7, "text": "뒤의 말"}\n')
    resumed(out)
    assert bits(out) == bits(whole["gpt2"])
    assert not list(out.rglob("*.part*"))


@pytest.mark.parametrize("number", [2, 15])
@pytest.mark.parametrize("step", [5, 7, 12])
def test_a_signal_changes_nothing_in_the_end(
    step: int, number: int, whole: dict[str, Path], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where an evaluation was due (5), and at the last step (12): what was left out is made up for."""
    out = tmp_path / "run"
    watches: list[SignalWatch] = []
    enter = SignalWatch.__enter__
    monkeypatch.setattr(SignalWatch, "__enter__", lambda self: watches.append(self) or enter(self))

    class Signaller(Recorder):
        def progress(self, progress: Any, report: Any, share: float) -> None:
            if progress.step == step - 1:
                watches[-1].pending = number

    with pytest.raises(Interrupted, match=f"stopped by signal {number}; saved at step {step}") as error:
        trained("gpt2", corpus, out, Signaller())
    assert error.value.exit_status == 128 + number
    assert steps_saved(out)[-1] == step
    assert "interrupted" in (out / "report.html").read_text(encoding="utf-8")
    assert not (out / "model.safetensors").exists()
    resumed(out)
    assert bits(out) == bits(whole["gpt2"])


def test_a_signal_in_the_midst_of_an_evaluation(
    whole: dict[str, Path], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    check = Session._stop_evaluating

    def signalled(self: Session) -> None:
        self.watch.pending = 15 if self.trainer.progress.step == 10 else 0
        check(self)

    with monkeypatch.context() as patched:
        patched.setattr(Session, "_stop_evaluating", signalled)
        with pytest.raises(Interrupted, match="saved at step 10"):
            trained("lstm", corpus, out)
    assert json.loads((out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])["step"] == 9
    resumed(out)
    assert bits(out) == bits(whole["lstm"])


# -- a finished run ---------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [{}, {"training": {"steps": 12}}])
def test_a_finished_run_says_so_and_stays_as_it_is(copied: Path, asked: dict[str, Any]) -> None:
    before, said = everything(copied), Recorder()
    resumed(copied, said, **asked)
    assert "this run is finished, at step 12 (--steps 12); raise a limit to train longer" in said.text
    assert everything(copied) == before


def test_a_follower_does_not_ask_for_the_lock_of_its_leader(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Follower(World):
        def agree(self, value: Any) -> Any:
            assert value is None
            return "at step 12"

    monkeypatch.setattr("malgil.runs.training.join_world", lambda device: Follower(rank=1, size=2))
    said = Recorder()
    with FolderLock(copied):
        resumed(copied, said)
    assert said.text == ""  # the leader alone speaks


def test_a_raised_limit_goes_on(copied: Path) -> None:
    before, said = bits(copied), Recorder()
    run = resumed(copied, said, training={"steps": 17})
    assert "going on from step 12" in said.text
    assert [line["step"] for line in run.metrics] == list(range(1, 18))
    after = bits(copied)
    assert after["logged"][:12] == before["logged"]
    assert after["kept"] != before["kept"]
    assert steps_saved(copied)[-1] == 17
    assert read_yaml(copied / "config.yaml")["training"]["steps"] == 17


def test_weights_of_the_shorter_run_do_not_pass_for_those_of_the_longer(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken off between the last checkpoint and the weights."""
    other = shutil.copytree(copied, tmp_path / "other")
    resumed(other, training={"steps": 15})

    def cut_off(self: Session) -> None:
        raise PowerCut

    with monkeypatch.context() as patched:
        patched.setattr(Session, "_finish", cut_off)
        with pytest.raises(PowerCut):
            resumed(copied, training={"steps": 15})
    resumed(copied)
    assert bits(copied) == bits(other)


def test_a_limit_may_be_taken_away_for_another(copied: Path) -> None:
    run = resumed(copied, training={"steps": None, "tokens": 48 * 14})
    assert run.metrics[-1]["step"] == 14


# -- another run ------------------------------------------------------------------------------------


def test_differences_are_refused_and_all_of_them_named(copied: Path) -> None:
    before = everything(copied)
    with pytest.raises(ResumeMismatch) as error:
        train(
            "lstm",
            {"model": {"d_model": 32}, "training": {"batch_size": 3, "seed": 8, "steps": 20}},
            out=copied,
            resume=True,
            display=Recorder(),
        )
    text = str(error.value)
    assert "recipe: 'gpt2' in the run, 'lstm' asked" in text
    assert "model.d_model: 16 in the run, 32 asked" in text
    assert "training.batch_size: 2 in the run, 3 asked" in text
    assert "training.seed: 1337 in the run, 8 asked" in text
    assert "training.steps" not in text
    assert everything(copied) == before


def test_a_lowered_limit_is_refused(copied: Path) -> None:
    with pytest.raises(ResumeMismatch, match=r"training\.steps: 12 in the run, 11 asked"):
        resumed(copied, training={"steps": 11})


def test_its_own_settings_are_no_difference(copied: Path, corpus: Path) -> None:
    said = Recorder()
    train("gpt2", overrides("gpt2", corpus), out=copied, resume=True, display=said,
          config_files=[copied / "config.yaml"])  # fmt: skip
    assert "this run is finished" in said.text


def test_a_settings_file_with_differences_is_refused(copied: Path, tmp_path: Path) -> None:
    changed = read_yaml(copied / "config.yaml")
    changed["training"]["learning_rate"] = 0.5
    changed["description"] = "다른 말"
    (tmp_path / "changed.yaml").write_text(to_yaml(changed), encoding="utf-8")
    with pytest.raises(ResumeMismatch, match=r"another run: training\.learning_rate: 0\.001 in the run, 0\.5 asked;"):
        train(None, {}, out=copied, resume=True, display=Recorder(), config_files=[tmp_path / "changed.yaml"])


def test_changed_data_is_refused(corpus: Path, tmp_path: Path) -> None:
    text, other, out = tmp_path / "text.txt", tmp_path / "other.txt", tmp_path / "run"
    content = corpus.read_text(encoding="utf-8")
    text.write_text(content, encoding="utf-8")
    other.write_text(content[:900], encoding="utf-8")
    cut("gpt2", text, out, 8, data={"validation": [str(other)]})
    before = everything(out)
    text.write_text(content[:50] + "x" + content[51:], encoding="utf-8")
    with pytest.raises(ResumeMismatch, match=r"the training data changed since this run began; .*run; bring back"):
        resumed(out)
    other.write_text(content[:901], encoding="utf-8")
    with pytest.raises(ResumeMismatch, match="the training data and the validation data changed"):
        resumed(out)
    assert everything(out) == before


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no run here: config\.yaml is missing"):
        resumed(tmp_path)


def test_weights_without_checkpoints_are_not_overwritten(copied: Path) -> None:
    shutil.rmtree(copied / "checkpoints")
    before = everything(copied)
    with pytest.raises(CheckpointError, match="has weights but no checkpoint to go on from"):
        resumed(copied, training={"steps": 20})
    assert everything(copied) == before
