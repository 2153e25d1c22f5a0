"""Evaluation of masked models against a loop that a person can check; the same figures however it is cut."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from malgil.data.corpus import open_whole
from malgil.data.sequences import Sequences
from malgil.data.settings import DataSettings
from malgil.data.store import TokenStore, token_store
from malgil.evaluation import masked
from malgil.evaluation.masked import SEED, MaskedEvaluator
from malgil.models import build_model, family
from malgil.models.base import Encoder
from malgil.objectives.masking import Masking
from malgil.runtime.device import Precision
from malgil.text.settings import TokenizerSettings
from malgil.text.tokenizer import Tokenizer
from malgil.text.training import train_tokenizer
from malgil.text.words import Vocabulary

LENGTH = 17
DOCUMENTS = [
    "말길은 말이 가는 길이다.",
    "산은 높고 물은 흐른다. The river carries light, and words take their way.",
    "새벽",
    "돌",
    "강물은 빛을 나르고 낱말은 뜻을 나른다.",
]
SMALL: dict[str, dict[str, Any]] = {
    "bert": {"n_layers": 2, "n_heads": 3, "d_model": 15, "max_len": LENGTH},
    "modernbert": {"n_layers": 2, "n_heads": 3, "d_model": 18, "max_len": LENGTH, "window": 6},
    "birnn": {"n_layers": 1, "d_model": 9, "max_len": LENGTH},
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(DOCUMENTS, TokenizerSettings(kind="char")).with_mask()


@pytest.fixture(scope="module")
def store(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    path = tmp_path_factory.mktemp("texts") / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in DOCUMENTS), encoding="utf-8")
    part, _ = open_whole(DataSettings(paths=[str(path)]))
    return token_store(part, tokenizer)


def model(name: str, tokenizer: Tokenizer, shake: float = 0.3) -> Encoder:
    torch.manual_seed(5)
    built = build_model(name, family(name).config(**SMALL[name], dropout=0.5), tokenizer.vocab_size)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(torch.randn_like(parameter) * shake)
    assert isinstance(built, Encoder)
    return built.train()


def evaluator(store: TokenStore, tokenizer: Tokenizer) -> MaskedEvaluator:
    return MaskedEvaluator(store, Vocabulary.of(tokenizer), LENGTH, Precision("fp32"))


@pytest.mark.parametrize("name", list(SMALL))
def test_every_sequence_counts_once(name: str, store: TokenStore, tokenizer: Tokenizer) -> None:
    built = model(name, tokenizer)
    score = evaluator(store, tokenizer)(built)
    assert built.training  # as it was found
    built.eval()
    sequences, masking = Sequences(store, LENGTH), Masking(Vocabulary.of(tokenizer), rate=0.15, unit="token")
    losses: list[float] = []
    right = 0
    for i in range(len(sequences)):
        ids = sequences.ids(i)
        seen, hidden = masking.hide(ids, np.array([len(ids)]), np.array([i]), np.array([0]), seed=SEED)
        with torch.no_grad():
            logits = built.logits(built(torch.from_numpy(seen)[None]).hidden[0])
        for place in np.flatnonzero(hidden):
            losses.append(-logits[place].log_softmax(-1)[ids[place]].item())
            right += int(logits[place].argmax() == ids[place])
    assert score.masked == len(losses) == sum(max(1, round(0.15 * (n - 2))) for n in sequences.lengths.tolist())
    assert score.loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert score.perplexity == pytest.approx(math.exp(score.loss))
    assert score.accuracy == pytest.approx(right / len(losses))
    assert score.tokens == sum(len(text) for text in DOCUMENTS)
    assert score.bytes == sum(len(text.encode()) for text in DOCUMENTS)


@pytest.mark.parametrize("name", list(SMALL))
def test_batches_change_nothing(
    name: str, store: TokenStore, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    built, calls = model(name, tokenizer), []
    whole = evaluator(store, tokenizer)(built)
    monkeypatch.setattr(masked, "TOKENS_PER_BATCH", {"cpu": 1})  # a row at a time
    one_by_one = evaluator(store, tokenizer)(built, lambda: calls.append(1))
    assert len(calls) > 3
    assert one_by_one.loss == pytest.approx(whole.loss, rel=1e-5)
    assert (one_by_one.masked, one_by_one.accuracy) == (whole.masked, whole.accuracy)


def test_a_model_that_knows_nothing_has_the_logarithm_of_the_vocabulary(
    store: TokenStore, tokenizer: Tokenizer
) -> None:
    built = model("bert", tokenizer)
    torch.nn.init.zeros_(built.embedding.weight)
    torch.nn.init.zeros_(built.output_bias)  # type: ignore[arg-type]
    score = evaluator(store, tokenizer)(built)
    assert score.loss == pytest.approx(math.log(tokenizer.vocab_size), rel=1e-6)
    assert set(score.to_dict()) == {"loss", "perplexity", "accuracy", "masked", "tokens", "bytes", "unknown"}
    assert score.to_dict()["loss"] == score.loss
