"""What is compared of models of pairs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from typing import Any

import numpy as np
import torch

from malgil.evaluation.each_token import pair_losses
from malgil.evaluation.translation import TranslationEvaluator, score_translations
from malgil.generation.translation import translate_text
from malgil.metrics.bands import RARITY, Band, banded
from malgil.models.base import Model
from malgil.objectives.seq2seq import PairBatch, collate_pairs
from malgil.runs.compared import Compared, Figure, Profile, Sample, Subject, Use, latency_of
from malgil.runs.task import scoring_precision, specials_of

#: pairs that are translated for BLEU, spread over the validation part
TRANSLATED = 1000
SAMPLES = 5
LOSS, BLEU = Figure("loss"), Figure("bleu", more=True)


class ComparedPairs(Compared):
    """BLEU and chrF of what a model writes by itself, with its recipe's own beam."""

    kind = "pairs"
    once = ("model.max_len", "training.batch_tokens")
    figures = (BLEU, Figure("chrf", more=True), Figure("exact_match", more=True), LOSS, Figure("perplexity"))
    curves = (Figure("val_loss"),)
    sides = 2

    def written(self, store: Any) -> Any:
        return store.target.tokens

    def evaluate(self, subject: Subject) -> dict[str, Any]:
        """Loss over all pairs; BLEU, chrF and the sentences a second of at most `TRANSLATED` of them."""
        run = subject.run
        score = self._evaluator(subject)(subject.model)
        pairs = spread(list(subject.part.pairs()), TRANSLATED)
        sources, references = [source for source, _ in pairs], [target for _, target in pairs]
        started = time.perf_counter()
        made = translate_text(
            subject.model, run.tokenizers.reading, run.tokenizers.target, sources, run.settings.generation
        )
        seconds = time.perf_counter() - started
        translated = score_translations(sources, [one.text for one in made], references)
        speed = {"sentences_per_second": len(pairs) / seconds, "beam": run.settings.generation.beam}
        return {**score.to_dict(), **translated.to_dict(), **speed}

    def profiles(self, subject: Subject, evaluation: dict[str, Any]) -> list[Profile]:
        """The loss by how rare a token is, and BLEU by how long the source is."""
        losses = pair_losses(self._evaluator(subject), subject.model)
        rows = evaluation["bleu_by_source_words"]
        words = [Band(row["low"], row["high"], row["sentences"], row["bleu"]) for row in rows]
        return [
            Profile("rarity", LOSS, banded(subject.counts[losses.targets], losses.nll, RARITY)),
            Profile("words", BLEU, words),
        ]

    def use(self, subject: Subject) -> Use:
        """One source at a time, and as many together as `malgil translate` takes of a file."""
        run = subject.run
        sources = [source for source, _ in spread(list(subject.part.pairs()), 64)]
        how = run.settings.generation

        def translate(texts: list[str]) -> None:
            translate_text(subject.model, run.tokenizers.reading, run.tokenizers.target, texts, how)

        coming = cycle(sources)
        latency = latency_of(lambda: translate([next(coming)]), run.device, warm=1, most=24)
        started = time.perf_counter()
        translate(sources)
        return Use("sentence", latency, len(sources) / (time.perf_counter() - started))

    def samples(self, subject: Subject) -> list[Sample]:
        run = subject.run
        pairs = spread(list(subject.part.pairs()), SAMPLES)
        made = translate_text(
            subject.model,
            run.tokenizers.reading,
            run.tokenizers.target,
            [source for source, _ in pairs],
            replace(run.settings.generation, n_best=1, samples=1),
        )
        return [Sample(source, one.text, reference) for (source, reference), one in zip(pairs, made, strict=True)]

    def batch(self, subject: Subject, rows: int, length: int) -> PairBatch:
        """The tokens that end a source and a target are among the `length`."""
        draw, tokenizers = np.random.default_rng(0), subject.run.tokenizers
        sides = (tokenizers.reading, tokenizers.target)
        pairs = [tuple(_ids(draw, tokenizer, length - 1) for tokenizer in sides) for _ in range(rows)]
        return collate_pairs(pairs, specials_of(tokenizers.target), specials_of(tokenizers.reading))

    def reader(self, subject: Subject, model: Model, length: int) -> Callable[[], Callable[[], None]]:
        """Reads a source of `length` tokens; writes behind a target that is as long."""
        body: Any = model
        run, draw = subject.run, np.random.default_rng(0)
        source, target = (
            torch.from_numpy(_ids(draw, tokenizer, length))[None].to(run.device)
            for tokenizer in (run.tokenizers.reading, run.tokenizers.target)
        )

        def read() -> Callable[[], None]:
            memory = body.encode(source)
            state = None

            def write() -> None:
                nonlocal state
                if state is None:
                    state = body(target, state=body.init_state(memory, length + 16)).state
                output = body(target[:, :1], state=state)
                state = output.state
                body.logits(output.hidden[:, -1])

            return write

        return read

    def _evaluator(self, subject: Subject) -> TranslationEvaluator:
        run = subject.run
        target, reading = specials_of(run.tokenizers.target), specials_of(run.tokenizers.reading)
        return TranslationEvaluator(subject.store, target, reading, scoring_precision(run.settings, run.device))


def spread(pairs: list[tuple[str, str]], most: int) -> list[tuple[str, str]]:
    """At most so many of the pairs, from the middle of as many equal stretches."""
    count = min(most, len(pairs))
    return [pairs[(2 * i + 1) * len(pairs) // (2 * count)] for i in range(count)]


def _ids(draw: np.random.Generator, tokenizer: Any, length: int) -> Any:
    return draw.integers(0, tokenizer.vocab_size, length)
