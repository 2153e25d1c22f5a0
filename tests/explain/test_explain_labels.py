"""Labels of tokens: readable, one each, for every kind of tokenizer."""

from __future__ import annotations

import unicodedata

import pytest

from malgil.errors import InputError
from malgil.explain.labels import token_labels
from malgil.text.settings import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_a_label_for_each_token(make, kind: str) -> None:
    tokenizer = make(kind)
    ids = [tokenizer.begin_id, *tokenizer.encode("옛날 옛적에 호랑이가 tigers"), tokenizer.end_id]
    labels = token_labels(tokenizer, ids)
    assert len(labels) == len(ids)
    assert labels[0] == "<s>"
    assert labels[-1] == "</s>"
    assert all(label and " " not in label and unicodedata.is_normalized("NFC", label) for label in labels)


@pytest.mark.parametrize("kind", ["char", "bpe", "unigram", "wordpiece"])
def test_joined_labels_spell_the_text(make, kind: str) -> None:
    tokenizer = make(kind)
    labels = token_labels(tokenizer, tokenizer.encode("once upon tigers"))
    assert "".join(labels).lstrip("·") == "once·upon·tigers"


def test_whole_words_need_no_marks(make) -> None:
    tokenizer = make("word")
    ids = tokenizer.encode("옛날 호랑이가\n달린다 smoked")
    assert token_labels(tokenizer, ids) == ["옛날", "호랑이가", "↵", "<unk>", "smoked"]


def test_parts_of_a_character_are_numbered(make) -> None:
    tokenizer = make("byte")
    labels = token_labels(tokenizer, tokenizer.encode("한 é\n\t😀"))
    assert labels == ["한¹", "한²", "한³", "·", "é¹", "é²", "↵", "⇥", "😀¹", "😀²", "😀³", "😀⁴"]


def test_bytes_without_a_character(make) -> None:
    tokenizer = make("byte")
    assert token_labels(tokenizer, tokenizer.encode("가")[:2]) == ["\ufffd", "\ufffd"]


def test_an_id_that_is_no_token(make) -> None:
    with pytest.raises(InputError, match="999999"):
        token_labels(make("byte"), [999_999])
