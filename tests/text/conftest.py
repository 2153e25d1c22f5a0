"""A small bilingual text and one tokenizer of every kind trained on it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from malgil.text.settings import KINDS, TokenizerSettings
from malgil.text.tokenizer import Tokenizer
from malgil.text.training import train_tokenizer

TEXT = (
    "The quick brown fox jumps over the lazy dog (again), and the dog doesn't mind.\n"
    "다람쥐 헌 쳇바퀴에 타고파. 다람쥐는 쳇바퀴를 돌리고, 여우는 개를 넘는다 ㅋㅋ ㅠㅠ.\n"
    "In 2024 the fox ran 3.14 km; 2024년 3월에 여우가 달렸다.\n"
) * 5


@pytest.fixture(scope="session")
def make() -> Callable[..., Tokenizer]:
    """Tokenizers by their settings, each trained once."""
    made: dict[TokenizerSettings, Tokenizer] = {}

    def tokenizer(kind: str, *, vocab_size: int = 400, normalization: str = "nfc", min_frequency: int = 2) -> Tokenizer:
        settings = TokenizerSettings(
            kind=kind, vocab_size=vocab_size, normalization=normalization, min_frequency=min_frequency
        )
        if settings not in made:
            made[settings] = train_tokenizer([TEXT], settings)
        return made[settings]

    return tokenizer


@pytest.fixture(params=KINDS)
def tokenizer(request: pytest.FixtureRequest, make: Callable[..., Tokenizer]) -> Tokenizer:
    return make(request.param)


@pytest.fixture(scope="session")
def text() -> str:
    return TEXT
