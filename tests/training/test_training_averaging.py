"""Averages of the weights: what they are, that training never sees them, and that they survive a break."""

from __future__ import annotations

import multiprocessing
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from training_cases import equal, trainer, weights

from malgil.config import parse
from malgil.errors import ConfigError, Interrupted, NonFiniteError
from malgil.training.checkpoint import Snapshot, checkpoint_place, load_checkpoint, save_checkpoint
from malgil.training.distributed import World
from malgil.training.progress import Progress
from malgil.training.settings import TrainingSettings
from malgil.training.trainer import Hooks, Trainer

KINDS: list[dict[str, Any]] = [{"ema": 0.9}, {"average": 2}]
Weights = dict[str, torch.Tensor]


def copied(snapshot: Snapshot) -> Snapshot:
    """As the disk would keep it."""
    parts = {
        part: {name: tensor.clone() for name, tensor in getattr(snapshot, part).items()}
        for part in ("model", "optimizer", "carry", "averaging")
    }
    return Snapshot(**parts, state=dict(snapshot.state))


def watched(name: str = "gpt2", **settings: Any) -> tuple[Trainer, list[Weights], list[Weights]]:
    """A trainer; the weights after each of its steps; what each of its evaluations sees."""
    one = trainer(name, learning_rate=0.05, **settings)
    trained: list[Weights] = []
    evaluated: list[Weights] = []

    def evaluate() -> dict[str, Any]:
        one.beside(lambda assembled: evaluated.append(weights(one)))
        return {"val_loss": 1.0}

    step = one.step

    def noted(batches: list[Any]) -> Any:
        report = step(batches)
        trained.append(weights(one))
        return report

    one.step = noted  # type: ignore[method-assign]
    one.hooks = Hooks(evaluate=evaluate)
    return one, trained, evaluated


def assert_close(found: Weights, expected: Weights) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-6)


# -- what they are ----------------------------------------------------------------------------------


def test_a_moving_average_is_its_recursion() -> None:
    one, trained, evaluated = watched(ema=0.4, steps=7)
    expected = weights(one)
    one.run()
    for t, now in enumerate(trained):
        decay = min(0.4, (1 + t) / (10 + t))
        assert (decay == 0.4) == (t >= 5)  # both sides of the warm-up are seen
        expected = {name: decay * expected[name] + (1 - decay) * now[name] for name in now}
    assert_close(evaluated[0], expected)
    assert not equal(evaluated[0], trained[-1])


def test_the_last_points_are_those_of_the_last_evaluations() -> None:
    one, trained, evaluated = watched(average=3, steps=9, evaluate_every=2)
    one.run()
    at = [2, 4, 6, 8, 9]
    for i, seen in enumerate(evaluated):
        points = [trained[step - 1] for step in at[max(0, i - 2) : i + 1]]
        assert_close(seen, {name: sum(p[name] for p in points) / len(points) for name in seen})
    assert len(evaluated) == 5
    assert equal(evaluated[0], trained[1])  # of one point


def test_before_the_first_point_the_weights_stand_for_themselves() -> None:
    one, trained, _ = watched(average=3, steps=2)
    one.step(one.batches(0))
    assert equal(one.snapshot({}).model, trained[0])
    one.beside(lambda assembled: trained.append(weights(one)))
    assert equal(trained[1], trained[0])


def test_two_kinds_at_once_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"ema 0\.99, average 5; set one of them to none"):
        parse(TrainingSettings, {"ema": 0.99, "average": 5}, "training")


