"""The loss of every token adds up to the loss of the text, and stands at its token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from malgil.data.corpus import open_corpus
from malgil.data.pair_store import pair_store
from malgil.data.pairs import open_pairs
from malgil.data.settings import DataSettings
from malgil.data.store import token_store
from malgil.evaluation.each_token import language_losses, pair_losses
from malgil.evaluation.language import LanguageEvaluator
from malgil.evaluation.translation import TranslationEvaluator
from malgil.models import FAMILIES, build_model
from malgil.objectives.base import Specials
from malgil.runtime.device import Precision
from malgil.text.settings import TokenizerSettings
from malgil.text.training import train_tokenizer

ROWS = "".join(f'{{"text": "말길 {i} the river {"흐른다 " * (i % 5)}"}}\n' for i in range(60))


def model(name: str, vocab_size: int, **settings: Any) -> Any:
    torch.manual_seed(0)
    built = build_model(name, FAMILIES[name].config(**settings), vocab_size)
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return built


@pytest.fixture
def text(tmp_path: Path) -> tuple[Any, Any]:
    path = tmp_path / "a.jsonl"
    path.write_text(ROWS, encoding="utf-8")
    part = open_corpus(DataSettings(paths=[str(path)])).train
    tokenizer = train_tokenizer((c for d in part.documents() for c in d), TokenizerSettings(kind="char"))
    return token_store(part, tokenizer), tokenizer


@pytest.mark.parametrize(
    "name, settings",
    [
        ("rnn_lm", {"cell": "gru", "n_layers": 1, "d_model": 9}),
        ("gpt2", {"n_layers": 1, "n_heads": 3, "d_model": 9, "max_len": 23}),
    ],
)
def test_losses_of_text(text: tuple[Any, Any], name: str, settings: dict[str, Any]) -> None:
    store, tokenizer = text
    built = model(name, tokenizer.vocab_size, **settings)
    evaluator = LanguageEvaluator(store, Specials(tokenizer.begin_id, tokenizer.end_id), 23, True, Precision("fp32"))
    found = language_losses(evaluator, built)
    score = evaluator(built)
    assert len(found.nll) == score.tokens == len(store) - 1
    assert float(found.nll.mean(dtype=np.float64)) == pytest.approx(score.loss, rel=1e-5)
    assert found.targets.tolist() == store.tokens[1:].tolist()
    # a token's place, in a plain loop: tokens since its document or its window began
    expected = []
    for i in range(1, len(store)):
        first = (i - 1) // 23 * 23
        since = [j for j in range(first, i) if store.tokens[j] == tokenizer.begin_id]
        expected.append(i - (since[-1] if since else first))
    assert found.places.tolist() == expected
    some = language_losses(evaluator, built, most=len(store) // 3)
    assert 0 < len(some.nll) <= len(found.nll)


def test_losses_of_pairs(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("".join(f"말 {'길 ' * (i % 4)}{i}\tway {i}\n" for i in range(40)), encoding="utf-8")
    part = open_pairs(DataSettings(paths=[str(path)])).train
    tokenizer = train_tokenizer((t for pair in part.pairs() for t in pair), TokenizerSettings(kind="char"))
    store = pair_store(part, tokenizer, tokenizer, longest=None, max_ratio=None, filtering=False)
    built = model("transformer", tokenizer.vocab_size, n_layers=1, n_heads=3, d_model=9, d_ff=11, max_len=30)
    specials = Specials(tokenizer.begin_id, tokenizer.end_id)
    evaluator = TranslationEvaluator(store, specials, specials, Precision("fp32"))
    found, score = pair_losses(evaluator, built), evaluator(built)
    assert len(found.nll) == score.tokens
    assert float(found.nll.mean(dtype=np.float64)) == pytest.approx(score.loss, rel=1e-5)
    ends = found.targets == tokenizer.end_id
    assert sorted(found.places[ends].tolist()) == sorted(store.target_lengths.tolist())
    assert built.training
