"""What is compared of models that label texts."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import cycle
from typing import Any

import numpy as np
import torch

from malgil.metrics.bands import RARITY, banded
from malgil.models.base import Model
from malgil.objectives.classification import LabelBatch
from malgil.objectives.texts import Texts
from malgil.runs.compared import Compared, Figure, Profile, Sample, Subject, Use, latency_of

#: tokens of a text
LENGTHS = (0, 8, 16, 32, 64, 128, 256, 512)
SAMPLES = 6
#: texts that are judged together, and how many are timed
TOGETHER, TIMED = 64, 512
RIGHT = Figure("accuracy", more=True)


class ComparedLabels(Compared):
    """Accuracy, or micro F1 where a text may have several labels."""

    kind = "labels"
    once = ("model.max_len", "training.batch_size")
    figures = (RIGHT, Figure("f1", more=True), Figure("matthews", more=True), Figure("loss"))
    curves = (Figure("val_accuracy", more=True), Figure("val_f1", more=True))

    def evaluate(self, subject: Subject) -> dict[str, Any]:
        """As the task's, and `score`, what `profiles` looks at."""
        run = subject.run
        score = subject.task.evaluator(run.settings, run.tokenizers, subject.store, run.device)(run.assembled)
        return {**score.to_dict(), "score": score}

    def profiles(self, subject: Subject, evaluation: dict[str, Any]) -> list[Profile]:
        """The share of texts labelled rightly, by their length and by how rare their rarest token is."""
        store = subject.store
        called = self._called(evaluation["score"].probabilities, subject)
        right = np.array([set(record.labels) == names for record, names in zip(store.records, called, strict=True)])
        rarest = [subject.counts[store.ids(i)[1:-1]].min(initial=10**9) for i in range(len(store))]
        return [
            Profile("text length", RIGHT, banded(store.lengths - 2, right.astype(np.float64), LENGTHS)),
            Profile("rarest", RIGHT, banded(np.array(rarest), right.astype(np.float64), RARITY)),
        ]

    def use(self, subject: Subject) -> Use:
        """One text at a time, and as many together as are read of a file."""
        rows = [_row(record) for record in _spread(subject.part.records, TIMED)]
        run: Any = subject.run
        coming = cycle(rows)
        latency = latency_of(lambda: run.predict([next(coming)]), run.device, warm=2, most=48)
        started = time.perf_counter()
        for first in range(0, len(rows), TOGETHER):
            run.predict(rows[first : first + TOGETHER])
        return Use("text", latency, len(rows) / (time.perf_counter() - started))

    def samples(self, subject: Subject) -> list[Sample]:
        run: Any = subject.run
        records = _spread(subject.part.records, SAMPLES)
        samples = []
        for record, found in zip(records, run.predict([_row(record) for record in records]), strict=True):
            names = [found["label"]] if "label" in found else found["labels"]
            said = ", ".join(f"{name} ({found['probabilities'][name]:.0%})" for name in names) or "-"
            samples.append(Sample(" | ".join(record.texts), said, ", ".join(record.labels) or "-"))
        return samples

    def batch(self, subject: Subject, rows: int, length: int) -> LabelBatch:
        labels = len(subject.run.settings.objective.labels)
        targets = torch.zeros(rows, labels)
        targets[:, 0] = 1
        return LabelBatch(Texts(_tokens(subject, rows, length)), targets, None, rows)

    def reader(self, subject: Subject, model: Model, length: int) -> Callable[[], None]:
        """Nothing is written behind a text that is judged."""
        body: Any = model
        tokens = _tokens(subject, 1, length).to(subject.run.device)

        def read() -> None:
            body(tokens)

        return read

    def _called(self, probabilities: Any, subject: Subject) -> list[set[str]]:
        """The labels that are given to each text."""
        chosen = subject.run.settings.objective
        if chosen.several_labels:
            return [{name for name, p in zip(chosen.labels, row, strict=True) if p >= 0.5} for row in probabilities]
        return [{chosen.labels[int(best)]} for best in probabilities.argmax(1)]


def _row(record: Any) -> dict[str, str]:
    return dict(zip(("text", "pair"), record.texts, strict=False))


def _spread(records: Any, most: int) -> list[Any]:
    count = min(most, len(records))
    return [records[(2 * i + 1) * len(records) // (2 * count)] for i in range(count)]


def _tokens(subject: Subject, rows: int, length: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, subject.run.tokenizer.vocab_size, (rows, length)))
