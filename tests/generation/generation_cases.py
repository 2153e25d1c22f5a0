"""Tiny models of every family, a reference that decodes without any state, and a model that recites."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from malgil.layers.state import RecurrentState
from malgil.models import FAMILIES, build_model, family
from malgil.models.base import CausalLM, Output, State

VOCAB = 29
CONTEXT = 14
_ATTENTION = {"n_layers": 2, "n_heads": 3, "d_model": 18, "max_len": CONTEXT}
_WIRINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "rnn": ("rnn_lm", {"cell": "rnn", "d_model": 13}),
    "gru": ("rnn_lm", {"cell": "gru", "d_model": 13}),
    "lstm": ("rnn_lm", {"cell": "lstm", "d_model": 13, "n_layers": 3}),
    "gpt2": ("gpt2", _ATTENTION),
    "llama": ("llama", _ATTENTION),
    "qwen": ("llama", {**_ATTENTION, "n_heads": 6, "d_model": 24, "n_kv_heads": 2, "qk_norm": True, "tied": False}),
}
_listed = {name for name, _ in _WIRINGS.values()}
WIRINGS = {**_WIRINGS, **{name: (name, {}) for name in FAMILIES if name not in _listed}}
ATTENTION = [case for case, (name, _) in WIRINGS.items() if name != "rnn_lm"]


def tiny(case: str, **changed: Any) -> CausalLM:
    """A model whose next tokens depend strongly on what came before, in evaluation mode."""
    name, settings = WIRINGS[case]
    torch.manual_seed(4)
    model = build_model(name, family(name).config(**{**settings, **changed}), VOCAB).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.4)
    assert isinstance(model, CausalLM)
    return model


def greedy_without_state(model: CausalLM, prompt: Sequence[int], count: int) -> list[int]:
    """argmax after re-reading, for each new token, everything that the model may see.

    That is all of it, or with a full context what has come since the newer half of it was kept.
    """
    ids, first = list(prompt), 0
    for _ in range(count):
        if model.context is not None and len(ids) - first > model.context:
            first = len(ids) - max(1, model.context // 2)
        with torch.no_grad():
            hidden = model(torch.tensor([ids[first:]])).hidden
            ids.append(int(model.logits(hidden[:, -1]).argmax()))
    return ids[len(prompt) :]


class Reciter(CausalLM):
    """Says texts that are known beforehand, with certainty.

    Args:
        texts: the ids to be said, by the last token of the prompt; None: for all other prompts.
    """

    def __init__(self, texts: dict[int | None, list[int]], vocab_size: int) -> None:
        super().__init__()
        self.d_model, self.vocab_size, self.context = 2, vocab_size, None
        self.embedding = nn.Embedding(vocab_size, 2)
        self.texts = texts
        self.rows_read: list[int] = []

    def head_weight(self) -> Tensor:
        raise AssertionError("has no head")

    def init_state(self, batch_size: int, max_len: int) -> State:
        return RecurrentState(torch.full((1, batch_size, 2), -1.0))  # which text, and the place in it

    def forward(
        self,
        tokens: Tensor,
        *,
        token_mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        state: State | None = None,
    ) -> Output:
        assert isinstance(state, RecurrentState)
        (memory,) = state.parts
        which, place = memory[0, :, 0], memory[0, :, 1]
        last = torch.full_like(tokens[:, 0], -1) if token_mask is None else token_mask.sum(dim=1) - 1
        which = torch.where(which < 0, tokens[torch.arange(len(tokens)), last], which)
        self.rows_read.append(len(tokens))
        after = torch.stack((which, place + 1), dim=-1)
        return Output(after[:, None].expand(-1, tokens.shape[1], -1), RecurrentState(after[None]))

    def logits(self, hidden: Tensor) -> Tensor:
        scores = torch.full((len(hidden), self.vocab_size), -40.0)
        for row, (which, place) in enumerate(hidden.long().tolist()):
            scores[row, self.texts.get(which, self.texts.get(None, []))[place]] = 40.0
        return scores
