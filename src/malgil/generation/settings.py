"""The settings of generation: how long, how freely or by which search, from which seed, and where to stop."""

from __future__ import annotations

from dataclasses import dataclass

from malgil.config import setting
from malgil.errors import ConfigError, InputError


@dataclass(frozen=True)
class GenerationSettings:
    """What is written after a prompt, or for a source. `sampling` and `beam` beside this file have the equations.

    Raises:
        InputError: a stop text that is empty, or more hypotheses than the beam holds.
        ConfigError: samples of a beam search, which draws nothing.
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
    beam: int = setting(
        1,
        "translations followed at a time; above 1 the likeliest is searched for, nothing is drawn or filtered",
        low=1,
        high=1_000,
    )
    n_best: int = setting(1, "translations of each source to return, of the `beam` that were found", low=1)
    length_penalty: float = setting(
        1.0, "beam search divides log p by ((5 + length) / 6)^length_penalty", low=0, high=100
    )
    precision: str = setting(
        "fp32",
        "arithmetic of writing and labelling: in fp32 a text does not depend on its batch; bf16 is faster for many; "
        "auto = bf16 where it is",
        choices=["fp32", "bf16", "auto"],
    )

    def __post_init__(self) -> None:
        if "" in self.stop:
            raise InputError("a stop text is empty", "generation.stop", "leave it out, or give a text")
        if self.n_best > self.beam:
            raise InputError(
                f"a beam of {self.beam} cannot find {self.n_best} translations",
                "generation.n_best",
                f"raise generation.beam to {self.n_best}",
            )
        if self.beam > 1 and self.samples > 1:
            raise ConfigError(
                f"a beam search draws no samples, and {self.samples} were asked for",
                "generation.samples",
                "ask for n_best, or sample with a beam of 1",
            )
