"""The charts of a comparison: what each shows, as data for compare.js and as a picture that needs no script.

A chart is a mapping: its axes, and a series for each run of each model. compare.js draws it in the reader's width, with
models to point at and to pick out; this module draws the same once, for print and for readers without a script.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from malgil.report.compare_words import CompareWords, figure_text
from malgil.report.svg import Scale, tick_text, ticks

Chart = dict[str, Any]
#: colours and marks of compare.css; more models begin anew
STYLES = 8
WIDTH, LEFT, RIGHT, TOP, BOTTOM = 720, 56, 110, 16, 38
#: a circle, square, triangle, diamond ... of radius 1 around the origin
MARKS = (
    "M-1 0a1 1 0 1 0 2 0a1 1 0 1 0-2 0z",
    "M-.9-.9h1.8v1.8h-1.8z",
    "M0-1.2L1.1.8H-1.1z",
    "M0-1.3L1.2 0L0 1.3L-1.2 0z",
    "M0 1.2L1.1-.8H-1.1z",
    "M-1.1-.4h.7v-.7h.8v.7h.7v.8h-.7v.7h-.8v-.7h-.7z",
    "M-1.2 0L-.6-1H.6L1.2 0L.6 1H-.6z",
    "M-1 .9L-.4 0L-1-.9L0-.4L1-.9L.4 0L1 .9L0 .4z",
)


def quality_charts(result: Mapping[str, Any], words: CompareWords) -> list[Chart]:
    """The curve against time and against tokens, and the end against parameters."""
    figure = result["curve"]
    name, more = figure["name"], figure["more"]
    better = words("more is better" if more else "less is better")
    rule = {"y": result["quality"], "name": words("asked" if result["quality_named"] else "target")}
    common = {"y": f"{words.figure(name, result['kind'])}, {better}", "ylog": False, "form": "figure", "figure": name}
    charts: list[Chart] = [
        {
            "id": axis,
            "name": words(axis),
            "x": words(f"{axis} axis"),
            "xlog": False,
            "rule": rule if axis == "seconds" else None,
            "series": [
                _series(model, [(point[axis], point[name]) for point in run["curve"]])
                for model in result["models"]
                for run in model["runs"]
            ],
            **common,
        }
        for axis in ("seconds", "tokens")
    ]
    ends = [
        _series(model, [(model["parameters"], run["curve"][-1][name]) for run in model["runs"]], joined=False)
        for model in result["models"]
        if model["runs"]
    ]
    sizes = {"id": "parameters", "name": words("parameters axis"), "x": words("parameters axis"), "xlog": False}
    return [*charts, {**sizes, "rule": None, "series": ends, **common}]


def speed_charts(result: Mapping[str, Any], words: CompareWords) -> list[Chart]:
    """Training, reading and writing against the length of a sequence, both axes in powers of two."""
    charts = []
    for key, name, scale in (
        ("training", "training speed", 1.0),
        ("reading", "reading", 1e3),
        ("writing", "writing", 1e3),
    ):
        series = [
            _series(
                model,
                [(one["length"], _mean(model, i, key, scale)) for i, one in enumerate(model["runs"][0]["lengths"])],
            )
            for model in result["models"]
            if model["runs"]
        ]
        if any(series_["points"] for series_ in series):
            lengths = sorted({x for series_ in series for x, _ in series_["points"]})
            axes = {
                "xticks": lengths,
                "x": words("length axis"),
                "xlog": True,
                "y": words(name),
                "ylog": True,
                "rule": None,
            }
            charts.append({"id": key, "name": words(name), "series": series, "form": "number", **axes})
    return charts


def error_charts(result: Mapping[str, Any], words: CompareWords) -> list[Chart]:
    """A chart for each profile; bands that all models have, in the place of a horizontal axis."""
    models = [model for model in result["models"] if model["runs"]]
    if not models:
        return []
    charts = []
    for number, profile in enumerate(models[0]["runs"][0]["profiles"]):
        found = [[run["profiles"][number]["bands"] for run in model["runs"]] for model in models]
        bands = [band for band in profile["bands"] if all(_band(one, band["low"]) for runs in found for one in runs)]
        if len(bands) < 2:
            continue
        series = [
            _series(
                model,
                [
                    (i, sum(_band(one, band["low"])["value"] for one in runs) / len(runs))
                    for i, band in enumerate(bands)
                ],
            )
            for model, runs in zip(models, found, strict=True)
        ]
        better = words("more is better" if profile["more"] else "less is better")
        charts.append(
            {
                "id": profile["by"],
                "name": words(profile["by"]),
                "x": words(f"{profile['by']} axis"),
                "xlog": False,
                "bands": [span(band["low"], band["high"]) for band in bands],
                "sizes": [band["size"] for band in bands],
                "y": f"{words(profile['figure'])}, {better}",
                "ylog": False,
                "rule": None,
                "form": "figure",
                "figure": profile["figure"],
                "series": series,
            }
        )
    return charts


def span(low: int, high: int | None) -> str:
    """A band as its axis names it: `0`, `1–9`, `100–`."""
    if high is None:
        return f"{tick_text(low)}+"
    if low == high:
        return tick_text(low)
    return f"{tick_text(low)}–{tick_text(high if high < 1000 else high + 1)}"  # 1k–10k, since nobody reads 9.999k


def value_text(chart: Chart, value: float) -> str:
    """A value of a chart as it is read out."""
    if chart["form"] == "figure":
        return figure_text(chart["figure"], value)
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def static_chart(chart: Chart, height: int = 340, width: int = WIDTH) -> str:
    """One `<svg role="img">`, in the given width."""
    points = [point for series in chart["series"] for point in series["points"]]
    title = f"{chart['y']}; {chart['x']}"
    head = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}"><title>{escape(title)}</title>'
    if not points:
        return f"{head}</svg>"
    x_scale, y_scale = _scales(chart, points, width, height)
    parts = [head, *_axes(chart, x_scale, y_scale, width, height)]
    if chart["rule"] and chart["rule"]["y"] is not None:
        y = y_scale(chart["rule"]["y"])
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
    ends = []
    for series in chart["series"]:
        pixels = [(x_scale(_log(x, chart["xlog"])), y_scale(_log(y, chart["ylog"]))) for x, y in series["points"]]
        if not pixels:
            continue
        style = f"m{series['style']}"
        if series["joined"]:
            parts.append(f'<polyline class="{style}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in pixels)}"/>')
        mark = MARKS[series["style"] % len(MARKS)]
        parts += [
            f'<path class="mark {style}" transform="translate({x:.1f} {y:.1f}) scale(3.4)" d="{mark}"/>'
            for x, y in pixels
        ]
        ends.append((pixels[-1][1], style, series["name"], pixels[-1][0]))
    parts += _labels(ends, width, height)
    return "".join([*parts, "</svg>"])


# ---------------------------------------------------------------------------------------------


def _series(model: Mapping[str, Any], points: Sequence[tuple[float, float | None]], *, joined: bool = True) -> Chart:
    known = [[x, y] for x, y in points if y is not None and math.isfinite(y)]
    return {"name": model["recipe"], "style": model["place"] % STYLES, "points": known, "joined": joined}


def _mean(model: Mapping[str, Any], index: int, key: str, scale: float) -> float | None:
    """Of the seeds."""
    values = [run["lengths"][index][key] for run in model["runs"]]
    return None if None in values else scale * sum(values) / len(values)


def _band(bands: Sequence[Any], low: int) -> Any:
    return next((band for band in bands if band["low"] == low), None)


def _log(value: float, logarithmic: bool) -> float:
    return math.log2(value) if logarithmic else value


def _scales(chart: Chart, points: Sequence[Sequence[float]], width: int, height: int) -> tuple[Scale, Scale]:
    xs, ys = [_log(x, chart["xlog"]) for x, _ in points], [_log(y, chart["ylog"]) for _, y in points]
    if chart["rule"] and chart["rule"]["y"] is not None:
        ys.append(chart["rule"]["y"])
    low, high = min(ys), max(ys)
    pad = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    side = 0.5 if "bands" in chart else 0.03 * (max(xs) - min(xs)) or 0.5
    return (
        Scale(min(xs) - side, max(xs) + side, LEFT, width - RIGHT),
        Scale(low - pad, high + pad, height - BOTTOM, TOP),
    )


def _axes(chart: Chart, x_scale: Scale, y_scale: Scale, width: int, height: int) -> list[str]:
    base, parts = height - BOTTOM, []
    for value, name in _tick_names(y_scale.low, y_scale.high, chart["ylog"], max(2, height // 45)):
        y = y_scale(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{name}</text>')
    if "bands" in chart:
        named = [(float(i), name) for i, name in enumerate(chart["bands"])]
    elif "xticks" in chart:
        named = [(_log(x, chart["xlog"]), f"{x:,}") for x in chart["xticks"]]
    else:
        named = _tick_names(x_scale.low, x_scale.high, chart["xlog"], 6)
    for value, name in named:
        parts.append(
            f'<text class="tick" x="{x_scale(value):.1f}" y="{base + 17}" text-anchor="middle">{escape(name)}</text>'
        )
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{width - RIGHT}" y1="{base}" y2="{base}"/>')
    label = f'<text class="label" x="{width - RIGHT}" y="{height - 3}" text-anchor="end">{escape(chart["x"])}</text>'
    return [*parts, label]


def _tick_names(low: float, high: float, logarithmic: bool, about: int) -> list[tuple[float, str]]:
    """Round numbers and where they stand; on a logarithmic axis 1, 2 and 5 times powers of ten, more where few fit."""
    if not logarithmic:
        return [(value, tick_text(value)) for value in ticks(low, high, about)]
    decades = range(math.floor(low * math.log10(2)) - 1, math.ceil(high * math.log10(2)) + 1)
    for digits in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        found = [digit * 10.0**decade for decade in decades for digit in digits]
        inside = [value for value in found if low <= math.log2(value) <= high]
        if len(inside) >= 3:
            return [(math.log2(value), tick_text(value)) for value in inside]
    return [(math.log2(value), tick_text(value)) for value in ticks(2**low, 2**high, about)]


def _labels(ends: Sequence[tuple[float, str, str, float]], width: int, height: int) -> list[str]:
    """Each model's name at the end of its line, moved apart where they would lie on one another; once each."""
    once = {name: (y, style) for y, style, name, _ in ends}
    placed, last = [], -math.inf
    for name, (y, style) in sorted(once.items(), key=lambda one: one[1][0]):
        last = max(y, last + 15)
        placed.append((name, last, style))
    over = max(0.0, placed[-1][1] - (height - BOTTOM)) if placed else 0.0
    return [
        f'<text class="name {style}" x="{width - RIGHT + 10}" y="{y - over + 4:.1f}">{escape(name)}</text>'
        for name, y, style in placed
    ]
