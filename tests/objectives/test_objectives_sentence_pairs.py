"""Pairs of texts: who is whose neighbour, what is asked of whom, and what the loss is."""

from __future__ import annotations

import itertools
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pretraining_cases import LENGTH, SMALL, encoder, make_store, restored, texts
from torch import Tensor

from malgil.data.loader import Loader
from malgil.data.sentence_pairs import NONE, SentencePairs
from malgil.data.store import TokenStore
from malgil.errors import DataError
from malgil.objectives.base import Assembled, BatchPlan
from malgil.objectives.masked_lm import MaskedBatch, collate_masked
from malgil.objectives.masking import Masking
from malgil.objectives.next_sentence import NextSentencePrediction, next_or_other
from malgil.objectives.sentence_order import SentenceOrderPrediction, in_order_or_swapped
from malgil.objectives.sentence_pairs import MaskedPairs, PairReadings
from malgil.text.sentences import SentenceEnds
from malgil.text.tokenizer import Tokenizer
from malgil.text.words import Vocabulary

OBJECTIVES: list[type[MaskedPairs]] = [NextSentencePrediction, SentenceOrderPrediction]


@pytest.fixture(scope="module")
def pairs(store: TokenStore, tokenizer: Tokenizer) -> SentencePairs:
    return SentencePairs(store, SentenceEnds.of(tokenizer), LENGTH)


def objective(kind: type[MaskedPairs], tokenizer: Tokenizer) -> MaskedPairs:
    return kind(Masking(Vocabulary.of(tokenizer)), SentenceEnds.of(tokenizer))


def model(kind: type[MaskedPairs], name: str, tokenizer: Tokenizer, **changed: Any) -> Assembled:
    body = encoder(name, tokenizer.vocab_size, **changed)
    return Assembled(body, objective(kind, tokenizer).parts(body))


def halves_of(ids: list[int], tokenizer: Tokenizer) -> list[str]:
    """The texts of a sequence."""
    assert ids[0] == tokenizer.begin_id
    parts = [list(part) for end, part in itertools.groupby(ids[1:], lambda i: i == tokenizer.end_id) if not end]
    return [tokenizer.decode(part) for part in parts]


# -- what becomes of pairs --------------------------------------------------------------------------


def test_half_of_the_pairs_are_neighbours_the_others_come_from_other_documents(pairs: SentencePairs) -> None:
    shares, drawn = [], set()
    for epoch in range(60):
        reading = next_or_other(pairs, 5, epoch)
        for number, (a, b, label) in enumerate(zip(reading.first, reading.second, reading.labels, strict=True)):
            assert a == pairs.first[number]
            if pairs.second[number] == NONE:
                assert (b, label) == (NONE, -100)
            elif label == 0:
                assert b == a + 1 == pairs.second[number]
                assert pairs.document[b] == pairs.document[a]
            else:
                assert label == 1
                assert pairs.document[b] != pairs.document[a]
                drawn.add(int(b))
        shares.append((reading.labels == 1).sum() / (reading.labels >= 0).sum())
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)
    assert drawn == set(range(len(pairs.sizes)))  # any text of any document


def test_in_a_single_document_the_others_come_from_elsewhere_in_it(tokenizer: Tokenizer, tmp_path: Path) -> None:
    pairs = SentencePairs(make_store(tokenizer, tmp_path, [" ".join(texts())]), SentenceEnds.of(tokenizer), LENGTH)
    n_replaced = 0
    for epoch in range(5):
        reading = next_or_other(pairs, 1, epoch)
        for a, b, label in zip(reading.first, reading.second, reading.labels, strict=True):
            assert b == a + 1 if label == 0 else b not in (a, a + 1) or label == -100
            n_replaced += label == 1
    assert n_replaced > 50
    one = SentencePairs(make_store(tokenizer, tmp_path, ["산. 물은."]), SentenceEnds.of(tokenizer), LENGTH)
    with pytest.raises(DataError, match="a single pair"):
        next_or_other(one, 0, 0)


def test_half_of_the_pairs_are_swapped(pairs: SentencePairs) -> None:
    shares = []
    for epoch in range(30):
        reading = in_order_or_swapped(pairs, 5, epoch)
        for number, (a, b, label) in enumerate(zip(reading.first, reading.second, reading.labels, strict=True)):
            own = (pairs.first[number], pairs.second[number])
            assert (a, b) == (own[::-1] if label == 1 else own)
            assert (label == -100) == (own[1] == NONE)
        shares.append((reading.labels == 1).sum() / (reading.labels >= 0).sum())
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("rule", [next_or_other, in_order_or_swapped])
def test_draws_follow_from_seed_and_epoch(rule: Any, pairs: SentencePairs) -> None:
    first = rule(pairs, 7, 3)
    assert np.array_equal(first.second, rule(pairs, 7, 3).second)
    for other in (rule(pairs, 7, 4), rule(pairs, 8, 3)):
        assert 0.2 < (first.labels != other.labels).mean() < 0.8


