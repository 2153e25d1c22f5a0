"""A run is a folder; here is what lies where, and how it is written so that nothing is ever half there.

DIR/  config.yaml  tokenizer.json  model.safetensors  metrics.jsonl  samples.jsonl  report.html
      checkpoints/step-000500/...
      source_tokenizer.json   where the source of pairs has a tokenizer of its own
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from malgil.config import Tree, read_yaml, to_yaml
from malgil.errors import CheckpointError, DataError, InputError
from malgil.runtime.files import atomic_write, storage_errors

RUNS = Path("runs")


class RunFolder:
    """The files of a run.

    Args:
        path: the folder; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.tokenizer = path / "tokenizer.json"
        self.source_tokenizer = path / "source_tokenizer.json"
        self.weights = path / "model.safetensors"
        self.metrics = path / "metrics.jsonl"
        self.samples = path / "samples.jsonl"
        self.report = path / "report.html"
        self.checkpoints = path / "checkpoints"

    def read_config(self) -> Tree:
        """The resolved settings.

        Raises:
            CheckpointError: this is no run folder, or the settings are damaged.
        """
        if not self.config.is_file():
            raise CheckpointError(
                "no run here: config.yaml is missing", str(self.path), "`malgil runs` lists the runs here"
            )
        try:
            return read_yaml(self.config)
        except DataError as error:
            raise CheckpointError(error.what, error.where, error.fix) from None

    def write_config(self, tree: Tree) -> None:
        """Write the resolved settings, whole or not at all."""
        atomic_write(self.config, to_yaml(tree))

    def append(self, file: Path, line: dict[str, Any]) -> None:
        """Add a line of JSON.

        Raises:
            StorageError: the disk is full or not writable.
        """
        with storage_errors(file), file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line, ensure_ascii=False) + "\n")

    def lines(self, file: Path) -> list[dict[str, Any]]:
        """The lines of a JSONL file of this run; a last one that was cut short is left out."""
        return list(_whole_lines(file))

    def forget_after(self, step: int) -> None:
        """Drop the lines that a run which goes on from `step` will write again, and what was left half-written."""
        for part in self.path.glob(".*.part"):
            part.unlink()
        for file in (self.metrics, self.samples):
            if file.exists():
                kept = [line for line in _whole_lines(file) if line["step"] <= step]
                atomic_write(file, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))


def _whole_lines(file: Path) -> Iterator[dict[str, Any]]:
    if not file.exists():
        return
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            return


def new_folder(out: Path | None, recipe: str) -> RunFolder:
    """The folder of a new run: `out`, or runs/<recipe>-<date>-<n> with the first free number.

    Raises:
        InputError: `out` exists and is not empty.
    """
    if out is not None:
        if out.is_file() or (out.is_dir() and any(not p.name.startswith(".") for p in out.iterdir())):
            raise InputError(
                f"{out} exists already", fix="name another folder with --out, or go on with that run by --resume"
            )
        return RunFolder(out)
    number = 1
    while (path := RUNS / f"{recipe}-{date.today():%Y%m%d}-{number}").exists():
        number += 1
    return RunFolder(path)


def find_runs(root: Path = RUNS) -> list[RunFolder]:
    """The runs in a folder, newest first."""
    if not root.is_dir():
        return []
    folders = [RunFolder(p) for p in root.iterdir() if (p / "config.yaml").is_file()]
    return sorted(folders, key=lambda f: f.config.stat().st_mtime, reverse=True)


def newest_run() -> RunFolder:
    """The newest run under runs/.

    Raises:
        CheckpointError: there is none.
    """
    runs = find_runs()
    if not runs:
        raise CheckpointError(
            "no run was named and there is none in runs/", fix="train one: malgil train --data builtin"
        )
    return runs[0]
