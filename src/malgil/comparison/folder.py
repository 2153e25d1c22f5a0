"""A comparison is a folder; here is what lies where.

DIR/  plan.json  tokenizer.json  compare.json  report.html
      runs/RECIPE-SEED/...        a run each, as `malgil train` leaves it, and job.json: what was measured of it
      tuning/RECIPE-xFACTOR/...   the trials of learning rates
      jobs/NAME.json, NAME.log    what a process was told, and what it said
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from malgil.config import Tree
from malgil.errors import CheckpointError, InputError
from malgil.runs.folder import RUNS
from malgil.runtime.files import atomic_write, storage_errors
from malgil.runtime.numbers import finite

PLAN = "plan.json"


class ComparisonFolder:
    """The files of a comparison.

    Args:
        path: the folder; it need not exist yet.
        made: it and others around it, where they were made for it.
    """

    def __init__(self, path: Path, made: Sequence[Path] = ()) -> None:
        self.path, self.made = path, made
        self.plan = path / PLAN
        self.tokenizer = path / "tokenizer.json"
        self.source_tokenizer = path / "source_tokenizer.json"
        self.table = path / "compare.json"
        self.report = path / "report.html"
        self.jobs = path / "jobs"

    def remove_empty(self) -> None:
        """Leave no folder that was made for a comparison of which nothing was planned."""
        with contextlib.suppress(OSError):
            for path in self.made:
                path.rmdir()

    def read_plan(self) -> Tree:
        """What was planned.

        Raises:
            CheckpointError: there is no comparison, or its plan is damaged.
        """
        plan = read_json(self.plan)
        if plan is None:
            raise CheckpointError(
                f"no comparison here: {PLAN} is missing or damaged", str(self.path), "begin one without --resume"
            )
        return plan

    def write_plan(self, plan: Tree) -> None:
        """Write the plan, whole or not at all."""
        write_json(self.plan, plan)


def read_json(path: Path) -> Tree | None:
    """A JSON object; None where there is none."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return tree if isinstance(tree, dict) else None


def write_json(path: Path, value: Any) -> None:
    """Whole or not at all, with null for numbers that are not finite, for which JSON has no words."""
    atomic_write(path, json.dumps(finite(value), ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def new_comparison(out: Path | None) -> ComparisonFolder:
    """The folder of a new comparison: `out`, or runs/compare-<date>-<n> with the first free number, made at once, so
    that another comparison which begins now takes the next.

    Raises:
        InputError: `out` exists and holds more than what a plan that was broken off has left.
        StorageError: runs/ cannot be written.
    """
    if out is not None:
        folder = ComparisonFolder(out)
        left = () if folder.plan.exists() else (folder.tokenizer.name, folder.source_tokenizer.name)
        if out.is_file() or (
            out.is_dir() and any(not p.name.startswith(".") and p.name not in left for p in out.iterdir())
        ):
            fix = "name another folder with --out, or go on with that comparison by --resume"
            raise InputError(f"{out} exists already", fix=fix)
        return folder
    around = () if RUNS.exists() else (RUNS,)
    for number in itertools.count(1):
        path = RUNS / f"compare-{date.today():%Y%m%d}-{number}"
        with contextlib.suppress(FileExistsError), storage_errors(path):
            path.mkdir(parents=True)
            break
    return ComparisonFolder(path, (path, *around))


def newest_comparison(root: Path = RUNS) -> ComparisonFolder:
    """The newest comparison under runs/.

    Raises:
        CheckpointError: there is none.
    """
    plans = sorted(root.glob(f"*/{PLAN}"), key=lambda path: path.stat().st_mtime)
    if not plans:
        raise CheckpointError(
            "no comparison was named and there is none in runs/", fix="name it with --out, or begin one"
        )
    return ComparisonFolder(plans[-1].parent)
