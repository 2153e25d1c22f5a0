"""SIGINT and SIGTERM ask a run to stop; it saves first. A second one stops at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

CAUGHT = (signal.SIGINT, signal.SIGTERM)


class SignalWatch:
    """Notes the first signal while the block runs; outside the main thread it notes nothing.

    >>> with SignalWatch() as watch:
    ...     watch.pending
    0
    """

    def __init__(self) -> None:
        self.pending = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> SignalWatch:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in CAUGHT}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.pending:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.pending = number
