"""The command `malgil` in processes of its own, which signals can reach.

They are forked from a server that has imported PyTorch once and done nothing else, so that each begins at once.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from run_cases import overrides

from malgil.cli.main import main
from malgil.config import Tree, flat

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["malgil.runs.training", "malgil.cli.main", "torch._dynamo"])
PATIENCE = 120.0


def arguments(recipe: str, corpus: Path, out: Path, model: Tree | None = None, **training: Any) -> list[str]:
    """The command line of a tiny run."""
    settings = overrides(recipe, corpus, model=model or {}, training=training)
    (data,) = settings.pop("data")["paths"]
    pairs = [(f"--{key}", str(value)) for key, value in flat(settings).items()]
    return ["train", recipe, "--data", data, "--out", str(out), *(word for pair in pairs for word in pair)]


def start(words: list[str], log: Path, **environment: str) -> ForkServerProcess:
    """`malgil WORDS...` with all that it prints in `log`."""
    given = {"MALGIL_CACHE": os.environ["MALGIL_CACHE"], **environment}
    process = CONTEXT.Process(target=_work, args=(words, str(log), given), name=str(log))
    process.start()
    return process


def finish(process: ForkServerProcess) -> int:
    """Wait for the end of a process; returns its exit status, negative where a signal ended it."""
    process.join(PATIENCE)
    if process.exitcode is None:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGABRT)  # faulthandler writes where every thread stands
        process.join(10)
        process.kill()
        raise TimeoutError(f"a process has not ended in {PATIENCE:.0f} s:\n{Path(process.name).read_text('utf-8')}")
    return process.exitcode


def run(words: list[str], log: Path, **environment: str) -> int:
    """`start` and `finish`."""
    return finish(start(words, log, **environment))


def run_pair(words: list[str], log: Path) -> list[int]:
    """Two processes that work together as under `torchrun`; their exit statuses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    pair = [start(words, log.with_suffix(f".{rank}"), RANK=str(rank), LOCAL_RANK=str(rank), **world) for rank in (0, 1)]
    return [finish(process) for process in pair]


def wait_for(what: Callable[[], bool]) -> None:
    """Look again and again until something is so."""
    end = time.monotonic() + PATIENCE
    while not what():
        if time.monotonic() > end:
            raise TimeoutError("waited in vain")
        time.sleep(0.002)


def lines_in(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def _work(words: list[str], log: str, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(handle, stream)
    faulthandler.enable(handle)
    multiprocessing.set_start_method("fork", force=True)  # the platform's own for the loader's workers
    sys.exit(main(words))
