"""What a run says while it works. This one prints plain lines; the command line brings a livelier one."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from malgil.runs.folder import RunFolder
    from malgil.runs.prepare import Prepared
    from malgil.runs.task import Preview
    from malgil.training.progress import Progress, StepReport
    from malgil.training.trainer import Trainer

SECONDS_BETWEEN_LINES = 10.0


class Display:
    """Plain lines on standard error, progress every ten seconds."""

    def __init__(self) -> None:
        self.loss: float | None = None
        self._spoke = 0.0
        self._bits_per_nat: float | None = None
        self._of_tokens = True
        self._before = (0, 0.0)  # tokens and seconds when this process began

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        self.say(f"warning: {text}")

    def tokenising(self, done: int, total: int) -> None:
        """Called while text is turned into tokens; characters."""

    def pretraining(self, share: float) -> Display:
        """What shows a run that comes first and takes that share of the budget."""
        return self

    def start(self, prepared: Prepared, trainer: Trainer) -> None:
        """The first step is next."""
        from malgil.models.base import count_parameters

        self.loss = None  # of a run before this one
        self._before = (trainer.progress.tokens, trainer.progress.seconds)
        self._bits_per_nat = prepared.task.bits_per_nat(prepared.train)
        self._of_tokens = prepared.task.of_tokens
        tokens = prepared.task.facts(prepared).train_tokens or 0
        planned = f", about {prepared.planned_steps:,} steps" if prepared.planned_steps else ""
        self.say(
            f"{prepared.settings.recipe}: {count_parameters(prepared.model):,} parameters,"
            f" {tokens:,} tokens{planned}, on {prepared.device} in {prepared.precision.name}"
        )

    def progress(self, progress: Progress, report: StepReport, share: float) -> None:
        """After every step; cheap."""
        self.loss = report.loss if self.loss is None else 0.9 * self.loss + 0.1 * report.loss
        if time.monotonic() - self._spoke > SECONDS_BETWEEN_LINES:
            self._spoke = time.monotonic()
            self.say(self.line(progress, share))

    def line(self, progress: Progress, share: float) -> str:
        """Loss, bits per byte or perplexity, speed and the time left."""
        assert self.loss is not None
        tokens, seconds = progress.tokens - self._before[0], progress.seconds - self._before[1]
        left = progress.seconds * (1 - share) / share if share else 0.0
        bits, loss = self._bits_per_nat, self.loss
        of_loss = f"perplexity {_short(math.exp(min(loss, 80)))}" if bits is None else f"{loss * bits:.3f} bits/byte"
        figures = [
            f"step {progress.step:,} {share:4.0%}",
            f"loss {loss:.3f}",
            *([of_loss] if self._of_tokens else []),
            f"{tokens / max(seconds, 1e-9):,.0f} tokens/s",
            f"{clock(left)} left",
        ]
        return "  ".join(figures)

    def evaluated(self, line: dict[str, Any]) -> None:
        figures = {name.removeprefix("val_"): value for name, value in line.items() if name.startswith("val_")}
        shown = [f"validation loss {figures.pop('loss'):.4f}"]
        if (perplexity := figures.pop("perplexity", None)) is not None:
            shown.append(f"perplexity {_short(perplexity)}")
        if (bits := figures.pop("bits_per_byte", None)) is not None:
            shown.append(f"{bits:.3f} bits per byte")
        if self._of_tokens and (accuracy := figures.pop("accuracy", None)) is not None:
            shown.append(f"{accuracy:.1%} of tokens right")
        shown += [
            f"{name.replace('_', ' ').replace('f1', 'F1')} {value:.4f}"
            for name, value in figures.items()
            if value is not None
        ]
        self.say(f"step {line['step']:,}: {', '.join(shown)}")

    def sample(self, step: int, previews: Sequence[Preview]) -> None:
        """Previews were written to samples.jsonl."""

    def stop(self) -> None:
        """No more progress will come."""

    def finished(self, folder: RunFolder, status: str) -> None:
        self.say(f"{status}: {folder.path}  (report: {folder.report})")


class Silent(Display):
    """Says nothing: the processes that do not lead, and tests."""

    def say(self, text: str) -> None:
        pass


def clock(seconds: float) -> str:
    """`75.0` as `1:15`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _short(number: float) -> str:
    return f"{number:.2f}" if number < 1e6 else f"{number:.2e}"
