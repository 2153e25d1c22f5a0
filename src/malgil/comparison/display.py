"""What a comparison says while it works: plain lines; the command line brings a table that moves."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from malgil.config import Tree
from malgil.runs.display import clock

if TYPE_CHECKING:
    from malgil.comparison.table import Table

#: what a job costs beside its training, until one is done: start, evaluations, measuring
FIRST_GUESS = 15.0


class CompareDisplay:
    """A line for each thing that is done, on standard error."""

    def __init__(self) -> None:
        self.jobs: Sequence[Tree] = ()
        self.results: dict[str, Tree] = {}
        self.current: Tree | None = None
        self.share, self.stage = 0.0, ""
        self._begun = 0.0
        self._took: dict[bool, list[float]] = {True: [], False: []}  # seconds, by whether a job measures

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def tokenising(self, done: int, total: int) -> None:
        """Called while text is turned into tokens; characters."""

    def planned(self, plan: Tree, jobs: Sequence[Tree]) -> None:
        """All jobs there are, also those that are done."""
        self.jobs = jobs

    def kept(self, job: Tree, result: Tree) -> None:
        """A job was done before."""
        self.results[job["name"]] = result

    def begin(self, job: Tree) -> None:
        """A job's process starts."""
        self.current, self.share, self.stage, self._begun = job, 0.0, "", time.monotonic()
        self.say(f"{self.jobs.index(job) + 1} of {len(self.jobs)}: {job['name']}{self._left()}")

    def heard(self, fact: dict[str, Any]) -> None:
        """What the job tells, or nothing."""
        self.share, self.stage = fact.get("share", self.share), fact.get("stage", self.stage)

    def done(self, job: Tree, result: Tree, said: str) -> None:
        """A job has ended; `said` is its figure, or why it failed."""
        self._took[job["measure"]].append(time.monotonic() - self._begun)
        self.results[job["name"]], self.current = result, None
        self.say(f"  {said}")

    def stop(self) -> None:
        """Nothing more will come."""

    def finished(self, table: Table) -> None:
        self.say(f"{table}\n")
        for sentence in table.sentences:
            self.say(sentence)
        self.say(f"report: {table.report}")

    @property
    def left(self) -> float:
        """Seconds until the end, about; from how long jobs took so far."""
        total = sum(self._expected(job) for job in self.jobs if job["name"] not in self.results)
        spent = time.monotonic() - self._begun if self.current is not None else 0.0
        return max(0.0, total - spent)

    def _left(self) -> str:
        return f", about {clock(self.left)} left in all"

    def _expected(self, job: Tree) -> float:
        took = self._took[job["measure"]]
        if took:
            return sum(took) / len(took)
        seconds = job["settings"]["training"].get("seconds")
        return (1.1 * seconds if seconds is not None else 60.0) + FIRST_GUESS * (1.0 if job["measure"] else 0.4)


class Quiet(CompareDisplay):
    """Says nothing."""

    def say(self, text: str) -> None:
        pass
