"""Tagging: batches by hand, the loss against a plain loop, and that cutting a step changes nothing."""

from __future__ import annotations

import pickle
from collections import Counter

import pytest
import torch

from malgil.data.label_records import Tagged
from malgil.data.tag_store import TagStore, tag_store
from malgil.models import build_model, family
from malgil.objectives.base import Assembled, BatchPlan
from malgil.objectives.tagging import HEAD, TagBatch, Tagging, collate_tags, tag_logits
from malgil.text.settings import TokenizerSettings
from malgil.text.tokenizer import Tokenizer
from malgil.text.training import train_tokenizer

NAMES = ("O", "B-LOC", "I-LOC")
SENTENCES = [
    ("서울 에 간다", "B-LOC O O"),
    ("말길", "O"),
    ("New York 과 한강 공원 에서 온다 .", "B-LOC I-LOC O B-LOC I-LOC O O O"),
    ("새벽 이 온다", "O O O"),
    ("제주 는 섬 이다 물 이 흐른다", "B-LOC O O O O O O"),
]
FAMILIES = {
    "bert": {"n_layers": 2, "n_heads": 3, "d_model": 15, "max_len": 24},
    "birnn": {"n_layers": 1, "d_model": 7},
    "modernbert": {"n_layers": 2, "n_heads": 3, "d_model": 18, "max_len": 24, "window": 6},
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([f"{words}\n" for words, _ in SENTENCES] * 2, TokenizerSettings(kind="char"))


@pytest.fixture(scope="module")
def store(tokenizer: Tokenizer) -> TagStore:
    records = [Tagged(tuple(words.split()), tuple(tags.split())) for words, tags in SENTENCES]
    return tag_store(records, tokenizer, NAMES, longest=13)


def assembled(name: str, tokenizer: Tokenizer) -> Assembled:
    torch.manual_seed(1)
    body = build_model(name, family(name).config(**FAMILIES[name], dropout=0.0), tokenizer.vocab_size)
    model = Assembled(body, Tagging(NAMES).parts(body))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def test_a_batch_by_hand(store: TagStore, tokenizer: Tokenizer) -> None:
    batch = collate_tags(store.rows, [1, 0])
    mark, pad = tokenizer.begin_id, 0
    assert batch.texts.tokens.tolist() == [
        [mark, *tokenizer.encode("말길"), mark] + [pad] * 5,
        [mark, *tokenizer.encode("서울 에 간다"), mark],
    ]
    assert batch.positions.tolist() == [1, 9 + 1, 9 + 4, 9 + 6]  # after the spaces, which are tokens
    assert batch.targets.tolist() == [0, 1, 0, 0]
    assert batch.count == 4
    assert batch.texts.token_mask is not None
    assert batch.texts.token_mask.sum(1).tolist() == [4, 9]
    nothing = collate_tags(store.rows, [1], counted=False)
    assert (nothing.count, nothing.targets.tolist()) == (0, [-100])


@pytest.mark.parametrize("name", FAMILIES)
def test_the_loss_is_that_of_each_word_by_itself(name: str, store: TagStore, tokenizer: Tokenizer) -> None:
    model, objective = assembled(name, tokenizer), Tagging(NAMES)
    batch = collate_tags(store.rows, range(len(store.rows)))
    total, words = 0.0, 0
    with torch.no_grad():
        for row in range(len(store.rows)):  # a row at a time, without padding
            hidden = model.body(torch.from_numpy(store.rows.ids(row))[None]).hidden[0]
            for place, tag in zip(store.rows.places(row), store.rows.tags(row), strict=True):
                scores = model.parts[HEAD].linear(hidden[int(place)])
                total -= float(scores[int(tag)] - scores.exp().sum().log())
                words += 1
        found, _ = objective.loss(model, batch, None)
    assert objective.counts(batch) == {"tags": words} == {"tags": len(store.tags)}
    assert float(found["tags"]) == pytest.approx(total, rel=1e-5)
    assert tag_logits(model, batch).shape == (words, 3)


def test_micro_batches_add_up_to_the_batch(store: TagStore, tokenizer: Tokenizer) -> None:
    model, objective = assembled("bert", tokenizer), Tagging(NAMES)

    def gradients(parts: list[TagBatch]) -> dict[str, torch.Tensor]:
        model.zero_grad()
        for part in parts:
            objective.loss(model, part, None)[0]["tags"].backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    rows = store.rows
    whole = gradients([collate_tags(rows, range(len(rows)))])
    cut = gradients([collate_tags(rows, [n]) for n in range(len(rows))] + [collate_tags(rows, [0], counted=False)])
    assert whole.keys() == cut.keys()
    for name in whole:
        torch.testing.assert_close(cut[name], whole[name], rtol=1e-4, atol=1e-5)
    nothing = objective.loss(model, collate_tags(rows, [0], counted=False), None)[0]["tags"]
    assert nothing.item() == 0.0
    assert nothing.requires_grad


def test_what_the_loss_does_not_reach_is_frozen(store: TagStore, tokenizer: Tokenizer) -> None:
    model = assembled("bert", tokenizer)
    objective = Tagging(NAMES)
    objective.begin(model.body)
    objective.loss(model, collate_tags(store.rows, [0, 2]), None)[0]["tags"].backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    assert not model.body.output_bias.requires_grad
    assert model.body.embedding.weight.requires_grad


def test_an_epoch_reads_each_row_once_and_processes_share_it(store: TagStore, tokenizer: Tokenizer) -> None:
    body = assembled("bert", tokenizer).body
    objective, n_rows = Tagging(NAMES), len(store.rows)
    assert n_rows > len(store)
    alone = objective.training_batches(store, body, 13, BatchPlan(2, 1, seed=4))
    steps = round(alone.steps_per_epoch)
    assert alone.steps_per_epoch == steps == -(-n_rows // 2)
    batches = [alone(step) for step in range(steps)]
    seen = Counter(tuple(row[mask].tolist()) for (b,) in batches for row, mask in rows_of(b))
    assert seen == Counter(tuple(store.rows.ids(row).tolist()) for row in range(n_rows))
    shared = [objective.training_batches(store, body, 13, BatchPlan(2, 1, rank, 2, seed=4)) for rank in range(2)]
    for step, (batch,) in enumerate(batches):
        parts = [one(step)[0] for one in shared]
        assert sum(part.count for part in parts) == batch.count
        assert {one.tokens(step) for one in (alone, *shared)} == {alone.tokens(step)}
    again = pickle.loads(pickle.dumps(alone))
    assert again(3)[0].texts.tokens.tolist() == alone(3)[0].texts.tokens.tolist()


def rows_of(batch: TagBatch) -> list[tuple[torch.Tensor, torch.Tensor]]:
    mask = batch.texts.token_mask
    real = torch.ones_like(batch.texts.tokens, dtype=torch.bool) if mask is None else mask
    return list(zip(batch.texts.tokens, real, strict=True))
