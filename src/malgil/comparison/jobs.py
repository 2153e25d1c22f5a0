"""The jobs of a plan: the trials of learning rates, which one is taken, and the runs that are reported."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from malgil.comparison.folder import ComparisonFolder, read_json
from malgil.comparison.job import FINISHED, RESULT
from malgil.comparison.request import Request
from malgil.config import Tree, merge
from malgil.runs.compared import LENGTHS, Figure


def trials(plan: Tree, folder: ComparisonFolder) -> list[Tree]:
    """A job for each recipe and factor of its learning rates: short, on a part of the training data, with a seed that
    is not reported."""
    request = Request.of(plan["request"])
    return [
        _job(
            plan,
            recipe,
            f"{recipe}-x{factor:g}",
            folder.path / "tuning",
            request.tuning_seed,
            {"data": {"inner": True}, "training": {**request.tuning_budget, "evaluate_every": None}},
            factor=factor,
            measure=False,
        )
        for recipe in plan["recipes"]
        for factor in request.factors
    ]


def runs(plan: Tree, folder: ComparisonFolder, factors: dict[str, float]) -> list[Tree]:
    """The jobs that are reported: all recipes with the first seed, then all with the next, so that a comparison which
    is stopped halfway has something of each."""
    request = Request.of(plan["request"])
    return [
        _job(
            plan,
            recipe,
            f"{recipe}-{seed}",
            folder.path / "runs",
            seed,
            {"training": request.budget},
            factor=factors.get(recipe, 1.0),
            measure=True,
        )
        for seed in request.all_seeds
        for recipe in plan["recipes"]
    ]


def tuning_of(jobs: Sequence[Tree], curves: Iterable[Figure]) -> dict[str, Any]:
    """What the trials found.

    Returns:
        for each recipe: `factor`, the best one (1 where all have failed), `edge`, whether it was the smallest or the
        largest that was tried, and `tried`, [factor, figure or None] of each.
    """
    found: dict[str, Any] = {}
    for recipe in dict.fromkeys(job["recipe"] for job in jobs):
        own = [job for job in jobs if job["recipe"] == recipe]
        tried = [(job["factor"], figure_of(result_of(job), curves)) for job in own]
        known = [(value, factor) for factor, value in tried if value is not None]
        sign = -1.0 if _first(own, curves).more else 1.0
        best = min(known, key=lambda one: (sign * one[0], abs(math.log(one[1]))), default=(None, 1.0))[1]
        edge = len(known) > 1 and best in (min(f for f, _ in tried), max(f for f, _ in tried))
        found[recipe] = {"factor": best, "edge": edge, "tried": [list(one) for one in tried]}
    return found


def result_of(job: Tree) -> Tree | None:
    """The job.json of a job, if there is one."""
    return read_json(Path(job["folder"]) / RESULT)


def is_done(job: Tree) -> bool:
    """Whether nothing is left to do; one that failed is tried again by a comparison that goes on."""
    result = result_of(job)
    return result is not None and result["status"] == FINISHED


def figure_of(result: Tree | None, curves: Iterable[Figure]) -> float | None:
    """The last point of a result's curve, in the first figure that it has."""
    if result is None or not result.get("curve"):
        return None
    last = result["curve"][-1]
    return next((float(value) for curve in curves if (value := last.get(curve.name)) is not None), None)


def _first(jobs: Sequence[Tree], curves: Iterable[Figure]) -> Figure:
    """The figure that `figure_of` takes."""
    known = [job for job in map(result_of, jobs) if job and job.get("curve")]
    names = known[0]["curve"][-1] if known else {}
    options = list(curves)
    return next((curve for curve in options if names.get(curve.name) is not None), options[0])


def _job(
    plan: Tree, recipe: str, name: str, under: Path, seed: int, changes: Tree, *, factor: float, measure: bool
) -> Tree:
    settings = merge(plan["recipes"][recipe]["settings"], merge(changes, {"training": {"seed": seed}}))
    settings["training"] |= {"rate_scale": settings["training"].get("rate_scale", 1.0) * factor}
    return {
        "name": name,
        "recipe": recipe,
        "seed": seed,
        "factor": factor,
        "folder": str(under / name),
        "measure": measure,
        "lengths": list(LENGTHS),
        "settings": settings,
    }
