"""Every encoder family in several wirings, small and of odd sizes; one without a row has its defaults."""

from __future__ import annotations

from typing import Any

import torch
from case_tools import VOCAB, padded, shake
from torch import Tensor

from malgil.models import FAMILIES, build_model, family
from malgil.models.base import Encoder

_BERT = {"n_layers": 2, "n_heads": 3, "d_model": 15, "d_ff": 21, "max_len": 19}
_MODERN = {**_BERT, "d_model": 18}
_RNN = {"n_layers": 2, "d_model": 11, "max_len": 5}

_SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "bert": {
        "plain": {**_BERT, "pooler": True},
        "roberta": {**_BERT, "n_types": 1},
        "distilbert": {**_BERT, "n_types": 0, "d_ff": None},
        "electra": {**_BERT, "d_embedding": 7},
    },
    "albert": {
        "plain": {**_BERT, "d_embedding": 7, "pooler": True, "n_types": 3},
        "as-wide": {**_BERT, "d_embedding": 15, "activation": "gelu", "n_types": 1},
    },
    "modernbert": {
        "plain": {**_MODERN, "global_every": 1},
        "local": {**_MODERN, "global_every": 2, "window": 4, "local_rope_theta": 50.0},
        "wide-window": {**_MODERN, "d_ff": None},
    },
    "bag": {"plain": {"d_model": 11}},
    "birnn": {
        "lstm": {**_RNN, "cell": "lstm"},
        "gru": {**_RNN, "cell": "gru", "d_hidden": 5},
        "rnn-one-layer": {**_RNN, "cell": "rnn", "n_layers": 1},
    },
}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    f"{name}-{case}": (name, settings)
    for name in FAMILIES
    if issubclass(FAMILIES[name].model, Encoder)
    for case, settings in _SETTINGS.get(name, {"default": {}}).items()
}
RECURRENT_CASES = [case for case in CASES if case.startswith("birnn")]
BAG_CASES = [case for case in CASES if case.startswith("bag")]
#: whose tokens know of one another
READING_CASES = [case for case in CASES if case not in BAG_CASES]
ATTENTION_CASES = [case for case in READING_CASES if case not in RECURRENT_CASES]


def fresh(case: str, **changed: Any) -> Encoder:
    """The model as training would start with it, in evaluation mode."""
    name, settings = CASES[case]
    model = build_model(name, family(name).config(**{**settings, **changed}), VOCAB)
    assert isinstance(model, Encoder)
    return model.eval()


def shaken(case: str, **changed: Any) -> Encoder:
    """The model with weights far from their start, so that gains, biases and attention all matter."""
    return shake(fresh(case, **changed))


def packed(documents: list[list[Tensor]], filler: int = 0) -> tuple[Tensor, Tensor]:
    """Documents one behind another in their rows, and the number of each token's document."""
    numbers = [torch.cat([torch.full((len(d),), i + 1) for i, d in enumerate(row)]) for row in documents]
    return padded([torch.cat(row) for row in documents], filler)[0], padded(numbers)[0]


def alone(model: Encoder, row: Tensor) -> Tensor:
    """(T, D): the hidden vectors of a text read by itself, without masks."""
    hidden: Tensor = model(row[None]).hidden[0]
    return hidden
