"""The task of answers: a question and a text in, the stretch of the text that answers it out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from malgil.config import AUTO, Tree
from malgil.data.answer_store import AnswerStore, answer_store, composed
from malgil.data.label_records import Question, nfc
from malgil.data.labels import QUESTIONS, LabelledPart
from malgil.evaluation.answering import AnswerEvaluator, AnsweringScore, FoundAnswers, find_answers
from malgil.metrics.answers import exact_match, korean_exact_match
from malgil.models.base import parameter_device
from malgil.objectives.answering import Answering
from malgil.objectives.base import Assembled
from malgil.report.labels import Mistake, mistakes_section
from malgil.report.words import Words
from malgil.runs.labelled import DIGITS, LabelTask
from malgil.runs.recipe import Settings
from malgil.runs.task import Preview, Progress, ReportSection, Tokenizers, predicting_precision, scoring_precision
from malgil.text.tokenizer import clean

#: questions of the validation part that are shown as training goes on
PREVIEWS = 3
#: mistakes that a report shows
MISTAKES = 20


class AnsweringTask(LabelTask):
    """Questions about texts."""

    objective_class = Answering
    metric = ("val_f1", True)
    kind = QUESTIONS

    def encode(
        self,
        part: LabelledPart[Question],
        tokenizers: Tokenizers,
        *,
        labels: Sequence[str],
        longest: int | None,
        progress: Progress | None = None,
    ) -> AnswerStore:
        return answer_store(part.records, tokenizers.target, longest)

    def fit_objective(self, tree: Tree, data: Any) -> list[str]:
        """Whether there may be no answer: where the training part has such questions."""
        if tree["objective"].get("null_threshold") != AUTO:
            return []
        unanswerable = any(not record.answers for record in data.train.records)
        tree["objective"]["null_threshold"] = 0.0 if unanswerable else None
        return [] if unanswerable else ["every question has an answer, so one is always given"]

    def training_store(
        self, part: LabelledPart[Question], tokenizers: Tokenizers, tree: Tree, progress: Progress | None
    ) -> AnswerStore:
        """Also chooses how long an answer may be: as long as the longest of the training part."""
        store: AnswerStore = super().training_store(part, tokenizers, tree, progress)
        if tree["objective"].get("max_answer") == AUTO:
            tree["objective"]["max_answer"] = int(np.diff(store.answers).max(initial=0)) + 1
        return store

    def notes(self, train: AnswerStore, validation: AnswerStore) -> Sequence[str]:
        parts = (("training", train), ("validation", validation))
        return [f"{name}: {note}" for name, store in parts for note in (*store.rows.notes(), *store.notes())]

    def objective(self, settings: Settings, tokenizers: Tokenizers) -> Answering:
        return Answering(settings.model.dropout)

    def evaluator(
        self, settings: Settings, tokenizers: Tokenizers, store: AnswerStore, device: torch.device
    ) -> AnswerEvaluator:
        chosen = settings.objective
        return AnswerEvaluator(store, scoring_precision(settings, device), chosen.max_answer, chosen.null_threshold)

    def figures(self, score: AnsweringScore) -> dict[str, Any]:
        return {"val_loss": score.loss} | {
            f"val_{name}": getattr(score, name) for name in ("f1", "exact_match", "character_f1")
        }

    def previews(
        self, assembled: Assembled, tokenizers: Tokenizers, part: LabelledPart[Question], settings: Settings
    ) -> list[Preview]:
        """Questions of the validation part, and what the model answers."""
        records = part.records[:PREVIEWS]
        rows = [{"question": record.question, "context": record.context} for record in records]
        answers = self.predict(assembled, settings, tokenizers, rows)
        return [
            Preview(record.question, answer["answer"] or "–") for record, answer in zip(records, answers, strict=True)
        ]

    def fault(self, row: Mapping[str, Any], settings: Settings) -> tuple[str, str] | None:
        for name in ("question", "context"):
            if not isinstance(row.get(name), str) or not row[name].strip():
                return f"no {name}", 'write {"question": "어디서 왔니?", "context": "말길은 서울에서 왔다."}'
        return None

    def predict(
        self, assembled: Assembled, settings: Settings, tokenizers: Tokenizers, rows: Sequence[Mapping[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        """Each row with `answer`, `start` and `end` (characters of its context: answer == context[start:end]) and
        `score`, the answer's probability. Where there is none the answer is empty, and its place null."""
        texts = [composed(clean(row["context"])[0]) for row in rows]
        asked = [nfc(clean(row["question"])[0]) for row in rows]
        records = [Question("", text, question, ()) for (text, _), question in zip(texts, asked, strict=True)]
        store = answer_store(records, tokenizers.target, settings.model.max_len)
        device = parameter_device(assembled)
        how = self.evaluator(settings, tokenizers, store, device)
        found = find_answers(assembled, replace(how, precision=predicting_precision(settings, device)))
        for row, (_, places), answer in zip(rows, texts, found.answers, strict=True):
            if answer.start is None or answer.end is None:
                yield {**row, "answer": "", "start": None, "end": None, "score": round(answer.score, DIGITS)}
            else:
                start, end = places[answer.start], places[answer.end]
                text = clean(row["context"])[0][start:end]
                yield {**row, "answer": text, "start": start, "end": end, "score": round(answer.score, DIGITS)}

    def suggestions(self, run: Any, where: str) -> list[str]:
        return [f"predict {where} < QUESTIONS.jsonl", f"evaluate {where} --data FILE"]

    def sections(
        self, run: Any, assembled: Assembled, words: Words, say: Callable[[str], None]
    ) -> Sequence[ReportSection]:
        """The mistakes that the model was surest of."""
        say(f"answering the {len(run.validation):,} questions of the validation part for the report")
        found = find_answers(assembled, self.evaluator(run.settings, run.tokenizers, run.validation, run.device))
        wrong = mistakes(found)
        shown = mistakes_section(wrong[:MISTAKES], len(wrong), len(run.validation), words)
        return [("mistakes", words("mistakes"), shown)]


def mistakes(found: FoundAnswers) -> list[Mistake]:
    """The questions that were answered wrongly, those first whose answer was the likeliest."""
    wrong = []
    for record, answer in zip(found.store.records, found.answers, strict=True):
        right = [one.text for one in record.answers]
        if not (exact_match(answer.text, right) or korean_exact_match(answer.text, right)):
            wrong.append(Mistake(record.question, [", ".join(right) or "–"], [answer.text or "–"], answer.score))
    return sorted(wrong, key=lambda mistake: -mistake.confidence)
