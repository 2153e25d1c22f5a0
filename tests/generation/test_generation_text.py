"""Text in, text out: whole characters only, stop texts across tokens, and streams equal to the whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from generation_cases import Reciter

from malgil.errors import ContextLengthError, InputError
from malgil.generation.settings import GenerationSettings
from malgil.generation.text import generate_text, stream_text
from malgil.models import build_model, family
from malgil.models.base import CausalLM
from malgil.text.settings import TokenizerSettings
from malgil.text.tokenizer import Tokenizer
from malgil.text.training import train_tokenizer

SETTINGS = GenerationSettings(max_tokens=120, temperature=0)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["가나다"], TokenizerSettings(kind="byte"))


def reciter(tokenizer: Tokenizer, text: str, *, ends: bool = True) -> Reciter:
    """A model that writes the text and then, if it ends, the end token; else without end the bytes of '가'."""
    tail = [tokenizer.end_id] if ends else tokenizer.encode("가") * 50
    return Reciter({None: tokenizer.encode(text) + tail}, tokenizer.vocab_size)


def random_model(tokenizer: Tokenizer, context: int = 40) -> CausalLM:
    config = family("gpt2").config(n_layers=1, n_heads=2, d_model=12, max_len=context)
    model = build_model("gpt2", config, tokenizer.vocab_size)
    assert isinstance(model, CausalLM)
    return model


def test_a_text_comes_back_with_its_end(tokenizer: Tokenizer) -> None:
    model = reciter(tokenizer, "말길이 트인다. 👩‍👧 ok")
    (made,) = generate_text(model, tokenizer, ["처음"], SETTINGS)
    assert (made.text, made.finish_reason, made.prompt) == ("말길이 트인다. 👩‍👧 ok", "end", "처음")
    assert made.ids == tokenizer.encode(made.text)
    assert made.logprob == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 4, 5, 7])
def test_a_character_cut_by_the_limit_is_left_out(tokenizer: Tokenizer, max_tokens: int) -> None:
    settings = replace(SETTINGS, max_tokens=max_tokens)
    (made,) = generate_text(reciter(tokenizer, "말길이 트인다"), tokenizer, [""], settings)
    assert made.text == "말길이"[: max_tokens // 3]
    assert (len(made.ids), made.finish_reason) == (max_tokens, "length")


def test_the_stream_shows_whole_characters_as_they_come(tokenizer: Tokenizer) -> None:
    pieces = list(stream_text(reciter(tokenizer, "말 ㅋㅋ👍!"), tokenizer, "", SETTINGS))
    assert pieces == ["말", " ", "ㅋ", "ㅋ", "👍", "!"]


def test_a_stop_text_is_found_across_tokens_and_cut_off(tokenizer: Tokenizer) -> None:
    model = reciter(tokenizer, "나는 말한다.\n너: 듣는다", ends=False)
    settings = replace(SETTINGS, stop=["\n너:", "듣는"])
    (made,) = generate_text(model, tokenizer, [""], settings)
    assert (made.text, made.finish_reason) == ("나는 말한다.", "stop")
    assert tokenizer.decode(made.ids) == "나는 말한다.\n너:"
    assert len(model.rows_read) == len(made.ids)
    pieces = list(stream_text(reciter(tokenizer, "나는 말한다.\n너: 듣는다"), tokenizer, "", settings))
    assert "".join(pieces) == made.text
    assert "\n" not in "".join(pieces)


def test_a_stop_text_with_the_last_token_counts(tokenizer: Tokenizer) -> None:
    settings = replace(SETTINGS, max_tokens=6, stop=["길"])
    (made,) = generate_text(reciter(tokenizer, "말길이"), tokenizer, [""], settings)
    assert (made.text, made.finish_reason) == ("말", "stop")


def test_an_unfinished_stop_text_is_shown_in_the_end(tokenizer: Tokenizer) -> None:
    settings = replace(SETTINGS, stop=["그만하자"])
    (made,) = generate_text(reciter(tokenizer, "이제 그만"), tokenizer, [""], settings)
    assert (made.text, made.finish_reason) == ("이제 그만", "end")


def test_each_row_stops_by_itself(tokenizer: Tokenizer) -> None:
    one, other = tokenizer.encode("12")
    texts: dict[int | None, list[int]] = {
        one: tokenizer.encode("하나. 둘"),
        other: [*tokenizer.encode("셋"), tokenizer.end_id],
    }
    model = Reciter(texts, tokenizer.vocab_size)
    made = generate_text(model, tokenizer, ["1", "가2"], replace(SETTINGS, stop=["."], samples=2))
    assert [(c.prompt, c.text, c.finish_reason) for c in made] == [("1", "하나", "stop")] * 2 + [
        ("가2", "셋", "end")
    ] * 2


@pytest.mark.parametrize("seed", range(4))
def test_joined_pieces_are_the_whole_text(tokenizer: Tokenizer, seed: int) -> None:
    """Random bytes: invalid ones become U+FFFD in both ways alike."""
    model = random_model(tokenizer)
    settings = GenerationSettings(max_tokens=90, temperature=1.0, seed=seed, stop=["e"])
    (made,) = generate_text(model, tokenizer, ["한글"], settings)
    assert "".join(stream_text(model, tokenizer, "한글", settings)) == made.text
    assert len(made.text) > 3
    assert "e" not in made.text


def test_the_empty_prompt_begins_a_document(tokenizer: Tokenizer) -> None:
    model = random_model(tokenizer)
    seen: list[torch.Tensor] = []
    model.embedding.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    generate_text(model, tokenizer, ["", "가"], replace(SETTINGS, max_tokens=1))
    assert seen[0].tolist()[0][0] == tokenizer.begin_id
    assert seen[0].tolist()[1] == [tokenizer.begin_id, *tokenizer.encode("가")]


def test_errors_come_before_the_first_piece(tokenizer: Tokenizer) -> None:
    model = random_model(tokenizer, context=9)
    with pytest.raises(ContextLengthError, match=r"10 tokens.*9"):
        stream_text(model, tokenizer, "가나다", SETTINGS)
    with pytest.raises(InputError, match=r"generation\.samples"):
        stream_text(model, tokenizer, "가", replace(SETTINGS, samples=2))


def test_a_stream_may_be_left_early(tokenizer: Tokenizer) -> None:
    model = random_model(tokenizer).train()
    stream = stream_text(model, tokenizer, "가", replace(SETTINGS, temperature=1.0))
    next(stream)
    assert model.training
    assert not torch.is_inference_mode_enabled()
    del stream
    assert model.training
