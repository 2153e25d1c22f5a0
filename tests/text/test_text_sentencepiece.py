"""SentencePiece models against the sentencepiece package itself."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from malgil.errors import CheckpointError, ConfigError
from malgil.text.sentencepiece import read_sentencepiece
from malgil.text.tokenizer import Tokenizer

PARTS = [
    "a",
    "b",
    " ",
    "  ",
    "\n",
    "가",
    "각",
    "ㅋ",
    "👨‍👩‍👧",
    "the ",
    "Once",
    "<s>",
    "</s>",
    "<unk>",
    "<0x41>",
    "\u3000",
    "é",
    "e\u0301",
    "\x00",
]


@pytest.fixture(scope="module")
def reference() -> Any:
    return pytest.importorskip("sentencepiece")


def random_texts(count: int) -> list[str]:
    generator = random.Random(3)
    return ["".join(generator.choices(PARTS, k=generator.randrange(30))) for _ in range(count)]


def trained(reference: Any, folder: Path, text: str, **options: Any) -> Path:
    (folder / "text.txt").write_text(text, encoding="utf-8")
    reference.SentencePieceTrainer.train(
        input=str(folder / "text.txt"), model_prefix=str(folder / "m"), minloglevel=2, **options
    )
    return folder / "m.model"


@pytest.mark.parametrize("extra", [True, False])
@pytest.mark.parametrize("rule", ["identity", "nmt_nfkc"])
def test_a_trained_model_gives_the_same_ids_and_text(
    reference: Any, tmp_path: Path, text: str, extra: bool, rule: str
) -> None:
    path = trained(
        reference,
        tmp_path,
        text,
        model_type="bpe",
        vocab_size=380,
        byte_fallback=True,
        normalization_rule_name=rule,
        remove_extra_whitespaces=extra,
    )
    original = reference.SentencePieceProcessor(model_file=str(path))
    imported = read_sentencepiece(path)
    assert (imported.kind, imported.vocab_size) == ("imported", 380)
    assert (imported.unknown_id, imported.begin_id, imported.end_id) == (0, 1, 2)
    for sample in [*random_texts(500), *text.splitlines(), "다람쥐 헌 쳇바퀴"]:
        ids = original.encode(sample)
        assert imported.encode(sample) == ids
        if extra or not sample.startswith(" "):
            assert imported.decode(ids) == original.decode(ids)


def test_the_stories_checkpoint_is_read_exactly(reference: Any, data_dir: Path, tmp_path: Path) -> None:
    folder = data_dir / "checkpoints" / "stories260K"
    imported = read_sentencepiece(folder / "tok512.model")
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    assert imported.decode(expected["greedy_ids"]) == expected["greedy_text"]
    for case in expected["cases"]:
        assert [imported.begin_id, *imported.encode(case["prompt"])] == case["ids"]
    original = reference.SentencePieceProcessor(model_file=str(folder / "tok512.model"))
    for sample in random_texts(1000):
        ids = original.encode(sample)
        assert imported.encode(sample) == ids
        assert imported.decode(ids) == original.decode(ids)
        stream = imported.stream()
        assert "".join(map(stream.push, ids)) + stream.finish() == original.decode(ids)
    imported.save(tmp_path / "tokenizer.json")
    assert Tokenizer.load(tmp_path / "tokenizer.json").encode("안녕 world") == original.encode("안녕 world")


def test_other_files_are_refused(reference: Any, tmp_path: Path, text: str) -> None:
    for content in (b"", b"{}", b"\x00\x01\x02", b"\xff" * 40):
        (tmp_path / "말.model").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"말\.model"):
            read_sentencepiece(tmp_path / "말.model")
    with pytest.raises(CheckpointError, match="cannot read"):
        read_sentencepiece(tmp_path / "nothing.model")
    unigram = trained(reference, tmp_path, text, model_type="unigram", vocab_size=100, hard_vocab_limit=False)
    with pytest.raises(CheckpointError, match="unigram"):
        read_sentencepiece(unigram)


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    monkeypatch.setitem(sys.modules, "sentencepiece.sentencepiece_model_pb2", None)
    with pytest.raises(ConfigError, match=r"pip install 'malgil\[sentencepiece\]'"):
        read_sentencepiece(tmp_path / "tok.model")