# -- batches ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", [LENGTH, None])
@pytest.mark.parametrize("kind", OBJECTIVES)
def test_a_batch_in_full(kind: type[MaskedPairs], room: int | None, pairs: SentencePairs, tokenizer: Tokenizer) -> None:
    made = objective(kind, tokenizer)
    readings = PairReadings(pairs, made.rule, 9)
    rows = [np.array([0, 7]), np.array([12])] if room else [np.array([0]), np.array([7]), np.array([12])]
    batch = collate_masked(readings, rows, [2] * len(rows), made.masking, room=room and 99, seed=1)
    reading = readings.in_epoch(2)
    assert batch.type_ids is not None
    assert batch.begins is not None
    assert batch.labels is not None
    numbers = [0, 7, 12]
    real = batch.segment_ids if room else batch.token_mask
    assert real is not None
    assert batch.real.tolist() == np.flatnonzero(real.numpy()).tolist()
    assert restored(batch) == [reading.ids(i).tolist() for i in numbers]
    asked = [i for i in numbers if reading.labels[i] >= 0]
    assert batch.labels.tolist() == [reading.labels[i] for i in asked]
    types = batch.type_ids.flatten()[batch.real].split([int(reading.lengths[i]) for i in numbers])
    for i, own in zip(numbers, types, strict=True):
        alone = reading.joined is not None and bool(reading.joined[i])
        first = len(own) if alone else int(pairs.sizes[reading.first[i]]) + 2
        assert own.tolist() == [0] * first + [1] * (int(reading.lengths[i]) - first)
    starts = np.cumsum([0, *reading.lengths[numbers[:-1]]])
    assert batch.begins.tolist() == [batch.real[start] for i, start in zip(numbers, starts, strict=True) if i in asked]
    # ends and begins are never hidden, and 15 % of the texts' own tokens are
    hidden = torch.zeros(batch.tokens.numel(), dtype=torch.bool)
    hidden[batch.positions] = True
    for i, own in zip(numbers, hidden[batch.real].split([int(reading.lengths[i]) for i in numbers]), strict=True):
        ids = reading.ids(i)
        assert not own[torch.from_numpy(ids == tokenizer.begin_id)].any()
        assert own.sum() == max(1, round(0.15 * (ids != tokenizer.begin_id).sum()))


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_a_quarter_is_read_as_one_text(kind: type[MaskedPairs], pairs: SentencePairs, tokenizer: Tokenizer) -> None:
    """As it stands in the document, and others each epoch."""
    readings = PairReadings(pairs, objective(kind, tokenizer).rule, 5)
    shares, ever = [], set()
    for epoch in range(30):
        reading = readings.in_epoch(epoch)
        assert reading.joined is not None
        chosen = np.flatnonzero(reading.joined)
        assert (pairs.second[chosen] != NONE).all()
        assert (reading.labels[chosen] == -100).all()
        assert (reading.labels[pairs.second != NONE] >= 0).sum() == (pairs.second != NONE).sum() - len(chosen)
        for i in chosen[:3]:
            text = [*pairs.tokens(int(pairs.first[i])), *pairs.tokens(int(pairs.second[i]))]
            assert reading.ids(int(i)).tolist() == [tokenizer.begin_id, *text, tokenizer.end_id]
        shares.append(len(chosen) / (pairs.second != NONE).sum())
        ever |= set(chosen.tolist())
    assert np.mean(shares) == pytest.approx(0.25, abs=0.03)
    assert len(ever) == (pairs.second != NONE).sum()


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_an_epoch_reads_every_pair_once(kind: type[MaskedPairs], store: TokenStore, tokenizer: Tokenizer) -> None:
    made = objective(kind, tokenizer)
    body = encoder("bert", tokenizer.vocab_size)
    batches = made.training_batches(store, body, LENGTH, BatchPlan(1, seed=4))
    per_epoch = round(batches.steps_per_epoch)
    reading = made.readings(store, LENGTH, 4).in_epoch(0)
    found = sorted(ids for step in range(per_epoch) for batch in batches(step) for ids in restored(batch))
    assert found == sorted(reading.ids(i).tolist() for i in range(len(reading.lengths)))
    assert [batches.tokens(step) for step in range(4)] == [
        sum(map(len, restored(batches(step)[0]))) for step in range(4)
    ]
    texts_of = {tuple(halves_of(ids, tokenizer)) for ids in found}
    again = {tuple(halves_of(i, tokenizer)) for s in range(per_epoch, 2 * per_epoch) for i in restored(batches(s)[0])}
    assert 0.2 < len(texts_of & again) / len(texts_of) < 0.8  # other pairs, but for half of them


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_ranks_share_the_rows_and_any_process_makes_any_step(
    kind: type[MaskedPairs], store: TokenStore, tokenizer: Tokenizer
) -> None:
    made, body = objective(kind, tokenizer), encoder("bert", tokenizer.vocab_size)

    def batches(**plan: int) -> Any:
        return made.training_batches(store, body, LENGTH, BatchPlan(**{"batch_size": 4, "seed": 5, **plan}))

    def content(micro: list[MaskedBatch]) -> list[Any]:
        return [(b.tokens.tolist(), b.targets.tolist(), b.labels.tolist()) for b in micro]  # type: ignore[union-attr]

    alone, shared = batches(), [batches(rank=rank, world=2) for rank in range(2)]
    for step in (0, 5, 11):
        (whole,) = alone(step)
        parts = [batch for rank in shared for batch in rank(step)]
        assert torch.equal(torch.cat([b.tokens for b in parts]), whole.tokens)
        assert torch.equal(torch.cat([b.labels for b in parts]), whole.labels)
    assert content(pickle.loads(pickle.dumps(alone))(9)) == content(alone(9))
    assert [content(b) for b in itertools.islice(Loader(batches(), 8, 1), 2)] == [content(alone(8)), content(alone(9))]


