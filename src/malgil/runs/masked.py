"""The task of masked language models: text in, the tokens that are hidden in it out."""

from __future__ import annotations

import math
from itertools import islice
from typing import Any, ClassVar

import torch

from malgil.config import Tree
from malgil.data.corpus import Part
from malgil.data.store import TokenStore
from malgil.evaluation.masked import MaskedEvaluator, MaskedScore
from malgil.evaluation.sentence_pairs import MaskedPairsEvaluator, MaskedPairsScore
from malgil.generation.filling import fill_words
from malgil.objectives.base import Assembled
from malgil.objectives.masked_lm import MaskedLanguageModelling
from malgil.objectives.masking import Masking
from malgil.objectives.next_sentence import NextSentencePrediction
from malgil.objectives.sentence_order import SentenceOrderPrediction
from malgil.objectives.sentence_pairs import MaskedPairs
from malgil.runs.recipe import Settings
from malgil.runs.task import OfBody, Preview, Tokenizers, joined, scoring_precision
from malgil.runs.text import TextTask
from malgil.text.sentences import SentenceEnds
from malgil.text.words import Vocabulary

#: what `objective.also` names
PAIRS: dict[str, type[MaskedPairs] | None] = {
    "none": None,
    "next_sentence": NextSentencePrediction,
    "sentence_order": SentenceOrderPrediction,
}
#: lines of the validation part that are shown with gaps, and how long they are at least, in words
PREVIEWS, LEAST_WORDS = 3, 4


class MaskedTask(TextTask):
    """Text with gaps, which are filled."""

    objective_class: ClassVar[type[MaskedLanguageModelling]] = MaskedLanguageModelling

    def tokenizers(self, tree: Tree, data: Any) -> Tokenizers:
        """With a mask, whether it was trained here or loaded."""
        return Tokenizers(super().tokenizers(tree, data).target.with_mask())

    def objective(self, settings: Settings, tokenizers: Tokenizers) -> MaskedLanguageModelling:
        masking, pairs = masking_of(settings, tokenizers), PAIRS[settings.objective.also]
        if pairs is None:
            return MaskedLanguageModelling(masking)
        return pairs(masking, SentenceEnds.of(tokenizers.target))

    def evaluator(self, settings: Settings, tokenizers: Tokenizers, store: TokenStore, device: torch.device) -> Any:
        """Scores a token store in sequences of at most the run's `max_len`, and in pairs where those are learnt."""
        masked = masked_evaluator(settings, tokenizers, store, device)
        objective = self.objective(settings, tokenizers)
        if isinstance(objective, MaskedPairs):
            return MaskedPairsEvaluator(masked, objective.ends, objective.rule)
        return OfBody(masked)

    def untrained_loss(self, settings: Settings, tokenizers: Tokenizers) -> tuple[float, str] | None:
        nothing, how = math.log(tokenizers.target.vocab_size), "ln(vocabulary)"
        return (nothing, how) if settings.objective.also == "none" else (nothing + math.log(2), f"{how} + ln(2)")

    def figures(self, score: MaskedScore) -> dict[str, Any]:
        figures = {"val_loss": score.loss, "val_perplexity": score.perplexity, "val_accuracy": score.accuracy}
        if isinstance(score, MaskedPairsScore):
            figures |= {"val_sentence_loss": score.sentence_loss, "val_sentence_accuracy": score.sentence_accuracy}
        return figures

    def evaluate(
        self, assembled: Assembled, settings: Settings, tokenizers: Tokenizers, part: Part, device: torch.device
    ) -> dict[str, Any]:
        """Loss, perplexity and the share of hidden tokens that are guessed, and of pairs that are told rightly."""
        score = self.evaluator(settings, tokenizers, self.scored_store(part, tokenizers), device)(assembled)
        return dict(score.to_dict())

    def previews(self, assembled: Assembled, tokenizers: Tokenizers, part: Part, settings: Settings) -> list[Preview]:
        """The first lines of the validation part with gaps, and what stood there beside what the model puts there."""
        model: Any = assembled.body
        tokenizer, vocabulary = tokenizers.target, Vocabulary.of(tokenizers.target)
        lines = lines_with_gaps(part)
        return [Preview(*fill_words(model, tokenizer, vocabulary, line, settings.model.max_len)) for line in lines]

    def suggestions(self, run: Any, where: str) -> list[str]:
        use = [f"finetune {where} classify --data FILE", f"evaluate {where} --data FILE"]
        return use if run.model.context is None else [*use, f"export {where} OUT --format hf"]


def masking_of(settings: Settings, tokenizers: Tokenizers) -> Masking:
    """What is hidden in training."""
    chosen, vocabulary = settings.objective, Vocabulary.of(tokenizers.target)
    return Masking(vocabulary, rate=chosen.mask_rate, unit=chosen.masking, once=chosen.mask_once)


def masked_evaluator(
    settings: Settings, tokenizers: Tokenizers, store: TokenStore, device: torch.device
) -> MaskedEvaluator:
    """What is hidden in evaluation is the same for all."""
    vocabulary, precision = Vocabulary.of(tokenizers.target), scoring_precision(settings, device)
    return MaskedEvaluator(store, vocabulary, settings.model.max_len, precision)


def lines_with_gaps(part: Part) -> list[str]:
    """Lines of the part's text that previews show: the first of some length, or its first."""
    lines = [line.strip() for chunk in islice(joined(part.documents()), 10) for line in chunk.splitlines()]
    found = [line for line in lines if len(line.split()) >= LEAST_WORDS]
    return (found or lines[:1])[:PREVIEWS]
