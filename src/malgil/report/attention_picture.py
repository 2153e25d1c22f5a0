"""Attention maps as a PNG, for a paper or a slide; drawn by matplotlib, an extra, and by nothing else in Malgil.

The same view gives the same bytes on every machine that has the same matplotlib: letters come from the font that
travels with Malgil (Hangul, Latin, Greek, Cyrillic, kana) and from matplotlib's own. Only for what neither has, such as
Chinese characters, a font of the system is looked for; a box stands for what nobody has.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from malgil.errors import ConfigError
from malgil.report.attention import AttentionGroup, AttentionView
from malgil.runtime.files import atomic_write

MOST_TOKENS = 64
COLUMNS = 4  # panels beside one another
CELL = 0.28  # inches
FONT = 9  # points
DPI = 150
CELADON = "#0b7a6f"
OWN_FONT = "Malgil Hangul"
#: fonts of coloured pictures, which cannot be drawn, and one whose letters are all boxes
_UNFIT = re.compile("emoji|last resort", re.IGNORECASE)


def attention_picture(
    view: AttentionView, path: Path, *, kind: str | None = None, layer: int | None = None, head: int | None = None
) -> None:
    """Write heat maps of one kind of attention as a PNG; of long texts the beginning.

    Args:
        kind: as in `AttentionGroup`; None: the first of the view.
        layer: counted from 1; None: a panel for each layer.
        head: counted from 1; None: the mean of the heads.

    Raises:
        ConfigError: matplotlib is not installed.
        NotFoundError: the view has no such kind.
        InputError: it has no such layer or head.
        StorageError: the file cannot be written.
    """
    group = view.group(kind).cut(MOST_TOKENS)
    layers = range(1, len(group.layers) + 1) if layer is None else [layer]
    panels = {number: group.map(number, head) for number in layers}
    atomic_write(path, _draw(group, panels))


def _draw(group: AttentionGroup, panels: dict[int, NDArray[np.float32]]) -> bytes:
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.colors import LinearSegmentedColormap, PowerNorm
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError(
            "a picture needs matplotlib, which is not installed",
            "",
            "pip install 'malgil[plots]', or write a page only",
        ) from None
    n_columns = min(COLUMNS, len(panels))
    n_rows = -(-len(panels) // n_columns)
    edge = (_inches(group.rows), _inches(group.columns))
    wide = edge[0] + CELL * len(group.columns) + 0.71 * edge[1]
    high = 0.71 * edge[1] + CELL * len(group.rows) + (0.5 if len(panels) > 1 else 0.15)
    fonts = _fonts(frozenset("".join([*group.rows, *group.columns])))
    with matplotlib.rc_context({"font.family": list(fonts), "font.size": FONT, "axes.linewidth": 0}):
        figure = Figure(figsize=(wide * n_columns + 0.3, high * n_rows + 0.2), dpi=DPI)
        canvas = FigureCanvasAgg(figure)
        colours = LinearSegmentedColormap.from_list("celadon", ["#f6f8f6", CELADON])
        for place, (number, weights) in enumerate(panels.items()):
            left = (place % n_columns) * wide + edge[0] + 0.1
            bottom = (n_rows - 1 - place // n_columns) * high + 0.15
            axes = _axes(figure, left, bottom, weights.shape)
            # sqrt, as on the page: small weights are seen
            axes.pcolormesh(weights, cmap=colours, norm=PowerNorm(0.5, 0, 1), edgecolor="white", linewidth=0.8)
            _label(axes, group, fonts)
            if len(panels) > 1:
                axes.text(0, -0.71 * edge[1] / CELL - 0.4, f"layer {number}", color=CELADON, fontsize=FONT + 1)
        buffer = io.BytesIO()
        canvas.print_png(buffer, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def _axes(figure: Any, left: float, bottom: float, shape: tuple[int, ...]) -> Any:
    """Axes of so many rows and columns of cells, at a place in inches."""
    width, height = figure.get_size_inches()
    size = (CELL * shape[1] / width, CELL * shape[0] / height)
    axes = figure.add_axes((left / width, bottom / height, *size))
    axes.set_xlim(0, shape[1])
    axes.set_ylim(shape[0], 0)
    return axes


def _label(axes: Any, group: AttentionGroup, fonts: dict[str, str]) -> None:
    axes.xaxis.tick_top()
    axes.tick_params(length=0, pad=3)
    rows, columns = ([_drawable(label, fonts) for label in labels] for labels in (group.rows, group.columns))
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=45, ha="left", rotation_mode="anchor")


def _inches(labels: Iterable[str]) -> float:
    """Width of the widest label, about: East Asian letters are square."""
    return max(sum(1.0 if c > "\u2e7f" else 0.62 for c in label) for label in labels) * FONT / 72 + 0.1


def _drawable(label: str, fonts: dict[str, str]) -> str:
    """A label with a box for what no font has, and without what would be read as a formula."""
    known = [_characters(file) for file in fonts.values()]
    return "".join(c if any(ord(c) in have for have in known) else "□" for c in label).replace("$", r"\$")


@cache
def _fonts(characters: frozenset[str]) -> dict[str, str]:
    """The fonts to draw these characters with, in the order in which they are asked: their names and files."""
    from matplotlib.font_manager import findfont, fontManager

    own = Path(__file__).with_name("fonts") / "MalgilHangul.ttf"
    if OWN_FONT not in fontManager.get_font_names():
        fontManager.addfont(own)
    fonts = {OWN_FONT: str(own), "DejaVu Sans": findfont("DejaVu Sans")}
    missing = {ord(c) for c in characters}.difference(*map(_characters, fonts.values()))
    for entry in sorted(fontManager.ttflist, key=lambda font: (font.name, font.fname)):
        if not missing:
            break
        if entry.style == "normal" and entry.weight == 400 and not _UNFIT.search(entry.name):
            found = missing & _characters(entry.fname)
            if found:
                fonts[entry.name] = entry.fname
                missing -= found
    return fonts


@cache
def _characters(file: str) -> frozenset[int]:
    """The code points that a font has."""
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(file).get_charmap())
