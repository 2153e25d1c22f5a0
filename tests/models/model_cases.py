"""Every left-to-right family in several wirings, small and of odd sizes; one without a row has its defaults."""

from __future__ import annotations

from typing import Any

from case_tools import VOCAB, shake

from malgil.models import FAMILIES, build_model, family
from malgil.models.base import CausalLM, Model

_ATTENTION = {"n_layers": 2, "max_len": 19}
_GPT2 = {**_ATTENTION, "n_heads": 3, "d_model": 15}
_LLAMA = {**_ATTENTION, "n_heads": 6, "d_model": 24, "d_ff": 17}
_RNN = {"n_layers": 2, "d_model": 11, "max_len": 5}

_SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "rnn_lm": {
        "rnn": {**_RNN, "cell": "rnn"},
        "gru": {**_RNN, "cell": "gru"},
        "lstm": {**_RNN, "cell": "lstm"},
        "lstm-untied": {**_RNN, "cell": "lstm", "tied": False, "d_hidden": 13},
        "gru-one-layer": {**_RNN, "cell": "gru", "n_layers": 1},
    },
    "gpt2": {
        "plain": _GPT2,
        "no-bias": {**_GPT2, "bias": False},
        "untied": {**_GPT2, "tied": False, "d_ff": 21},
        "exact-gelu": {**_GPT2, "activation": "gelu"},
    },
    "llama": {
        "plain": _LLAMA,
        "grouped": {**_LLAMA, "n_kv_heads": 2, "tied": False},
        "qk-norm": {**_LLAMA, "n_kv_heads": 3, "qk_norm": True, "rope_theta": 500.0},
        "wide-heads": {**_LLAMA, "n_heads": 3, "n_kv_heads": 1, "d_head": 10, "d_model": 14},
        "scaled-init": {**_LLAMA, "init": "scaled"},
        "scaled-init-untied": {**_LLAMA, "init": "scaled", "tied": False},
    },
}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    f"{name}-{case}": (name, settings)
    for name in FAMILIES
    if issubclass(FAMILIES[name].model, CausalLM)
    for case, settings in _SETTINGS.get(name, {"default": {}}).items()
}
ATTENTION_CASES = [case for case in CASES if not case.startswith("rnn_lm")]
RECURRENT_CASES = [case for case in CASES if case.startswith("rnn_lm")]


def fresh(case: str, **changed: Any) -> Model:
    """The model as training would start with it, in evaluation mode."""
    name, settings = CASES[case]
    return build_model(name, family(name).config(**{**settings, **changed}), VOCAB).eval()


def shaken(case: str, **changed: Any) -> Model:
    """The model with weights far from their start, so that gains, biases and attention all matter."""
    return shake(fresh(case, **changed))
