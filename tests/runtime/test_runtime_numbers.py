"""Numbers as JSON can hold them."""

from __future__ import annotations

import math

from malgil.runtime.numbers import finite


def test_what_is_not_finite_is_none_wherever_it_stands() -> None:
    given = {"손실": math.inf, "parts": [1.5, (math.nan, 2)], "text": "말길", "n": 3, "none": None}
    assert finite(given) == {"손실": None, "parts": [1.5, [None, 2]], "text": "말길", "n": 3, "none": None}
    assert math.isinf(given["손실"])  # what was given stays
