"""Labelled texts of odd, distinct lengths, their stores, and tiny encoders."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from malgil.data.label_records import Labelled, Scored
from malgil.data.label_store import LabelStore, label_store
from malgil.models import build_model, family
from malgil.models.base import Model
from malgil.text.settings import TokenizerSettings
from malgil.text.tokenizer import Tokenizer
from malgil.text.training import train_tokenizer

WORDS = ("산", "높은", "river", "빛을", "carries", "물은", "흐른다")
LABELS = ("나쁨", "보통", "좋음")
LENGTH = 23
SMALL: dict[str, dict[str, Any]] = {
    "bert": {"n_layers": 2, "n_heads": 3, "d_model": 15, "max_len": LENGTH, "dropout": 0.0, "pooler": True},
    "albert": {"n_layers": 2, "n_heads": 3, "d_model": 15, "d_embedding": 7, "max_len": LENGTH, "dropout": 0.0},
    "modernbert": {"n_layers": 2, "n_heads": 3, "d_model": 18, "max_len": LENGTH, "window": 6},
    "birnn": {"n_layers": 1, "d_model": 9, "max_len": LENGTH, "dropout": 0.0},
}


def text(random: np.random.Generator) -> str:
    return " ".join(random.choice(WORDS, random.integers(1, 7)))


def labelled(n: int = 41, *, several: bool = False) -> list[Labelled]:
    """Every third with a second text; of several labels some with none."""
    random = np.random.default_rng(0)
    records = []
    for i in range(n):
        some = tuple(name for name in LABELS if random.random() < 0.4)
        one = (LABELS[int(random.integers(3))],)
        pair = text(random) if i % 3 == 0 else None
        records.append(Labelled(f"{i} {text(random)}", pair, some if several else one))
    return records


def scored(n: int = 41) -> list[Scored]:
    return [Scored(one.text, one.pair, 2.0 + 0.5 * (i % 7)) for i, one in enumerate(labelled(n))]


def tokenizer() -> Tokenizer:
    texts = [text for record in labelled() for text in record.texts]
    return train_tokenizer(texts, TokenizerSettings(kind="char"))


def stored(records: list[Any]) -> LabelStore[Any]:
    return label_store(records, tokenizer(), LENGTH)


def body(name: str, **changed: Any) -> Model:
    return build_model(name, family(name).config(**{**SMALL[name], **changed}), tokenizer().vocab_size).eval()


def trained_names(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}
