"""What the tests of the command line share: a small text, a tiny model, and what a call left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

#: a model that trains in no time, whatever the recipe chooses
TINY = [
    *("--model.n-layers", "1", "--model.n-heads", "2", "--model.d-model", "12", "--model.max-len", "9"),
    *("--training.batch-size", "3", "--tokenizer.kind", "char", "--device", "cpu", "--threads", "1"),
    *("--training.precision", "fp32"),
]
TEXT = "말길은 글이 가는 길이다. ㅋㅋ 낱말이 모여 글이 된다.\nThe way that words take is long.\n" * 12


@dataclass(frozen=True)
class Said:
    """What a call of the command line left: its exit status and both streams."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that names the error."""
        lines = [line for line in self.err.splitlines() if line.startswith("error[")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        assert self.err.rstrip().endswith(lines[0])
        return lines[0]


Malgil = Callable[..., Said]
