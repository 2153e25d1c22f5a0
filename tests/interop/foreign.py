"""Folders as other libraries write them, small and with odd sizes, made without those libraries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from malgil.interop import keys
from malgil.interop.configs import spelling_of, write_config
from malgil.models import build_model, family
from malgil.models.base import Model
from malgil.text.settings import TokenizerSettings
from malgil.text.tokenizer import Tokenizer
from malgil.text.training import train_tokenizer

VOCAB = 29
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", {"n_layers": 2, "n_heads": 3, "d_model": 15, "max_len": 21}),
    "llama": (
        "llama",
        {"n_layers": 2, "n_heads": 6, "n_kv_heads": 2, "d_model": 24, "d_ff": 19, "max_len": 21, "tied": False},
    ),
    "qwen3": (
        "llama",
        {"n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "d_model": 14, "d_head": 6, "max_len": 21, "qk_norm": True},
    ),
    "rnn_lm": ("rnn_lm", {"n_layers": 3, "d_model": 13, "cell": "gru", "max_len": 7}),
}
TEXT = "말길은 글이 가는 길이다.\n낱말이 이어져 길이 된다. Words make a way; 길 위에 말이 있다.\n" * 7


def random_model(name: str, vocab_size: int = VOCAB, **changed: Any) -> Model:
    """A model whose every weight, gains and biases too, is random."""
    family_name, settings = SETTINGS[name]
    model = build_model(family_name, family(family_name).config(**{**settings, **changed}), vocab_size)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model.eval()


def write_folder(folder: Path, name: str, **changed: Any) -> Model:
    """config.json and model.safetensors of a random model, and the model."""
    model = random_model(name, **changed)
    family_name, _ = SETTINGS[name]
    spelling = spelling_of(family_name, model.config)
    folder.mkdir(exist_ok=True)
    tree = write_config(spelling, model.config, VOCAB, {})
    (folder / "config.json").write_text(json.dumps(tree), encoding="utf-8")
    save_file(keys.to_theirs(spelling.table, model.state_dict(), model.config), folder / "model.safetensors")
    return model


def edit_config(folder: Path, **values: Any) -> None:
    """Sets keys of config.json; `...` takes one away."""
    path = folder / "config.json"
    tree = json.loads(path.read_text(encoding="utf-8"))
    tree.update(values)
    path.write_text(json.dumps({k: v for k, v in tree.items() if v is not ...}), encoding="utf-8")


def read_weights(folder: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = load_file(folder / "model.safetensors")
    return tensors


def write_weights(folder: Path, tensors: dict[str, Tensor], name: str = "model.safetensors") -> None:
    save_file({key: t.contiguous().clone() for key, t in tensors.items()}, folder / name)


def small_tokenizer(kind: str = "bpe", size: int = 300) -> Tokenizer:
    return train_tokenizer([TEXT], TokenizerSettings(kind=kind, vocab_size=size))