# -- the loss ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(SMALL))
@pytest.mark.parametrize("kind", OBJECTIVES)
def test_loss_is_that_of_each_pair_read_alone(
    kind: type[MaskedPairs], name: str, store: TokenStore, tokenizer: Tokenizer
) -> None:
    made, assembled = objective(kind, tokenizer), model(kind, name, tokenizer)
    (batch,) = made.training_batches(store, assembled.body, LENGTH, BatchPlan(5, seed=2))(1)
    assert batch.type_ids is not None
    assert batch.labels is not None
    sums, _ = made.loss(assembled, batch, None)
    assert set(sums) == set(made.terms) == {"mlm", made.term}
    lengths = [len(ids) for ids in restored(batch)]
    flat = [tensor.flatten()[batch.real].split(lengths) for tensor in (batch.tokens, batch.type_ids)]
    labels, losses = batch.labels.tolist(), []
    for tokens, types in zip(*flat, strict=True):
        if types.any():
            hidden = assembled.body(tokens[None], type_ids=types[None]).hidden
            scores = assembled.parts["sentence"](assembled.body.pooled(hidden[:, 0]))
            losses.append(F.cross_entropy(scores, torch.tensor([labels.pop(0)])))
    assert not labels
    torch.testing.assert_close(sums[made.term], torch.stack(losses).sum(), rtol=1e-4, atol=1e-5)
    assert made.counts(batch) == {"mlm": len(batch.targets), made.term: len(losses)}


def gradients(made: MaskedPairs, assembled: Assembled, batch: MaskedBatch) -> dict[str, Tensor | None]:
    assembled.zero_grad()
    torch.stack(list(made.loss(assembled, batch, None)[0].values())).sum().backward()
    return {name: p.grad for name, p in assembled.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("name", list(SMALL))
@pytest.mark.parametrize("kind", OBJECTIVES)
def test_everything_that_is_trained_gets_a_gradient(
    kind: type[MaskedPairs], name: str, store: TokenStore, tokenizer: Tokenizer, pairs: SentencePairs
) -> None:
    made, assembled = objective(kind, tokenizer), model(kind, name, tokenizer)
    made.begin(assembled.body)
    (batch,) = made.training_batches(store, assembled.body, LENGTH, BatchPlan(5, seed=2))(1)
    assert all(g is not None for g in gradients(made, assembled, batch).values())
    assert all(p.requires_grad for p in assembled.parameters())  # also the pooler
    # a batch in which nothing is asked of any pair waits for nobody
    readings = PairReadings(pairs, made.rule, 0)
    (alone,) = np.flatnonzero(pairs.second == NONE)[:1]
    room = None if name == "birnn" else LENGTH
    lone = collate_masked(readings, [np.array([alone])], [0], made.masking, room=room, seed=0)
    assert made.counts(lone)[made.term] == 0
    assert all(g is not None for g in gradients(made, assembled, lone).values())


def test_without_the_question_the_pooler_is_frozen(tokenizer: Tokenizer) -> None:
    from malgil.objectives.masked_lm import MaskedLanguageModelling

    body = encoder("bert", tokenizer.vocab_size)
    MaskedLanguageModelling(Masking(Vocabulary.of(tokenizer))).begin(body)
    assert {name for name, p in body.named_parameters() if not p.requires_grad} == {"pooler.weight", "pooler.bias"}


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_a_few_pairs_are_learnt(kind: type[MaskedPairs], store: TokenStore, tokenizer: Tokenizer) -> None:
    made, assembled = objective(kind, tokenizer), model(kind, "bert", tokenizer)
    (batch,) = made.training_batches(store, assembled.body, LENGTH, BatchPlan(2, seed=2))(0)
    optimizer = torch.optim.AdamW(assembled.parameters(), lr=0.02)
    for _ in range(30):
        sums, _ = made.loss(assembled, batch, None)
        optimizer.zero_grad()
        torch.stack([sums[term] / n for term, n in made.counts(batch).items()]).sum().backward()
        optimizer.step()
    assert sums[made.term].item() / made.counts(batch)[made.term] < 0.2
