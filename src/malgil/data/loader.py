"""Batches by the number of the step: there is no position to save and nothing to skip on resume."""

from __future__ import annotations

import atexit
import itertools
import pickle
import signal
import sys
import traceback
import warnings
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from malgil.errors import ResourceError, RunError

T = TypeVar("T")


class Loader(Generic[T]):
    """The batches of step after step, without end, prepared ahead in worker processes if there are any.

    The order is the same for any number of workers. Signals are the parent's to handle: workers ignore SIGINT and
    SIGTERM and end with the iteration. The global random generator is not touched.

    Args:
        make_batch: the micro-batches of a step; a function of the step alone, picklable where processes are spawned.
        start_step: the first step, anywhere.
        workers: processes; 0 prepares batches in this one.

    Raises (while iterating):
        whatever `make_batch` raised, as itself, with the worker's traceback as a note.
        ResourceError: a worker was killed, most often for memory.
    """

    def __init__(self, make_batch: Callable[[int], list[T]], start_step: int = 0, workers: int = 0) -> None:
        self.make_batch, self.start_step, self.workers = make_batch, start_step, workers

    def __iter__(self) -> Iterator[list[T]]:
        steps = itertools.count(self.start_step)
        if self.workers == 0:
            return map(self.make_batch, steps)
        batches = self._from_workers(steps)
        _alive.add(batches)
        return batches

    def _from_workers(self, steps: Iterable[int]) -> Generator[list[T], None, None]:
        with warnings.catch_warnings():
            # More workers than cores are the user's choice. From Python 3.12 a fork beside threads warns; the workers
            # use none of the parent's threads.
            warnings.filterwarnings("ignore", message="This DataLoader will create", category=UserWarning)
            warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)
            loader = DataLoader(
                _Steps(self.make_batch),
                sampler=steps,
                batch_size=None,
                collate_fn=_as_it_is,
                num_workers=self.workers,
                # forked workers leave when their parent was killed; those of a fork server would stay for ever
                multiprocessing_context="fork" if sys.platform == "linux" else None,
                worker_init_fn=_ignore_signals,
                generator=torch.Generator(),  # otherwise the workers' seed is drawn from the global one
            )
            batches = iter(loader)
        try:
            while True:
                made = next(batches)
                if isinstance(made, _Failure):
                    raise made.error
                yield made
        except RuntimeError as error:
            if "exited unexpectedly" not in str(error):
                raise
            raise ResourceError(
                "a process that prepares batches was killed", "data.workers", "lower it, or free memory"
            ) from error
        finally:
            del batches  # ends the workers now, not when the last traceback that shows this frame is gone


# ---------------------------------------------------------------------------------------------


class _Failure:
    """An error on its way from a worker to the parent, which would otherwise raise a rewritten one."""

    def __init__(self, error: Exception) -> None:
        trace = "".join(traceback.format_exception(error)).rstrip()
        try:
            pickle.loads(pickle.dumps(error))
            self.error = error
        except Exception:  # an exception whose constructor takes something else than its arguments
            self.error = RunError(f"{type(error).__name__} while preparing a batch: {error}")
        self.error.add_note(f"In a worker process:\n{trace}")


class _Steps(Dataset["list[T] | _Failure"], Generic[T]):
    def __init__(self, make_batch: Callable[[int], list[T]]) -> None:
        self.make_batch = make_batch

    def __getitem__(self, step: int) -> list[T] | _Failure:
        try:
            return self.make_batch(step)
        except Exception as error:
            return _Failure(error)


def _as_it_is(batch: T) -> T:
    return batch


def _ignore_signals(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


# An iteration that is still alive when Python ends (in a traceback, say) is closed first: multiprocessing would
# terminate its workers, which ignore that, and wait for them for ever.
_alive: weakref.WeakSet[Generator[Any, None, None]] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for batches in list(_alive):
        batches.close()
