"""Perplexity and bits per byte against their definitions."""

from __future__ import annotations

import json
import math

import pytest

from malgil.errors import InputError
from malgil.metrics.language import LanguageScore, bits_per_byte, perplexity


def test_guessing_evenly_has_the_perplexity_of_the_vocabulary():
    assert perplexity(math.log(4096)) == pytest.approx(4096)


def test_perplexity_beyond_a_float_is_infinite():
    assert perplexity(1e4) == math.inf
    assert math.isnan(perplexity(math.nan))


def test_guessing_bytes_evenly_costs_eight_bits_each():
    text = "말길을 따라 걷는다".encode()
    assert bits_per_byte(len(text) * math.log(256), len(text)) == pytest.approx(8)


@pytest.mark.parametrize("n_bytes", [0, -3])
def test_bits_of_an_empty_text_are_refused(n_bytes):
    with pytest.raises(InputError, match="bytes"):
        bits_per_byte(1.0, n_bytes)


def test_a_score_does_not_depend_on_how_the_text_is_cut():
    nll, n_bytes = 30.0, len("안녕하세요".encode())
    by_syllable, by_byte = (LanguageScore.from_sums(nll, tokens, n_bytes) for tokens in (5, n_bytes))
    assert by_syllable.loss == 6
    assert by_byte.loss == 2
    assert by_syllable.bits_per_byte == by_byte.bits_per_byte == pytest.approx(2 / math.log(2))
    assert by_syllable.not_comparable is None
    assert "not_comparable" not in by_syllable.to_dict()


def test_unknown_tokens_make_bits_not_comparable_and_say_so():
    score = LanguageScore.from_sums(21.0, tokens=7, n_bytes=15, unknown=3)
    assert score.bits_per_byte is None
    assert score.perplexity == pytest.approx(math.exp(3))
    assert score.to_dict()["not_comparable"] == "not comparable: 3 of 7 tokens (42.9 %) are unknown"


def test_a_score_is_valid_json_also_when_it_is_not_finite():
    score = LanguageScore.from_sums(1e6, tokens=5, n_bytes=11)
    found = json.loads(json.dumps(score.to_dict(), allow_nan=False))
    assert found["perplexity"] is None
    assert found["loss"] == 2e5
    assert found["bytes"] == 11


def test_no_tokens_are_refused():
    with pytest.raises(InputError, match="0 tokens"):
        LanguageScore.from_sums(0.0, tokens=0, n_bytes=3)
