"""Small tokenizers over two languages."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from malgil.text.settings import TokenizerSettings
from malgil.text.tokenizer import Tokenizer
from malgil.text.training import train_tokenizer

TEXT = "옛날 옛적에 호랑이가 담배 피우던 시절에\nonce upon a time when tigers smoked\n" * 4


@pytest.fixture(scope="session")
def make() -> Callable[[str], Tokenizer]:
    """A tokenizer of a kind, trained once."""
    made: dict[str, Tokenizer] = {}

    def tokenizer(kind: str) -> Tokenizer:
        if kind not in made:
            made[kind] = train_tokenizer([TEXT], TokenizerSettings(kind=kind, vocab_size=330))
        return made[kind]

    return tokenizer
