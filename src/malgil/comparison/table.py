"""From what every job found to one table: means of the seeds with their intervals, ties, and the time to a quality.

job.json  job.json  job.json ──> rows, best first ──> compare.json ──> the report, Markdown, Python
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

from malgil.comparison.statistics import difference, interval
from malgil.config import Tree
from malgil.report.compare_table import markdown, plain
from malgil.report.compare_verdict import sentences
from malgil.runs.compared import Compared, Figure

#: what is measured of every model, and how it is found in a job's result
MEASURED = {
    "tokens_per_second": ("tokens_per_second",),
    "latency": ("use", "latency"),
    "throughput": ("use", "throughput"),
    "peak_memory": ("peak_memory",),
    "energy": ("energy", "joules"),
    "size": ("size",),
    "seconds": ("seconds",),
    "tokens": ("tokens",),
}


@dataclass(frozen=True)
class Table:
    """A finished comparison, or as much of it as there is.

    Attributes:
        rows: a dict for each recipe, the best first: `recipe`, `parameters`, each figure of quality with its
            `_interval` (half the width of 95 %, None with one seed), `time_to_quality`, `tokens_per_second`, `latency`,
            `throughput`, `peak_memory`, `energy`, `size`, `tie` (with the best), `failed`.
        result: all of compare.json.
        path: the folder.
    """

    rows: list[dict[str, Any]]
    result: Tree
    path: Path

    @property
    def report(self) -> Path:
        """The page to look at."""
        return self.path / "report.html"

    @property
    def sentences(self) -> list[str]:
        """What the figures mean, in the language of the report."""
        return sentences(self.result, str(self.result["language"]))

    def to_markdown(self, language: str | None = None) -> str:
        """The table for a page of documentation.

        Raises:
            NotFoundError: another language than `en` and `ko`.
        """
        return markdown(self.result, language or str(self.result["language"]))

    def __str__(self) -> str:
        return plain(self.result, "en")


def summarise(plan: Tree, compared: Compared, results: Sequence[Tree], tuning: Tree, status: str) -> Tree:
    """compare.json.

    Args:
        results: the job.json of every run that is done or has failed.
        tuning: what `jobs.tuning_of` returns; empty without tuning.
        status: `running`, `interrupted` or `finished`.
    """
    request = plan["request"]
    models = [_model(name, plan, results) for name in plan["recipes"]]
    done = [run for model in models for run in model["runs"]]
    headline = _known(compared.figures, [run["figures"] for run in done])
    curve = _known(compared.curves, [point for run in done for point in run["curve"]])
    quality = request["quality"] if request["quality"] is not None else _slowest(models, curve)
    for model in models:
        for run in model["runs"]:
            run["time_to_quality"], run["at_most"] = reached(run["curve"], curve, quality)
    rows = [_row(model, compared) for model in models]
    sign = -1.0 if headline.more else 1.0
    rows.sort(key=lambda row: (row[headline.name] is None, sign * (row[headline.name] or 0.0)))
    known = [model for model in models if model["runs"] and model["runs"][0]["figures"].get(headline.name) is not None]
    differences = [_compare(a, b, headline) for a, b in combinations(known, 2)]
    best = rows[0]["recipe"]
    for row in rows:
        row["tie"] = row["recipe"] != best and any(
            d["tie"] for d in differences if {d["a"], d["b"]} == {best, row["recipe"]}
        )
    return {
        "status": status,
        "kind": compared.kind,
        "language": plan["language"],
        "started": plan["started"],
        "budget": plan["budget"],
        "seeds": [request["seed"] + i for i in range(request["seeds"])],
        "data": plan["data"],
        "once": plan["once"],
        "equal_parameters": plan["parameters"],
        "tuning": tuning,
        "headline": vars(headline),
        "curve": vars(curve),
        "quality": quality,
        "quality_named": request["quality"] is not None,
        "figures": [vars(figure) for figure in compared.figures],
        "rows": rows,
        "differences": differences,
        "models": models,
        "machine": plan["machine"],
    }


def reached(curve: Sequence[Tree], figure: Figure, quality: float | None) -> tuple[float | None, bool]:
    """Seconds of training until a curve reaches a quality, on the straight line between two evaluations; and whether it
    may have been there before the first one. None where it never does."""
    if quality is None:
        return None, False
    sign = -1.0 if figure.more else 1.0
    points = [(point["seconds"], sign * point[figure.name]) for point in curve]
    goal = sign * quality
    if not points:
        return None, False
    if points[0][1] <= goal:
        return points[0][0], True
    for (left, above), (right, below) in pairwise(points):
        if below <= goal:
            return left + (above - goal) / (above - below) * (right - left), False
    return None, False


# ---------------------------------------------------------------------------------------------


def _model(name: str, plan: Tree, results: Iterable[Tree]) -> Tree:
    """A recipe with its runs."""
    own = [dict(result) for result in results if result["recipe"] == name]
    planned = dict(plan["recipes"][name])
    counted = [run["parameters"] for run in own if "parameters" in run]  # with heads, which the plan knows nothing of
    planned["parameters"] = counted[0] if counted else planned["parameters"]
    return {
        "recipe": name,
        "place": list(plan["recipes"]).index(name),
        **{key: planned[key] for key in ("description", "family", "parameters")},
        "runs": [run for run in own if run["status"] == "finished"],
        "failed": [{key: run[key] for key in ("seed", "error")} for run in own if run["status"] == "failed"],
    }


def _row(model: Tree, compared: Compared) -> Tree:
    runs = model["runs"]
    row = {key: model[key] for key in ("recipe", "family", "parameters")}
    for figure in compared.figures:
        values = [run["figures"].get(figure.name) for run in runs]
        known = bool(values) and None not in values
        row[figure.name], row[f"{figure.name}_interval"] = interval(values) if known else (None, None)
    times = [run["time_to_quality"] for run in runs]
    row["time_to_quality"] = statistics.fmean(times) if times and None not in times else None
    row["at_most"] = any(run["at_most"] for run in runs)
    row["unit"] = runs[0]["use"]["unit"] if runs else None
    for name, keys in MEASURED.items():
        values = [_at(run, keys) for run in runs]
        row[name] = statistics.fmean(values) if values and None not in values else None
    row["runs"] = len(runs)
    row["failed"] = [one["error"] for one in model["failed"]]
    return row


def _at(tree: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        tree = None if tree is None else tree.get(key)
    return tree


def _known(figures: Sequence[Figure], found: Sequence[Tree]) -> Figure:
    """The first figure that all have; that of bits per byte is missing where a tokenizer has unknown tokens."""
    return next((f for f in figures if found and all(one.get(f.name) is not None for one in found)), figures[0])


def _slowest(models: Sequence[Tree], curve: Figure) -> float | None:
    """What the run that has learnt least reached at its end, so that all have a time."""
    ends: list[float] = [run["curve"][-1][curve.name] for model in models for run in model["runs"]]
    if not ends:
        return None
    return min(ends) if curve.more else max(ends)


def _compare(a: Tree, b: Tree, headline: Figure) -> Tree:
    values = [[run["figures"][headline.name] for run in model["runs"]] for model in (a, b)]
    found = difference(*values)
    return {"a": a["recipe"], "b": b["recipe"], "mean": found.mean, "half": found.half, "tie": found.tie}
