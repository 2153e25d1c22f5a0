"""The comparison's side of jobs: have them started, follow what they say, stop them where the comparison is stopped."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from malgil.comparison.folder import ComparisonFolder, read_json, write_json
from malgil.comparison.job import FAILED, RESULT
from malgil.config import Tree
from malgil.errors import Interrupted

#: a job that was asked to stop saves within ten seconds
PATIENCE = 20.0
_LOOK = 0.2


class JobProcesses:
    """Does jobs, each in a process of its own; a context manager, with which all processes end.

    Args:
        folder: where specs and logs go.
        pending: the number of a signal that asks to stop, or 0.
    """

    def __init__(self, folder: ComparisonFolder, pending: Callable[[], int]) -> None:
        self.folder, self.pending = folder, pending
        self._starter: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> JobProcesses:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop()

    def run(self, spec: Tree, heard: Callable[[dict[str, Any]], None]) -> Tree:
        """Do a job; returns its job.json, which says so where it failed.

        Args:
            heard: called with everything that the job tells, and now and then with nothing.

        Raises:
            Interrupted: a signal came; the job has saved and ended.
        """
        self.folder.jobs.mkdir(parents=True, exist_ok=True)
        path = self.folder.jobs / f"{spec['name']}.json"
        log = path.with_suffix(".log")
        write_json(path, spec)
        status = self._follow(self._begin(path, log), heard)
        if number := self.pending():
            raise Interrupted(number, f"stopped by signal {number}", spec["name"], "--resume goes on from there")
        return _result(spec, status, log)

    def _begin(self, path: Path, log: Path) -> subprocess.Popen[bytes]:
        """Have a job started; the first one, and the next after one that took everything with it, by a new starter."""
        if self._starter is None:
            with log.open("ab") as errors:
                # a session of its own: the keyboard's signal comes to the comparison alone, which passes it on
                self._starter = subprocess.Popen(
                    [sys.executable, "-m", "malgil.comparison.starter"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    start_new_session=True,
                )
        assert self._starter.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended: `_follow` finds out how
            self._starter.stdin.write(f"{json.dumps(str(path))}\n".encode())
            self._starter.stdin.flush()
        return self._starter

    def _follow(self, starter: subprocess.Popen[bytes], heard: Callable[[dict[str, Any]], None]) -> int:
        """Until the job has ended; a signal is passed on to it once. Returns its exit status."""
        assert starter.stdout is not None
        os.set_blocking(starter.stdout.fileno(), False)
        rest, asked, until = b"", False, float("inf")
        with selectors.DefaultSelector() as selector:
            selector.register(starter.stdout, selectors.EVENT_READ)
            while time.monotonic() < until:
                ready = selector.select(_LOOK)
                block = starter.stdout.read() if ready else None
                if ready and block == b"":  # its end, and so the job's
                    break
                *lines, rest = (rest + (block or b"")).split(b"\n")
                for fact in filter(None, map(_fact, lines)):
                    if "ended" in fact:
                        return int(fact["ended"])
                    heard(fact)
                if not lines:
                    heard({})
                if self.pending() and not asked:
                    asked, until = True, time.monotonic() + PATIENCE
                    starter.send_signal(signal.SIGTERM)
        return self._stop()

    def _stop(self) -> int:
        """Nothing outlives the comparison. Returns the starter's exit status."""
        starter, self._starter = self._starter, None
        if starter is None:
            return 0
        for pipe in (starter.stdin, starter.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        if starter.poll() is None:
            starter.terminate()
        try:
            status = starter.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            status = -signal.SIGKILL
        with contextlib.suppress(ProcessLookupError, PermissionError):  # a job that has not ended
            os.killpg(starter.pid, signal.SIGKILL)
        starter.wait()
        return status


def _fact(line: bytes) -> dict[str, Any]:
    """What a line tells; nothing where a library has written it, or a job that was killed half of it."""
    try:
        fact = json.loads(line)
    except ValueError:
        return {}
    return fact if isinstance(fact, dict) else {}


def _result(spec: Tree, status: int, log: Path) -> Tree:
    """What the job has written, or why it could not."""
    path = Path(spec["folder"]) / RESULT
    result = read_json(path)
    if status == 0 and result is not None:
        return result
    if result is None or result["status"] != FAILED:
        words = f"killed by signal {-status} (out of memory?)" if status < 0 else f"its process ended with {status}"
        facts = {"name": spec["name"], "recipe": spec["recipe"], "seed": spec["seed"]}
        result = {**facts, "status": FAILED, "error": f"{words}; what it said is in {log}"}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, result)
    return result
