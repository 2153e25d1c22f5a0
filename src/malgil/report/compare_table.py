"""The table of a comparison: its columns, as Markdown and as plain text."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from malgil.report import figures
from malgil.report.compare_words import CompareWords, figure_text, milliseconds, with_interval

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A column; `cell` is its text for a row, empty where nothing is known.

    Attributes:
        key: what it shows, a key of the row.
        words: whether it holds words, set to the left; numbers are set to the right.
    """

    key: str
    head: str
    cell: Callable[[Row], str]
    words: bool = False


def columns(result: Mapping[str, Any], language: str) -> list[Column]:
    """What a comparison shows of each model, in this order; a figure that no model has is left out."""
    words, rows = CompareWords(language), result["rows"]
    unit = next((row["unit"] for row in rows if row["unit"]), "token")
    quality = result["quality"]
    goal = "" if quality is None else figure_text(result["curve"]["name"], quality)
    headline, kind = result["headline"]["name"], result["kind"]
    others = [_figure(figure["name"], kind, words) for figure in result["figures"] if figure["name"] != headline]
    found = [
        Column("recipe", words("recipe"), name_of, words=True),
        _figure(headline, kind, words),
        Column("parameters", words("parameters column"), lambda row: figures.parameters(row["parameters"])),
        Column("time_to_quality", words("time_to_quality", quality=goal), lambda row: _time(row, words)),
        Column("tokens_per_second", words("tokens_per_second"), _with("tokens_per_second", _count)),
        Column("throughput", words(f"throughput {unit}"), _with("throughput", _count)),
        Column("latency", words(f"latency {unit}"), _with("latency", milliseconds)),
        Column("peak_memory", words("peak_memory"), _with("peak_memory", figures.size)),
        Column("energy", words("energy"), _with("energy", figures.energy)),
        Column("size", words("size"), _with("size", figures.size)),
        *others,
    ]
    return [
        column for column in found if column.key == "recipe" or any(row.get(column.key) is not None for row in rows)
    ]


def name_of(row: Row) -> str:
    """The recipe, marked where it ties with the best."""
    return f"{row['recipe']} =" if row["tie"] else str(row["recipe"])


def markdown(result: Mapping[str, Any], language: str = "en") -> str:
    """The table in Markdown, numbers to the right."""
    shown = columns(result, language)
    lines = ["| " + " | ".join(column.head for column in shown) + " |"]
    lines.append("|" + "|".join(" --- " if column.words else " ---: " for column in shown) + "|")
    lines += ["| " + " | ".join(_cell(column, row, language) for column in shown) + " |" for row in result["rows"]]
    return "\n".join(lines)


def plain(result: Mapping[str, Any], language: str = "en") -> str:
    """The table for a terminal."""
    shown = columns(result, language)
    lines = [[column.head for column in shown]]
    lines += [[_cell(column, row, language) for column in shown] for row in result["rows"]]
    widths = [max(_width(line[i]) for line in lines) for i in range(len(shown))]
    return "\n".join(
        "  ".join(_padded(cell, width, column.words) for cell, width, column in zip(line, widths, shown, strict=True))
        for line in lines
    )


def _cell(column: Column, row: Row, language: str) -> str:
    text = column.cell(row)
    if not text and column.key != "recipe":
        return CompareWords(language)("failed") if row["failed"] and not row["runs"] else "-"
    return text.replace("|", "\\|")


def _figure(name: str, kind: str, words: CompareWords) -> Column:
    def cell(row: Row) -> str:
        value = row.get(name)
        return "" if value is None else with_interval(name, value, row.get(f"{name}_interval"))

    return Column(name, words.figure(name, kind), cell)


def _with(key: str, form: Callable[[float], str]) -> Callable[[Row], str]:
    return lambda row: "" if row.get(key) is None else form(row[key])


def _time(row: Row, words: CompareWords) -> str:
    seconds = row.get("time_to_quality")
    if seconds is None:
        return ""
    text = figures.duration(seconds, words.language)
    return words("up to", n=text) if row["at_most"] else text


def _count(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def _width(text: str) -> int:
    """Places on a terminal: Hangul takes two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _padded(text: str, width: int, left: bool) -> str:
    room = " " * (width - _width(text))
    return text + room if left else room + text
