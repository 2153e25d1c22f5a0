"""The task of labels: a text, or two, and the label that it has, or any number of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from malgil.config import AUTO, Tree
from malgil.data.label_records import Labelled
from malgil.data.label_store import LabelStore
from malgil.data.labels import LABELLED, LabelledData, LabelledPart
from malgil.errors import DataError
from malgil.evaluation.classification import THRESHOLD, LabelEvaluator, LabelScore, worst_mistakes
from malgil.metrics.classification import ClassificationScore
from malgil.objectives.base import Assembled
from malgil.objectives.classification import Classification, known
from malgil.objectives.ngrams import n_gram_table
from malgil.report.labels import labels_section, mistakes_section
from malgil.report.words import Words
from malgil.runs.compared_labels import ComparedLabels
from malgil.runs.labelled import DIGITS, LabelTask, read_records, refuse_other_texts, spread, texts_of
from malgil.runs.recipe import Settings
from malgil.runs.task import Preview, ReportSection, Tokenizers, scoring_precision

PREVIEWS = 3
#: mistakes that a report shows
SHOWN_MISTAKES = 25
#: how many times a label must be as frequent as another before a word is said
UNEVEN = 5


class ClassifyTask(LabelTask):
    """Texts with labels."""

    objective_class = Classification
    compared = ComparedLabels()
    metric = ("val_f1", True)
    kind = LABELLED

    def fit_objective(self, tree: Tree, data: Any) -> list[str]:
        """Names of labels, whether a text may have several, and whether texts come in pairs."""
        section = tree["objective"]
        found: LabelledData[Labelled] = data
        records = [*found.train.records, *found.validation.records]
        if section.get("several_labels") == AUTO:
            section["several_labels"] = any(len(record.labels) != 1 for record in records)
        section["labels"] = list(section.get("labels") or found.names)
        _refuse_unknown(found.validation, section["labels"])
        said = super().fit_objective(tree, data)
        if longest := section.get("n_grams"):
            table = n_gram_table(tuple(record.texts for record in found.train.records), longest)
            section["n_gram_votes"] = len(table.keys)
            said.append(
                f"n-grams of up to {longest} characters vote: {len(table.keys):,}, those of three texts or more"
            )
        if section.get("several_labels"):
            return [*said, f"several labels a text: yes or no for each of {len(section['labels'])}"]
        counts = Counter(name for record in found.train.records for name in record.labels)
        if section.get("class_weights") != "balanced" and counts:
            (most, n_most), (least, n_least) = counts.most_common()[0], counts.most_common()[-1]
            if n_most >= UNEVEN * n_least:
                said.append(
                    f"'{most}' is {n_most / n_least:.0f} times as frequent as '{least}' ({n_most:,} and {n_least:,}"
                    " texts): --objective.class-weights balanced makes rare labels count more"
                )
        return said

    def objective(self, settings: Settings, tokenizers: Tokenizers) -> Classification:
        chosen = settings.objective
        return Classification(
            chosen.labels,
            several=chosen.several_labels,
            pooling=chosen.pooling,
            pairs=chosen.pairs,
            dropout=settings.model.dropout,
            smoothing=chosen.label_smoothing,
            balanced=chosen.class_weights == "balanced",
            longest=chosen.n_grams,
            share=chosen.n_gram_share,
            n_votes=chosen.n_gram_votes,
        )

    def evaluator(
        self, settings: Settings, tokenizers: Tokenizers, store: LabelStore[Labelled], device: torch.device
    ) -> LabelEvaluator:
        return LabelEvaluator(self.objective(settings, tokenizers), store, scoring_precision(settings, device))

    def figures(self, score: LabelScore) -> dict[str, Any]:
        found = score.figures
        if isinstance(found, ClassificationScore):
            own = {"val_accuracy": found.accuracy, "val_f1": score.f1, "val_matthews": found.matthews}
        else:
            own = {"val_f1": score.f1, "val_exact_match": found.exact_match}
        return {"val_loss": score.loss, **own}

    def check(self, part: LabelledPart[Labelled], settings: Settings) -> None:
        """Labels of which the model knows none, or several of one text where the model knows of one; pairs as well."""
        _refuse_unknown(part, settings.objective.labels)
        refuse_other_texts(part, settings)
        if not settings.objective.several_labels and any(len(record.labels) != 1 for record in part.records):
            raise DataError(
                "some texts do not have one label, and the model gives each text one",
                part.source,
                "give one label a text, or train with --objective.several-labels true",
            )

    def previews(
        self, assembled: Assembled, tokenizers: Tokenizers, part: LabelledPart[Labelled], settings: Settings
    ) -> list[Preview]:
        """A few texts of the validation part, what they are called, and what they are."""
        records = spread(part.records, PREVIEWS)
        found, _ = self._probabilities(assembled, settings, tokenizers, records)
        previews = []
        for record, probabilities in zip(records, found.tolist(), strict=True):
            called = self._called(probabilities, settings)
            right = " + ".join(record.labels)
            said = " + ".join(f"{name} ({p:.0%})" for name, p in called.items()) or "-"
            previews.append(Preview(" | ".join(record.texts), f"{said}; in the data: {right or '-'}"))
        return previews

    def predict(
        self, assembled: Assembled, settings: Settings, tokenizers: Tokenizers, rows: Sequence[Mapping[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        """Each row with `label` or `labels`, `probabilities` by label, and `cut` where not all of it was read."""
        records = [Labelled(*texts_of(row), ()) for row in rows]
        found, cut = self._probabilities(assembled, settings, tokenizers, records)
        for row, probabilities, beyond in zip(rows, found.tolist(), cut, strict=True):
            called = list(self._called(probabilities, settings))
            own = {"labels": called} if settings.objective.several_labels else {"label": called[0]}
            by_label = zip(settings.objective.labels, probabilities, strict=True)
            yield {**row, **own, "probabilities": {name: round(p, DIGITS) for name, p in by_label}, **beyond}

    def untrained_loss(self, settings: Settings, tokenizers: Tokenizers) -> tuple[float, str] | None:
        chosen = settings.objective
        if chosen.class_weights != "none" or chosen.n_grams:  # whose votes know something as they begin
            return None
        if chosen.several_labels:
            return len(chosen.labels) * math.log(2), "labels x ln(2)"
        return math.log(len(chosen.labels)), "ln(labels)"

    def sections(
        self, run: Any, assembled: Assembled, words: Words, say: Callable[[str], None]
    ) -> Sequence[ReportSection]:
        """Figures of each label with the confusion matrix, and the worst mistakes, of the validation part."""
        score: LabelScore = run.evaluator()(assembled)
        found, several = score.figures, run.settings.objective.several_labels
        summary = {"macro F1": found.macro_f1, "micro F1": found.micro_f1}
        confusion = None
        if isinstance(found, ClassificationScore):
            summary = {"accuracy": found.accuracy, **summary, "Matthews": found.matthews}
            confusion = found.confusion
        mistakes = worst_mistakes(
            score.probabilities, score.labels[: score.n_known], run.validation.records, several=several
        )
        return [
            ("labels", words("labels"), labels_section(score.labels, score.by_label, confusion, summary, words)),
            (
                "mistakes",
                words("mistakes"),
                mistakes_section(mistakes[:SHOWN_MISTAKES], len(mistakes), score.texts, words),
            ),
        ]

    def _probabilities(
        self, assembled: Assembled, settings: Settings, tokenizers: Tokenizers, records: Sequence[Labelled]
    ) -> tuple[Tensor, list[dict[str, int]]]:
        """(records, labels), and what was cut; see `read_records`."""
        objective = self.objective(settings, tokenizers)
        logits, cut = read_records(assembled, settings, tokenizers, records, objective.logits, objective.collate)
        return objective.probabilities(logits), cut

    def _called(self, probabilities: Sequence[float], settings: Settings) -> dict[str, float]:
        """The labels that are given, with their probabilities, the likeliest first."""
        by_label = dict(zip(settings.objective.labels, probabilities, strict=True))
        if not settings.objective.several_labels:
            best = max(by_label, key=lambda name: by_label[name])
            return {best: by_label[best]}
        found = {name: p for name, p in by_label.items() if p >= THRESHOLD}
        return dict(sorted(found.items(), key=lambda item: -item[1]))


def _refuse_unknown(part: LabelledPart[Labelled], labels: Sequence[str]) -> None:
    """Refuse a part that has labels, none of which the model knows."""
    found = {name for record in part.records for name in record.labels}
    if found and not found & set(labels):
        shown = ", ".join(sorted(found)[:8])
        raise DataError(f"the model knows none of these labels: {shown}", part.source, known(labels))
