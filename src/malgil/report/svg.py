"""A line chart as static SVG: what a page shows before, or without, its script.

`chart.js` draws the same picture in the reader's width, with a read-out; both take their colours from page.css.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 720
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 14, 34


@dataclass(frozen=True)
class Series:
    """A line in a chart. `style` is its class in page.css; points where x or y is None are left out."""

    style: str
    x: Sequence[float | None]
    y: Sequence[float | None]
    dots: bool = False

    @property
    def points(self) -> list[tuple[float, float]]:
        """(x, y) where both are known."""
        return [(x, y) for x, y in zip(self.x, self.y, strict=True) if x is not None and y is not None]


@dataclass(frozen=True)
class Scale:
    """Maps [low, high] to [start, end] in pixels, straight."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Pixels of a value."""
        span = self.high - self.low
        return self.start + (value - self.low) / span * (self.end - self.start) if span else self.start


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    description: str,
    x_label: str,
    height: int,
    from_zero: bool = False,
    mark: tuple[float, float] | None = None,
) -> str:
    """One `<svg role="img">`.

    Args:
        series: drawn in this order.
        title, description: read aloud by a screen reader.
        x_label: under the axis.
        height: pixels, at a width of 720.
        from_zero: whether the y axis begins at zero.
        mark: a point (x, y) to single out.
    """
    points = [point for one in series for point in one.points]
    attributes = f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(f"{title}. {description}")}"'
    if not points:
        return f"<svg {attributes}><title>{escape(title)}</title></svg>"
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low, high = (0.0 if from_zero else min(ys)), max(ys)
    pad = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    y_scale = Scale(low if from_zero else low - pad, high + pad, height - BOTTOM, TOP)
    x_scale = Scale(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    parts = [f"<svg {attributes}><title>{escape(title)}</title>", *_axes(x_scale, y_scale, x_label, height)]
    for one in series:
        pixels = [(x_scale(x), y_scale(y)) for x, y in one.points]
        parts.append(f'<polyline class="{one.style}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in pixels)}"/>')
        if one.dots:
            parts += [f'<circle class="{one.style}-dot" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>' for x, y in pixels]
    if mark is not None:
        parts.append(f'<circle class="best" cx="{x_scale(mark[0]):.1f}" cy="{y_scale(mark[1]):.1f}" r="5.5"/>')
    return "".join([*parts, "</svg>"])


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) in [low, high], about so many."""
    if high <= low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(m for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def tick_text(value: float) -> str:
    """`2 k`, `1.5 M`, `0.0003`: short enough for an axis."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def _axes(x_scale: Scale, y_scale: Scale, x_label: str, height: int) -> list[str]:
    base = height - BOTTOM
    parts = []
    for value in ticks(y_scale.low, y_scale.high, max(2, height // 50)):
        y = y_scale(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick_text(value)}</text>')
    for value in ticks(x_scale.low, x_scale.high, 7):
        x = x_scale(value)
        parts.append(f'<text class="tick" x="{x:.1f}" y="{base + 18}" text-anchor="middle">{tick_text(value)}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
    parts.append(f'<text class="label" x="{WIDTH - RIGHT}" y="{height - 3}" text-anchor="end">{escape(x_label)}</text>')
    return parts
