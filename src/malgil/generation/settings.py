"""The settings of generation: how long, how freely, from which seed, and where to stop."""

from __future__ import annotations

from dataclasses import dataclass

from malgil.config import setting
from malgil.errors import InputError


@dataclass(frozen=True)
class GenerationSettings:
    """What is written after a prompt. `malgil.generation.sampling` has the equations.

    Raises:
        InputError: a stop text that is empty.
    """

    max_tokens: int = setting(200, "tokens to write at most", low=1, high=1_000_000)
    temperature: float = setting(0.8, "divides the scores: 0 = always the likeliest token, 1 = as learnt", low=0)
    top_k: int | None = setting(None, "choose among the k likeliest tokens", low=1)
    top_p: float | None = setting(None, "choose among the likeliest tokens that make up p", above=0, high=1)
    min_p: float | None = setting(None, "leave out tokens below min_p x the likeliest one", low=0, high=1)
    repetition_penalty: float = setting(1.0, "above 1: tokens that occurred become less likely", above=0)
    stop: list[str] = setting([], "texts that end the writing; they are cut off")
    seed: int = setting(0, "the same seed writes the same text", low=0)
    samples: int = setting(1, "continuations of each prompt", low=1)

    def __post_init__(self) -> None:
        if "" in self.stop:
            raise InputError("a stop text is empty", "generation.stop", "leave it out, or give a text")
