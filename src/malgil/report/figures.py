"""Numbers as people read them; the unit is always said."""

from __future__ import annotations

import math
from typing import Any


def count(value: float) -> str:
    """1,115,394 as it is; from ten million on `31.5 M`, `1.24 B`."""
    for size, letter in ((1e9, "B"), (1e6, "M")):
        if value >= 10 * size or (letter == "B" and value >= size):
            return f"{value / size:.3g} {letter}"
    return f"{value:,.0f}"


def parameters(value: int) -> str:
    """804,096 as `0.80 M`, 124,439,808 as `124 M`."""
    if value < 100_000:
        return f"{value:,}"
    size, letter = (1e9, "B") if value >= 1e9 else (1e6, "M")
    scaled = value / size
    return f"{scaled:.2f} {letter}" if scaled < 10 else f"{scaled:.3g} {letter}"


def size(n_bytes: float) -> str:
    """Bytes in powers of 1,024: `3.4 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} TiB"


def duration(seconds: float, language: str = "en") -> str:
    """`9.4 s`, `2 min`, `2 min 24 s`, `3 h 5 min`.

    >>> duration(120), duration(144), duration(3600), duration(11_100, "ko")
    ('2 min', '2 min 24 s', '1 h', '3시간 5분')
    """
    hour, minute, second = (" h", " min", " s") if language == "en" else ("시간", "분", "초")
    if seconds < 10:
        return f"{seconds:.1f}{second}"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{second}"
    large, small, most = (minute, second, whole) if whole < 3600 else (hour, minute, whole // 60)
    return f"{most // 60}{large}" + (f" {most % 60}{small}" if most % 60 else "")


def energy(joules: float, unit_of: float | None = None) -> str:
    """Joules, watt-hours (from a tenth of one on) or kilowatt-hours; `unit_of`: the amount that chooses the unit."""
    chosen = joules if unit_of is None else unit_of
    size, unit = (1.0, "J") if chosen < 360 else (3600.0, "Wh") if chosen < 3.6e6 else (3.6e6, "kWh")
    scaled = joules / size
    return f"{scaled:.2f} {unit}" if scaled < 10 else f"{scaled:,.0f} {unit}"


def plain(value: Any) -> str:
    """A setting's value as it would be written in YAML."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"{value:g}" if math.isfinite(value) else str(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(item) for item in value) or "[]"
    return str(value)
