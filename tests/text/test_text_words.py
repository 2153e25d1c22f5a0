"""Masks that a tokenizer is given, and which of its tokens make up a word together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from malgil.errors import ConfigError
from malgil.text.settings import KINDS
from malgil.text.tokenizer import Tokenizer
from malgil.text.words import Vocabulary

SENTENCE = "다람쥐는 쳇바퀴를 돌리고,\n여우는 (개를) 넘는다 the 2024."
WORDS = ["다람쥐는", "쳇바퀴를", "돌리고", ",", "여우는", "(", "개를", ")", "넘는다", "the", "2024", "."]


def test_a_mask_comes_last_and_changes_nothing_else(tokenizer: Tokenizer, text: str, tmp_path: Path) -> None:
    masked = tokenizer.with_mask()
    assert (masked.pad_id, masked.mask_id) == (tokenizer.vocab_size, tokenizer.vocab_size + 1)
    assert masked.vocab_size == tokenizer.vocab_size + 2
    roles = ("kind", "begin_id", "end_id", "unknown_id")
    assert [getattr(masked, role) for role in roles] == [getattr(tokenizer, role) for role in roles]
    written = f"{text} <|mask|> <|pad|>"  # in a text they are text
    assert masked.encode(written) == tokenizer.encode(written)
    assert masked.decode([*tokenizer.encode("여우"), masked.mask_id]) == tokenizer.decode(tokenizer.encode("여우"))
    assert masked.with_mask() is masked
    masked.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert (loaded.mask_id, loaded.pad_id, loaded.fingerprint) == (masked.mask_id, masked.pad_id, masked.fingerprint)


@pytest.mark.parametrize("kind", KINDS)
def test_words_are_what_stands_between_spaces_and_signs(kind: str, make: Callable[..., Tokenizer]) -> None:
    tokenizer = make(kind).with_mask()
    ids = np.array(tokenizer.encode(SENTENCE))
    begins = np.flatnonzero(Vocabulary.of(tokenizer).begins_word(ids))
    pieces = [tokenizer.decode(part.tolist()).strip() for part in np.split(ids, begins[1:])]
    assert [piece for piece in pieces if piece] == WORDS


def test_a_character_cut_into_bytes_stays_in_its_word(make: Callable[..., Tokenizer]) -> None:
    tokenizer = make("bpe").with_mask()
    ids = np.array(tokenizer.encode("갉작 뷁뷁"))  # neither is in the text that it was trained on
    assert len(ids) > 6
    assert Vocabulary.of(tokenizer).begins_word(ids).sum() == 2


def test_ordinary_tokens_are_neither_special_nor_unknown(tokenizer: Tokenizer) -> None:
    masked = tokenizer.with_mask()
    special = {masked.begin_id, masked.end_id, masked.unknown_id, masked.mask_id, masked.pad_id}
    assert set(Vocabulary.of(masked).ordinary.tolist()) == set(range(masked.vocab_size)) - special


def test_a_tokenizer_without_a_mask_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match="no token for what is hidden"):
        Vocabulary.of(tokenizer)