# -- beside training --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "lstm"])
@pytest.mark.parametrize("kind", KINDS)
def test_training_never_sees_them(kind: dict[str, Any], name: str) -> None:
    settings: dict[str, Any] = {"evaluate_every": 2, "dropout": 0.3, "optimizer": "muon"}
    (plain, expected, _), (one, found, evaluated) = watched(name, **settings), watched(name, **settings, **kind)
    plain.run()
    one.run()
    assert all(equal(a, b) for a, b in zip(found, expected, strict=True))
    assert not equal(evaluated[-1], found[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_an_evaluation_that_fails_gives_the_weights_back(kind: dict[str, Any]) -> None:
    one, trained, _ = watched(evaluate_every=2, **kind)

    def fail(assembled: Any) -> None:
        assert not equal(weights(one), trained[-1])
        raise MemoryError

    one.run()
    with pytest.raises(MemoryError):
        one.beside(fail)
    assert equal(weights(one), trained[-1])


# -- kept and brought back --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_keeps_what_was_evaluated_and_what_is_trained(kind: dict[str, Any], tmp_path: Path) -> None:
    one, trained, evaluated = watched(evaluate_every=2, **kind)
    one.run()
    place = save_checkpoint(tmp_path, 6, one.snapshot({"note": "말길"}), None)
    kept = load_checkpoint(place)
    assert equal(kept.model, evaluated[-1])
    assert equal({n: kept.averaging[f"raw.{n}"] for n in trained[-1]}, trained[-1])
    assert kept.state["note"] == "말길"


def test_without_averages_there_is_nothing_more_in_a_checkpoint() -> None:
    one, trained, evaluated = watched()
    one.run()
    assert equal(evaluated[-1], trained[-1])
    assert equal(one.snapshot({}).model, trained[-1])
    assert one.snapshot({}).averaging == {}


def test_weights_that_are_not_finite_are_never_saved_behind_a_finite_average() -> None:
    one, _, _ = watched(average=2)
    one.run()
    with torch.no_grad():
        list(one.assembled.parameters())[3][0] = torch.inf
    with pytest.raises(NonFiniteError, match=r"weight 'raw\.body\.\S+' is not finite"):
        one.snapshot({})


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("name", ["llama", "lstm"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_was_broken_off_ends_with_the_same_bits(kind: dict[str, Any], name: str) -> None:
    settings: dict[str, Any] = {"steps": 9, "evaluate_every": 2, "dropout": 0.3, "columns": 5, **kind}
    whole, _, evaluated = watched(name, **settings)
    whole.run()

    first, _, seen = watched(name, checkpoint_every=5, **settings)
    snapshots: list[Snapshot] = []

    def progress(p: Progress, *_: Any) -> None:
        if p.step == 7:
            raise KilledError

    first.hooks.save = lambda: snapshots.append(copied(first.snapshot({})))
    first.hooks.progress = progress
    with pytest.raises(KilledError):
        first.run()
    assert snapshots[-1].state["step"] == 5

    second, _, rest = watched(name, **settings)
    second.restore(snapshots[-1])
    second.run()
    assert all(equal(a, b) for a, b in zip(seen[:2] + rest, evaluated, strict=True))
    assert equal(weights(second), weights(whole))
    a, b = second.snapshot({}), whole.snapshot({})
    assert equal(a.model, b.model)
    assert equal(a.averaging, b.averaging)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_was_stopped_inside_an_evaluation_ends_with_the_same_bits(kind: dict[str, Any]) -> None:
    """It is saved while the averages stand in the model, and the evaluation is repeated."""
    settings: dict[str, Any] = {"steps": 8, "evaluate_every": 2, **kind}
    whole, trained, evaluated = watched(**settings)
    whole.run()

    first, _, _ = watched(**settings)
    snapshots: list[Snapshot] = []
    evaluate = first.hooks.evaluate
    assert evaluate is not None

    def stop(assembled: Any) -> None:
        snapshots.append(copied(first.snapshot({})))
        raise first.interrupted(15)

    first.hooks.evaluate = lambda: first.beside(stop) if first.progress.step == 6 else evaluate()
    with pytest.raises(Interrupted):
        first.run()
    assert equal(weights(first), trained[5])
    assert equal(snapshots[0].model, evaluated[2])

    second, _, rest = watched(**settings)
    second.restore(snapshots[0])
    second.run()
    assert all(equal(a, b) for a, b in zip(rest, evaluated[2:], strict=True))
    assert equal(second.snapshot({}).averaging, whole.snapshot({}).averaging)


# -- two processes ----------------------------------------------------------------------------------

SHARED: dict[str, Any] = {"steps": 5, "evaluate_every": 2, "eps": 1e-2}
WAYS = [{"shard": shard, **kind} for shard in (False, True) for kind in KINDS]


@pytest.mark.slow
def test_two_processes_average_as_one_does(tmp_path: Path) -> None:
    """With copies and with shards, also where they were stopped and went on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["malgil.training.trainer", "torch._dynamo"])
    pair = [context.Process(target=share, args=(rank, port, tmp_path)) for rank in (0, 1)]
    for process in pair:
        process.start()
    for process in pair:
        process.join(120)
    assert [process.exitcode for process in pair] == [0, 0]
    for number, way in enumerate(WAYS):
        one = scored(**SHARED, **way)
        one.run()
        expected, found = one.snapshot({}), load_checkpoint(checkpoint_place(tmp_path / str(number), 5))
        assert_close(found.model, expected.model)
        assert_close(found.averaging, expected.averaging)
        assert not equal(found.model, {name: found.averaging[f"raw.{name}"] for name in found.model})
        assert found.state["best"] == pytest.approx(expected.state["best"], abs=1e-4)


def scored(**settings: Any) -> Trainer:
    """A trainer that evaluates on the batch of its first step."""
    one = trainer("llama", **settings)

    def evaluate() -> dict[str, Any]:
        sums = one.beside(lambda assembled: one.objective.loss(assembled, one.batches(0)[0], None)[0])
        return {"val_loss": float(one.world.sum(sums["nll"]))}

    one.hooks = Hooks(evaluate=evaluate)
    return one


def share(rank: int, port: int, folder: Path) -> None:
    """One of two processes: trains, is stopped, goes on from what it saved, and saves."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo")
    for number, way in enumerate(WAYS):
        one, rest = (scored(**SHARED, **way, world=World(rank, 2)) for _ in range(2))
        one.hooks.signal = lambda one=one: 15 if one.progress.step == 4 else 0
        with pytest.raises(Interrupted):
            one.run()
        rest.restore(copied(one.snapshot({})))
        rest.run()
        snapshot = rest.snapshot({})
        if rank == 0:
            save_checkpoint(folder / str(number), 5, snapshot, None)
    dist.destroy_process_group()
