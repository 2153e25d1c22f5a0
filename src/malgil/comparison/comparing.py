"""A comparison from its first look at the data to its report; stopped at any moment, it goes on behind what is done."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from malgil.comparison.display import CompareDisplay
from malgil.comparison.folder import ComparisonFolder, new_comparison, newest_comparison, write_json
from malgil.comparison.job import FAILED
from malgil.comparison.jobs import figure_of, is_done, result_of, runs, trials, tuning_of
from malgil.comparison.planning import make_plan
from malgil.comparison.process import JobProcesses
from malgil.comparison.request import Request, checked, resumed
from malgil.comparison.table import Table, summarise
from malgil.config import Tree
from malgil.errors import Interrupted, RunError
from malgil.report.compare_report import render_comparison
from malgil.runs.compared import Compared
from malgil.runs.tasks import task_of
from malgil.runtime.files import FolderLock, atomic_write
from malgil.training.signals import SignalWatch


def run_comparison(
    asked: Mapping[str, Any], *, out: Path | None = None, resume: bool = False, display: CompareDisplay | None = None
) -> Table:
    """Plan, train and measure every model, and write the report.

    Args:
        asked: fields of `Request` by name, those that were given.
        out: the folder; by default a new one under runs/, or under `resume` the newest.
        resume: go on with the comparison in `out`; what is done is kept, and more recipes or seeds may be named.

    Raises:
        MalgilError: see `malgil.errors`; `Interrupted` by a signal, after saving.
        RunError: every model has failed.
    """
    display, asked = display or CompareDisplay(), checked(asked)
    if resume:
        folder = ComparisonFolder(out) if out is not None else newest_comparison()
        request = resumed(Request.of(folder.read_plan()["request"]), asked)
    else:
        request, folder = Request(**asked), new_comparison(out)
    with ExitStack() as stack:
        stack.callback(folder.remove_empty)
        stack.callback(display.stop)
        plan = None if resume else make_plan(request, folder, display.say, display.tokenising)
        folder.path.mkdir(parents=True, exist_ok=True)
        stack.enter_context(FolderLock(folder.path))
        if plan is None:
            plan = make_plan(request, folder, display.say, display.tokenising)
        folder.write_plan(plan)
        watch = stack.enter_context(SignalWatch())
        processes = stack.enter_context(JobProcesses(folder, lambda: watch.pending))
        return Comparison(folder, plan, display, watch, processes).run()


class Comparison:
    """A plan being carried out."""

    def __init__(
        self,
        folder: ComparisonFolder,
        plan: Tree,
        display: CompareDisplay,
        watch: SignalWatch,
        processes: JobProcesses,
    ) -> None:
        self.folder, self.plan, self.display, self.watch, self.processes = folder, plan, display, watch, processes
        compared = task_of(plan["objective"]).compared
        assert compared is not None
        self.compared: Compared = compared
        self.request = Request.of(plan["request"])
        self.tuning: Tree = {}

    def run(self) -> Table:
        """Do what is not done, and return the table."""
        tries = trials(self.plan, self.folder)
        self.display.planned(self.plan, [*tries, *runs(self.plan, self.folder, {})])
        for job in tries:
            self._do(job)
        self.tuning = tuning_of(tries, self.compared.curves)
        jobs = runs(self.plan, self.folder, {name: found["factor"] for name, found in self.tuning.items()})
        self.display.planned(self.plan, [*tries, *jobs])
        try:
            for job in jobs:
                self._do(job)
                self._write(jobs, "running")
        except Interrupted:
            self._write(jobs, "interrupted")
            raise
        table = self._write(jobs, "finished")
        self.display.stop()
        if all(row["runs"] == 0 for row in table.rows):
            errors = {error for row in table.rows for error in row["failed"]}
            raise RunError(f"every model has failed: {'; '.join(sorted(errors)[:2])}", str(self.folder.path))
        self.display.finished(table)
        return table

    def _do(self, job: Tree) -> None:
        """A job, unless it is done."""
        if (known := result_of(job)) is not None and is_done(job):
            self.display.kept(job, known)
            return
        if number := self.watch.pending:
            raise Interrupted(number, f"stopped by signal {number}", "", "--resume goes on from there")
        self.display.begin(job)
        result = self.processes.run(job, self.display.heard)
        self.display.done(job, result, self._said(job, result))

    def _said(self, job: Tree, result: Tree) -> str:
        if result["status"] == FAILED:
            return f"failed: {result['error']}"
        figure = figure_of(result, self.compared.curves)
        return f"{job['recipe']}: {figure:.4f} after {result['seconds']:.0f} s, {result['tokens']:,} tokens"

    def _write(self, jobs: list[Tree], status: str) -> Table:
        """compare.json and the report of what is done so far."""
        results = [result for job in jobs if (result := result_of(job)) and result["status"] in ("finished", FAILED)]
        tree = summarise(self.plan, self.compared, results, self.tuning, status)
        write_json(self.folder.table, tree)
        atomic_write(self.folder.report, render_comparison(tree, tree["language"]))
        return Table(tree["rows"], tree, self.folder.path)
