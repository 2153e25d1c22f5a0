"""Malgil (말길): language models from the RNN to GPT, on your own text and machine.

    import malgil

    run = malgil.train("gpt", data="my.txt", time="2m")
    print(run.generate("Once upon a time"))
    run = malgil.load("runs/gpt-20260101-1")
    run.export("out", format="hf")
    table = malgil.compare(["lstm", "gpt"], data="my.txt", time="60s")

Errors are in `malgil.errors`; `MalgilError` is the base of all.

Importing this package does not import PyTorch; the first name that needs it does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from malgil.version import __version__

if TYPE_CHECKING:
    from malgil.comparison.python import compare
    from malgil.runs.python import finetune, import_model, train
    from malgil.runs.run import Run, load

_LAZY = {
    "Run": "malgil.runs.run",
    "compare": "malgil.comparison.python",
    "finetune": "malgil.runs.python",
    "import_model": "malgil.runs.python",
    "load": "malgil.runs.run",
    "train": "malgil.runs.python",
}
__all__ = ["Run", "__version__", "compare", "finetune", "import_model", "load", "train"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'malgil' has no attribute '{name}'")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return __all__
