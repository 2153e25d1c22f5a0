"""Which task an objective belongs to."""

from __future__ import annotations

from malgil.runs.answering import AnsweringTask
from malgil.runs.classify import ClassifyTask
from malgil.runs.distillation import DistillationTask
from malgil.runs.embedding import EmbeddingTask
from malgil.runs.language import LanguageTask
from malgil.runs.masked import MaskedTask
from malgil.runs.replaced import ReplacedTask
from malgil.runs.similarity import SimilarityTask
from malgil.runs.tagging import TaggingTask
from malgil.runs.task import Task
from malgil.runs.translation import TranslationTask

TASKS: dict[str, Task] = {
    "causal_lm": LanguageTask(),
    "seq2seq": TranslationTask(),
    "masked_lm": MaskedTask(),
    "replaced_tokens": ReplacedTask(),
    "distillation": DistillationTask(),
    "classification": ClassifyTask(),
    "regression": SimilarityTask(),
    "tagging": TaggingTask(),
    "answering": AnsweringTask(),
    "contrastive": EmbeddingTask(),
}


def task_of(objective: str) -> Task:
    """The task of an objective that settings allow."""
    return TASKS[objective]
