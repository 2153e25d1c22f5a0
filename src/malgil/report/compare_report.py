"""The report of a comparison: one page that says which model to take, and shows why.

Everything that is said stands in compare.json; nothing is measured or looked up here, so that a report can be made
again from a folder, also of a comparison that is still going on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from malgil.config import flat
from malgil.report import figures
from malgil.report.compare_charts import (
    MARKS,
    STYLES,
    Chart,
    error_charts,
    quality_charts,
    speed_charts,
    static_chart,
    value_text,
)
from malgil.report.compare_table import Column, columns
from malgil.report.compare_verdict import sentences
from malgil.report.compare_words import CompareWords, budget_text
from malgil.report.page import grid, page, resource, section, table, text
from malgil.version import __version__

#: what differs between runs and makes no difference
_OWN = ("recipe", "description", *(f"training.{key}_every" for key in ("evaluate", "checkpoint", "log")))
_ANCHOR = "settings-"
#: share by which totals may lie apart where all models were to have as many parameters
EQUAL = 0.05


def render_comparison(result: Mapping[str, Any], language: str = "en") -> str:
    """report.html: one file that needs no network.

    Args:
        result: compare.json.
        language: of headings and sentences, `en` or `ko`.

    Raises:
        NotFoundError: another language.
    """
    words = CompareWords(language)
    charts = {"quality": quality_charts(result, words), "speed": speed_charts(result, words)}
    charts["errors"] = error_charts(result, words)
    parts = [_title(result, words), _meaning(result, words), _legend(result, words), _overview(result, words)]
    done = any(model["runs"] for model in result["models"])
    speed = "speed note labels" if result["kind"] == "labels" else "speed note"
    if done:
        parts.append(section(words("quality"), _quality(charts["quality"], words), "quality"))
        parts.append(section(words("speed"), _several(charts["speed"], words(speed), words), "speed"))
        if charts["errors"]:
            parts.append(section(words("errors"), _several(charts["errors"], words("errors note"), words), "errors"))
        parts.append(_samples(result, words))
    parts.append(section(words("fair"), _fair(result, words), "fair"))
    parts.append(section(words("settings"), _settings(result, words), "settings"))
    heading = _heading(result, words)
    return page(
        heading,
        "\n".join(parts),
        kicker=words("kicker"),
        footer=words("footer", version=__version__),
        language=language,
        style=resource("compare.css"),
        script=resource("compare.js") + resource("print.js"),
        data={"charts": [one for group in charts.values() for one in group], "marks": MARKS, "log": words("log")},
    )


# -- the head ------------------------------------------------------------------------------------


def _heading(result: Mapping[str, Any], words: CompareWords) -> str:
    return words(f"title {result['kind']}", n=str(len(result["models"])))


def _title(result: Mapping[str, Any], words: CompareWords) -> str:
    seeds = len(result["seeds"])
    fewer = any(row["runs"] < seeds for row in result["rows"])
    line = [
        budget_text(result, words),
        words("one seed") if seeds == 1 else words("seeds or fewer" if fewer else "seeds", n=str(seeds)),
        ", ".join(result["data"]["sources"]),
        result["started"],
    ]
    state = result["status"]
    return (
        f'<div class="title"><h1>{text(_heading(result, words))}</h1>'
        f"<p>{' · '.join(text(part) for part in line if part)}</p>"
        f'<p class="status {text(state)}">{text(words.get(state))}</p></div>'
    )


def _meaning(result: Mapping[str, Any], words: CompareWords) -> str:
    said = sentences(result, words.language)
    failed = [
        f'<p class="failed">{text(words("failed why", name=row["recipe"], why=row["failed"][0]))}</p>'
        for row in result["rows"]
        if row["failed"]
    ]
    lines = "".join(f"<li>{text(line)}</li>" for line in said)
    return f'<section id="meaning"><h2>{text(words("meaning"))}</h2><ol>{lines}</ol>{"".join(failed)}</section>'


def mark(style: int) -> str:
    """A model's mark in its colour."""
    path = f'<path class="mark m{style}" d="{MARKS[style]}"/>'
    return f'<svg class="key" viewBox="-2 -2 4 4" aria-hidden="true">{path}</svg>'


