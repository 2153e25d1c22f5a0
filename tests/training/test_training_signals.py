"""Signals are noted while a run works, and are everybody's own again afterwards."""

from __future__ import annotations

import doctest
import os
import signal
import subprocess
import sys
import threading

import pytest

from malgil.training import signals
from malgil.training.signals import SignalWatch


def test_doctests() -> None:
    assert doctest.testmod(signals).failed == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted(number: int) -> None:
    before = signal.getsignal(number)
    with SignalWatch() as watch:
        assert watch.pending == 0
        os.kill(os.getpid(), number)
        assert watch.pending == number
    assert signal.getsignal(number) is before


def test_handlers_come_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError), SignalWatch():
        raise ValueError
    assert signal.getsignal(signal.SIGTERM) is before


def test_outside_the_main_thread_nothing_is_touched() -> None:
    seen = []

    def work() -> None:
        with SignalWatch():
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.parametrize("second", ["SIGTERM", "SIGINT"])
def test_the_second_signal_stops_at_once(second: str) -> None:
    program = (
        "import os, signal\n"
        "from malgil.training.signals import SignalWatch\n"
        "with SignalWatch():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('saving', flush=True)\n"
        f"    os.kill(os.getpid(), signal.{second})\n"
        "    print('still here')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "saving\n"
    assert done.returncode == -getattr(signal, second)
