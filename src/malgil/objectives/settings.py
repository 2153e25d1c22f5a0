"""The settings of objectives."""

from __future__ import annotations

from dataclasses import dataclass

from malgil.config import setting


@dataclass(frozen=True)
class ObjectiveSettings:
    """Which objective is trained."""

    name: str = setting(
        "causal_lm",
        "what is learnt: the next token of a text (causal_lm), or one text from another (seq2seq)",
        choices=["causal_lm", "seq2seq"],
    )
    label_smoothing: float = setting(
        0.0, "seq2seq: probability that is shared among all tokens instead of the right one", low=0, high=0.9
    )
