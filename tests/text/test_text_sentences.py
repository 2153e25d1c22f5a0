"""Where sentences end, in tokens of every kind."""

from __future__ import annotations

import doctest
from itertools import pairwise

import numpy as np
import pytest

from malgil.text import sentences as module
from malgil.text.sentences import SentenceEnds
from malgil.text.settings import TokenizerSettings
from malgil.text.tokenizer import Tokenizer
from malgil.text.training import train_tokenizer

TEXT = "그가 말했다. “산은 높다.” 물은 3.14 배\n끝이다! (정말?) And then…\n\n물이 흐른다.어디로"
ENDS = [
    "그가 말했다.",
    " “산은 높다.”",
    " 물은 3.14 배\n",
    "끝이다!",
    " (정말?)",
    " And then…\n\n",
    "물이 흐른다.어디로",
]


def tokenizer(kind: str, text: str = TEXT) -> Tokenizer:
    return train_tokenizer([text * 4], TokenizerSettings(kind=kind, vocab_size=340, min_frequency=1))


def cut(made: Tokenizer, text: str) -> list[str]:
    ids = np.array(made.encode(text))
    stops = np.flatnonzero(SentenceEnds.of(made).behind(ids)) + 1
    texts = [made.decode(ids[:stop].tolist()) for stop in [0, *stops.tolist()]]
    return [whole[len(before) :] for before, whole in pairwise(texts)]


def test_doctests() -> None:
    result = doctest.testmod(module)
    assert result.attempted >= 1
    assert result.failed == 0


@pytest.mark.parametrize("kind", ["char", "bpe", "unigram"])
def test_stops_line_ends_and_what_closes_with_them(kind: str) -> None:
    assert cut(tokenizer(kind), TEXT) == ENDS


def test_bytes_know_only_the_stops_of_ascii() -> None:
    made = tokenizer("byte")
    assert cut(made, "산이다. 물? 강!\n끝") == ["산이다.", " 물?", " 강!\n", "끝"]
    assert cut(made, "산이다… 물") == ["산이다… 물"]


@pytest.mark.parametrize("kind", ["wordpiece", "word"])
def test_words_have_lost_their_spaces(kind: str) -> None:
    """Each begins with one, so that a stop within a word and one at its end cannot be told apart."""
    assert cut(tokenizer(kind), "그가 말했다. 물은 3.14 배\n끝이다! 물이") == [
        "그가 말했다.",
        " 물은 3.14 배\n",
        "끝이다!",
        " 물이",
    ]


def test_wide_stops_need_no_space() -> None:
    text = "山は高い。水は流れる！本当？はい"
    assert cut(tokenizer("char", text), text) == ["山は高い。", "水は流れる！", "本当？", "はい"]


def test_special_tokens_end_nothing_and_no_token_has_no_end() -> None:
    made = tokenizer("char").with_mask()
    ends = SentenceEnds.of(made)
    assert made.mask_id is not None
    assert ends.behind(np.array([made.begin_id, made.mask_id, made.end_id])).tolist() == [False, False, True]
    assert ends.behind(np.array([], dtype=np.int64)).tolist() == []
