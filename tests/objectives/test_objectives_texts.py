"""Whole texts: rows, one vector for each, what of a body is trained, and which records a step reads."""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from label_cases import LENGTH, SMALL, body, labelled, stored, trained_names
from torch import Tensor

from malgil.data.epochs import Int64s
from malgil.models.base import Encoder
from malgil.objectives.base import BatchPlan
from malgil.objectives.texts import (
    RecordBatches,
    Texts,
    TextVectors,
    collate_texts,
    freeze_unread,
    text_vectors,
)


@dataclass(frozen=True)
class Numbers:
    """A batch that remembers which records it was made of."""

    rows: tuple[int, ...]
    count: int


def numbers(rows: Int64s) -> Numbers:
    return Numbers(tuple(rows.tolist()), len(rows))


def test_rows_hold_their_records_and_padding_behind() -> None:
    store = stored(labelled())
    chosen = [4, 3, 0, 17]
    texts = collate_texts(store, chosen)
    assert texts.token_mask is not None
    assert texts.type_ids is not None
    assert texts.tokens.shape == texts.token_mask.shape == (4, max(store.lengths[chosen]))
    for row, i in enumerate(chosen):
        real = texts.token_mask[row]
        assert real.tolist() == [t < store.lengths[i] for t in range(texts.tokens.shape[1])]
        assert texts.tokens[row][real].tolist() == store.ids(i).tolist()
        assert texts.type_ids[row][real].tolist() == store.types(i).tolist()
        assert not texts.tokens[row][~real].any()
    alone = collate_texts(store, [1])
    assert alone.token_mask is None
    assert alone.type_ids is None
    assert alone.to(torch.device("cpu")) is alone


@pytest.mark.parametrize("pooling", ["mean", "first"])
@pytest.mark.parametrize("name", SMALL)
def test_a_vector_is_that_of_the_text_alone(name: str, pooling: str) -> None:
    store, model = stored(labelled()), body(name)
    assert isinstance(model, Encoder)
    together = text_vectors(model, collate_texts(store, range(9)), pooling)
    for i in range(9):
        ids, types = torch.from_numpy(store.ids(i))[None], torch.from_numpy(store.types(i))[None]
        hidden: Tensor = model(ids, type_ids=types).hidden[0]
        expected = sum(hidden) / len(hidden) if pooling == "mean" else model.pooled(hidden[0])
        torch.testing.assert_close(together[i], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "first"])
@pytest.mark.parametrize("name", SMALL)
def test_of_pairs_it_says_also_how_both_texts_differ(name: str, pooling: str) -> None:
    store, model = stored(labelled()), body(name)
    texts = collate_texts(store, range(9))
    assert texts.type_ids is not None
    vectors = TextVectors(pooling, pairs=True)
    found = vectors(model, texts)
    assert found.shape[1] == vectors.width(model)
    whole, product, difference = found.split(model.d_model, dim=1)
    torch.testing.assert_close(whole, text_vectors(model, texts, pooling))
    seconds = 0
    for i in range(9):
        ids, types = torch.from_numpy(store.ids(i))[None], torch.from_numpy(store.types(i))
        hidden: Tensor = model(ids, type_ids=types[None]).hidden[0]
        u = hidden[types == 0].mean(0)
        v = hidden[types == 1].mean(0) if types.any() else torch.zeros_like(u)
        seconds += int(types.any())
        torch.testing.assert_close(product[i], u * v, atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(difference[i], (u - v).abs(), atol=1e-6, rtol=1e-4)
    assert 0 < seconds < 9
    alone = vectors(model, collate_texts(store, [1]))  # a batch without a second text
    torch.testing.assert_close(alone[0], found[1], atol=1e-6, rtol=1e-4)


def test_what_nothing_reaches_is_frozen_and_nothing_else() -> None:
    mean, first = body("bert"), body("bert")
    freeze_unread(mean, partial(text_vectors, pooling="mean"))
    freeze_unread(first, partial(text_vectors, pooling="first"))
    head = {name for name, _ in mean.named_parameters() if name.startswith(("head.", "output_bias"))}
    pooler = {"pooler.weight", "pooler.bias"}
    everything = {name for name, _ in mean.named_parameters()}
    assert trained_names(first) == everything - head
    assert trained_names(mean) == everything - head - pooler
    assert all(p.grad is None for p in mean.parameters())
    assert not mean.training


@pytest.mark.parametrize("name", SMALL)
def test_all_that_is_trained_gets_a_gradient(name: str) -> None:
    model, store = body(name), stored(labelled())
    freeze_unread(model, partial(text_vectors, pooling="mean"))
    text_vectors(model, collate_texts(store, range(5)), "mean").square().sum().backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == trained_names(model)
    assert "embedding.weight" in trained_names(model)


def test_what_was_frozen_stays_so() -> None:
    model = body("bert")
    model.embedding.weight.requires_grad_(False)
    freeze_unread(model, partial(text_vectors, pooling="mean"))
    assert "embedding.weight" not in trained_names(model)


def test_a_text_longer_than_the_context_is_never_read() -> None:
    assert stored(labelled()).lengths.max() == LENGTH


@pytest.mark.parametrize("plan", [BatchPlan(5), BatchPlan(1, 2, batch_tokens=60), BatchPlan(3, accumulate=2, seed=4)])
def test_an_epoch_reads_each_record_once(plan: BatchPlan) -> None:
    lengths = stored(labelled()).lengths
    batches = RecordBatches(lengths, numbers, plan)
    per_epoch = batches.steps_per_epoch * plan.accumulate
    assert per_epoch == int(per_epoch)
    steps = [batches(step) for step in range(3 * int(batches.steps_per_epoch + 1))]
    flat = [batch for step in steps for batch in step][: int(per_epoch)]
    assert Counter(row for batch in flat for row in batch.rows) == Counter(range(len(lengths)))
    assert all(len(step) == plan.accumulate for step in steps)
    assert [batches.tokens(i) for i in range(4)] == [
        sum(int(lengths[row]) for batch in steps[i] for row in batch.rows) for i in range(4)
    ]
    if plan.batch_tokens:
        assert all(len(b.rows) * max(lengths[list(b.rows)]) <= plan.batch_tokens for b in flat)
    again = RecordBatches(lengths, numbers, plan)
    assert [again(step) for step in (3, 0)] == [steps[3], steps[0]]
    other = RecordBatches(lengths, numbers, BatchPlan(plan.batch_size, plan.accumulate, seed=9))
    assert [other(step) for step in range(3)] != steps[:3]


def test_processes_share_the_rows_and_one_without_any_waits_for_nobody() -> None:
    lengths = np.array([3, 90, 5, 4, 80])
    ranks = [RecordBatches(lengths, numbers, BatchPlan(1, 1, r, 2, batch_tokens=20)) for r in (0, 1)]
    alone = RecordBatches(lengths, numbers, BatchPlan(1, batch_tokens=20))
    short = 0
    for step in range(6):
        (first,), (second,), (whole,) = ranks[0](step), ranks[1](step), alone(step)
        if second.count == 0:
            assert second.rows == whole.rows[:1]
            short += 1
        counted = [*first.rows[: first.count], *second.rows[: second.count]]
        assert sorted(counted) == sorted(whole.rows)
    assert short
    assert pickle.loads(pickle.dumps(alone))(4) == alone(4)


def test_types_where_all_texts_are_single() -> None:
    texts = collate_texts(stored([r for r in labelled() if r.pair is None]), range(3))
    assert texts == Texts(texts.tokens, None, texts.token_mask)
