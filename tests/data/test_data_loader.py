"""The loader: the same batches for any number of workers, from any step, and errors that arrive as themselves."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch

from malgil.data.loader import Loader
from malgil.errors import DataError, InputError, NotFoundError, ResourceError, RunError


@dataclass(frozen=True)
class Batch:
    """What objectives make: a frozen dataclass of tensors."""

    tokens: torch.Tensor
    origin: list[tuple[int, int]]


@dataclass(frozen=True)
class Recipe:
    """Two micro-batches of three examples a step, out of an epoch of seven."""

    error: Exception | None = None

    def __call__(self, step: int) -> list[Batch]:
        if self.error is not None and step == 3:
            raise self.error
        examples = [divmod(6 * step + i, 7) for i in range(6)]
        return [Batch(torch.tensor(part), part) for part in (examples[:3], examples[3:])]


def origins(loader: Loader[Batch], steps: int) -> list[list[list[tuple[int, int]]]]:
    made = list(itertools.islice(iter(loader), steps))
    for micro_batches in made:
        for batch in micro_batches:
            assert batch.tokens.tolist() == [list(pair) for pair in batch.origin]
    return [[batch.origin for batch in micro_batches] for micro_batches in made]


def test_order_does_not_depend_on_workers() -> None:
    assert origins(Loader(Recipe(), workers=2), 9) == origins(Loader(Recipe()), 9)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_resumed_at_any_step_goes_on(workers: int) -> None:
    whole = origins(Loader(Recipe()), 9)
    for start in (1, 4):
        assert origins(Loader(Recipe(), start, workers), 9 - start) == whole[start:]
    assert origins(Loader(Recipe(), 10**9, workers), 1) == [[b.origin for b in Recipe()(10**9)]]  # no skipping there


@pytest.mark.parametrize("workers", [0, 1])
def test_the_global_generator_is_left_alone(workers: int) -> None:
    before = torch.get_rng_state()
    origins(Loader(Recipe(), workers=workers), 2)
    assert torch.equal(torch.get_rng_state(), before)


class StubbornError(Exception):
    """Cannot be unpickled: its constructor takes more than the message."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first + second)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_arrives_as_itself(workers: int) -> None:
    errors = (
        DataError("글이 짧다", "a.txt:3", "add more"),
        NotFoundError("no column", "a", "b", nearest=("text",)),
        KeyError("k"),
    )
    for error in errors:
        batches = iter(Loader(Recipe(error), workers=workers))
        assert len(list(itertools.islice(batches, 3))) == 3
        with pytest.raises(type(error)) as caught:
            next(batches)
        assert str(caught.value) == str(error)
        assert {**vars(caught.value), "__notes__": 0} == {**vars(error), "__notes__": 0}
        if workers:
            assert "in __call__" in caught.value.__notes__[0]


def test_an_error_that_cannot_travel_is_told() -> None:
    with pytest.raises(RunError, match="StubbornError while preparing a batch: 말길"):
        list(itertools.islice(Loader(Recipe(StubbornError("말", "길")), workers=1), 4))


def _signals(step: int) -> list[tuple[object, object, int]]:
    return [(signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), os.getpid())]


def test_workers_leave_signals_to_the_parent() -> None:
    batches = iter(Loader(_signals, workers=1))
    interrupt, terminate, pid = next(batches)[0]
    assert interrupt == terminate == signal.SIG_IGN
    assert pid != os.getpid()
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGINT)
    assert [batch[0][2] for batch in itertools.islice(batches, 5)] == [pid] * 5


def _killed(step: int) -> list[int]:
    if step == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return [step]


def test_a_worker_that_is_killed() -> None:
    with pytest.raises(ResourceError, match=r"data\.workers"):
        list(itertools.islice(Loader(_killed, workers=1), 3))


def test_workers_end_with_the_iteration() -> None:
    batches = iter(Loader(_signals, workers=1))
    pid = next(batches)[0][2]
    batches.close()  # type: ignore[attr-defined]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["pass", "raise SystemExit(3)", "os.kill(os.getpid(), signal.SIGINT)"])
def test_python_ends_though_an_iteration_is_alive(ending: str) -> None:
    program = f"""
import os, signal, time
from malgil.data.loader import Loader
batches = iter(Loader(lambda step: [step], workers=1))
assert next(batches) == [0]
{ending}
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=90, capture_output=True, check=False)
    assert done.returncode in (0, 3, -signal.SIGINT), done.stderr.decode()


def test_settings_refuse_what_cannot_be() -> None:
    from malgil.config import describe, parse
    from malgil.data.settings import DataSettings

    assert parse(DataSettings, {"paths": "a.txt", "workers": "2"}, "data") == DataSettings(paths=["a.txt"], workers=2)
    for tree in ({"workers": -1}, {"workers": True}, {"holdout": 0}, {"holdout": "nan"}, {"sampling": "shufle"}):
        with pytest.raises(InputError):
            parse(DataSettings, tree, "data")
    assert all(info.help for info in describe(DataSettings))