def _legend(result: Mapping[str, Any], words: CompareWords) -> str:
    """The models with their colours; the script makes buttons of them that pick one out in every chart."""
    items = "".join(
        f'<button type="button" class="model" data-model="{escape(model["recipe"])}" aria-pressed="false" disabled>'
        f"{mark(model['place'] % STYLES)}{text(model['recipe'])}</button>"
        for model in result["models"]
    )
    return f'<div class="models" role="group" aria-label="{text(words("choose"))}">{items}</div>'


# -- the table -----------------------------------------------------------------------------------


def _overview(result: Mapping[str, Any], words: CompareWords) -> str:
    shown, headline = columns(result, words.language), result["headline"]["name"]
    places = {model["recipe"]: model["place"] % STYLES for model in result["models"]}
    head = "".join(f'<th scope="col">{text(column.head)}</th>' for column in shown)
    body = "".join(_line(row, shown, headline, places[row["recipe"]], result, words) for row in result["rows"])
    note = words("overview note" if any(row["runs"] > 1 for row in result["rows"]) else "overview note one")
    heading = text(words("overview"))
    return (
        f'<section id="overview"><h2>{heading}</h2><div class="scroll"><table class="overview">'
        f"<caption>{heading}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        f'<p class="note">{_options(note)}</p></section>'
    )


def _line(
    row: Mapping[str, Any],
    shown: Sequence[Column],
    headline: str,
    style: int,
    result: Mapping[str, Any],
    words: CompareWords,
) -> str:
    cells = []
    for column in shown:
        value = column.cell(row)
        if column.key == "recipe":
            tie = '<span class="tie">=</span>' if row["tie"] else ""
            link = f'<a href="#{_ANCHOR}{escape(row["recipe"])}">{text(row["recipe"])}</a>'
            cells.append(f'<th scope="row">{mark(style)}{link}{tie}</th>')
            continue
        if not value and row["failed"] and not row["runs"] and column.key == headline:
            value = words("failed")
        bar = _whisker(row, headline, style, result) if column.key == headline else ""
        best = ' class="best"' if value and _is_best(row, column.key, result) else ""
        cells.append(f"<td{best}>{text(value) if value else '<span class=none>–</span>'}{bar}</td>")
    return f'<tr data-model="{escape(row["recipe"])}">{"".join(cells)}</tr>'


def _is_best(row: Mapping[str, Any], key: str, result: Mapping[str, Any]) -> bool:
    """Whether no other model has a better value of a column."""
    more = {figure["name"]: figure["more"] for figure in result["figures"]}
    more |= {"tokens_per_second": True, "throughput": True}
    values = [one[key] for one in result["rows"] if isinstance(one.get(key), (int, float))]
    if key == "parameters" or row.get(key) is None or len(values) < 2 or min(values) == max(values):
        return False
    return bool(row[key] == (max if more.get(key, False) else min)(values))


def _whisker(row: Mapping[str, Any], name: str, style: int, result: Mapping[str, Any]) -> str:
    """The figure of quality as a dot with its interval, on one scale for all rows."""
    value, half = row.get(name), row.get(f"{name}_interval") or 0.0
    edges = [
        one[name] + sign * (one.get(f"{name}_interval") or 0.0)
        for one in result["rows"]
        for sign in (-1, 1)
        if one.get(name) is not None
    ]
    if value is None or min(edges) == max(edges):
        return ""
    low, high = min(edges), max(edges)
    at = [6 + 108 * (x - low) / (high - low) for x in (value - half, value, value + half)]
    return (
        f'<svg class="whisker" viewBox="0 0 120 14" aria-hidden="true"><path class="track" d="M4 7h112"/>'
        f'<path class="m{style}" d="M{at[0]:.1f} 7H{at[2]:.1f}"/>'
        f'<path class="mark m{style}" transform="translate({at[1]:.1f} 7) scale(4)" d="{MARKS[style]}"/></svg>'
    )


