"""The task of replaced token detection: a discriminator, which is the run's model, and the generator beside it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from malgil.data.corpus import Part
from malgil.data.store import TokenStore
from malgil.errors import ConfigError
from malgil.evaluation.replaced_tokens import ReplacedEvaluator, ReplacedScore
from malgil.generation.filling import doubt_words
from malgil.models import build_model
from malgil.models.base import Encoder
from malgil.objectives.base import Assembled
from malgil.objectives.replaced_tokens import (
    DISCRIMINATOR,
    DISCRIMINATOR_WEIGHT,
    ReplacedTokenDetection,
    generator_of,
)
from malgil.report.run_report import DataFacts
from malgil.runs.masked import MaskedTask, lines_with_gaps, masked_evaluator, masking_of
from malgil.runs.recipe import Settings
from malgil.runs.task import Preview, Tokenizers
from malgil.text.words import Vocabulary


class ReplacedTask(MaskedTask):
    """Text in which a generator replaces tokens, and a discriminator finds them."""

    objective_class = ReplacedTokenDetection
    of_tokens = False

    def objective(self, settings: Settings, tokenizers: Tokenizers) -> ReplacedTokenDetection:
        config = generator_config(settings)

        def generator() -> Encoder:
            model = build_model(settings.family, config, *settings.vocab_sizes)
            assert isinstance(model, Encoder)
            return model

        return ReplacedTokenDetection(masking_of(settings, tokenizers), generator)

    def evaluator(
        self, settings: Settings, tokenizers: Tokenizers, store: TokenStore, device: torch.device
    ) -> ReplacedEvaluator:
        """Scores a token store in sequences of at most the run's `max_len`."""
        return ReplacedEvaluator(masked_evaluator(settings, tokenizers, store, device))

    def untrained_loss(self, settings: Settings, tokenizers: Tokenizers) -> tuple[float, str]:
        weight, size = DISCRIMINATOR_WEIGHT, tokenizers.target.vocab_size
        return math.log(size) + weight * math.log(2), f"ln(vocabulary) + {weight:.0f} ln(2)"

    def facts(self, run: Any) -> DataFacts:
        return replace(super().facts(run), of_tokens=False)

    def figures(self, score: ReplacedScore) -> dict[str, Any]:  # type: ignore[override]
        names = ("loss", "masked_loss", "masked_accuracy", "replaced_loss", "replaced_accuracy", "replaced_f1")
        return {f"val_{name}": getattr(score, name) for name in names}

    def previews(self, assembled: Assembled, tokenizers: Tokenizers, part: Part, settings: Settings) -> list[Preview]:
        """The first lines of the validation part with words that the generator puts there, and which ones are found."""
        generator, tokenizer = generator_of(assembled), tokenizers.target
        vocabulary, length = Vocabulary.of(tokenizer), settings.model.max_len

        def doubts(tokens: Tensor) -> Tensor:
            scores: Tensor = assembled.parts[DISCRIMINATOR](assembled.body(tokens).hidden)[0]
            return scores

        lines = lines_with_gaps(part)
        return [Preview(*doubt_words(generator, doubts, tokenizer, vocabulary, line, length)) for line in lines]


def generator_config(settings: Settings) -> Any:
    """The model's own settings, narrower: the share of its heads and widths, and embeddings as wide as the model's.

    Raises:
        ConfigError: a family whose embeddings are as wide as it is, so that a narrower one cannot share them.
    """
    config, share = settings.model, settings.objective.generator_width
    if not hasattr(config, "d_embedding"):
        raise ConfigError(
            f"the generator shares its embeddings, and those of a {settings.family} model are as wide as it is",
            "model.name",
            "models that fit: bert, albert",
        )
    n_heads = max(1, round(share * config.n_heads))
    d_model = n_heads * (config.d_model // config.n_heads)
    d_ff = None if config.d_ff is None else max(1, round(config.d_ff * d_model / config.d_model))
    width = config.d_embedding or config.d_model
    return replace(config, n_heads=n_heads, d_model=d_model, d_ff=d_ff, d_embedding=width, pooler=False)
