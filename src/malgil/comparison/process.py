"""The comparison's side of a job: start its process, follow what it says, stop it where the comparison is stopped."""

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


def run_job(
    spec: Tree, folder: ComparisonFolder, heard: Callable[[dict[str, Any]], None], pending: Callable[[], int]
) -> Tree:
    """Do a job in a process of its own; returns its job.json, which says so where it failed.

    Args:
        heard: called with everything that the job tells, and now and then with nothing.
        pending: the number of a signal that asks to stop, or 0.

    Raises:
        Interrupted: a signal came; the job has saved and ended.
    """
    folder.jobs.mkdir(parents=True, exist_ok=True)
    path = folder.jobs / f"{spec['name']}.json"
    write_json(path, spec)
    with path.with_suffix(".log").open("ab") as log:
        # a session of its own: the keyboard's signal comes to the comparison alone, which passes it on
        process = subprocess.Popen(
            [sys.executable, "-m", "malgil.comparison.job", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
        try:
            _follow(process, heard, pending)
        finally:
            _stop(process)
    if number := pending():
        raise Interrupted(number, f"stopped by signal {number}", spec["name"], "--resume goes on from there")
    return _result(spec, process.returncode, path.with_suffix(".log"))


def _follow(
    process: subprocess.Popen[bytes], heard: Callable[[dict[str, Any]], None], pending: Callable[[], int]
) -> None:
    """Until the process has ended; a signal is passed on to it once."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    rest, asked, until = b"", False, float("inf")
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            ready = selector.select(_LOOK)
            block = process.stdout.read() if ready else None
            if ready and block == b"":  # its end
                process.wait()
                return
            *lines, rest = (rest + (block or b"")).split(b"\n")
            for line in lines:
                with contextlib.suppress(ValueError):
                    heard(json.loads(line))
            if not lines:
                heard({})
            if pending() and not asked:
                asked, until = True, time.monotonic() + PATIENCE
                process.send_signal(signal.SIGTERM)
            if time.monotonic() > until:
                return


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Nothing of a job outlives its comparison."""
    if process.stdout is not None:
        process.stdout.close()
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


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
