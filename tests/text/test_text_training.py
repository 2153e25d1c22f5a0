"""Training: what each kind learns, that it is the same every time, and what it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from malgil.errors import CheckpointError, DataError, InputError, NotFoundError
from malgil.text.settings import KINDS, TokenizerSettings
from malgil.text.tokenizer import Tokenizer
from malgil.text.training import train_tokenizer

FINGERPRINTS = """
import sys
from malgil.text.settings import KINDS, TokenizerSettings
from malgil.text.training import train_tokenizer
text = open(sys.argv[1], encoding="utf-8").read()
for kind in KINDS:
    print(train_tokenizer([text], TokenizerSettings(kind=kind, vocab_size=600)).fingerprint)
"""


def fingerprints(path: Path, threads: int) -> str:
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads), "PYTHONHASHSEED": str(threads)}
    command = [sys.executable, "-c", FINGERPRINTS, str(path)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.slow
def test_the_same_text_gives_the_same_bytes_in_any_process_with_any_threads(tmp_path: Path, text: str) -> None:
    path = tmp_path / "글.txt"
    words = [f"낱말{chr(0xAC00 + 7 * i)} word{i % 13} {chr(0xAC00 + 11 * i)}{'xyz'[i % 3]}" for i in range(700)]
    path.write_text(text + " ".join(words), encoding="utf-8")
    first = fingerprints(path, 1)
    assert len(set(first.split())) == len(KINDS)
    assert fingerprints(path, 1) == first
    assert fingerprints(path, 3) == first


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_of_a_text_train_as_the_text_does(make: Callable[..., Tokenizer], kind: str, text: str) -> None:
    lines = (line for line in text.splitlines(keepends=True))
    settings = TokenizerSettings(kind=kind, vocab_size=400)
    assert train_tokenizer(lines, settings).fingerprint == make(kind).fingerprint


def test_a_long_text_is_cut_at_line_ends(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("malgil.text.training._PIECE", 37)
    monkeypatch.setattr("malgil.text.training._BATCH", 300)
    for kind in KINDS:
        assert train_tokenizer([text], TokenizerSettings(kind=kind, vocab_size=600)).decode([]) == ""
    assert train_tokenizer([text], TokenizerSettings(kind="char")).vocab_size == len(set(text)) + 2


def test_char_has_every_character_and_gives_them_back(make: Callable[..., Tokenizer], text: str) -> None:
    tokenizer = make("char")
    assert tokenizer.vocab_size == len(set(text)) + 2
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode(text)) == len(text)


def test_byte_ids_are_the_bytes(make: Callable[..., Tokenizer]) -> None:
    tokenizer = make("byte")
    assert tokenizer.encode("가\x00A") == list("가\x00A".encode())
    assert (tokenizer.vocab_size, tokenizer.end_id) == (257, 256)


@pytest.mark.parametrize("kind, sizes", [("bpe", (300, 390)), ("wordpiece", (150, 170)), ("unigram", (360, 420))])
def test_larger_vocabularies_give_fewer_tokens(
    make: Callable[..., Tokenizer], kind: str, sizes: tuple[int, int], text: str
) -> None:
    small, large = (make(kind, vocab_size=size) for size in sizes)
    assert (small.vocab_size, large.vocab_size) == sizes
    assert len(large.encode(text)) < len(small.encode(text)) < len(text)


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_frequent_korean_words_become_one_token(make: Callable[..., Tokenizer], kind: str) -> None:
    tokenizer = make(kind, vocab_size=500)
    assert len(tokenizer.encode("다람쥐 쳇바퀴")) <= 4
    assert len(tokenizer.encode("뷁뷁")) == 6


def test_wordpiece_keeps_syllables_and_case(make: Callable[..., Tokenizer]) -> None:
    tokenizer = make("wordpiece")
    assert tokenizer.decode(tokenizer.encode("The fox 여우가 달렸다")) == "The fox 여우가 달렸다"
    tokens = [tokenizer._backend.id_to_token(i) for i in tokenizer.encode("여우는")]
    assert "".join(tokens).replace("##", "") == "여우는"
    assert tokenizer.encode("뷁") == [tokenizer.unknown_id]


def test_wordpiece_leaves_room_for_words_when_there_are_many_characters() -> None:
    syllables = "".join(chr(0xAC00 + i) for i in range(500))
    tokenizer = train_tokenizer([syllables + " the dog" * 20], TokenizerSettings(kind="wordpiece", vocab_size=60))
    assert tokenizer.vocab_size <= 60
    assert len(tokenizer.encode("the dog")) == 2


def test_unigram_spells_rare_characters_in_bytes_when_there_are_many() -> None:
    syllables = "".join(chr(0xAC00 + i) for i in range(500)) * 2
    tokenizer = train_tokenizer([syllables + " the dog" * 20], TokenizerSettings(kind="unigram", vocab_size=300))
    assert tokenizer.vocab_size <= 300
    assert tokenizer.decode(tokenizer.encode(syllables)) == syllables
    assert len(tokenizer.encode(" the dog")) == 2


def test_words_keep_punctuation_lines_and_a_minimum_frequency(make: Callable[..., Tokenizer], text: str) -> None:
    tokenizer = make("word")
    assert tokenizer.decode(tokenizer.encode(text)) == text
    line = "the dog (again), doesn't mind.\n여우가 3.14"
    ids = tokenizer.encode(line)
    assert len(ids) == 12
    assert tokenizer.decode(ids) == line
    rare = train_tokenizer(["자주 자주 자주 가끔"], TokenizerSettings(kind="word", min_frequency=3))
    assert rare.decode(rare.encode("자주 가끔")) == "자주 <unk>"
    assert (
        train_tokenizer(["가 나 다 가 나 가"], TokenizerSettings(kind="word", vocab_size=3, min_frequency=1)).decode(
            [2]
        )
        == "가"
    )


def test_a_saved_tokenizer_is_used_as_it_is(make: Callable[..., Tokenizer], tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    make("unigram").save(path)
    used = train_tokenizer([], TokenizerSettings(kind="word", path=str(path)))
    assert used.fingerprint == make("unigram").fingerprint
    with pytest.raises(CheckpointError, match=r"nowhere\.json"):
        train_tokenizer([], TokenizerSettings(path="nowhere.json"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("texts", [[], [""], ["", ""]])
def test_no_text_is_refused(kind: str, texts: list[str]) -> None:
    with pytest.raises(DataError, match="no text"):
        train_tokenizer(texts, TokenizerSettings(kind=kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["가", " ", "\n", "\x00", "\ud800", "a\x00b 가\x00나 " * 9, "가" * 100_000])
def test_odd_texts_train_or_are_refused_in_words(kind: str, text: str) -> None:
    try:
        tokenizer = train_tokenizer([text], TokenizerSettings(kind=kind, vocab_size=300, min_frequency=1))
    except DataError:
        assert text == " "
    else:
        assert tokenizer.decode(tokenizer.encode("뷁 the")) is not None


def test_a_word_that_is_too_rare_is_explained() -> None:
    with pytest.raises(DataError, match=r"lower tokenizer\.min_frequency"):
        train_tokenizer(["하나 둘"], TokenizerSettings(kind="word", min_frequency=5))


def test_bad_settings_are_refused() -> None:
    with pytest.raises(NotFoundError, match="did you mean wordpiece"):
        train_tokenizer(["가"], TokenizerSettings(kind="wordpeice"))
    with pytest.raises(InputError, match=r"tokenizer\.vocab_size"):
        train_tokenizer(["가"], TokenizerSettings(vocab_size=0))
    with pytest.raises(InputError, match="at least 257"):
        train_tokenizer(["가"], TokenizerSettings(kind="bpe", vocab_size=200))
    with pytest.raises(InputError, match="at least 260"):
        train_tokenizer(["가"], TokenizerSettings(kind="unigram", vocab_size=259))
    with pytest.raises(NotFoundError):
        train_tokenizer(["가"], TokenizerSettings(normalization="NFD"))
