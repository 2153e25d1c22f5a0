"""Beam search against transformers' generate, over one and the same tiny Marian model with random weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from generation_cases import memory_of
from torch import Tensor, nn

from malgil.generation.beam import beam_search
from malgil.generation.settings import GenerationSettings
from malgil.models.base import EncoderDecoder, Memory, Output, State

VOCAB, BEGIN, END = 19, 0, 1
SOURCES = [[5, 12, 8, 2, 1], [7, 1], [3, 9, 4, 11, 6, 15, 1], [12, 12, 1]]


class Rows:
    """A state of tensors with a row each."""

    row_dim = 0

    def __init__(self, *tensors: Tensor) -> None:
        self.parts = tensors

    def select(self, rows: Tensor) -> Rows:
        return Rows(*(t.index_select(0, rows) for t in self.parts))

    def detach(self) -> Rows:
        return self

    def tensors(self) -> list[Tensor]:
        return list(self.parts)

    def with_tensors(self, tensors: list[Tensor]) -> Rows:
        return Rows(*tensors)


class Borrowed(EncoderDecoder):
    """transformers' model, which reads all tokens so far anew at every step."""

    def __init__(self, borrowed: Any) -> None:
        super().__init__()
        self.borrowed = borrowed
        self.vocab_size = self.source_vocab_size = VOCAB
        self.d_model, self.context, self.source_context = borrowed.config.d_model, 30, 30
        self.embedding = nn.Embedding(1, 1)

    def head_weight(self) -> Tensor:
        weight: Tensor = self.borrowed.lm_head.weight
        return weight

    def head_bias(self) -> Tensor:
        bias: Tensor = self.borrowed.final_logits_bias[0]
        return bias

    def encode(self, source: Tensor, *, source_mask: Tensor | None = None) -> Memory:
        assert source_mask is not None
        read = self.borrowed.get_encoder()(source, attention_mask=source_mask.long())
        return Memory(read.last_hidden_state, source_mask)

    def init_state(self, memory: Memory, max_len: int) -> State:
        return Rows(torch.zeros(len(memory.mask), 0, dtype=torch.long), memory.hidden, memory.mask)

    def forward(self, tokens: Tensor, *, state: Any = None, **_: Any) -> Output:
        before, hidden, mask = state.parts
        tokens = torch.cat((before, tokens), dim=1)
        read = self.borrowed.get_decoder()(
            tokens, encoder_hidden_states=hidden, encoder_attention_mask=mask.long(), use_cache=False
        )
        return Output(read.last_hidden_state[:, -1:], Rows(tokens, hidden, mask))


@pytest.fixture(scope="module")
def marian() -> Any:
    from transformers import MarianConfig, MarianMTModel

    torch.manual_seed(3)
    config = MarianConfig(
        vocab_size=VOCAB,
        d_model=16,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        max_position_embeddings=30,
        pad_token_id=BEGIN,
        eos_token_id=END,
        decoder_start_token_id=BEGIN,
        forced_eos_token_id=None,
        init_std=0.5,
    )
    return MarianMTModel(config).eval()


@pytest.mark.slow
@pytest.mark.parametrize("beam", [2, 5])
@pytest.mark.parametrize(("liking", "reason"), [(0.0, "length"), (4.0, "end")])
def test_the_same_hypotheses_with_the_same_scores(marian: Any, beam: int, liking: float, reason: str) -> None:
    marian.final_logits_bias[0, END] = liking
    longest = max(map(len, SOURCES))
    padded = torch.tensor([source + [0] * (longest - len(source)) for source in SOURCES])
    mask = (torch.arange(longest) < torch.tensor([[len(source)] for source in SOURCES])).long()
    made = marian.generate(
        padded,
        attention_mask=mask,
        num_beams=beam,
        num_return_sequences=beam,
        do_sample=False,
        max_new_tokens=10,
        length_penalty=0.0,  # its penalty has another form
        bad_words_ids=[[BEGIN]],  # the token that begins a translation is never a part of it
        renormalize_logits=True,
        forced_eos_token_id=None,
        return_dict_in_generate=True,
        output_scores=True,
    )
    expected = [[i for i in row if i not in (BEGIN, END)] for row in made.sequences[:, 1:].tolist()]

    settings = GenerationSettings(max_tokens=10, beam=beam, n_best=beam, length_penalty=0.0)
    model = Borrowed(marian).eval()
    found = beam_search(model, memory_of(model, SOURCES), settings, begin_id=BEGIN, end_ids=[END])
    hypotheses = [h for of_source in found for h in of_source]
    assert [[i for i in h.ids if i != BEGIN] for h in hypotheses] == expected
    assert [h.score for h in hypotheses] == pytest.approx(made.sequences_scores.tolist(), abs=1e-4)
    assert {h.finish_reason for h in hypotheses} == {reason}
