"""Pair evaluation against a loop over single pairs, and whole translations against sacrebleu."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sacrebleu
import torch
from torch import Tensor, nn

from malgil.data.pair_store import PairStore, pair_store
from malgil.data.pairs import open_all_pairs
from malgil.data.settings import DataSettings
from malgil.errors import InputError
from malgil.evaluation import targets, translation
from malgil.evaluation.translation import PairScore, TranslationEvaluator, score_translations
from malgil.models.base import EncoderDecoder, Memory, Output
from malgil.objectives.base import Specials
from malgil.runtime.device import Precision
from malgil.text.settings import TokenizerSettings
from malgil.text.tokenizer import Tokenizer
from malgil.text.training import train_tokenizer

PAIRS = [
    ("The river carries light.", "강은 빛을 나른다."),
    ("Go.", "가."),
    ("Words take this way.", "말은 이 길로 간다. 그 길이 말길이다."),
    ("Dawn", "새벽"),
    ("Mountains are high, waters flow.", "산은 높고 물은 흐른다."),
]


class Toy(EncoderDecoder):
    """Adds the mean of the source to each token: small, and wrong wherever padding gets in."""

    def __init__(self, vocab_size: int, context: int | None = None, source_context: int | None = None) -> None:
        super().__init__()
        self.d_model, self.vocab_size, self.source_vocab_size = 7, vocab_size, vocab_size
        self.context, self.source_context = context, source_context
        self.embedding = nn.Embedding(vocab_size, 7)
        self.head = nn.Linear(7, vocab_size)
        nn.init.normal_(self.head.bias)
        self.dropout = nn.Dropout(0.5)

    def head_weight(self) -> Tensor:
        return self.head.weight

    def head_bias(self) -> Tensor:
        return self.head.bias

    def encode(self, source: Tensor, *, source_mask: Tensor | None = None) -> Memory:
        assert self.source_context is None or source.shape[1] <= self.source_context
        mask = torch.ones_like(source, dtype=torch.bool) if source_mask is None else source_mask
        return Memory(self.embedding(source), mask)

    def init_state(self, memory: Memory, max_len: int) -> Any:
        raise NotImplementedError

    def forward(self, tokens: Tensor, **given: Any) -> Output:
        assert self.context is None or tokens.shape[1] <= self.context
        memory: Memory = given["memory"]
        weights = memory.mask / memory.mask.sum(1, keepdim=True)
        mean = (weights[:, None] @ memory.hidden).expand(-1, tokens.shape[1], -1)
        return Output(self.dropout(self.embedding(tokens) + mean))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([text for pair in PAIRS for text in pair], TokenizerSettings(kind="char"))


def stored(folder: Path, tokenizer: Tokenizer, pairs: list[tuple[str, str]] = PAIRS) -> PairStore:
    path = folder / "pairs.tsv"
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs), encoding="utf-8")
    part, _ = open_all_pairs(DataSettings(paths=[str(path)]))
    return pair_store(part, tokenizer, tokenizer, longest=None, max_ratio=None, filtering=False)


def toy(tokenizer: Tokenizer, **contexts: int) -> Toy:
    torch.manual_seed(5)
    return Toy(tokenizer.vocab_size, **contexts).train()


def evaluator(store: PairStore, tokenizer: Tokenizer) -> TranslationEvaluator:
    specials = Specials(tokenizer.begin_id, tokenizer.end_id)
    return TranslationEvaluator(store, specials, specials, Precision("fp32"))


@torch.no_grad()
def one_by_one(model: Toy, tokenizer: Tokenizer, pairs: list[tuple[str, str]]) -> tuple[float, int, int]:
    """(summed nats, right tokens, tokens), without batches."""
    model.eval()
    nll, right, count = 0.0, 0, 0
    for source, target in pairs:
        ids = tokenizer.encode(source)[: model.source_context and model.source_context - 1]
        wanted = tokenizer.encode(target)[: model.context and model.context - 1]
        memory = model.encode(torch.tensor([[*ids, tokenizer.end_id]]))
        hidden = model(torch.tensor([[tokenizer.begin_id, *wanted]]), memory=memory).hidden[0]
        for vector, token in zip(hidden, [*wanted, tokenizer.end_id], strict=True):
            p = model.logits(vector).log_softmax(-1)
            nll -= float(p[token])
            right += int(p.argmax()) == token
            count += 1
    model.train()
    return nll, right, count


@pytest.mark.parametrize("budget", [1, 40, 4096])
@pytest.mark.parametrize("logits", [1, 1 << 22])
def test_every_target_token_is_scored_once(
    budget: int, logits: int, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(translation, "TOKENS_PER_BATCH", {"cpu": budget})
    monkeypatch.setattr(targets, "LOGITS", logits)
    model = toy(tokenizer)
    nll, right, count = one_by_one(model, tokenizer, PAIRS)
    assert 0 < right < count  # a loop that finds nothing right shows nothing
    score = evaluator(stored(tmp_path, tokenizer), tokenizer)(model)
    assert score.tokens == count == sum(len(target) + 1 for _, target in PAIRS)
    assert score.loss == pytest.approx(nll / count, rel=1e-5)
    assert score.perplexity == pytest.approx(math.exp(nll / count), rel=1e-4)
    assert score.accuracy == right / count
    n_bytes = sum(len(target.encode()) for _, target in PAIRS)
    assert score.bits_per_byte == pytest.approx(nll / math.log(2) / n_bytes, rel=1e-5)
    assert (score.cut_sources, score.cut_targets) == (0, 0)


def test_texts_beyond_the_context_are_cut_and_counted(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = toy(tokenizer, context=12, source_context=6)
    nll, right, count = one_by_one(model, tokenizer, PAIRS)
    score = evaluator(stored(tmp_path, tokenizer), tokenizer)(model)
    assert score.tokens == count == sum(min(len(target) + 1, 12) for _, target in PAIRS)
    assert score.loss == pytest.approx(nll / count, rel=1e-5)
    assert score.accuracy == right / count
    assert (score.cut_sources, score.cut_targets) == (3, 2)
    assert score.bits_per_byte is None
    assert "2 targets are longer than the context" in score.to_dict()["not_comparable"]


def test_a_text_that_just_fits_is_not_cut(tokenizer: Tokenizer, tmp_path: Path) -> None:
    longest = [max(len(pair[side]) for pair in PAIRS) for side in (0, 1)]
    model = toy(tokenizer, context=longest[1] + 1, source_context=longest[0] + 1)
    score = evaluator(stored(tmp_path, tokenizer), tokenizer)(model)
    assert (score.cut_sources, score.cut_targets) == (0, 0)
    assert score.not_comparable is None


def test_evaluation_leaves_the_model_as_it_was_and_asks_between_batches(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(translation, "TOKENS_PER_BATCH", {"cpu": 1})
    model = toy(tokenizer)
    score = evaluator(stored(tmp_path, tokenizer), tokenizer)
    asked: list[int] = []
    score(model, lambda: asked.append(1))
    assert len(asked) == len(PAIRS)
    assert model.training

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(model, stop)
    assert model.training


def test_unknown_tokens_make_bits_not_comparable(tokenizer: Tokenizer, tmp_path: Path) -> None:
    score = evaluator(stored(tmp_path, tokenizer, [*PAIRS, ("Go", "뷁")]), tokenizer)(toy(tokenizer))
    assert score.unknown == 1
    assert "are unknown" in str(score.not_comparable)


def test_a_score_is_json(tokenizer: Tokenizer, tmp_path: Path) -> None:
    score = evaluator(stored(tmp_path, tokenizer), tokenizer)(toy(tokenizer))
    found = json.loads(json.dumps(replace(score, perplexity=math.inf).to_dict(), allow_nan=False))
    assert found["perplexity"] is None
    assert found["accuracy"] == score.accuracy
    assert isinstance(score, PairScore)


def test_translations_are_scored_as_a_whole_and_by_words_of_the_source() -> None:
    sources = ["가라", "산은 높고 물은 맑다", "말길을 따라 걷는다", "새벽 이 온다"]
    references = ["Go away from here now", "High are the hills", "Walk along the way of words", "Dawn comes to us"]
    hypotheses = ["Go away from here now", "Hills are high", "Walk along the way of a word", "Dawn comes to us"]
    score = score_translations(sources, hypotheses, references)
    assert score.bleu.score == sacrebleu.corpus_bleu(hypotheses, [references]).score
    assert score.chrf.score == sacrebleu.corpus_chrf(hypotheses, [references]).score
    assert [row[:3] for row in score.by_length] == [(1, 1, 1), (3, 3, 2), (4, 4, 1)]
    found = json.loads(json.dumps(score.to_dict(), allow_nan=False))
    assert found["bleu_signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|")
    assert found["bleu_by_source_words"][0] == {"low": 1, "high": 1, "sentences": 1, "bleu": pytest.approx(100)}
    assert "|tok:char|" in score_translations(sources, hypotheses, references, tokenize="char").bleu.signature


def test_sources_of_other_translations_are_refused() -> None:
    with pytest.raises(InputError, match="1 translations but 2 lengths"):
        score_translations(["말", "길"], ["way"], ["way"])
