"""Evaluation of what is asked beside hidden tokens, against loops that a person can check."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from malgil.data.corpus import open_whole
from malgil.data.sentence_pairs import SentencePairs
from malgil.data.sequences import Sequences
from malgil.data.settings import DataSettings
from malgil.data.shuffle import uniforms
from malgil.data.store import TokenStore, token_store
from malgil.evaluation import masked as module
from malgil.evaluation.masked import SEED, MaskedEvaluator
from malgil.evaluation.replaced_tokens import ReplacedEvaluator
from malgil.evaluation.sentence_pairs import MaskedPairsEvaluator
from malgil.models import build_model, family
from malgil.models.base import Encoder
from malgil.objectives.base import Assembled
from malgil.objectives.masked_lm import _NOISE
from malgil.objectives.masking import Masking
from malgil.objectives.next_sentence import NextSentencePrediction, next_or_other
from malgil.objectives.replaced_tokens import ReplacedTokenDetection, draw_tokens
from malgil.objectives.sentence_order import SentenceOrderPrediction, in_order_or_swapped
from malgil.runtime.device import Precision
from malgil.text.sentences import SentenceEnds
from malgil.text.settings import TokenizerSettings
from malgil.text.tokenizer import Tokenizer
from malgil.text.training import train_tokenizer
from malgil.text.words import Vocabulary

LENGTH = 27
DOCUMENTS = [
    "말길은 길이다. 글이 간다! 산은 높고 물은 흐른다. 끝.",
    "새벽",
    "The river carries light. Words take their way. 그리고 책.",
    "강물은 빛을 나른다. 낱말은 뜻을 나른다.",
]
SMALL: dict[str, dict[str, Any]] = {
    "bert": {"n_layers": 2, "n_heads": 3, "d_model": 15, "pooler": True, "d_embedding": 15},
    "birnn": {"n_layers": 1, "d_model": 9},
}
RULES = {NextSentencePrediction: next_or_other, SentenceOrderPrediction: in_order_or_swapped}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(DOCUMENTS, TokenizerSettings(kind="char")).with_mask()


@pytest.fixture(scope="module")
def store(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    path = tmp_path_factory.mktemp("texts") / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in DOCUMENTS), encoding="utf-8")
    part, _ = open_whole(DataSettings(paths=[str(path)]))
    return token_store(part, tokenizer)


def encoder(name: str, tokenizer: Tokenizer, **changed: Any) -> Encoder:
    torch.manual_seed(5)
    settings = {**SMALL[name], "max_len": LENGTH, "dropout": 0.5, **changed}
    model = build_model(name, family(name).config(**settings), tokenizer.vocab_size)
    assert isinstance(model, Encoder)
    return model


def shaken(assembled: Assembled) -> Assembled:
    with torch.no_grad():
        for parameter in assembled.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return assembled.train()


def masked(store: TokenStore, tokenizer: Tokenizer) -> MaskedEvaluator:
    return MaskedEvaluator(store, Vocabulary.of(tokenizer), LENGTH, Precision("fp32"))


@pytest.mark.parametrize("name", list(SMALL))
@pytest.mark.parametrize("kind", list(RULES))
@torch.no_grad()
def test_every_pair_counts_once(name: str, kind: Any, store: TokenStore, tokenizer: Tokenizer) -> None:
    ends, body = SentenceEnds.of(tokenizer), encoder(name, tokenizer)
    objective = kind(Masking(Vocabulary.of(tokenizer)), ends)
    assembled = shaken(Assembled(body, objective.parts(body)))
    score = MaskedPairsEvaluator(masked(store, tokenizer), ends, objective.rule)(assembled)
    assert assembled.training  # as it was found
    assembled.eval()
    reading = RULES[kind](SentencePairs(store, ends, LENGTH), SEED, 0)
    masking, losses, right = Masking(Vocabulary.of(tokenizer), rate=0.15, unit="token"), [], 0
    for i in range(len(reading.lengths)):
        ids, first = reading.ids(i), reading.first_lengths[[i]]
        length, zero = np.array([len(ids)]), np.array([0])
        seen, _ = masking.hide(ids, length, np.array([i]), zero, seed=SEED, first_lengths=first)
        if reading.labels[i] >= 0:
            types = (torch.arange(len(ids)) >= int(first[0])).long()
            hidden = body(torch.from_numpy(seen)[None], type_ids=types[None]).hidden
            log_p = assembled.parts["sentence"](body.pooled(hidden[:, 0]))[0].log_softmax(-1)
            losses.append(-float(log_p[reading.labels[i]]))
            right += int(log_p.argmax() == reading.labels[i])
    assert score.pairs == len(losses) > 4
    assert score.sentence_loss == pytest.approx(np.mean(losses), rel=1e-4)
    assert score.sentence_accuracy == pytest.approx(right / len(losses))
    alone = masked(store, tokenizer)(body)
    assert {name: score.to_dict()[name] for name in alone.to_dict()} == alone.to_dict()  # the question of all recipes


@torch.no_grad()
def test_every_token_is_asked_for_once(store: TokenStore, tokenizer: Tokenizer) -> None:
    body = encoder("bert", tokenizer)
    narrow = {"n_heads": 1, "d_model": 5, "pooler": False}
    objective = ReplacedTokenDetection(Masking(Vocabulary.of(tokenizer)), lambda: encoder("bert", tokenizer, **narrow))
    assembled = shaken(Assembled(body, objective.parts(body)))
    score = ReplacedEvaluator(masked(store, tokenizer))(assembled)
    assert assembled.training
    assembled.eval()
    generator, head = assembled.parts["generator"], assembled.parts["discriminator"]
    assert isinstance(generator, Encoder)
    sequences, masking = Sequences(store, LENGTH), Masking(Vocabulary.of(tokenizer))
    nll, guessed, table, losses = [], 0, {(a, b): 0 for a in (0, 1) for b in (0, 1)}, []
    for i in range(len(sequences)):
        ids, zero = sequences.ids(i), np.array([0])
        seen, hidden = masking.hide(ids, np.array([len(ids)]), np.array([i]), zero, seed=SEED)
        places = np.flatnonzero(hidden)
        vectors = generator(torch.from_numpy(seen)[None]).hidden[0, places]
        log_p = generator.logits(vectors).log_softmax(-1)
        nll += [-float(row[ids[place]]) for row, place in zip(log_p, places, strict=True)]
        guessed += sum(int(row.argmax() == ids[place]) for row, place in zip(log_p, places, strict=True))
        noise = uniforms((SEED, _NOISE), np.zeros_like(places), np.full_like(places, i), places)
        put = ids.copy()
        put[places] = draw_tokens(generator, vectors, torch.from_numpy(noise))
        scores = head(body(torch.from_numpy(put)[None]).hidden[0])
        for said, label in zip(scores.tolist(), (put != ids).tolist(), strict=True):
            table[int(label), int(said > 0)] += 1
            losses.append(math.log1p(math.exp(-said if label else said)))
    assert score.masked == len(nll)
    assert score.masked_loss == pytest.approx(np.mean(nll), rel=1e-4)
    assert score.masked_accuracy == pytest.approx(guessed / len(nll))
    assert score.replaced_loss == pytest.approx(np.mean(losses), rel=1e-4)
    assert score.loss == pytest.approx(np.mean(nll) + 50 * np.mean(losses), rel=1e-4)
    assert score.replaced == table[1, 0] + table[1, 1] > 0
    assert score.replaced_accuracy == pytest.approx((table[0, 0] + table[1, 1]) / len(losses))
    assert score.replaced_f1 == pytest.approx(2 * table[1, 1] / (2 * table[1, 1] + table[0, 1] + table[1, 0]))
    assert score.tokens == sum(len(text) for text in DOCUMENTS)
    assert set(score.to_dict()) == set(vars(score))


def test_batches_change_nothing(store: TokenStore, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    body, calls = encoder("bert", tokenizer), []
    objective = NextSentencePrediction(Masking(Vocabulary.of(tokenizer)), SentenceEnds.of(tokenizer))
    assembled = shaken(Assembled(body, objective.parts(body)))
    score = MaskedPairsEvaluator(masked(store, tokenizer), objective.ends, objective.rule)
    whole = score(assembled)
    monkeypatch.setattr(module, "TOKENS_PER_BATCH", {"cpu": 1})  # a row at a time
    one_by_one = score(assembled, lambda: calls.append(1))
    assert len(calls) > 6
    assert one_by_one.sentence_loss == pytest.approx(whole.sentence_loss, rel=1e-4)
    assert (one_by_one.pairs, one_by_one.sentence_accuracy) == (whole.pairs, whole.sentence_accuracy)
