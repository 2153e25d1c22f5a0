"""The settings of objectives."""

from __future__ import annotations

from dataclasses import dataclass

from malgil.config import setting

UNITS = ("token", "word", "span")


@dataclass(frozen=True)
class ObjectiveSettings:
    """Which objective is trained."""

    name: str = setting(
        "causal_lm",
        "what is learnt: the next token of a text (causal_lm), one text from another (seq2seq), or tokens that are "
        "hidden in a text (masked_lm)",
        choices=["causal_lm", "seq2seq", "masked_lm"],
    )
    label_smoothing: float = setting(
        0.0, "seq2seq: probability that is shared among all tokens instead of the right one", low=0, high=0.9
    )
    mask_rate: float = setting(
        0.15,
        "masked_lm: share of tokens that are hidden; evaluation hides 0.15 whatever stands here",
        above=0,
        high=0.9,
    )
    masking: str = setting(
        "token", "masked_lm: what is hidden as one: a token, a whole word, or a span of words", choices=UNITS
    )
    mask_once: bool = setting(False, "masked_lm: hide the same tokens in every epoch, instead of others each time")
