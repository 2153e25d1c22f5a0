"""A store of documents of several sentences in two languages, and small models, for the objectives of pretraining."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from malgil.data.corpus import open_whole
from malgil.data.settings import DataSettings
from malgil.data.store import TokenStore, token_store
from malgil.models import build_model, family
from malgil.models.base import Encoder
from malgil.objectives.masked_lm import MaskedBatch
from malgil.text.settings import TokenizerSettings
from malgil.text.tokenizer import Tokenizer
from malgil.text.training import train_tokenizer

WORDS = ("산", "높은", "river", "빛을", "carries", "물은", "흐른다")
LENGTH = 33
SMALL: dict[str, dict[str, Any]] = {
    "bert": {"n_layers": 2, "n_heads": 3, "d_model": 15, "pooler": True},
    "albert": {"n_layers": 2, "n_heads": 3, "d_model": 15, "d_embedding": 7, "pooler": True},
    "modernbert": {"n_layers": 2, "n_heads": 3, "d_model": 18, "window": 6},
    "birnn": {"n_layers": 1, "d_model": 9},
}


def texts(n_documents: int = 40) -> list[str]:
    """Documents of one to six sentences."""
    random = np.random.default_rng(0)
    return [
        " ".join(f"{i} " + " ".join(random.choice(WORDS, random.integers(1, 5))) + "." for _ in range(1 + i % 6))
        for i in range(n_documents)
    ]


def make_tokenizer() -> Tokenizer:
    return train_tokenizer(texts(), TokenizerSettings(kind="char")).with_mask()


def make_store(tokenizer: Tokenizer, folder: Path, documents: list[str] | None = None) -> TokenStore:
    path = folder / "rows.jsonl"
    rows = texts() if documents is None else documents
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in rows), encoding="utf-8")
    part, _ = open_whole(DataSettings(paths=[str(path)]))
    return token_store(part, tokenizer)


def encoder(name: str, vocab_size: int, seed: int = 3, **changed: Any) -> Encoder:
    torch.manual_seed(seed)
    settings = {**SMALL[name], "max_len": LENGTH, "dropout": 0.0, **changed}
    model = build_model(name, family(name).config(**settings), vocab_size)
    assert isinstance(model, Encoder)
    return model


def restored(batch: MaskedBatch) -> list[list[int]]:
    """The tokens of every sequence, begin and end included, with what is hidden put back, in the batch's order."""
    tokens = batch.tokens.clone()
    tokens.view(-1)[batch.positions] = batch.targets
    segments = batch.segment_ids if batch.segment_ids is not None else torch.ones_like(tokens)
    if batch.token_mask is not None:
        segments = segments.masked_fill(~batch.token_mask, 0)
    return [
        row[places == i].tolist()
        for row, places in zip(tokens, segments, strict=True)
        for i in range(1, int(places.max()) + 1)
    ]
