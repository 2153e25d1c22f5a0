"""Two processes train as one does, with whole copies or shared-out weights, and checkpoints fit any number of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from run_cases import OF_LABELS, OF_PAIRS, Recorder, resumed, steps_saved, trained
from run_processes import arguments, run_pair
from safetensors.torch import load_file

from malgil.runs.run import Run

pytestmark = pytest.mark.slow

RHYTHM = {"steps": 8, "evaluate_every": 3, "checkpoint_every": 4, "sample_every": 4, "log_every": 1}
EVEN = {**RHYTHM, "batch_size": 4}
BOTH = [("gpt2", False), ("gpt", True), ("lstm", False), ("lstm", True)]


def losses(out: Path, key: str = "loss") -> list[float]:
    return [line[key] for line in Run(out).metrics if key in line]


def without_dropout(recipe: str, corpus: Path, out: Path, **training: Any) -> list[str]:
    return arguments(recipe, corpus, out, {"dropout": 0.0}, **{**EVEN, **training})


def alone(recipe: str, corpus: Path, out: Path, **training: Any) -> None:
    trained(recipe, corpus, out, Recorder(), model={"dropout": 0.0}, training={**EVEN, **training})


#: a softmax over places does not change with it, so its gradient is rounding alone, which AdamW makes large
WITHOUT_GRADIENT = ("parts.answers.linear.bias",)


def assert_same(one: Path, two: Path, tolerance: float = 1e-5) -> None:
    for key in ("loss", "val_loss", "grad_norm"):
        assert losses(two, key) == pytest.approx(losses(one, key), abs=tolerance * (10 if key == "grad_norm" else 1))
    assert [line["step"] for line in Run(two).metrics] == [line["step"] for line in Run(one).metrics]
    a, b = load_file(one / "model.safetensors"), load_file(two / "model.safetensors")
    assert {k: v.shape for k, v in a.items()} == {k: v.shape for k, v in b.items()}
    assert all((a[k] - b[k]).abs().max() < 100 * tolerance for k in a if k not in WITHOUT_GRADIENT)


@pytest.mark.parametrize(
    ("recipe", "shard"),
    [
        *BOTH,
        ("seq2seq-bahdanau", False),
        ("transformer", True),
        ("bert", True),
        ("classify", False),
        ("classify", True),
        ("tag", False),
        ("answer", True),
    ],
)
def test_two_processes_take_the_steps_of_one(recipe: str, shard: bool, corpus: Path, tmp_path: Path) -> None:
    alone(recipe, corpus, tmp_path / "one")
    words = without_dropout(recipe, corpus, tmp_path / "two", shard=shard)
    assert run_pair(words, tmp_path / "log") == [0, 0], (tmp_path / "log.0").read_text(encoding="utf-8")
    assert_same(tmp_path / "one", tmp_path / "two")
    # only the leader speaks and writes
    assert (tmp_path / "log.1").read_text(encoding="utf-8") == ""
    assert (tmp_path / "two" / "samples.jsonl").read_text(encoding="utf-8").count("\n") == (
        6 if recipe in (*OF_PAIRS, *OF_LABELS, "bert", "tag", "answer") else 2
    )
    assert steps_saved(tmp_path / "two") == steps_saved(tmp_path / "one")


@pytest.mark.parametrize("recipe", ["gpt", "lstm"])
def test_checkpoints_fit_any_number_of_processes(recipe: str, corpus: Path, tmp_path: Path) -> None:
    """One process for 4 steps, two with shared-out weights for 4, one for 4: as one for 12."""
    constant = {"schedule": "constant", "evaluate_every": 12}  # limits that are raised change other schedules
    alone(recipe, corpus, tmp_path / "whole", steps=12, keep="last", **constant)
    out = tmp_path / "run"
    trained(
        recipe, corpus, out, Recorder(), model={"dropout": 0.0},
        training={**EVEN, **constant, "steps": 4, "keep": "last", "shard": True},
    )  # fmt: skip
    status = run_pair(["train", "--resume", "--out", str(out), "--steps", "8"], tmp_path / "log")
    assert status == [0, 0], (tmp_path / "log.0").read_text(encoding="utf-8")
    assert "going on from step 4" in (tmp_path / "log.0").read_text(encoding="utf-8")
    resumed(out, training={"steps": 12})
    assert losses(out) == pytest.approx(losses(tmp_path / "whole"), abs=1e-5)
    assert len(losses(out)) == 12
    carry = load_file(out / "checkpoints" / "step-000012" / "optimizer.safetensors")
    expected = load_file(tmp_path / "whole" / "checkpoints" / "step-000012" / "optimizer.safetensors")
    assert {k: v.shape for k, v in carry.items()} == {k: v.shape for k, v in expected.items()}
    # a finished run stays as it is; the leader alone looks, so that nobody finds the folder locked
    assert run_pair(["train", "--resume", "--out", str(out)], tmp_path / "again") == [0, 0]
    assert "this run is finished, at step 12" in (tmp_path / "again.0").read_text(encoding="utf-8")
    assert (tmp_path / "again.1").read_text(encoding="utf-8") == ""


def test_torchrun_with_bf16_and_shards(corpus: Path, tmp_path: Path) -> None:
    """The command of the documentation; bf16 rounds, so its losses are near and not equal."""
    alone("gpt2", corpus, tmp_path / "one", steps=4)
    words = without_dropout("gpt2", corpus, tmp_path / "two", steps=4, precision="bf16", shard=True)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "malgil.cli.main"]
    done = subprocess.run(
        [sys.executable, *torchrun, *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=0.01)
    assert losses(tmp_path / "two") != losses(tmp_path / "one")


def test_a_batch_that_cannot_be_shared_is_refused(corpus: Path, tmp_path: Path) -> None:
    words = arguments("gpt2", corpus, tmp_path / "run", batch_size=3)
    assert run_pair(words, tmp_path / "log") == [2, 2]
    told = (tmp_path / "log.0").read_text(encoding="utf-8")
    assert "error[config]: " in told
    assert "training.batch_size 3 cannot be shared by 2 processes; take a multiple of 2" in told
