"""Documents of several sentences, for the objectives of pretraining."""

from __future__ import annotations

import pytest
from pretraining_cases import make_store, make_tokenizer

from malgil.data.store import TokenStore
from malgil.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return make_tokenizer()


@pytest.fixture(scope="module")
def store(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    return make_store(tokenizer, tmp_path_factory.mktemp("texts"))
