"""The comparison on a terminal: a table that fills while it runs, with the time left; plain lines elsewhere."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table as RichTable
from rich.text import Text

from malgil.comparison.display import CompareDisplay
from malgil.comparison.table import Table
from malgil.config import Tree
from malgil.report import figures
from malgil.report.compare_table import Column, columns, name_of
from malgil.report.compare_words import figure_text, milliseconds
from malgil.runs.display import clock

REFRESH_SECONDS = 0.25
#: beside the headline, the most telling first: as many as the terminal has room for; the report has all
SHOWN = (
    *("time_to_quality", "parameters", "latency", "tokens_per_second"),
    *("peak_memory", "throughput", "energy", "size"),
)
#: colours of the models, in the order in which they were named
COLOURS = ("cyan", "red", "blue", "yellow", "magenta", "green", "bright_magenta", "white")
_CHECK = {"finished": ("✓", "green"), "failed": ("✗", "red")}


class LiveComparison(CompareDisplay):
    """A live table on a terminal's standard error."""

    def __init__(self) -> None:
        super().__init__()
        self.console = Console(stderr=True, highlight=False)
        self.live: Live | None = None
        self.plan: Tree = {}
        self.curve: dict[str, Any] = {}  # the newest evaluation of the job that runs
        self.loss: float | None = None
        self._shown = 0.0

    def say(self, text: str) -> None:
        if self.live is None:
            self.console.print(text, markup=False, soft_wrap=True)

    def tokenising(self, done: int, total: int) -> None:
        if self.console.is_terminal and time.monotonic() - self._shown > REFRESH_SECONDS:
            self._shown = time.monotonic()
            self.console.print(f"tokenising {done / max(total, 1):4.0%}", end="\n" if done >= total else "\r")

    def planned(self, plan: Tree, jobs: Sequence[Tree]) -> None:
        super().planned(plan, jobs)
        self.plan = plan
        if self.console.is_terminal and self.live is None:
            self.live = Live(console=self.console, auto_refresh=False, transient=True, get_renderable=self._picture)
            self.live.start()

    def begin(self, job: Tree) -> None:
        self.curve, self.loss = {}, None
        super().begin(job)

    def heard(self, fact: dict[str, Any]) -> None:
        super().heard(fact)
        self.curve, self.loss = fact.get("evaluated", self.curve), fact.get("loss", self.loss)
        if self.live is not None and time.monotonic() - self._shown > REFRESH_SECONDS:
            self._shown = time.monotonic()
            self.live.refresh()

    def stop(self) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None

    def finished(self, table: Table) -> None:
        """The whole table, best first, what it means, and where the report is."""
        shown = _fitting(table, self.console.width)
        best = RichTable(box=box.SIMPLE_HEAD, header_style="dim", padding=(0, 1), pad_edge=False)
        for column in shown:
            best.add_column(column.head, justify="left" if column.words else "right", width=_width(table, column))
        for row in table.rows:
            cells = [_cell(row, column) for column in shown]
            best.add_row(
                *(Text(cell, style=self._colour(row["recipe"]) if i == 0 else "") for i, cell in enumerate(cells))
            )
        self.console.print(best)
        for sentence in table.sentences:
            self.console.print(sentence, markup=False, soft_wrap=True)
        for row in table.rows:
            for error in row["failed"]:
                self.console.print(f"warning: {row['recipe']} failed: {error}", markup=False, style="yellow")
        self.console.print(f"\nThe report: {shlex.quote(str(table.report))}", markup=False, soft_wrap=True)

    # -- the picture while it runs -----------------------------------------------------------------

    def _picture(self) -> Group:
        rows = RichTable(box=box.SIMPLE_HEAD, header_style="dim", padding=(0, 1), pad_edge=False)
        heads = ("model", "", "quality", "parameters", "trains", "one alone", "memory")
        for i, head in enumerate(heads):
            rows.add_column(head, justify="left" if i < 2 else "right", no_wrap=True)
        for job in self.jobs:
            rows.add_row(*self._row(job))
        done = len(self.results)
        line = f"{done} of {len(self.jobs)} done, about {clock(self.left)} left"
        return Group(rows, Text(line, style="bold"))

    def _row(self, job: Tree) -> list[Any]:
        style = self._colour(job["recipe"])
        name = Text(job["name"] if job["measure"] else f"{job['name']} (tuning)", style=style)
        result = self.results.get(job["name"])
        parameters = figures.parameters(self.plan["recipes"][job["recipe"]]["parameters"])
        if result is not None:
            sign, colour = _CHECK.get(result["status"], ("", ""))
            use, speed = result.get("use"), result.get("tokens_per_second")
            return [
                name,
                Text(sign, style=colour),
                Text(_quality(result["curve"][-1]) if result.get("curve") else "-", style="bold"),
                parameters,
                f"{speed:,.0f} tokens/s" if speed else "-",
                milliseconds(use["latency"]) if use else "-",
                figures.size(result["peak_memory"]) if "peak_memory" in result else "-",
            ]
        if job is not self.current:
            return [name, Text("", style="dim"), "", Text(parameters, style="dim"), "", "", ""]
        bar: Any = ProgressBar(total=1.0, completed=self.share, width=18, complete_style=style or "white")
        if self.stage not in ("", "training"):
            bar = Text(f"measuring: {self.stage}", style="dim")
        quality = _quality(self.curve) or (f"loss {self.loss:.2f}" if self.loss is not None else "")
        return [name, bar, quality, parameters, "", "", ""]

    def _colour(self, recipe: str) -> str:
        names = list(self.plan.get("recipes", {}))
        return COLOURS[names.index(recipe) % len(COLOURS)] if recipe in names else ""


def _fitting(table: Table, room: int) -> list[Column]:
    """The columns that a terminal of so many places has room for."""
    headline, every = str(table.result["headline"]["name"]), columns(table.result, "en")
    kept: set[str] = set()
    for key in ("recipe", headline, *SHOWN):
        column = next((one for one in every if one.key == key), None)
        if column is not None and _width(table, column) + 3 <= room:
            room -= _width(table, column) + 3
            kept.add(key)
    return [column for column in every if column.key in kept]


def _width(table: Table, column: Column) -> int:
    """Places of the longest cell, or of the longest word of the heading, which may take several lines."""
    heads = [len(word) for word in column.head.split()]
    return max([*heads, *(cell_len(_cell(row, column)) for row in table.rows)])


def _cell(row: Any, column: Column) -> str:
    return name_of(row) if column.key == "recipe" else column.cell(row) or "-"


def _quality(line: dict[str, Any]) -> str:
    """The first of the figures of an evaluation that are told apart by, in words."""
    for key, label in (("val_bits_per_byte", "bits/byte"), ("val_accuracy", "right"), ("val_loss", "loss")):
        if line.get(key) is not None:
            return f"{figure_text(key, line[key])} {label}"
    return ""
