"""Progress on the terminal: one line that moves, and lines that stay. Plain lines where output is no terminal."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from malgil.runs.display import Display

if TYPE_CHECKING:
    from malgil.runs.folder import RunFolder
    from malgil.runs.prepare import Prepared
    from malgil.runs.task import Preview
    from malgil.training.progress import Progress, StepReport
    from malgil.training.settings import TrainingSettings
    from malgil.training.trainer import Trainer

REFRESH_SECONDS = 0.2
SAMPLE_CHARACTERS = 300


class LiveDisplay(Display):
    """A live line on a terminal's standard error."""

    def __init__(self) -> None:
        super().__init__()
        self.console = Console(stderr=True, highlight=False)
        self.live: Live | None = None
        self._shown = 0.0
        self._prepared: Prepared | None = None

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        self.console.print(f"warning: {text}", markup=False, style="yellow", soft_wrap=True)

    def tokenising(self, done: int, total: int) -> None:
        if self.console.is_terminal and time.monotonic() - self._shown > REFRESH_SECONDS:
            self._shown = time.monotonic()
            end = "\n" if done >= total else "\r"
            self.console.print(f"tokenising {done / max(total, 1):4.0%}", end=end)

    def start(self, prepared: Prepared, trainer: Trainer) -> None:
        super().start(prepared, trainer)
        self._prepared = prepared
        if self.console.is_terminal:
            self.live = Live(Text(""), console=self.console, auto_refresh=False, transient=True)
            self.live.start()

    def progress(self, progress: Progress, report: StepReport, share: float) -> None:
        if self.live is None:
            super().progress(progress, report, share)
            return
        self.loss = report.loss if self.loss is None else 0.9 * self.loss + 0.1 * report.loss
        if time.monotonic() - self._shown > REFRESH_SECONDS:
            self._shown = time.monotonic()
            self.live.update(Text(self.line(progress, share)), refresh=True)

    def sample(self, step: int, previews: Sequence[Preview]) -> None:
        shown = "\n".join(
            f"{_begun(one.prompt)}\n    -> {one.text}" if one.prompt else one.text[:SAMPLE_CHARACTERS].strip()
            for one in previews
        )
        self.console.print(f"--- sample at step {step:,}\n{shown}\n---", markup=False, style="dim", soft_wrap=True)

    def stop(self) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None

    def finished(self, folder: RunFolder, status: str) -> None:
        self.say(f"{status}. The run is in {folder.path}, its report in {folder.report}.")
        self.say("Next:")
        where = shlex.quote(str(folder.path))
        own = sys.argv[0] if sys.argv[0].endswith("malgil") else "malgil"
        program = "malgil" if shutil.which("malgil") else shlex.quote(own)
        assert self._prepared is not None
        longer = f"train --resume --out {where} {_twice(self._prepared.settings.training)}"
        for command in (*self._prepared.task.suggestions(self._prepared, where), longer):
            self.say(f"  {program} {command}")
        sys.stderr.flush()


def _twice(training: TrainingSettings) -> str:
    """The limits of a run, doubled, as options."""
    from malgil.training.settings import LIMITS

    limits = [(o, 2 * v, k) for k, o in LIMITS.items() if (v := getattr(training, k)) is not None]
    return " ".join(
        f"{option} {value / 60:.12g}m" if key == "seconds" and value % 60 == 0 else f"{option} {value:.12g}"
        for option, value, key in limits
    )


def _begun(text: str) -> str:
    """A text, of a long one its beginning."""
    return text if len(text) <= SAMPLE_CHARACTERS else f"{text[:SAMPLE_CHARACTERS].rstrip()} …"
