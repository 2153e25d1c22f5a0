"""Durations as people write them."""

from __future__ import annotations

import re

from malgil.errors import InputError

_DURATION = re.compile(r"(?:(?P<h>\d+(?:\.\d+)?)h)?(?:(?P<m>\d+(?:\.\d+)?)m)?(?:(?P<s>\d+(?:\.\d+)?)s?)?", re.ASCII)


def seconds_of(text: str | float) -> float:
    """`90s`, `5m`, `1h30m`, `90` or the number 90 as seconds.

    Raises:
        InputError: it is no duration, or not above zero.
    """
    match = _DURATION.fullmatch(str(text).strip().lower())
    parts = match.groupdict() if match else {}
    seconds = sum(float(parts[unit]) * size for unit, size in (("h", 3600), ("m", 60), ("s", 1)) if parts.get(unit))
    if isinstance(text, bool) or not 0 < seconds < float("inf"):
        raise InputError(f"the time must be a duration above zero, not '{text}'", fix="write it as 90s, 5m or 1h30m")
    return seconds
