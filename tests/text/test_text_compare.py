"""The comparison of tokenizers, English and Korean side by side."""

from __future__ import annotations

import unicodedata

import pytest

from malgil.errors import DataError
from malgil.text.compare import Figures, Row, compare_tokenizers, to_text
from malgil.text.settings import KINDS

SAMPLES = {"English": "the lazy dog (again), and the fox.\n", "한국어": "다람쥐는 쳇바퀴를 돌리고, 뷁."}


def test_every_kind_and_size_is_measured_on_every_language(text: str) -> None:
    rows = compare_tokenizers([text], SAMPLES, vocab_sizes=(300, 420))
    assert [row.kind for row in rows] == [k for k in KINDS for _ in range(1 if k in ("char", "byte") else 2)]
    byte = next(row for row in rows if row.kind == "byte")
    assert byte.languages["한국어"].tokens_per_byte == 1
    assert byte.languages["한국어"].tokens_per_character == pytest.approx(len(SAMPLES["한국어"].encode()) / 17)
    char = next(row for row in rows if row.kind == "char")
    assert char.languages["English"].tokens_per_character == 1
    assert char.languages["한국어"].unknown_rate == pytest.approx(1 / 17)
    assert [r.languages["한국어"].round_trip for r in rows if r.kind in ("byte", "bpe", "unigram")] == ["exact"] * 5
    assert {r.languages["한국어"].round_trip for r in rows if r.kind in ("char", "word", "wordpiece")} == {"lossy"}
    small, large = (row for row in rows if row.kind == "bpe")
    assert small.vocab_size < large.vocab_size
    assert small.languages["English"].tokens_per_character > large.languages["English"].tokens_per_character
    assert all(row.train_seconds > 0 and f.encode_mb_per_second > 0 for row in rows for f in row.languages.values())


def test_decomposed_text_is_reported_as_normalized(text: str) -> None:
    jamo = {"jamo": unicodedata.normalize("NFD", "다람쥐")}
    assert compare_tokenizers([text], jamo, kinds=["bpe"])[0].languages["jamo"].round_trip == "normalized"
    kept = compare_tokenizers([text], jamo, kinds=["bpe"], normalization="none")
    assert kept[0].languages["jamo"].round_trip == "exact"


def test_the_table_lines_up_on_a_terminal() -> None:
    figures = Figures(0.5, 0.25, 0.125, "lossy", 3.25)
    table = to_text(
        [Row("word", 4096, 1.5, {"English": figures, "한국어": figures}), Row("bpe", 300, 12.25, {"한국어": figures})]
    )
    lines = table.splitlines()
    assert len(lines) == 4
    columns = [sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line) for line in lines]
    assert len(set(columns)) == 1
    assert lines[1].split() == ["word", "4,096", "1.50", "English", "0.500", "0.250", "12.50%", "lossy", "3.2"]
    assert lines[2].split()[0] == "한국어"


def test_an_empty_sample_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="한국어"):
        compare_tokenizers([text], {"한국어": ""}, kinds=["byte"])
