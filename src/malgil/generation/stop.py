"""Stop texts, found in text that comes in pieces: across token borders, and without showing a part of one.

Text that could be the beginning of a stop text is held back until more text decides it. Of several
stop texts the one that is complete first counts, so the result does not depend on how the text was cut.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


class StopFinder:
    """Text goes in by `push` and comes out as far as it is settled; `found` once a stop text was complete.

    Args:
        stops: texts, none of them empty; each is also looked for in its NFC form, in which tokenizers
            write Hangul.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = sorted({*stops, *(unicodedata.normalize("NFC", stop) for stop in stops)})
        self._held = ""
        self.found = False

    def push(self, text: str) -> str:
        """More text; returns what is certain to stand before any stop text."""
        if self.found:
            return ""
        self._held += text
        matches = [(start + len(s), start) for s in self._stops if (start := self._held.find(s)) >= 0]
        if matches:
            self.found = True
            return self._release(min(matches)[1])
        return self._release(len(self._held) - self._undecided())

    def finish(self) -> str:
        """What was held back, when no more text comes."""
        return "" if self.found else self._release(len(self._held))

    def _release(self, count: int) -> str:
        text, self._held = self._held[:count], self._held[count:]
        return text

    def _undecided(self) -> int:
        """Length of the longest end of the held text with which a stop text begins."""
        longest = min(len(self._held), max(map(len, self._stops), default=1) - 1)
        return next(
            (n for n in range(longest, 0, -1) if any(s.startswith(self._held[-n:]) for s in self._stops)),
            0,
        )
