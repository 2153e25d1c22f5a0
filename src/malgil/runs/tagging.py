"""The task of tags: words in, the entities that they name out."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from malgil.config import Tree
from malgil.data.label_records import Tagged, nfc
from malgil.data.labels import TAGGED, LabelledPart
from malgil.data.tag_store import TagStore, tag_store
from malgil.evaluation.tagging import PredictedTags, TagEvaluator, TagScore, predict_tags, score_predicted
from malgil.metrics.tagging import entities, iob2
from malgil.models.base import parameter_device
from malgil.objectives.base import Assembled
from malgil.objectives.tagging import Tagging
from malgil.report.labels import Mistake, figures_table, mistakes_section
from malgil.report.words import Words
from malgil.runs.labelled import DIGITS, LabelTask
from malgil.runs.recipe import Settings
from malgil.runs.task import Preview, Progress, ReportSection, Tokenizers, predicting_precision, scoring_precision
from malgil.text.tokenizer import clean

#: sentences of the validation part that are shown as training goes on
PREVIEWS = 3
#: mistakes that a report shows
MISTAKES = 20


class TaggingTask(LabelTask):
    """Sentences of words, each of which has a tag."""

    objective_class = Tagging
    metric = ("val_f1", True)
    kind = TAGGED

    def encode(
        self,
        part: LabelledPart[Tagged],
        tokenizers: Tokenizers,
        *,
        labels: Sequence[str],
        longest: int | None,
        progress: Progress | None = None,
    ) -> TagStore:
        return tag_store(part.records, tokenizers.target, labels, longest)

    def fit_objective(self, tree: Tree, data: Any) -> list[str]:
        """The names of the tags."""
        if given := tree["objective"].get("labels"):
            found = Counter(tag for record in data.train.records for tag in record.tags if tag not in given)
            if not found:
                return []
            shown = ", ".join(sorted(found))
            return [f"{found.total():,} words for training have tags that are not to be learnt: {shown}"]
        tree["objective"]["labels"] = list(data.names)
        return [f"tags: O, and B and I of {', '.join(name[2:] or 'entities' for name in data.names[1::2])}"]

    def notes(self, train: TagStore, validation: TagStore) -> Sequence[str]:
        parts = (("training", train), ("validation", validation))
        return [f"{name}: {note}" for name, store in parts for note in store.rows.notes()]

    def objective(self, settings: Settings, tokenizers: Tokenizers) -> Tagging:
        return Tagging(settings.objective.labels, settings.model.dropout)

    def evaluator(
        self, settings: Settings, tokenizers: Tokenizers, store: TagStore, device: torch.device
    ) -> TagEvaluator:
        return TagEvaluator(store, scoring_precision(settings, device))

    def figures(self, score: TagScore) -> dict[str, Any]:
        return {"val_loss": score.loss} | {
            f"val_{name}": getattr(score, name) for name in ("f1", "precision", "recall", "accuracy")
        }

    def previews(
        self, assembled: Assembled, tokenizers: Tokenizers, part: LabelledPart[Tagged], settings: Settings
    ) -> list[Preview]:
        """Sentences of the validation part in which something is to be found, and what the model finds."""
        telling = [record for record in part.records if entities(record.tags)][:PREVIEWS]
        rows = [{"tokens": list(record.tokens)} for record in telling]
        answers = self.predict(assembled, settings, tokenizers, rows)
        return [
            Preview(" ".join(record.tokens), ", ".join(_spans(record.tokens, answer["tags"])))
            for record, answer in zip(telling, answers, strict=True)
        ]

    def untrained_loss(self, settings: Settings, tokenizers: Tokenizers) -> tuple[float, str] | None:
        return math.log(len(settings.objective.labels)), "ln(tags)"

    def fault(self, row: Mapping[str, Any], settings: Settings) -> tuple[str, str] | None:
        tokens = row.get("tokens")
        if tokens is not None:
            right = isinstance(tokens, (list, tuple)) and all(isinstance(word, str) and word.strip() for word in tokens)
            return None if right else ("'tokens' is no list of words", 'write {"tokens": ["서울", "에"]}')
        if not isinstance(row.get("text"), str):
            return "neither a text nor tokens", 'write {"text": "..."} or {"tokens": ["서울", "에"]}'
        return None

    def predict(
        self, assembled: Assembled, settings: Settings, tokenizers: Tokenizers, rows: Sequence[Mapping[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        """Each row with `entities`: type, text, start, end (characters of the text) and score of each.

        A row has `tokens`, a list of words, or `text`, which is split at white space. Tokens make a text with a space
        between two; they are given a tag each in `tags`, too. The score is the lowest probability of a word's tag.
        """
        sentences = list(map(_words, rows))
        records = [Tagged(tuple(nfc(word) for word, _ in words), ("O",) * len(words)) for _, words in sentences]
        store = tag_store(records, tokenizers.target, settings.objective.labels, settings.model.max_len)
        device = parameter_device(assembled)
        found = predict_tags(assembled, store, predicting_precision(settings, device))
        for number, (row, (text, words)) in enumerate(zip(rows, sentences, strict=True)):
            tags = {"tags": iob2(found.tags(number))} if row.get("tokens") is not None else {}
            yield {**row, **tags, "entities": _entities(text, words, found, number)}

    def sections(
        self, run: Any, assembled: Assembled, words: Words, say: Callable[[str], None]
    ) -> Sequence[ReportSection]:
        """Figures of each type, and the mistakes that the model was surest of."""
        say(f"tagging the {len(run.validation):,} sentences of the validation part for the report")
        found = predict_tags(assembled, run.validation, scoring_precision(run.settings, run.device))
        types, wrong = score_predicted(found).types, mistakes(found)
        order = sorted(types, key=lambda name: (-types[name].support, name))
        return [
            ("types", words("entity types"), figures_table(order, [types[name] for name in order], words)),
            ("mistakes", words("mistakes"), mistakes_section(wrong[:MISTAKES], len(wrong), len(run.validation), words)),
        ]


def mistakes(found: PredictedTags) -> list[Mistake]:
    """The sentences with wrong tags, those first of which one was given with the highest probability."""
    wrong = []
    for number, record in enumerate(found.store.records):
        guessed, right = iob2(found.tags(number)), list(record.tags)
        sure = [
            float(p) for p, tag, truth in zip(found.confidence(number), guessed, right, strict=True) if tag != truth
        ]
        if sure:
            there, said = _spans(record.tokens, right), _spans(record.tokens, guessed)
            wrong.append(Mistake(" ".join(record.tokens), there, said, max(sure)))
    return sorted(wrong, key=lambda mistake: -mistake.confidence)


# ---------------------------------------------------------------------------------------------

_Words = list[tuple[str, int]]


def _words(row: Mapping[str, Any]) -> tuple[str, _Words]:
    """The text of a row without fault, and its words with the characters that they begin at."""
    if row.get("tokens") is None:
        text = clean(row["text"])[0]
        return text, [(word.group(), word.start()) for word in re.finditer(r"\S+", text)]
    given = [clean(token)[0] for token in row["tokens"]]
    starts = np.cumsum([0, *(len(word) + 1 for word in given)]).tolist()
    return " ".join(given), list(zip(given, starts, strict=False))


def _entities(text: str, words: _Words, found: PredictedTags, number: int) -> list[dict[str, Any]]:
    """The entities of a sentence."""
    sure = found.confidence(number)
    result = []
    for first, stop, kind in entities(found.tags(number)):
        start, end = words[first][1], words[stop - 1][1] + len(words[stop - 1][0])
        score = round(float(sure[first:stop].min()), DIGITS)
        result.append({"type": kind, "text": text[start:end], "start": start, "end": end, "score": score})
    return result


def _spans(tokens: Sequence[str], tags: Sequence[str]) -> list[str]:
    """The entities of a sentence in words; a dash where there are none."""
    return [_named(" ".join(tokens[e.start : e.stop]), e.type) for e in entities(tags)] or ["–"]


def _named(text: str, kind: str) -> str:
    return f"{text} ({kind})" if kind else text
