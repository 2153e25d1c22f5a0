"""How a run scores a text: the same during training and afterwards."""

from __future__ import annotations

import torch

from malgil.data.store import TokenStore
from malgil.evaluation.language import LanguageEvaluator
from malgil.objectives.base import Specials
from malgil.runs.recipe import Settings
from malgil.runtime.device import Precision, resolve_precision
from malgil.text.tokenizer import Tokenizer


def evaluator(settings: Settings, tokenizer: Tokenizer, store: TokenStore, device: torch.device) -> LanguageEvaluator:
    """Scores a token store in windows of the run's `max_len`; in fp32 on a CPU, in the run's precision elsewhere."""
    name = "fp32" if device.type == "cpu" else settings.training.precision
    precision = Precision("fp32") if name == "fp32" else resolve_precision(name, device)
    specials = Specials(tokenizer.begin_id, tokenizer.end_id)
    respect = settings.data.boundaries == "respect"
    return LanguageEvaluator(store, specials, settings.model.max_len, respect, precision)
