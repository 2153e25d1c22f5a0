"""What `--dry-run` expects, against what a real step takes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from run_cases import Recorder, overrides
from run_processes import CONTEXT, finish

from malgil.models.base import count_parameters
from malgil.runs.estimate import dry_run, estimate
from malgil.runs.prepare import Prepared, prepare
from malgil.runs.recipe import compose
from malgil.training.trainer import Hooks

SIZES = {
    "gpt2": {"n_layers": 3, "n_heads": 4, "d_model": 128, "max_len": 64},
    "lstm": {"n_layers": 2, "d_model": 256, "max_len": 32},
}


def prepared(recipe: str, corpus: Path, **changed: Any) -> Prepared:
    return prepare(compose(recipe, [], overrides(recipe, corpus, **changed)), lambda text: None)


def sized(recipe: str, corpus: Path) -> Prepared:
    return prepared(recipe, corpus, model=SIZES[recipe], training={"batch_size": 32, "accumulate": 1})


def test_parameters_are_counted(corpus: Path) -> None:
    found = dry_run("gpt2", overrides("gpt2", corpus), display=Recorder())
    run = prepared("gpt2", corpus)
    d, layers, length = 16, 2, 12
    block = 12 * d * d + 13 * d  # attention 4 d^2 + 4 d, feed-forward 8 d^2 + 5 d, two norms 4 d
    by_hand = run.tokenizers.target.vocab_size * d + length * d + layers * block + 2 * d
    assert found.parameters == by_hand == count_parameters(run.model)
    assert found.weights == found.gradients == 4 * by_hand
    assert found.optimizer == 8 * by_hand
    assert (found.steps, found.tokens) == (12, 12 * 48)
    assert found.epochs == pytest.approx(12 / run.batches.steps_per_epoch)
    assert found.seconds is not None
    assert found.seconds > 0
    assert any(f"{by_hand:,}" in line for line in found.lines())


def test_muon_keeps_one_number_a_weight_of_a_block(corpus: Path) -> None:
    run = prepared("gpt", corpus)
    inside = sum(p.numel() for block in run.model.blocks() for p in block.parameters() if p.dim() == 2)
    found = estimate(run)
    assert found.optimizer == 4 * (2 * found.parameters - inside)


def test_nothing_is_written(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    dry_run("gpt2", overrides("gpt2", corpus), display=Recorder())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the highest memory of a process is read from /proc")
@pytest.mark.parametrize("recipe", SIZES)
def test_memory_is_near_what_a_step_takes(recipe: str, corpus: Path, tmp_path: Path) -> None:
    process = CONTEXT.Process(target=_measure, args=(recipe, str(corpus), str(tmp_path / "growth")))
    process.start()
    assert finish(process) == 0
    growth = int((tmp_path / "growth").read_text(encoding="utf-8"))
    run = sized(recipe, corpus)
    run.seconds_per_step = 1.0  # time is not the question
    estimated = estimate(run)
    # the contract's bound, and no estimate from thin air
    assert growth < 1.5 * estimated.memory
    assert estimated.memory < 1.5 * growth
    assert estimated.activations > 0.3 * estimated.memory


def _measure(recipe: str, corpus: str, result: str) -> None:
    """Write down how far the memory of this process grows, at its highest, in the steps of a run."""
    _take_steps(prepared(recipe, Path(corpus)))  # a tiny run first: libraries take some tens of MB at their first use
    before = _kilobytes("VmHWM")
    _take_steps(sized(recipe, Path(corpus)))
    Path(result).write_text(str(1024 * (_kilobytes("VmHWM") - before)), encoding="utf-8")


def _take_steps(run: Prepared) -> None:
    trainer = run.trainer(Hooks())
    for step in range(3):
        trainer.step(run.batches(step))


def _kilobytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))
