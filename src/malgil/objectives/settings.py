"""The settings of objectives."""

from __future__ import annotations

from dataclasses import dataclass

from malgil.config import setting


@dataclass(frozen=True)
class ObjectiveSettings:
    """Which objective is trained."""

    name: str = setting("causal_lm", "what the model is trained to do", choices=["causal_lm"])