def _options(line: str) -> str:
    """A sentence in which an option of the command line is not cut at its dashes."""
    return re.sub(r"(--[a-z-]+ \d+)", r"<code>\1</code>", text(line))


# -- charts --------------------------------------------------------------------------------------


def _quality(charts: Sequence[Chart], words: CompareWords) -> str:
    """One picture with a switch of its axis; without a script all three stand below one another."""
    buttons = "".join(
        f'<button type="button" data-axis="{chart["id"]}" aria-pressed="{str(i == 0).lower()}">'
        f"{text(chart['name'])}</button>"
        for i, chart in enumerate(charts)
    )
    controls = (
        f'<div class="controls" hidden><div role="group" aria-label="{text(words("against"))}">{buttons}</div>'
        f'<label><input type="checkbox" name="log"> {text(words("log"))}</label></div>'
    )
    pictures = "".join(_figure(chart, 380) for chart in charts)
    note = f'<p class="note">{text(words("quality note"))}</p>'
    return f'{controls}<div class="switched">{pictures}</div>{note}{_numbers(charts, words)}'


def _several(charts: Sequence[Chart], note: str, words: CompareWords) -> str:
    pictures = "".join(_figure(chart, 280, 480) for chart in charts)
    return f'<p class="note">{text(note)}</p><div class="charts">{pictures}</div>{_numbers(charts, words)}'


def _figure(chart: Chart, height: int, width: int = 720) -> str:
    rule = chart["rule"]
    legend = ""
    if rule and rule["y"] is not None:
        dashes = f"{text(rule['name'])}: {value_text(chart, rule['y'])}"
        legend = f'<span class="legend"><span><i class="rule"></i>{dashes}</span></span>'
    named = text(chart["y"])
    if "bands" in chart:
        named = f'{text(chart["name"])}<span class="legend">{named}</span>'
    return (
        f'<figure class="chart" data-chart="{chart["id"]}" data-height="{height}">'
        f"<figcaption>{named}{legend}</figcaption>"
        f'<div class="plot">{static_chart(chart, height, width)}</div></figure>'
    )


def _numbers(charts: Sequence[Chart], words: CompareWords) -> str:
    """The points behind the pictures as tables, folded away."""
    inner = ""
    for chart in charts:
        names = chart.get("bands")
        rows = [
            (one["name"], names[int(x)] if names else f"{x:,.4g}" if x < 1e4 else f"{x:,.0f}", value_text(chart, y))
            for one in chart["series"]
            for x, y in one["points"]
        ]
        inner += f"<h3>{text(chart['name'])}</h3>" + grid(
            [words("recipe"), chart["x"], chart["y"]], rows, chart["name"]
        )
    return f"<details><summary>{text(words('evaluations of'))}</summary>{inner}</details>"


# -- samples -------------------------------------------------------------------------------------


def _samples(result: Mapping[str, Any], words: CompareWords) -> str:
    """What every model made of the same inputs, side by side; the first seed's."""
    models = sorted((m for m in result["models"] if m["runs"]), key=lambda m: m["place"])
    blocks = []
    for number, first in enumerate(models[0]["runs"][0]["samples"]):
        prompt = text(first["prompt"]) if first["prompt"] else f"<em>{text(words('empty prompt'))}</em>"
        cards = ""
        if first["reference"] is not None:
            cards = (
                f'<div class="card reference"><b>{text(words("reference"))}</b><p>{text(first["reference"])}</p></div>'
            )
        for model in models:
            said = model["runs"][0]["samples"][number]["text"].rstrip("\ufffd").strip("\n")
            cards += (
                f'<div class="card" data-model="{escape(model["recipe"])}">'
                f"<b>{mark(model['place'] % STYLES)}{text(model['recipe'])}</b>"
                f'<p dir="auto" translate="no">{text(said) or "–"}</p></div>'
            )
        blocks.append(
            f'<div class="same"><h3 dir="auto" translate="no">{prompt}</h3><div class="cards">{cards}</div></div>'
        )
    heading = words("samples" if result["kind"] == "text" else f"samples {result['kind']}")
    return section(heading, "".join(blocks), "samples")


