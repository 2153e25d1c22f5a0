"""Tiny models of every family, references that decode without any state, a reciter, and a toy that translates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from malgil.layers.state import RecurrentState
from malgil.models import FAMILIES, build_model, family
from malgil.models.base import CausalLM, EncoderDecoder, Memory, Model, Output, State

VOCAB = 29
SOURCE_VOCAB = 23
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
_TRANSLATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "seq2seq": ("seq2seq", {"cell": "gru", "d_model": 13, "reverse_source": True}),
    "bahdanau": ("seq2seq", {"d_model": 11, "attention": "concat", "wiring": "bahdanau", "bidirectional": True}),
    "luong": ("seq2seq", {"d_model": 13, "attention": "dot", "input_feeding": True}),
    "transformer": ("transformer", _ATTENTION),
    "transformer_modern": ("transformer_modern", {**_ATTENTION, "n_heads": 2, "d_model": 16}),
}
_listed = {name for name, _ in [*_WIRINGS.values(), *_TRANSLATORS.values()]}
_translate = {name for name, listed in FAMILIES.items() if issubclass(listed.model, EncoderDecoder)}
_write = {name for name, listed in FAMILIES.items() if issubclass(listed.model, CausalLM)}
WIRINGS = {**_WIRINGS, **{name: (name, {}) for name in _write - _listed}}
TRANSLATORS = {**_TRANSLATORS, **{name: (name, {}) for name in _translate - _listed}}
ATTENTION = [case for case, (name, _) in WIRINGS.items() if name != "rnn_lm"]


def tiny(case: str, **changed: Any) -> CausalLM:
    """A model whose next tokens depend strongly on what came before, in evaluation mode."""
    name, settings = WIRINGS[case]
    model = _tiny(name, {**settings, **changed}, VOCAB)
    assert isinstance(model, CausalLM)
    return model


def tiny_translator(case: str, vocab_size: int = VOCAB, **changed: Any) -> EncoderDecoder:
    """The same, of a model that reads a source in a vocabulary of its own."""
    name, settings = TRANSLATORS[case]
    model = _tiny(name, {**settings, **changed}, vocab_size, SOURCE_VOCAB, least_dim=2)
    assert isinstance(model, EncoderDecoder)
    return model


def _tiny(name: str, settings: dict[str, Any], *vocab_sizes: int, least_dim: int = 1) -> Model:
    """With noise on weights of at least so many dimensions: that on a last bias would drown what a source says."""
    torch.manual_seed(4)
    model = build_model(name, family(name).config(**settings), *vocab_sizes).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= least_dim:
                parameter.add_(torch.randn_like(parameter) * 0.4)
    return model


def memory_of(model: EncoderDecoder, sources: Sequence[Sequence[int]]) -> Memory:
    """Sources of any lengths, padded and encoded."""
    longest = max(map(len, sources))
    padded = torch.tensor([[*source, *[0] * (longest - len(source))] for source in sources])
    mask = torch.arange(longest) < torch.tensor([[len(source)] for source in sources])
    with torch.no_grad():
        return model.encode(padded, source_mask=mask)


def next_logprobs(
    model: EncoderDecoder, source: Sequence[int], begin: int, ids: Sequence[int], ends: Sequence[int] = ()
) -> list[float]:
    """log p of every next token (V) behind a beginning, all of it read anew; `begin` can only follow as an end."""
    with torch.no_grad():
        hidden = model(torch.tensor([[begin, *ids]]), memory=memory_of(model, [source])).hidden
        logits = model.logits(hidden[0, -1]).double()
    if begin not in ends:
        logits[begin] = -torch.inf
    scores: list[float] = logits.log_softmax(-1).tolist()
    return scores


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


class ToyTranslator(EncoderDecoder):
    """A recurrent cell that begins with the mean of the source; every score depends on all that came before.

    Args:
        bias: of each token, for models that like to end or do not.
    """

    def __init__(self, vocab_size: int, *, bias: Sequence[float] | None = None, context: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(vocab_size)
        self.d_model, self.vocab_size, self.context = 9, vocab_size, context
        self.source_vocab_size, self.source_context = SOURCE_VOCAB, context
        self.embedding = nn.Embedding(vocab_size, 9)
        self.source_embedding = nn.Embedding(SOURCE_VOCAB, 9)
        self.cell = nn.GRU(9, 9, batch_first=True)
        self.bias = torch.zeros(vocab_size) if bias is None else torch.tensor(bias)
        self.rows_read: list[int] = []
        with torch.no_grad():
            for parameter in self.cell.parameters():
                parameter.mul_(4.0)

    def head_weight(self) -> Tensor:
        return self.embedding.weight

    def head_bias(self) -> Tensor:
        return self.bias.to(self.embedding.weight.dtype)

    def encode(self, source: Tensor, *, source_mask: Tensor | None = None) -> Memory:
        mask = torch.ones_like(source, dtype=torch.bool) if source_mask is None else source_mask
        hidden = self.source_embedding(source) * mask[:, :, None]
        return Memory(hidden, mask, (hidden.sum(dim=1) / mask.sum(dim=1, keepdim=True),))

    def init_state(self, memory: Memory, max_len: int) -> State:
        return RecurrentState(memory.final[0][None])

    def forward(
        self,
        tokens: Tensor,
        *,
        token_mask: Tensor | None = None,
        memory: Memory | None = None,
        state: State | None = None,
    ) -> Output:
        state = self.init_state(memory, 0) if memory is not None else state
        assert isinstance(state, RecurrentState)
        self.rows_read.append(len(tokens))
        hidden, last = self.cell(self.embedding(tokens), state.parts[0])
        return Output(hidden, RecurrentState(last))


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
