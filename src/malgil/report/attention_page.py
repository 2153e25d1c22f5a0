"""The page of a model's attention: a heat map and lines between words, of any layer and head.

The script draws in the reader's width and answers pointer and keys; without it the page shows the first map as it is.
Weights travel as 16-bit fractions of 1, which is finer than the four digits that are read out.
"""

from __future__ import annotations

import base64
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from malgil.report import figures
from malgil.report.attention import AttentionGroup, AttentionView, shown
from malgil.report.page import page, resource, section, text
from malgil.report.words import Words
from malgil.version import __version__

__all__ = ["AttentionView", "attention_page"]

CELL = 24  # pixels of a cell in the static picture
FONT = 13
LONGEST_TITLE = 240
#: shades that are told apart; a weight w is drawn with an opacity of sqrt(w), so that small ones are seen
SHADES = 24


def attention_page(view: AttentionView, language: str = "en") -> str:
    """One HTML file that needs no network.

    Of long texts only the beginning is shown (`AttentionView.fitting`), and the page says so.

    Args:
        view: what there is to show.
        language: of headings and sentences, `en` or `ko`.

    Raises:
        NotFoundError: another language.
    """
    words, cut = Words(language), view.fitting()
    first, title = cut.groups[0], shown(view.title, LONGEST_TITLE)
    lines = [words("attention note")]
    if cut.longest < view.longest:
        lines.insert(0, words("cut tokens", n=str(cut.longest), total=str(view.longest)))
    model = f"{view.model}, {words('parameters', n=figures.parameters(view.parameters))}"
    notes = "".join(f'<p class="note">{text(line)}</p>' for line in lines)
    pictures = (
        f'<div class="views">{_figure("map", words("heat map"), _heat_map(first, words), _legend())}'
        f'<figure class="chart lines" hidden><figcaption>{text(words("lines"))}</figcaption>'
        f'<div class="plot"></div></figure></div><p class="said" aria-live="polite" hidden></p>'
    )
    parts = [
        f'<div class="title reading"><h1>{text(title)}</h1><p>{text(model)}</p></div>',
        f'<section id="attention">{_controls(cut, words)}<p class="note kind">{text(words(f"{first.kind} note"))}</p>'
        f"{pictures}{notes}</section>",
        f'<div class="heads" hidden>{section(words("heads"), "", "heads")}</div>',
    ]
    return page(
        f"{title} · {words('attention')}",
        "\n".join(parts),
        kicker=words("attention"),
        footer=words("footer", version=__version__),
        language=language,
        style=resource("attention.css"),
        script=resource("attention.js"),
        data=_data(cut, words),
    )


def _data(view: AttentionView, words: Words) -> dict[str, Any]:
    """What attention.js draws, and the words that it writes."""
    keys = ("layer", "head", "mean of heads", "looks", "looked at", "looked at by", "point")
    return {
        "groups": [
            {
                "note": words(f"{group.kind} note"),
                "map": words("heat map name", kind=words(group.kind)),
                "lines": words("lines name", kind=words(group.kind)),
                "rows": list(group.rows),
                "columns": list(group.columns),
                "layers": [{"heads": len(layer), "weights": _packed(layer)} for layer in group.layers],
            }
            for group in view.groups
        ],
        "words": {key: words(key) for key in keys},
    }


def _packed(weights: NDArray[np.float32]) -> str:
    """Weights as unsigned 16-bit fractions of 1, the low byte first, in base64."""
    return base64.b64encode(np.rint(weights.clip(0, 1) * 65535).astype("<u2").tobytes()).decode()


def _controls(view: AttentionView, words: Words) -> str:
    """Shown by the script alone: without it there is nothing to switch."""
    kinds = "".join(
        f'<button type="button" data-group="{i}" aria-pressed="false">{text(words(group.kind))}</button>'
        for i, group in enumerate(view.groups)
    )
    return (
        f'<div class="controls" hidden><div role="group" aria-label="{text(words("which attention"))}">{kinds}</div>'
        f'<label>{text(words("layer"))} <select name="layer"></select></label>'
        f'<label>{text(words("head"))} <select name="head"></select></label></div>'
    )


def _figure(name: str, caption: str, svg: str, legend: str) -> str:
    return (
        f'<figure class="chart {name}"><figcaption>{text(caption)}{legend}</figcaption>'
        f'<div class="plot">{svg}</div></figure>'
    )


def _legend() -> str:
    """What the shades mean."""
    steps = "".join(
        f'<span><i style="opacity:{weight**0.5:.2f}"></i>{weight:g}</span>' for weight in (0.01, 0.1, 0.5, 1.0)
    )
    return f'<span class="legend shades">{steps}</span>'


def _heat_map(group: AttentionGroup, words: Words) -> str:
    """The first layer, the mean of its heads, as one `<svg role="img">`."""
    left = max(map(_width, group.rows)) + 10
    slope = max(map(_width, group.columns)) * 0.71  # labels of columns lean by 45 degrees
    top, right = slope + 18, slope + 4
    width, height = left + CELL * len(group.columns) + right, top + CELL * len(group.rows) + 6
    name = escape(words("heat map name", kind=words(group.kind)))
    rows = "".join(
        f'<text x="{left - 8:.0f}" y="{top + CELL * (i + 0.5) + 4:.0f}" text-anchor="end">{text(label)}</text>'
        for i, label in enumerate(group.rows)
    )
    columns = "".join(
        f'<text transform="translate({left + CELL * (i + 0.6):.0f} {top - 8:.0f}) rotate(-45)">{text(label)}</text>'
        for i, label in enumerate(group.columns)
    )
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img" aria-label="{name}">'
        f'{rows}{columns}<g class="cells" transform="translate({left:.0f} {top:.0f}) scale({CELL})">'
        f"{_cells(group.map(1))}</g></svg>"
    )


def _cells(weights: NDArray[np.float32]) -> str:
    """Squares of size 1, those of a shade in one path; a weight whose shade is 0 leaves its cell empty."""
    shades = np.rint(np.sqrt(weights.clip(0, 1)) * SHADES).astype(int)
    paths = []
    for shade in range(1, SHADES + 1):
        squares = "".join(f"M{x} {y}h.94v.94h-.94z" for y, x in np.argwhere(shades == shade))
        if squares:
            paths.append(f'<path d="{squares}" fill-opacity="{shade / SHADES:.2f}"/>')
    return f'<path class="ground" d="M0 0h{weights.shape[1]}v{weights.shape[0]}h-{weights.shape[1]}z"/>' + "".join(
        paths
    )


def _width(label: str) -> float:
    """Pixels of a label, about: East Asian letters are square."""
    return FONT * sum(1.0 if c > "\u2e7f" else 0.62 for c in label)
