"""What every kind of tokenizer promises; the `tokenizer` fixture runs over all kinds in the settings."""

from __future__ import annotations

import pickle
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from malgil.errors import InputError
from malgil.text.settings import KINDS, TokenizerSettings
from malgil.text.tokenizer import Tokenizer, clean
from malgil.text.training import train_tokenizer

LOSSLESS = ("byte", "bpe", "unigram")
SAMPLES = [
    "",
    " ",
    "\n\n",
    "the dog",
    "여우는 개를 넘는다 ㅋㅋ ㅠㅠ.",
    unicodedata.normalize("NFD", "쳇바퀴"),
    "뷁 궯 한자漢字 かな Ω é e\u0301",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🇰🇷 1️⃣",
    "\x00\x01\x7f\u200b\ufeff\uffff\U0010ffff",
    "  two  spaces\t\ttabs\r\nand \u3000 wide ",
    "<|endoftext|><unk>[UNK]<0x41>##s▁x",
    "a" * 5000 + "가" * 5000,
]
anything = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("sample", SAMPLES)
def test_any_text_gives_ids_inside_the_vocabulary_and_text_again(tokenizer: Tokenizer, sample: str) -> None:
    ids = tokenizer.encode(sample)
    assert all(0 <= i < tokenizer.vocab_size for i in ids)
    assert isinstance(tokenizer.decode(ids), str)


@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize("sample", SAMPLES)
def test_lossless_kinds_give_every_text_back(make: Callable[..., Tokenizer], kind: str, sample: str) -> None:
    plain = make(kind, normalization="none")
    assert plain.decode(plain.encode(sample)) == sample
    nfc = make(kind)
    assert nfc.decode(nfc.encode(sample)) == unicodedata.normalize("NFC", sample)


@anything
@given(sample=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_kinds_give_random_unicode_back(make: Callable[..., Tokenizer], kind: str, sample: str) -> None:
    plain = make(kind, normalization="none")
    assert plain.decode(plain.encode(sample)) == sample
    nfc = make(kind)
    assert nfc.decode(nfc.encode(sample)) == nfc.normalize(sample)


@pytest.mark.slow
@pytest.mark.parametrize("kind", LOSSLESS)
def test_every_unicode_scalar_survives_alone_and_among_others(make: Callable[..., Tokenizer], kind: str) -> None:
    plain = make(kind, normalization="none")
    scalars = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    for between in ("", "\n"):
        for start in range(0, len(scalars), 1 << 14):
            part = between.join(scalars[start : start + (1 << 14)])
            assert plain.decode(plain.encode(part)) == part


@pytest.mark.parametrize("kind", LOSSLESS)
def test_all_hangul_syllables_survive_composed_and_decomposed(make: Callable[..., Tokenizer], kind: str) -> None:
    syllables = "".join(chr(c) for c in range(0xAC00, 0xD7A4))
    jamo = unicodedata.normalize("NFD", syllables)
    assert make(kind).decode(make(kind).encode(jamo)) == syllables
    plain = make(kind, normalization="none")
    assert plain.decode(plain.encode(jamo)) == jamo


def test_known_korean_is_whole_syllables_whatever_its_form(tokenizer: Tokenizer) -> None:
    sentence = "다람쥐는 쳇바퀴를 돌리고, 여우는 개를 넘는다 ㅋㅋ ㅠㅠ."
    ids = tokenizer.encode(sentence)
    assert tokenizer.encode(unicodedata.normalize("NFD", sentence)) == ids
    assert tokenizer.unknown_id not in ids
    assert tokenizer.decode(ids) == sentence


def test_nfkc_is_only_used_when_asked_for(make: Callable[..., Tokenizer]) -> None:
    assert make("byte").normalize("ㅋㅋ ①") == "ㅋㅋ ①"
    assert make("byte", normalization="nfkc").normalize("①") == "1"
    assert make("byte", normalization="none").normalize("e\u0301") == "e\u0301"


def test_a_spelled_special_token_is_text(tokenizer: Tokenizer) -> None:
    spelled = "the <|endoftext|> dog <unk>"
    ids = tokenizer.encode(spelled)
    assert tokenizer.begin_id not in ids
    assert tokenizer.end_id not in ids
    if tokenizer.kind in LOSSLESS:
        assert tokenizer.decode(ids) == spelled
    assert tokenizer.decode([tokenizer.begin_id, *tokenizer.encode("the"), tokenizer.end_id]) == "the"


def test_text_that_spells_tokens_is_never_taken_for_them_in_training() -> None:
    for kind in KINDS:
        taught = train_tokenizer(["<|endoftext|> <unk> <0x41> 가 " * 50], TokenizerSettings(kind=kind, vocab_size=700))
        ids = taught.encode("<|endoftext|><unk><0x41>가")
        assert taught.end_id not in ids
        assert taught.unknown_id not in ids
        assert taught.decode(ids).replace(" ", "") == "<|endoftext|><unk><0x41>가"


def test_unknown_characters_become_the_unknown_token_or_bytes(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("뷁")
    if tokenizer.unknown_id is None:
        assert tokenizer.kind in LOSSLESS
        assert tokenizer.decode(ids) == "뷁"
    else:
        assert ids == [tokenizer.unknown_id]
        assert tokenizer.decode(ids) == "<unk>"


def test_lone_surrogates_are_replaced_and_counted(tokenizer: Tokenizer) -> None:
    assert clean("가\ud800나\udc00") == ("가\ufffd나\ufffd", 2)
    assert clean("\ud83d\ude00") == ("😀", 0)
    assert clean("가") == ("가", 0)
    assert tokenizer.encode("\ud800") == tokenizer.encode("\ufffd")


def test_batches_equal_single_texts(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode_batch(SAMPLES) == [tokenizer.encode(sample) for sample in SAMPLES]
    assert tokenizer.encode_batch([]) == []


def test_saved_loaded_and_pickled_are_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "토크나이저.json"
    tokenizer.save(path)
    for other in (Tokenizer.load(path), pickle.loads(pickle.dumps(tokenizer))):
        assert other.fingerprint == tokenizer.fingerprint
        assert (other.kind, other.vocab_size) == (tokenizer.kind, tokenizer.vocab_size)
        assert (other.begin_id, other.end_id, other.unknown_id) == (
            tokenizer.begin_id,
            tokenizer.end_id,
            tokenizer.unknown_id,
        )
        assert other.encode_batch(SAMPLES) == tokenizer.encode_batch(SAMPLES)


def test_the_file_gives_the_same_ids_and_text_in_the_tokenizers_library(
    tokenizer: Tokenizer, tmp_path: Path, text: str
) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    library = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for sample in [*SAMPLES, text]:
        if "<|endoftext|>" not in sample:
            ids = library.encode(sample).ids
            assert ids == tokenizer.encode(sample)
            assert library.decode(ids) == tokenizer.decode(ids)
    assert library.get_vocab_size() == tokenizer.vocab_size


def test_the_file_gives_the_same_ids_in_transformers(tokenizer: Tokenizer, tmp_path: Path, text: str) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer.save(tmp_path / "tokenizer.json")
    other = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    assert other(text)["input_ids"] == tokenizer.encode(text)


@pytest.mark.parametrize("i", [-1, 10**6])
def test_ids_outside_the_vocabulary_are_refused(tokenizer: Tokenizer, i: int) -> None:
    with pytest.raises(InputError, match="no token id"):
        tokenizer.decode([i])
    with pytest.raises(InputError, match="no token id"):
        tokenizer.stream().push(i)
