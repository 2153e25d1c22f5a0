"""The three charts of a run (loss, learning rate, speed): static pictures, controls, and the data for chart.js."""

from __future__ import annotations

import math
from typing import Any

from malgil.report import figures
from malgil.report.curves import VALIDATION_KEYS, Curves, number
from malgil.report.page import grid, text
from malgil.report.svg import Series, line_chart
from malgil.report.verdict import Even
from malgil.report.words import Words

SHOWN_EVALUATIONS = 200


def chart_data(curves: Curves, even: Even | None, words: Words) -> dict[str, Any]:
    """What chart.js draws, and the words that it writes."""
    best = curves.best
    keys = ("step", "tokens", "seconds", "loss", "smooth", "lr", "validation", "even", "best", "perplexity", "bits")
    return {
        **curves.columns(),
        "best": None if best is None else curves.validation.index(best),
        "even": None if even is None else even.loss,
        "words": {key: words(key) for key in keys} | {"tokens_per_second": words("speed")},
        "language": words.language,
    }


def charts(curves: Curves, even: Even | None, words: Words, unit: str = "") -> str:
    """The figures as HTML; without a script they stand as they are, by steps.

    Args:
        even: the loss of one who knows nothing.
        unit: of losses, in words.
    """
    if not curves.train and not curves.validation:
        return f'<p class="note">{text(words("no curve"))}</p>'
    columns = curves.columns()
    train, validation = columns["train"], columns["validation"]
    step = words("step")
    loss = line_chart(
        [
            Series("raw", train["step"], train["loss"]),
            Series("smooth", train["step"], train["smooth"]),
            Series("validation", validation["step"], validation["val_loss"], dots=True),
        ],
        title=words("loss chart"),
        description=_description(curves, words),
        x_label=step,
        height=360,
        mark=None if curves.best is None else (curves.best["step"], curves.best["val_loss"]),
    )
    small = "".join(
        _figure(
            key,
            name,
            line_chart(
                [Series(key, train["step"], train[column])],
                title=name,
                description="",
                x_label=step,
                height=220,
                from_zero=True,
            ),
        )
        for key, column, name in (("lr", "lr", words("lr")), ("speed", "tokens_per_second", words("speed")))
        if any(value is not None for value in train[column])
    )
    caption = ", ".join(part for part in (words("loss chart"), unit) if part)
    large = _figure("loss", caption, loss, _legend(even, curves, words))
    note = f'<p class="note">{text(words("loss chart note"))}</p>'
    return f'{_controls(words)}{large}{note}<div class="pair">{small}</div>{_evaluations(curves, words)}'


def _figure(key: str, caption: str, svg: str, legend: str = "") -> str:
    return (
        f'<figure class="chart" data-chart="{key}"><figcaption>{text(caption)}{legend}</figcaption>'
        f'<div class="plot">{svg}</div></figure>'
    )


def _legend(even: Even | None, curves: Curves, words: Words) -> str:
    entries = []
    if curves.train:
        entries += [("raw", words("raw")), ("smooth", words("smooth"))]
    if curves.best is not None:
        best = f"{words('best')} {float(curves.best['val_loss']):.3f}"
        entries += [("validation", words("validation")), ("best", best)]
    if even is not None:
        entries.append(("even", f"{words('even')}, {even.shown}"))
    items = "".join(f'<span><i class="{key}"></i>{text(name)}</span>' for key, name in entries)
    return f'<span class="legend">{items}</span>'


def _controls(words: Words) -> str:
    """Shown by the script alone: without it there is nothing to switch."""
    buttons = "".join(
        f'<button type="button" data-axis="{axis}" aria-pressed="{pressed}">{text(words(axis))}</button>'
        for axis, pressed in (("step", "true"), ("tokens", "false"), ("seconds", "false"))
    )
    return (
        f'<div class="controls" hidden><div role="group" aria-label="{text(words("by"))}">{buttons}</div>'
        f'<label><input type="checkbox" name="log"> {text(words("log"))}</label>'
        f'<label><input type="checkbox" name="late"> {text(words("late"))}</label></div>'
    )


def _evaluations(curves: Curves, words: Words) -> str:
    """The evaluations as a table; of very many every k-th and the last."""
    if not curves.validation:
        return ""
    every = math.ceil(len(curves.validation) / SHOWN_EVALUATIONS)
    lines = curves.validation[::-1][::every][::-1]
    others = [key for key in lines[-1] if key.startswith("val_") and key not in VALIDATION_KEYS]
    shown = [key for key in VALIDATION_KEYS if any(number(line, key) is not None for line in lines)] + others
    names = {"val_perplexity": "perplexity", "val_bits_per_byte": "bits"}
    head = [words.get(names.get(key, key)) for key in shown]
    rows = [[_cell(key, number(line, key), words) for key in shown] for line in lines]
    inner = grid(head, rows, words("evaluations"))
    return f"<details><summary>{text(words('evaluations'))} ({len(curves.validation)})</summary>{inner}</details>"


def _cell(key: str, value: float | None, words: Words) -> str:
    if value is None:
        return ""
    if key in ("step", "tokens"):
        return f"{value:,}"
    if key == "seconds":
        return figures.duration(value, words.language)
    return f"{value:.4g}" if key == "val_perplexity" else f"{value:.4f}"


def _description(curves: Curves, words: Words) -> str:
    parts = []
    if curves.train:
        parts.append(f"{words('loss')}: {curves.smooth[0]:.2f} → {curves.smooth[-1]:.2f}")
    if curves.best is not None:
        parts.append(f"{words('val_loss')}, {words('best')}: {float(curves.best['val_loss']):.3f}")
    return "; ".join(parts)
