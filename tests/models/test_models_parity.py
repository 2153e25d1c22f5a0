"""Our families against the authorities: transformers on small random weights, torch.nn for recurrence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from malgil.interop import keys
from malgil.interop.configs import SPELLINGS
from malgil.interop.huggingface import import_model
from malgil.models import build_model
from malgil.models.base import Model
from malgil.models.rnn_lm import RNNLMConfig

VOCAB = 29
NOBODY: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
GPT2 = {**NOBODY, "vocab_size": VOCAB, "n_positions": 21, "n_embd": 15, "n_layer": 3, "n_head": 5}
LLAMA = {
    **NOBODY,
    "vocab_size": VOCAB,
    "hidden_size": 24,
    "intermediate_size": 19,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 21,
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2", GPT2),
    "gpt2-exact-gelu": ("GPT2", {**GPT2, "activation_function": "gelu", "n_inner": 17, "layer_norm_epsilon": 1e-3}),
    "gpt2-untied": ("GPT2", {**GPT2, "tie_word_embeddings": False}),
    "llama": ("Llama", {**LLAMA, "num_key_value_heads": 6}),
    "llama-grouped-tied": ("Llama", {**LLAMA, "tie_word_embeddings": True, "rms_norm_eps": 1e-3}),
    "llama-wide-heads": ("Llama", {**LLAMA, "head_dim": 10}),
    "llama-other-base": (
        "Llama",
        {**LLAMA, "rope_parameters": {"rope_type": "default", "rope_theta": 300.0}},
    ),
    "qwen3": ("Qwen3", {**LLAMA, "head_dim": 6}),
    "qwen3-tied": ("Qwen3", {**LLAMA, "head_dim": 4, "tie_word_embeddings": True}),
}


@pytest.fixture(params=CASES)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Model]:
    """(theirs, ours) with the same weights, by way of a folder that transformers wrote."""
    transformers = pytest.importorskip("transformers")
    name, settings = CASES[request.param]
    config = getattr(transformers, f"{name}Config")(**settings)
    cls = getattr(transformers, "GPT2LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM")
    theirs = cls(config)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)  # gains and biases that matter
    theirs.save_pretrained(tmp_path)
    return theirs.eval(), import_model(tmp_path).build()


def test_logits(pair: tuple[Any, Model]) -> None:
    theirs, ours = pair
    tokens = torch.randint(0, VOCAB, (3, 17))
    with torch.no_grad():
        expected, actual = theirs(tokens).logits, ours.logits(ours(tokens).hidden)
    assert expected.std() > 0.3
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_gradients(pair: tuple[Any, Model]) -> None:
    theirs, ours = pair
    tokens = torch.randint(0, VOCAB, (3, 12))
    targets = torch.randint(0, VOCAB, (3, 12))
    targets[1, 4:] = -100
    F.cross_entropy(theirs(tokens).logits.flatten(0, 1), targets.flatten(), reduction="sum").backward()
    ours.nll(ours(tokens).hidden.flatten(0, 1), targets.flatten()).sum().backward()
    shapes = {name: tuple(p.shape) for name, p in ours.named_parameters()}
    table = SPELLINGS[theirs.config.model_type].table
    parts = keys.parts(table, shapes, ours.config)
    expected = keys.to_ours(parts, lambda name: theirs.get_parameter(name).grad)
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(
            parameter.grad, expected[name], atol=1e-4, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )


@torch.no_grad()
def test_greedy_ids(pair: tuple[Any, Model]) -> None:
    theirs, ours = pair
    prompt = torch.randint(0, VOCAB, (2, 5))
    expected = theirs.generate(
        prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=11, pad_token_id=0
    )
    assert _greedy(ours, prompt) == expected.tolist()


# ---------------------------------------------------------------------------------------------


class PlainRecurrent(nn.Module):
    """PyTorch's word language model, as one would write it down."""

    def __init__(self, cell: str, hidden: int, layers: int, tied: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, 13)
        self.recurrent = getattr(nn, cell.upper())(13, hidden, layers)
        self.head = nn.Linear(hidden, VOCAB, bias=False)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.head(self.recurrent(self.embedding(tokens.t()))[0])
        return out.transpose(0, 1)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("tied", [True, False])
def test_recurrent_models_equal_plain_torch(cell: str, tied: bool) -> None:
    hidden = 13 if tied else 11
    ours = build_model("rnn_lm", RNNLMConfig(cell=cell, n_layers=3, d_model=13, d_hidden=hidden, tied=tied), VOCAB)
    theirs = PlainRecurrent(cell, hidden, 3, tied)
    theirs.load_state_dict({**ours.state_dict(), **({"head.weight": ours.embedding.weight} if tied else {})})
    tokens, targets = torch.randint(0, VOCAB, (3, 9)), torch.randint(0, VOCAB, (3, 9))
    logits = theirs(tokens)
    output = ours(tokens).hidden
    torch.testing.assert_close(ours.logits(output), logits, atol=1e-5, rtol=1e-5)
    F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").backward()
    ours.nll(output.flatten(0, 1), targets.flatten()).sum().backward()
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs.get_parameter(name).grad, atol=1e-4, rtol=1e-4)
    assert _greedy(ours, tokens) == _greedy_plain(theirs, tokens)


@torch.no_grad()
def _greedy(model: Model, tokens: Tensor) -> list[list[int]]:
    hidden, state = model(tokens, state=model.init_state(len(tokens), 20))
    for _ in range(11):
        new = model.logits(hidden[:, -1:]).argmax(-1)
        tokens = torch.cat((tokens, new), 1)
        hidden, state = model(new, state=state)
    return tokens.tolist()


@torch.no_grad()
def _greedy_plain(model: PlainRecurrent, tokens: Tensor) -> list[list[int]]:
    for _ in range(11):
        tokens = torch.cat((tokens, model(tokens)[:, -1:].argmax(-1)), 1)
    return tokens.tolist()
