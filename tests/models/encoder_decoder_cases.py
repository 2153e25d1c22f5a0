"""Every encoder-decoder family in several wirings, small and of odd sizes; one without a row has its defaults."""

from __future__ import annotations

from typing import Any

from case_tools import VOCAB, padded, shake
from torch import Tensor

from malgil.models import FAMILIES, build_model, family
from malgil.models.base import EncoderDecoder, Memory

SOURCE_VOCAB = 29
_RNN = {"n_layers": 2, "d_model": 11, "d_hidden": 13}
_ATTENTION = {"n_layers": 2, "n_heads": 3, "d_model": 18, "d_ff": 21, "max_len": 19}
_BAHDANAU = {**_RNN, "wiring": "bahdanau", "bidirectional": True}

_SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "seq2seq": {
        "rnn": {**_RNN, "cell": "rnn", "d_hidden": None, "shared": False},
        "gru-untied": {**_RNN, "cell": "gru", "tied": False, "n_layers": 1, "output_bias": False},
        "lstm-reversed": {**_RNN, "reverse_source": True},
        "lstm-both-ways-shared": {**_RNN, "bidirectional": True, "shared": True},
        "luong-dot": {**_RNN, "attention": "dot", "reverse_source": True, "shared": False},
        "luong-general-fed": {**_RNN, "attention": "general", "input_feeding": True, "bidirectional": True},
        "luong-concat-fed-gru": {**_RNN, "attention": "concat", "input_feeding": True, "cell": "gru", "tied": False},
        "luong-additive": {**_RNN, "attention": "additive", "cell": "gru"},
        "bahdanau-gru": {**_BAHDANAU, "attention": "additive", "cell": "gru", "n_layers": 1},
        "bahdanau-lstm": {**_BAHDANAU, "attention": "general", "shared": False},
        "bahdanau-rnn": {**_BAHDANAU, "attention": "concat", "cell": "rnn", "shared": True, "tied": False},
    },
    "transformer": {
        "plain": _ATTENTION,
        "marian": {**_ATTENTION, "n_encoder_layers": 3, "activation": "silu", "output_bias": True},
        "separate-untied": {**_ATTENTION, "n_encoder_layers": 1, "shared": False, "tied": False, "activation": "gelu"},
        "unscaled": {**_ATTENTION, "scale_embedding": False, "shared": True},
    },
    "transformer_modern": {
        "plain": _ATTENTION,
        "qk-norm": {**_ATTENTION, "qk_norm": True, "n_encoder_layers": 3, "rope_theta": 500.0, "shared": True},
        "separate-untied": {**_ATTENTION, "n_encoder_layers": 1, "shared": False, "tied": False, "d_ff": None},
    },
}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    f"{name}-{case}": (name, settings)
    for name in FAMILIES
    if issubclass(FAMILIES[name].model, EncoderDecoder)
    for case, settings in _SETTINGS.get(name, {"default": {}}).items()
}

#: those whose source may have a tokenizer of its own
SEPARABLE_CASES = [case for case, (_, settings) in CASES.items() if not settings.get("shared")]


def fresh(case: str, source_vocab: int | None = None, **changed: Any) -> EncoderDecoder:
    """The model as training would start with it, in evaluation mode; source_vocab None: one tokenizer for both."""
    name, settings = CASES[case]
    model = build_model(name, family(name).config(**{**settings, **changed}), VOCAB, source_vocab)
    assert isinstance(model, EncoderDecoder)
    return model.eval()


def shaken(case: str, **changed: Any) -> EncoderDecoder:
    """The model with weights far from their start, so that gains, biases and attention all matter."""
    return shake(fresh(case, **changed))


def encoded(model: EncoderDecoder, sources: list[Tensor], filler: int = 0) -> Memory:
    source, mask = padded(sources, filler)
    return model.encode(source, source_mask=mask)


def alone(model: EncoderDecoder, source: Tensor, target: Tensor) -> Tensor:
    """(T, D): the hidden vectors of a target read whole, of one pair by itself, without masks or a state."""
    hidden: Tensor = model(target[None], memory=model.encode(source[None])).hidden[0]
    return hidden
