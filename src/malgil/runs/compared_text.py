"""What is compared of language models."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from malgil.evaluation.each_token import language_losses
from malgil.evaluation.language import LanguageEvaluator
from malgil.generation.decode import Decoder
from malgil.generation.text import generate_text
from malgil.metrics.bands import PLACES, RARITY, banded
from malgil.models.base import Model
from malgil.objectives.causal_lm import TokenBatch
from malgil.runs.compared import Compared, Figure, Profile, Sample, Subject, Use, latency_of
from malgil.runs.task import scoring_precision, specials_of
from malgil.runtime.device import synchronise

#: continuations written side by side, and tokens of each
ROWS, LONG = 16, 32
SAMPLE_TOKENS = 60
#: prompts from the validation part, beside the empty one
PROMPTS = 2
PROMPT_WORDS = 4
LOSS = Figure("loss")


class ComparedText(Compared):
    """Bits per byte, since they do not depend on the tokenizer; writing token after token."""

    kind = "text"
    once = ("model.max_len", "training.batch_size")
    figures = (Figure("bits_per_byte"), LOSS, Figure("perplexity"), Figure("carried_loss"))
    curves = (Figure("val_bits_per_byte"), Figure("val_loss"))

    def evaluate(self, subject: Subject) -> dict[str, Any]:
        run = subject.run
        return subject.task.evaluate(run.assembled, run.settings, run.tokenizers, subject.part, run.device)

    def profiles(self, subject: Subject, evaluation: dict[str, Any]) -> list[Profile]:
        """The loss by how rare a token is, and by how much of its document was read before it."""
        run = subject.run
        evaluator = LanguageEvaluator(
            subject.store,
            specials_of(run.tokenizer),
            run.settings.model.max_len,
            run.settings.data.boundaries == "respect",
            scoring_precision(run.settings, run.device),
        )
        losses = language_losses(evaluator, subject.model)
        return [
            Profile("rarity", LOSS, banded(subject.counts[losses.targets], losses.nll, RARITY)),
            Profile("place", LOSS, banded(losses.places, losses.nll, PLACES)),
        ]

    def use(self, subject: Subject) -> Use:
        run, model = subject.run, subject.model
        how = replace(run.settings.generation, temperature=0.0, max_tokens=128, stop=[], samples=1)
        prompt = [run.tokenizer.begin_id]
        alone = Decoder(model, [prompt], how)
        latency = latency_of(alone.step, run.device, most=64)
        many = Decoder(model, [prompt] * ROWS, how)
        many.step()
        synchronise(run.device)
        started = time.perf_counter()
        for _ in range(LONG):
            many.step()
        synchronise(run.device)
        return Use("token", latency, ROWS * LONG / (time.perf_counter() - started))

    def samples(self, subject: Subject) -> list[Sample]:
        """Continuations of nothing and of two beginnings of lines that no model has seen."""
        run = subject.run
        how = replace(run.settings.generation, max_tokens=SAMPLE_TOKENS, seed=0, samples=1)
        prompts = ["", *self.prompts(subject)]
        made = generate_text(subject.model, run.tokenizer, prompts, how)
        return [Sample(one.prompt, one.text) for one in made]

    def prompts(self, subject: Subject) -> list[str]:
        """The first words of lines of prose, from a third and from two thirds of the validation part on."""
        store, tokenizer = subject.store, subject.run.tokenizer
        found: list[str] = []
        for third in range(1, PROMPTS + 1):
            start = third * len(store) // (PROMPTS + 1)
            lines = tokenizer.decode(store.tokens[start : start + 600].tolist()).splitlines()[1:-1]
            long = [line.split() for line in lines if len(line.split()) > PROMPT_WORDS + 1]
            if not long and lines:
                long = [max(lines, key=len).split()]
            found += [" ".join(words[:PROMPT_WORDS]) for words in long[:1] if words]
        return list(dict.fromkeys(found))

    def batch(self, subject: Subject, rows: int, length: int) -> TokenBatch:
        """As the family is trained: a recurrent model reads it as a stream."""
        ids = torch.from_numpy(_ids(subject, (rows, length + 1)))
        stream = subject.model.context is None
        return TokenBatch(ids[:, :-1].contiguous(), ids[:, 1:].contiguous(), rows * length, stream=stream, fresh=stream)

    def reader(self, subject: Subject, model: Model, length: int) -> Callable[[], Callable[[], None]]:
        body: Any = model
        tokens = torch.from_numpy(_ids(subject, (1, length))).to(subject.run.device)

        def read() -> Callable[[], None]:
            output = body(tokens, state=body.init_state(1, length + 16))
            body.logits(output.hidden[:, -1])
            state = output.state

            def write() -> None:
                nonlocal state
                output = body(tokens[:, :1], state=state)
                state = output.state
                body.logits(output.hidden[:, -1])

            return write

        return read


def _ids(subject: Subject, shape: tuple[int, int]) -> Any:
    return np.random.default_rng(0).integers(0, subject.run.tokenizer.vocab_size, shape)
