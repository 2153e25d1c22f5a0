"""Streams: whole characters only, together exactly `decode`, for any ids of any kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from malgil.text.tokenizer import Tokenizer

FAMILY = "👩‍👩‍👧‍👦"


def pushed(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    stream = tokenizer.stream()
    return [*(stream.push(i) for i in ids), stream.finish()]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_pushes_and_finish_are_decode_for_any_ids(tokenizer: Tokenizer, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=25))
    assert "".join(pushed(tokenizer, ids)) == tokenizer.decode(ids)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    raw=st.lists(
        st.one_of(st.binary(max_size=4), st.sampled_from(["가".encode(), "🙂".encode()[:3], b"\xe0\x80", b"\xf4\x90"]))
    )
)
def test_invalid_utf8_streams_as_it_decodes(make: Callable[..., Tokenizer], raw: list[bytes]) -> None:
    data = b"".join(raw)
    tokenizer = make("byte")
    assert tokenizer.decode(list(data)) == data.decode("utf-8", "replace") == tokenizer._backend.decode(list(data))
    assert "".join(pushed(tokenizer, list(data))) == tokenizer.decode(list(data))


def test_characters_come_whole_and_at_once(make: Callable[..., Tokenizer]) -> None:
    tokenizer = make("byte")
    assert pushed(tokenizer, tokenizer.encode("a가🙂")) == ["a", "", "", "가", "", "", "", "🙂", ""]
    assert pushed(tokenizer, tokenizer.encode("가")[:2]) == ["", "", "\ufffd"]


@pytest.mark.parametrize("sample", ["여우는 개를 (넘는다), ㅋㅋ.\n다람쥐", "the dog (again), the fox.", FAMILY])
def test_no_push_holds_a_part_of_a_character(tokenizer: Tokenizer, sample: str) -> None:
    ids = tokenizer.encode(sample)
    parts = pushed(tokenizer, ids)
    assert "\ufffd" not in "".join(parts)
    assert "".join(parts) == tokenizer.decode(ids)
    assert parts[-1] == ""


def test_unigram_bytes_are_decoded_one_by_one(make: Callable[..., Tokenizer]) -> None:
    tokenizer = make("unigram")
    ids = tokenizer.encode("뷁")
    assert len(ids) == 3
    assert tokenizer.decode([*ids, ids[0]]) == "뷁\ufffd"
    assert tokenizer.decode(ids[:2]) == "\ufffd\ufffd"


def test_special_tokens_in_a_stream_add_nothing_and_begin_nothing(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("the dog")
    mixed = [tokenizer.begin_id, *ids[:1], tokenizer.end_id, *ids[1:]]
    assert "".join(pushed(tokenizer, mixed)) == tokenizer.decode(ids) == "the dog"


def test_a_push_costs_the_same_late_as_early(make: Callable[..., Tokenizer]) -> None:
    stream = make("bpe").stream()
    ids = make("bpe").encode("다람쥐 the dog ") * 2000
    for i in ids:
        stream.push(i)
    kept = [value for value in vars(stream).values() if isinstance(value, (bytes, str, list))]
    assert sum(map(len, kept)) < 50
