"""The task of scores: a text, or two, and a number, such as how alike two sentences are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from malgil.config import Tree
from malgil.data.label_records import Scored
from malgil.data.label_store import LabelStore
from malgil.data.labels import SCORED, LabelledPart
from malgil.evaluation.regression import RegressionEvaluator, RegressionScore
from malgil.objectives.base import Assembled
from malgil.objectives.regression import Regression
from malgil.report.labels import scores_section
from malgil.report.words import Words
from malgil.runs.labelled import LabelTask, read_records, refuse_other_texts, spread, texts_of
from malgil.runs.recipe import Settings
from malgil.runs.task import Preview, ReportSection, Tokenizers, scoring_precision

PREVIEWS = 3
#: texts that a report shows, those that are furthest off
SHOWN = 25
_DIGITS = 4  # of scores that are written


class SimilarityTask(LabelTask):
    """Texts with scores."""

    objective_class = Regression
    metric = ("val_spearman", True)
    kind = SCORED

    def fit_objective(self, tree: Tree, data: Any) -> list[str]:
        """Mean and spread of the scores, and whether texts come in pairs."""
        section = tree["objective"]
        scores = np.array([record.score for record in data.train.records])
        if section.get("score_mean") is None:
            section["score_mean"] = float(scores.mean())
        if section.get("score_spread") is None:
            section["score_spread"] = float(scores.std()) or 1.0
        return super().fit_objective(tree, data)

    def objective(self, settings: Settings, tokenizers: Tokenizers) -> Regression:
        chosen = settings.objective
        mean, spread_ = chosen.score_mean or 0.0, chosen.score_spread or 1.0
        return Regression(mean, spread_, pooling=chosen.pooling, pairs=chosen.pairs, dropout=settings.model.dropout)

    def evaluator(
        self, settings: Settings, tokenizers: Tokenizers, store: LabelStore[Scored], device: torch.device
    ) -> RegressionEvaluator:
        return RegressionEvaluator(self.objective(settings, tokenizers), store, scoring_precision(settings, device))

    def figures(self, score: RegressionScore) -> dict[str, Any]:
        return {"val_loss": score.loss, "val_pearson": score.pearson, "val_spearman": score.spearman}

    def check(self, part: LabelledPart[Scored], settings: Settings) -> None:
        """Pairs where the run was trained on single texts, or the other way round."""
        refuse_other_texts(part, settings)

    def previews(
        self, assembled: Assembled, tokenizers: Tokenizers, part: LabelledPart[Scored], settings: Settings
    ) -> list[Preview]:
        """A few texts of the validation part, their scores, and those in the data."""
        records = spread(part.records, PREVIEWS)
        found, _ = self._scores(assembled, settings, tokenizers, records)
        return [
            Preview(" | ".join(record.texts), f"{score:.2f}; in the data: {record.score:g}")
            for record, score in zip(records, found, strict=True)
        ]

    def predict(
        self, assembled: Assembled, settings: Settings, tokenizers: Tokenizers, rows: Sequence[Mapping[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        """Each row with its `score`, in the units of the data that the run was trained on, and `cut` where not all of
        it was read."""
        found, cut = self._scores(assembled, settings, tokenizers, [Scored(*texts_of(row), 0.0) for row in rows])
        for row, score, beyond in zip(rows, found, cut, strict=True):
            yield {**row, "score": round(score, _DIGITS), **beyond}

    def sections(
        self, run: Any, assembled: Assembled, words: Words, say: Callable[[str], None]
    ) -> Sequence[ReportSection]:
        """The texts of the validation part that are furthest off."""
        score: RegressionScore = run.evaluator()(assembled)
        rows = [
            (" | ".join(record.texts), record.score, float(found))
            for record, found in zip(run.validation.records, score.predicted, strict=True)
        ]
        rows.sort(key=lambda row: -abs(row[1] - row[2]))
        figures = {"pearson": score.pearson, "spearman": score.spearman, "mse": score.mse}
        return [("scores", words("scores"), scores_section(rows[:SHOWN], figures, words))]

    def _scores(
        self, assembled: Assembled, settings: Settings, tokenizers: Tokenizers, records: Sequence[Scored]
    ) -> tuple[list[float], list[dict[str, int]]]:
        objective = self.objective(settings, tokenizers)
        found, cut = read_records(assembled, settings, tokenizers, records, objective.scores)
        return found.tolist(), cut
