"""A tokenizer of code points, so that these tests need nothing of the text room."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from malgil.data.corpus import Part, open_corpus
from malgil.data.settings import DataSettings
from malgil.data.store import TokenStore, token_store


@dataclass(frozen=True)
class CodePoints:
    """id = code point + 3; ids at and above vocab_size are unknown."""

    vocab_size: int = 60_000
    begin_id: int = 0
    end_id: int = 0
    unknown_id: int | None = 2

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(repr(self).encode()).hexdigest()

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [[ord(c) + 3 if ord(c) + 3 < self.vocab_size else 2 for c in text] for text in texts]

    def decode(self, ids: list[int]) -> str:
        return "".join(chr(i - 3) for i in ids if i > 2)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for each test."""
    folder = tmp_path / "the cache"
    monkeypatch.setenv("MALGIL_CACHE", str(folder))
    monkeypatch.delenv("MALGIL_CACHE_LIMIT", raising=False)
    return folder


@pytest.fixture(scope="session")
def code_points() -> type[CodePoints]:
    return CodePoints


@pytest.fixture
def part_of(tmp_path: Path) -> Callable[[str], Part]:
    """The training part (all but its last character) of a text file."""

    def make(text: str) -> Part:
        path = tmp_path / f"{hashlib.sha256(text.encode()).hexdigest()[:8]}.txt"
        path.write_bytes((text + "!").encode())
        return open_corpus(DataSettings(paths=[str(path)], holdout=0.5 / len(text))).train

    return make


@pytest.fixture
def store_of(tmp_path: Path) -> Callable[..., TokenStore]:
    """A store of documents given as strings, each a row of a jsonl file."""

    def make(*documents: str, tokenizer: CodePoints | None = None) -> TokenStore:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents), encoding="utf-8")
        (tmp_path / "other.txt").write_text("다른 글", encoding="utf-8")
        corpus = open_corpus(DataSettings(paths=[str(path)], validation=[str(tmp_path / "other.txt")]))
        return token_store(corpus.train, tokenizer or CodePoints())

    return make
