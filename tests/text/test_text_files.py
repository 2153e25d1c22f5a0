"""Files that come from elsewhere: Hugging Face tokenizers, foreign and broken ones."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers

from malgil.errors import CheckpointError, NotFoundError
from malgil.text.tokenizer import Tokenizer

SPECIALS = ["<s>", "</s>", "<unk>"]


def gpt2_like(text: str) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([text], trainer)
    backend.add_tokens([AddedToken("<도구 call>", special=False)])
    backend.enable_truncation(5)
    return backend


def llama_like(text: str) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    bytes_ = [f"<0x{b:02X}>" for b in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=350, special_tokens=SPECIALS + bytes_, show_progress=False)
    backend.train_from_iterator([text.split("\n")[0]], trainer)
    trained = json.loads(backend.to_str())
    trained["added_tokens"] = trained["added_tokens"][:3]
    return tokenizers.Tokenizer.from_str(json.dumps(trained))


def t5_like(text: str) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=SPECIALS, unk_token="<unk>", show_progress=False)
    backend.train_from_iterator([text], trainer)
    return backend


def bert_like(text: str) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.WordPiece(unk_token="<unk>"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.train_from_iterator(
        [text], trainers.WordPieceTrainer(vocab_size=300, special_tokens=SPECIALS, show_progress=False)
    )
    return backend


def plain_words(text: str) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.WordLevel(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.train_from_iterator([text], trainers.WordLevelTrainer(special_tokens=SPECIALS, show_progress=False))
    return backend


FAMILIES: dict[str, Callable[[str], tokenizers.Tokenizer]] = {
    "gpt2": gpt2_like,
    "llama": llama_like,
    "t5": t5_like,
    "bert": bert_like,
    "words": plain_words,
}


@pytest.fixture(scope="session")
def families(text: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[tokenizers.Tokenizer, Tokenizer]]:
    """Each family's file as the library reads it, and imported."""
    folder = tmp_path_factory.mktemp("hf")
    made = {}
    for name, build in FAMILIES.items():
        path = folder / f"{name}.json"
        build(text).save(str(path))
        original = tokenizers.Tokenizer.from_file(str(path))
        original.no_truncation()
        made[name] = original, Tokenizer.from_hf_file(path, begin="<s>", end="</s>", unknown="<unk>")
    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_imported_files_keep_ids_and_text(families: dict[str, Any], family: str, text: str, tmp_path: Path) -> None:
    original, imported = families[family]
    assert (imported.kind, imported.begin_id, imported.end_id, imported.unknown_id) == ("imported", 0, 1, 2)
    for sample in ("", "the dog", " the  dog, (again) doesn't.", "여우는 개를 넘는다 ㅋㅋ", text, "뷁 🙂<도구 call>"):
        ids = original.encode(sample, add_special_tokens=False).ids
        assert imported.encode(sample) == ids
        assert imported.decode(ids) == original.decode(ids)
    imported.save(tmp_path / "tokenizer.json")
    assert Tokenizer.load(tmp_path / "tokenizer.json").fingerprint == imported.fingerprint


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("family", FAMILIES)
def test_any_ids_decode_and_stream_as_in_the_library(
    families: dict[str, Any], family: str, data: st.DataObject
) -> None:
    original, imported = families[family]
    # Llama's bytes: the library replaces a whole run of byte tokens when one is wrong, SentencePiece only that one
    first = 3 + 256 if family == "llama" else 0
    ids = data.draw(st.lists(st.integers(first, imported.vocab_size - 1), max_size=12))
    assert imported.decode(ids) == original.decode(ids)
    mixed = data.draw(st.lists(st.integers(0, imported.vocab_size - 1), max_size=12))
    stream = imported.stream()
    assert "".join(map(stream.push, mixed)) + stream.finish() == imported.decode(mixed)


def test_gaps_in_the_ids_are_no_tokens(tmp_path: Path) -> None:
    backend = tokenizers.Tokenizer(models.WordLevel({"<s>": 0, "가": 5}, unk_token="가"))
    backend.save(str(tmp_path / "gap.json"))
    imported = Tokenizer.from_hf_file(tmp_path / "gap.json", begin="<s>", end="<s>")
    assert imported.vocab_size == 6
    assert imported.decode([3, 5, 1]) == "가"


def test_a_special_token_that_is_missing_is_named(text: str, tmp_path: Path) -> None:
    bert_like(text).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(NotFoundError, match=r"unknown token '<S>'; as the begin token; did you mean <s>"):
        Tokenizer.from_hf_file(tmp_path / "tokenizer.json", begin="<S>", end="</s>")


def test_a_decoder_of_another_kind_is_refused(text: str, tmp_path: Path) -> None:
    backend = bert_like(text)
    for decoder in (decoders.CTC(), decoders.Sequence([decoders.Fuse(), decoders.Strip(" ", 0, 1)])):
        backend.decoder = decoder
        backend.save(str(tmp_path / "tokenizer.json"))
        with pytest.raises(CheckpointError, match="decoder"):
            Tokenizer.from_hf_file(tmp_path / "tokenizer.json", begin="<s>", end="</s>")


def test_broken_and_foreign_files_are_named(make: Callable[..., Tokenizer], text: str, tmp_path: Path) -> None:
    path = tmp_path / "토큰.json"
    make("bpe").save(path)
    good = path.read_bytes()
    foreign = gpt2_like(text).to_str().encode()
    renamed = good.replace(b"malgil.kind.bpe", b"malgil.kind.xyz")
    moved = good.replace(b'"end":{"id":"end","ids":[0]', b'"end":{"id":"end","ids":[7]')
    assert renamed != good != moved
    for content in (
        b"",
        b"{}",
        b"[1]",
        b"null",
        good[:-20],
        good[: len(good) // 2],
        foreign,
        b"\xff" + good,
        renamed,
        moved,
    ):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"토큰\.json"):
            Tokenizer.load(path)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"토큰\.json"):
        Tokenizer.load(path)
    with pytest.raises(CheckpointError):
        Tokenizer.load(tmp_path)


@pytest.mark.slow
def test_no_altered_file_brings_anything_but_a_checkpoint_error(make: Callable[..., Tokenizer], tmp_path: Path) -> None:
    generator = random.Random(0)
    for kind in ("unigram", "wordpiece", "bpe"):
        make(kind).save(tmp_path / "tokenizer.json")
        good = (tmp_path / "tokenizer.json").read_text(encoding="utf-8")
        for _ in range(150):
            at, length = generator.randrange(len(good)), generator.randrange(1, 30)
            (tmp_path / "altered.json").write_text(good[:at] + good[at + length :], encoding="utf-8")
            try:
                Tokenizer.load(tmp_path / "altered.json").encode("the 여우")
            except CheckpointError:
                continue