# -- how it was made -----------------------------------------------------------------------------


def _fair(result: Mapping[str, Any], words: CompareWords) -> str:
    data, once = result["data"], ", ".join(f"{key} {value}" for key, value in result["once"].items())
    lines = [
        words("fair data", train=data["train"], validation=data["validation"]),
        words("fair tokenizer", kind=data["tokenizer"], n=f"{data['vocab_size']:,}"),
        words("fair once", once=once),
        *_tuning(result["tuning"], words),
        *_sizes(result, words),
        words("fair last"),
        words("fair alone"),
    ]
    energies = {run["energy"]["source"] for model in result["models"] for run in model["runs"] if run["energy"]}
    if energies:
        lines.append(words("fair energy", source=", ".join(words.get(one) for one in sorted(energies))))
    lines += data["notes"]
    items = "".join(f"<li>{_options(line)}</li>" for line in lines)
    return f'<ul class="facts-list">{items}</ul><div id="machine">{_machine(result["machine"], words)}</div>'


def _sizes(result: Mapping[str, Any], words: CompareWords) -> list[str]:
    """How many parameters models have and, where all were to have as many, which do not."""
    wanted = result["equal_parameters"]
    if not wanted:
        return [words("fair sizes")]
    others = [row for row in result["rows"] if row["runs"] and abs(row["parameters"] / wanted - 1) > EQUAL]
    named = ", ".join(f"{row['recipe']} {row['parameters']:,}" for row in others)
    return [words("fair equal", n=f"{wanted:,}"), *([words("fair but", names=named)] if others else [])]


def _tuning(tuning: Mapping[str, Any], words: CompareWords) -> list[str]:
    if not tuning:
        return [words("fair untuned")]
    factors = sorted({factor for found in tuning.values() for factor, _ in found["tried"]})
    taken = ", ".join(f"{name} x{found['factor']:g}" for name, found in tuning.items())
    lines = [words("fair tuned", factors=", ".join(f"{factor:g}" for factor in factors), taken=taken)]
    edges = [name for name, found in tuning.items() if found["edge"]]
    return [*lines, words("fair edge", names=", ".join(edges))] if edges else lines


def _machine(machine: Mapping[str, Any], words: CompareWords) -> str:
    rows = []
    for key, value in machine.items():
        if key == "rate" or value in ([], (), None, ""):
            continue
        rows.append((words.get(key), figures.size(value) if key == "memory" else figures.plain(value)))
    return table(rows, words("machine"))


def _settings(result: Mapping[str, Any], words: CompareWords) -> str:
    """What differs between the models, side by side; then all of each, folded away."""
    models = [model for model in result["models"] if model["runs"]]
    settings = {model["recipe"]: flat(model["runs"][0]["settings"]) for model in models}
    keys = list(dict.fromkeys(key for one in settings.values() for key in one if key not in _OWN))
    shown = {key: [figures.plain(one[key]) if key in one else "" for one in settings.values()] for key in keys}
    differing = [(key, *values) for key, values in shown.items() if len(set(values)) > 1]
    parts = []
    if len(models) > 1:
        head = [words("setting"), *settings]
        parts.append(f"<h3>{text(words('differs'))}</h3>{grid(head, differing, words('differs'))}")
    for model in models:
        name = model["recipe"]
        rows = [(key, figures.plain(value)) for key, value in settings[name].items()]
        inner = grid([words("setting"), words("value")], rows, words("settings of", name=name))
        warned = dict.fromkeys(warning for run in model["runs"] for warning in run["warnings"])
        if warned:
            inner = f'<ul class="warnings">{"".join(f"<li>{text(one)}</li>" for one in warned)}</ul>{inner}'
        parts.append(
            f'<details id="{_ANCHOR}{escape(name)}"><summary>{mark(model["place"] % STYLES)}'
            f"{text(words('settings of', name=name))}</summary>"
            f'<p class="note">{text(model["description"])}</p>{inner}</details>'
        )
    return "".join(parts)
