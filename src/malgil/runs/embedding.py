"""The task of embeddings: texts that belong together, and vectors that are near one another where they do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch

from malgil.config import AUTO, Tree
from malgil.data.alike_store import AlikeStore, alike_store
from malgil.data.label_alike import Alike
from malgil.data.labels import ALIKE, LabelledPart
from malgil.errors import ConfigError
from malgil.evaluation.alike import AlikeEvaluator, AlikeScore
from malgil.evaluation.vectors import Embedder, Index
from malgil.interop.sentences import SentenceVectors
from malgil.metrics.correlation import ranks
from malgil.models.base import Encoder, Model, parameter_device
from malgil.objectives.base import Assembled
from malgil.objectives.contrastive import Contrastive
from malgil.report.alike import missed_section, scored_section
from malgil.report.words import Words
from malgil.runs.labelled import DIGITS, LabelTask, context_for, spread, texts_of
from malgil.runs.recipe import Settings
from malgil.runs.task import Preview, Progress, ReportSection, Tokenizers, scoring_precision
from malgil.runtime.device import resolve_precision

#: texts of the validation part that are shown with their nearest, and among how many these are sought
PREVIEWS, AMONG = 3, 300
#: rows of a table in the report
SHOWN = 25


class EmbeddingTask(LabelTask):
    """Texts, pairs of texts, or pairs with scores."""

    objective_class = Contrastive
    kind = ALIKE
    handed_on: ClassVar[tuple[str, ...]] = ("pooling", "normalize", "max_text_len")

    def tokenizers(self, tree: Tree, data: Any) -> Tokenizers:
        """With a pad, without which other libraries read no batch, where it is trained here."""
        made = super().tokenizers(tree, data)
        return made if tree.get("tokenizer", {}).get("path") else Tokenizers(made.target.with_mask())

    def fit_objective(self, tree: Tree, data: Any) -> list[str]:
        """Where scores say how well a model does, weights are kept by these."""
        if tree["training"].get("watch", AUTO) == AUTO and data.validation.records[0].score is not None:
            tree["training"]["watch"] = "val_spearman"
        return []

    def encode(
        self,
        part: LabelledPart[Alike],
        tokenizers: Tokenizers,
        *,
        labels: Sequence[str],
        longest: int | None,
        progress: Progress | None = None,
    ) -> AlikeStore:
        return alike_store(part.records, tokenizers.target, longest, progress)

    def training_store(
        self, part: LabelledPart[Alike], tokenizers: Tokenizers, tree: Tree, progress: Progress | None
    ) -> AlikeStore:
        """The training part; where the context is open, it is chosen so that nearly all texts fit."""
        if tree["model"].get("max_len") != AUTO:
            return self.validation_store(part, tokenizers, tree, progress)
        store = self.encode(part, tokenizers, labels=(), longest=None, progress=progress)
        tree["model"]["max_len"] = context_for(store.texts.lengths)
        longest = _least(tree["model"]["max_len"], tree["objective"].get("max_text_len"))
        return replace(store, texts=replace(store.texts, longest=longest))

    def validation_store(
        self, part: LabelledPart[Alike], tokenizers: Tokenizers, tree: Tree, progress: Progress | None
    ) -> AlikeStore:
        longest = _least(tree["model"].get("max_len"), tree["objective"].get("max_text_len"))
        return self.encode(part, tokenizers, labels=(), longest=longest, progress=progress)

    def evaluate(
        self,
        assembled: Assembled,
        settings: Settings,
        tokenizers: Tokenizers,
        part: LabelledPart[Alike],
        device: torch.device,
    ) -> dict[str, Any]:
        longest = _least(settings.model.max_len, settings.objective.max_text_len)
        store = self.encode(part, tokenizers, labels=(), longest=longest)
        return self.evaluator(settings, tokenizers, store, device)(assembled).to_dict()

    def objective(self, settings: Settings, tokenizers: Tokenizers) -> Contrastive:
        chosen = settings.objective
        return Contrastive(
            pooling=chosen.pooling,
            temperature=chosen.cosine_temperature,
            symmetric=chosen.symmetric,
            dropout=settings.model.dropout,
        )

    def evaluator(
        self, settings: Settings, tokenizers: Tokenizers, store: AlikeStore, device: torch.device
    ) -> AlikeEvaluator:
        return AlikeEvaluator(store, self.objective(settings, tokenizers), scoring_precision(settings, device))

    def figures(self, score: AlikeScore) -> dict[str, Any]:
        if score.spearman is not None:
            return {"val_loss": score.loss, "val_spearman": score.spearman, "val_pearson": score.pearson}
        return {"val_loss": score.loss, "val_accuracy_at_1": score.accuracy_at_1}

    def previews(
        self, assembled: Assembled, tokenizers: Tokenizers, part: LabelledPart[Alike], settings: Settings
    ) -> list[Preview]:
        """A few texts of the validation part, and the nearest other one."""
        texts = list(dict.fromkeys(text for record in part.records[:AMONG] for text in record.texts))
        index = Index(embedder(assembled.body, settings, tokenizers), texts)
        chosen = spread(texts, PREVIEWS)
        found = [
            next((hit for hit in hits if hit.text != text), None)
            for text, hits in zip(chosen, index.search(chosen, 2), strict=True)
        ]
        return [
            Preview(text, "-" if hit is None else f"{hit.text} ({hit.score:.2f})")
            for text, hit in zip(chosen, found, strict=True)
        ]

    def fault(self, row: Mapping[str, Any], settings: Settings) -> tuple[str, str] | None:
        """A second text may be there or not."""
        pairs = row.get("pair") is not None
        return super().fault(row, replace(settings, objective=replace(settings.objective, pairs=pairs)))

    def predict(
        self, assembled: Assembled, settings: Settings, tokenizers: Tokenizers, rows: Sequence[Mapping[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        """Each row with its `embedding`, or where it has two texts with their cosine as `score`."""
        texts = [texts_of(row) for row in rows]
        made = embedder(assembled.body, settings, tokenizers)
        units = embedder(assembled.body, settings, tokenizers, normalize=True)
        alone = iter(made([text for text, pair in texts if pair is None]))
        first = iter(units([text for text, pair in texts if pair is not None]))
        second = iter(units([pair for _, pair in texts if pair is not None]))
        for row, (_, pair) in zip(rows, texts, strict=True):
            if pair is None:
                yield {**row, "embedding": [float(str(number)) for number in next(alone)]}
            else:
                yield {**row, "score": round(float(next(first) @ next(second)), DIGITS)}

    def suggestions(self, run: Any, where: str) -> list[str]:
        return [f"embed {where} < FILE", f"embed {where} --search CORPUS < QUERIES", f"evaluate {where} --data FILE"]

    def sections(
        self, run: Any, assembled: Assembled, words: Words, say: Callable[[str], None]
    ) -> Sequence[ReportSection]:
        """The pairs of the validation part of which the model is furthest from right."""
        score: AlikeScore = run.evaluator()(assembled)
        if run.validation.scores is None:
            share = f"{1 - len(score.missed) / score.texts:.1%}"
            html = missed_section(score.missed[:SHOWN], share, round(score.candidates or 0), words)
        else:
            html = scored_section(_furthest(run.validation, score)[:SHOWN], score.spearman or 0.0, words)
        return [("alike", words("alike"), html)]


def embedder(
    body: Model,
    settings: Settings,
    tokenizers: Tokenizers,
    *,
    normalize: bool | None = None,
    precision: str = "fp32",
) -> Embedder:
    """What makes vectors of texts by an encoder of a run.

    Args:
        normalize: whether they are made of length 1; None: as the run's settings say.
        precision: `auto`, `fp32` or `bf16`; in fp32 a text's vector does not depend on the texts beside it.

    Raises:
        ConfigError: the model is no encoder.
    """
    if not isinstance(body, Encoder):
        raise ConfigError(f"a {settings.family} model gives no vector for a text", "", "take an encoder, such as bert")
    chosen = settings.objective
    return Embedder(
        body,
        tokenizers.target,
        chosen.pooling,
        chosen.normalize if normalize is None else normalize,
        _least(body.context, chosen.max_text_len),
        resolve_precision(precision, parameter_device(body)),
    )


def sentence_vectors(settings: Settings) -> SentenceVectors | None:
    """How embeddings are made, for a library that is told so; None where the run is none of embeddings, or where a
    layer stands behind the first token's vector, for which there is no module."""
    chosen = settings.objective
    behind = chosen.pooling == "first" and getattr(settings.model, "pooler", False)
    if chosen.name != "contrastive" or behind:
        return None
    return SentenceVectors(chosen.pooling, chosen.normalize, chosen.max_text_len)


def _furthest(store: AlikeStore, score: AlikeScore) -> list[tuple[str, str, float, float]]:
    """(text, second text, score, cosine) of pairs: first those whose cosine's rank is furthest from their score's."""
    assert store.scores is not None
    off = np.abs(ranks(score.cosines) - ranks(store.scores))
    return [
        (*store.records[row].texts, float(store.scores[row]), float(score.cosines[row]))
        for row in np.argsort(-off, kind="stable")
    ]


def _least(*limits: int | None) -> int | None:
    """The smallest of the limits that there are."""
    return min((limit for limit in limits if limit is not None), default=None)
