"""Text to text: order, blank lines, long sources, samples and hypotheses, streams, and one line for a line."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from malgil.errors import ConfigError
from malgil.generation.settings import GenerationSettings
from malgil.generation.translation import (
    Translation,
    batches_of_similar_length,
    line,
    stream_translations,
    translate_text,
)
from malgil.layers.state import RecurrentState
from malgil.models import build_model, family
from malgil.models.base import EncoderDecoder, Memory, Output, State
from malgil.text.settings import TokenizerSettings
from malgil.text.tokenizer import Tokenizer
from malgil.text.training import train_tokenizer

GREEDY = GenerationSettings(max_tokens=60, temperature=0)
BEAM = GenerationSettings(max_tokens=20, temperature=0, beam=4, n_best=3)
TEXTS = ["나는 집에 간다.", "", "the cat", " \t ", "말길이 트인다 👩‍👧", "a"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["가나다"], TokenizerSettings(kind="byte"))


class Echo(EncoderDecoder):
    """Writes its source again, its end included, and then ends for ever.

    Args:
        context: of source and target.
    """

    def __init__(self, vocab_size: int, context: int | None = None) -> None:
        super().__init__()
        self.d_model, self.vocab_size, self.source_vocab_size = 1, vocab_size, vocab_size
        self.context = self.source_context = context
        self.embedding = torch.nn.Embedding(vocab_size, 1)
        self.sources_read: list[tuple[int, ...]] = []

    def head_weight(self) -> Tensor:
        raise AssertionError("has no head")

    def encode(self, source: Tensor, *, source_mask: Tensor | None = None) -> Memory:
        self.sources_read.append(tuple(source.shape))
        mask = torch.ones_like(source, dtype=torch.bool) if source_mask is None else source_mask
        lengths = mask.sum(dim=1, keepdim=True)
        ends = source.gather(1, lengths - 1)
        return Memory(torch.where(mask, source, ends)[:, :, None].float(), mask)

    def init_state(self, memory: Memory, max_len: int) -> State:
        return RecurrentState(torch.cat((torch.zeros(len(memory.mask), 1), memory.hidden[:, :, 0]), dim=1)[None])

    def forward(self, tokens: Tensor, *, state: Any = None, **_: Any) -> Output:
        (memory,) = state.parts
        place = memory[0, :, :1].long() + 1
        token = memory[0].gather(1, place.clamp(max=memory.shape[2] - 1))
        return Output(token[:, None], RecurrentState(torch.cat((place, memory[0, :, 1:]), dim=1)[None]))

    def logits(self, hidden: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(hidden[:, 0].long(), self.vocab_size) * 40.0


def random_model(tokenizer: Tokenizer, context: int = 50) -> EncoderDecoder:
    config = family("seq2seq").config(d_model=12, attention="general", max_len=context)
    model = build_model("seq2seq", config, tokenizer.vocab_size)
    assert isinstance(model, EncoderDecoder)
    return model


@pytest.mark.parametrize("settings", [GREEDY, replace(GREEDY, beam=3), replace(GREEDY, temperature=1.0)])
def test_a_line_comes_out_for_every_line(tokenizer: Tokenizer, settings: GenerationSettings) -> None:
    made = translate_text(Echo(tokenizer.vocab_size), tokenizer, tokenizer, TEXTS, settings)
    assert [t.source for t in made] == TEXTS
    assert [t.text for t in made] == [text.strip(" \t") for text in TEXTS]
    assert {t.finish_reason for t in made} == {"end"}
    assert not any(t.cut for t in made)
    assert translate_text(Echo(tokenizer.vocab_size), tokenizer, tokenizer, [], settings) == []


def test_sources_are_read_once_in_batches_of_similar_length(tokenizer: Tokenizer) -> None:
    model = Echo(tokenizer.vocab_size)
    translate_text(model, tokenizer, tokenizer, TEXTS, replace(GREEDY, beam=2), tokens_per_batch=100)
    assert model.sources_read == [(1, 32), (2, 22), (1, 2)]


@pytest.mark.parametrize("settings", [replace(GREEDY, max_tokens=20), BEAM])
def test_batches_change_nothing(tokenizer: Tokenizer, settings: GenerationSettings) -> None:
    model = random_model(tokenizer)
    expected = [translate_text(model, tokenizer, tokenizer, [text], settings)[0] for text in TEXTS]
    for budget in (1, 150, 10_000):
        made = translate_text(model, tokenizer, tokenizer, TEXTS, settings, tokens_per_batch=budget)
        assert [(t.text, t.source, t.cut) for t in made] == [(t.text, t.source, t.cut) for t in expected]
        assert [[h.text for h in t.hypotheses] for t in made] == [[h.text for h in t.hypotheses] for t in expected]


def test_hypotheses_come_best_first(tokenizer: Tokenizer) -> None:
    (made, blank) = translate_text(random_model(tokenizer), tokenizer, tokenizer, ["가자", " "], BEAM)
    scores = [h.score for h in made.hypotheses]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert made.text == made.hypotheses[0].text
    assert blank == Translation("", " ", [("", 0.0)] * 3, "end", False)  # type: ignore[list-item]


def test_greedy_and_beams_score_alike(tokenizer: Tokenizer) -> None:
    model = random_model(tokenizer)
    settings = replace(GREEDY, max_tokens=3, length_penalty=0.6)
    (greedy,) = translate_text(model, tokenizer, tokenizer, ["가자"], settings)
    found = translate_text(model, tokenizer, tokenizer, ["가자"], replace(settings, beam=300, n_best=300))[0]
    assert greedy.hypotheses[0].score <= found.hypotheses[0].score + 1e-6
    assert any(h.score == pytest.approx(greedy.hypotheses[0].score, abs=1e-5) for h in found.hypotheses)


def test_samples_differ_and_repeat(tokenizer: Tokenizer) -> None:
    model = random_model(tokenizer)
    settings = GenerationSettings(max_tokens=12, temperature=1.0, samples=3)
    made = translate_text(model, tokenizer, tokenizer, ["가자", "b"], settings)
    assert [len({h.text for h in t.hypotheses}) for t in made] == [3, 3]
    assert made == translate_text(model, tokenizer, tokenizer, ["가자", "b"], settings)


@pytest.mark.parametrize("beam", [1, 3])
def test_a_source_longer_than_the_context_is_cut_and_said_so(tokenizer: Tokenizer, beam: int) -> None:
    model = Echo(tokenizer.vocab_size, context=7)
    made = translate_text(model, tokenizer, tokenizer, ["가나다", "가나"], replace(GREEDY, beam=beam))
    assert [(t.text, t.cut, t.source) for t in made] == [("가나", 3, "가나다"), ("가나", 0, "가나")]
    assert model.sources_read == [(2, 7)]


def test_line_breaks_become_spaces_and_half_characters_nothing(tokenizer: Tokenizer) -> None:
    assert line(tokenizer, tokenizer.encode("하나\n둘\r\n셋\u2028넷")) == "하나 둘 셋 넷"
    assert line(tokenizer, tokenizer.encode("하나")[:-1]) == "하"
    assert line(tokenizer, [tokenizer.end_id, *tokenizer.encode("둘")]) == "둘"
    made = translate_text(
        Echo(tokenizer.vocab_size), tokenizer, tokenizer, ["길이"], replace(GREEDY, beam=2, max_tokens=5)
    )
    assert (made[0].text, made[0].finish_reason) == ("길", "length")


@pytest.mark.parametrize("batch", [1, 2, 10])
def test_a_stream_answers_each_chunk_before_it_asks_for_more(tokenizer: Tokenizer, batch: int) -> None:
    asked: list[int] = []

    def lines() -> Iterator[str]:
        for n in itertools.count(1):
            asked.append(n)
            yield "말길 " + "가" * (n % 4)

    model = Echo(tokenizer.vocab_size)
    stream = stream_translations(model, tokenizer, tokenizer, lines(), GREEDY, batch=batch)
    for n in range(1, 8):
        assert next(stream).text == "말길 " + "가" * (n % 4)
        assert len(asked) == -(-n // batch) * batch


def test_a_stream_ends_with_its_lines(tokenizer: Tokenizer) -> None:
    model = Echo(tokenizer.vocab_size)
    made = list(stream_translations(model, tokenizer, tokenizer, iter(TEXTS), replace(GREEDY, beam=2), batch=4))
    assert [t.source for t in made] == TEXTS


def test_each_side_may_have_its_own_tokenizer(tokenizer: Tokenizer) -> None:
    words = train_tokenizer(["하나 둘 셋 넷"] * 3, TokenizerSettings(kind="word"))
    config = family("seq2seq").config(d_model=12)
    model = build_model("seq2seq", config, tokenizer.vocab_size, words.vocab_size)
    assert isinstance(model, EncoderDecoder)
    seen: list[Tensor] = []
    encode = model.encode
    model.encode = lambda source, **given: seen.append(source) or encode(source, **given)  # type: ignore[method-assign, func-returns-value]
    translate_text(model, words, tokenizer, ["둘 하나"], BEAM)
    assert seen[0].tolist() == [[*words.encode("둘 하나"), words.end_id]]
    with pytest.raises(ConfigError, match=r"source tokenizer has \d+ tokens, the model \d+.*source's first"):
        translate_text(model, tokenizer, words, ["둘"], BEAM)


def test_stop_texts_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match=r"generation\.stop"):
        translate_text(Echo(tokenizer.vocab_size), tokenizer, tokenizer, ["가"], replace(GREEDY, stop=["끝"]))


@pytest.mark.parametrize("beam", [1, 3])
def test_bf16_works_on_a_copy(tokenizer: Tokenizer, beam: int) -> None:
    model = random_model(tokenizer)
    before = [p.clone() for p in model.parameters()]
    settings = replace(GREEDY, max_tokens=6, beam=beam, precision="bf16")
    made = translate_text(model, tokenizer, tokenizer, TEXTS, settings)
    assert [bool(t.text) or not t.source.strip() for t in made].count(True) >= 4
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_mode_and_global_generator_stay(tokenizer: Tokenizer) -> None:
    config = family("seq2seq").config(d_model=12, dropout=0.5)
    model = build_model("seq2seq", config, tokenizer.vocab_size).train()
    assert isinstance(model, EncoderDecoder)
    generator = torch.get_rng_state()
    made = translate_text(model, tokenizer, tokenizer, TEXTS, BEAM)
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(module.training for module in model.modules())
    assert made == translate_text(model.eval(), tokenizer, tokenizer, TEXTS, BEAM)


def test_no_place_is_lost_in_batches() -> None:
    lengths = [3, 0, 9, 1, 4, 4, 0, 12, 2]
    for tokens in (1, 8, 12, 1000):
        batches = list(batches_of_similar_length(lengths, tokens))
        assert sorted(i for batch in batches for i in batch) == [0, 2, 3, 4, 5, 7, 8]
        assert all(len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= tokens for batch in batches)
