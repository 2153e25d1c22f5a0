"""The task of masked language models: text in, the tokens that are hidden in it out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch

from malgil.config import Tree
from malgil.data.corpus import Part
from malgil.data.store import TokenStore
from malgil.evaluation.masked import MaskedEvaluator, MaskedScore
from malgil.generation.filling import fill_words
from malgil.models.base import Encoder
from malgil.objectives.masked_lm import MaskedLanguageModelling
from malgil.objectives.masking import Masking
from malgil.runs.recipe import Settings
from malgil.runs.task import Preview, Tokenizers, joined, scoring_precision
from malgil.runs.text import TextTask
from malgil.text.words import Vocabulary

#: lines of the validation part that are shown with gaps, and how long they are at least, in words
PREVIEWS, LEAST_WORDS = 3, 4


class MaskedTask(TextTask):
    """Text with gaps, which are filled."""

    objective_class = MaskedLanguageModelling

    def tokenizers(self, tree: Tree, data: Any) -> Tokenizers:
        """With a mask, whether it was trained here or loaded."""
        return Tokenizers(super().tokenizers(tree, data).target.with_mask())

    def objective(self, settings: Settings, tokenizers: Tokenizers) -> MaskedLanguageModelling:
        chosen, vocabulary = settings.objective, Vocabulary.of(tokenizers.target)
        return MaskedLanguageModelling(
            Masking(vocabulary, rate=chosen.mask_rate, unit=chosen.masking, once=chosen.mask_once)
        )

    def evaluator(
        self, settings: Settings, tokenizers: Tokenizers, store: TokenStore, device: torch.device
    ) -> MaskedEvaluator:
        """Scores a token store in sequences of at most the run's `max_len`."""
        vocabulary, precision = Vocabulary.of(tokenizers.target), scoring_precision(settings, device)
        return MaskedEvaluator(store, vocabulary, settings.model.max_len, precision)

    def figures(self, score: MaskedScore) -> dict[str, Any]:
        return {"val_loss": score.loss, "val_perplexity": score.perplexity, "val_accuracy": score.accuracy}

    def evaluate(
        self, model: Encoder, settings: Settings, tokenizers: Tokenizers, part: Part, device: torch.device
    ) -> dict[str, Any]:
        """Loss, perplexity and the share of hidden tokens that are guessed."""
        return self.evaluator(settings, tokenizers, self.scored_store(part, tokenizers), device)(model).to_dict()

    def previews(self, model: Encoder, tokenizers: Tokenizers, part: Part, settings: Settings) -> list[Preview]:
        """The first lines of the validation part with gaps, and what stood there beside what the model puts there."""
        tokenizer, vocabulary = tokenizers.target, Vocabulary.of(tokenizers.target)
        lines = islice(_lines(part), PREVIEWS)
        return [Preview(*fill_words(model, tokenizer, vocabulary, line, settings.model.max_len)) for line in lines]

    def suggestions(self, run: Any, where: str) -> list[str]:
        evaluate = f"evaluate {where} --data FILE"
        return [evaluate] if run.model.context is None else [evaluate, f"export {where} OUT --format hf"]


def _lines(part: Part) -> Iterator[str]:
    """Lines of some length of the part's text; of one that has none, its first."""
    lines = [line.strip() for chunk in islice(joined(part.documents()), 10) for line in chunk.splitlines()]
    found = [line for line in lines if len(line.split()) >= LEAST_WORDS]
    yield from found or lines[:1]
