"""Starts the jobs of a comparison, one at a time: on Linux each is a fork of this process, which has loaded PyTorch.

    python -m malgil.comparison.starter

    standard input    the file of a job, as JSON, a line each; at its end this process ends
    standard output   what the job tells, and `ended`, its exit status, or -n where signal n has killed it

A job is a process of its own, with memory of its own, but does not spend seconds on importing. Where a fork of a
process that has loaded so much is not safe (macOS) it is a new one. A signal to stop is passed on to the job.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from types import FrameType

FORKS = sys.platform == "linux"
_WHEN_PARENT_DIES = 1  # prctl's PR_SET_PDEATHSIG


def main() -> int:
    """Returns the exit status; in a fork that of its job."""
    end_with_parent()
    running: set[int] = set()

    def pass_on(number: int, frame: FrameType | None) -> None:
        for pid in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if not running:
            os._exit(128 + number)

    signal.signal(signal.SIGTERM, pass_on)
    if FORKS:
        from malgil.comparison import job

        gc.freeze()  # what was imported stays: jobs need not look through it again and again
    while line := sys.stdin.readline():
        path = Path(json.loads(line))
        pid = _fork() if FORKS else _new(path)
        if not pid:
            _begin(path)
            return job.main(str(path))
        running.add(pid)
        _, status = os.waitpid(pid, 0)
        running.clear()
        ended = json.dumps({"ended": os.waitstatus_to_exitcode(status)})
        try:
            os.write(1, f"\n{ended}\n".encode())  # the job may have left half a line
        except BrokenPipeError:  # the comparison was killed
            return 1
    return 0


def end_with_parent() -> None:
    """Where the system can (Linux): asked to stop, and so to save, when the parent is killed."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_WHEN_PARENT_DIES, signal.SIGTERM)


def _fork() -> int:
    with warnings.catch_warnings():  # of threads: the one there is belongs to OpenBLAS, which is made for forks
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _begin(path: Path) -> None:
    """In a fork: leave what belongs to the process that it was."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()
    with Path(os.devnull).open("rb") as nothing, path.with_suffix(".log").open("ab") as log:
        os.dup2(nothing.fileno(), 0)
        os.dup2(log.fileno(), 2)


def _new(path: Path) -> int:
    """A new process, which imports everything itself."""
    with path.with_suffix(".log").open("ab") as log:
        command = [sys.executable, "-m", "malgil.comparison.job", str(path)]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log).pid


if __name__ == "__main__":
    sys.exit(main())
