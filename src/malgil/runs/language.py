"""The task of language models: text in, the next token out."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace
from typing import Any

import torch

from malgil.data.corpus import Part
from malgil.data.store import TokenStore
from malgil.errors import ConfigError
from malgil.evaluation.language import LanguageEvaluator
from malgil.generation.text import generate_text
from malgil.metrics.language import LanguageScore
from malgil.objectives.base import Assembled
from malgil.objectives.causal_lm import CausalLanguageModelling
from malgil.runs.compared_text import ComparedText
from malgil.runs.recipe import Settings
from malgil.runs.task import OfBody, Preview, Tokenizers, scoring_precision, specials_of
from malgil.runs.text import TextTask

SAMPLE_TOKENS = 200


class LanguageTask(TextTask):
    """Text that is continued."""

    objective_class = CausalLanguageModelling
    compared = ComparedText()

    def objective(self, settings: Settings, tokenizers: Tokenizers) -> CausalLanguageModelling:
        data = settings.data
        if settings.generation.beam > 1:
            raise ConfigError(
                "a language model writes without a beam",
                f"generation.beam {settings.generation.beam}",
                "leave it out; beams are for pairs, such as `train transformer`",
            )
        return CausalLanguageModelling(
            specials_of(tokenizers.target), boundaries=data.boundaries, sampling=data.sampling
        )

    def evaluator(self, settings: Settings, tokenizers: Tokenizers, store: TokenStore, device: torch.device) -> OfBody:
        """Scores a token store in windows of the run's `max_len`."""
        return OfBody(self._evaluator(settings, tokenizers, store, device))

    def _evaluator(
        self, settings: Settings, tokenizers: Tokenizers, store: TokenStore, device: torch.device
    ) -> LanguageEvaluator:
        respect = settings.data.boundaries == "respect"
        precision = scoring_precision(settings, device)
        return LanguageEvaluator(store, specials_of(tokenizers.target), settings.model.max_len, respect, precision)

    def figures(self, score: LanguageScore) -> dict[str, Any]:
        return {
            "val_loss": score.loss,
            "val_perplexity": score.perplexity,
            "val_bits_per_byte": score.bits_per_byte,
        }

    def evaluate(
        self, assembled: Assembled, settings: Settings, tokenizers: Tokenizers, part: Part, device: torch.device
    ) -> dict[str, Any]:
        """Loss, perplexity, bits per byte; for a recurrent model `carried_loss` too, its state carried on."""
        model: Any = assembled.body
        score = self._evaluator(settings, tokenizers, self.scored_store(part, tokenizers), device)
        result = score(model).to_dict()
        carried = score.carried(model)
        return result if carried is None else result | {"carried_loss": carried}

    def previews(self, assembled: Assembled, tokenizers: Tokenizers, part: Any, settings: Settings) -> list[Preview]:
        """The beginning of a new document."""
        model: Any = assembled.body
        how = replace(settings.generation, max_tokens=SAMPLE_TOKENS, seed=0, samples=1)
        return [Preview("", generate_text(model, tokenizers.target, [""], how)[0].text)]

    def bits_per_nat(self, store: TokenStore) -> float:
        return len(store) / max(store.n_bytes, 1) / math.log(2)

    def suggestions(self, run: Any, where: str) -> list[str]:
        """A first prompt is taken from the validation text, so that it is in the language of the model."""
        lines = run.tokenizers.target.decode(run.validation.tokens[1:400].tolist()).splitlines()[1:]
        prompt = next((" ".join(line.split()[:2]) for line in lines if len(line.split()) > 5), "")
        form = "torch" if run.model.context is None else "hf"
        return [
            f"generate {where} --prompt {shlex.quote(prompt)}",
            f"evaluate {where} --data FILE",
            f"export {where} OUT --format {form}",
        ]
