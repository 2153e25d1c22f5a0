"""Which task an objective belongs to."""

from __future__ import annotations

from malgil.runs.language import LanguageTask
from malgil.runs.masked import MaskedTask
from malgil.runs.task import Task
from malgil.runs.translation import TranslationTask

TASKS: dict[str, Task] = {"causal_lm": LanguageTask(), "seq2seq": TranslationTask(), "masked_lm": MaskedTask()}


def task_of(objective: str) -> Task:
    """The task of an objective that settings allow."""
    return TASKS[objective]
