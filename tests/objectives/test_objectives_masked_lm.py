"""Hidden tokens: rows and targets, which row goes where, and that neither packing nor cutting changes a step."""

from __future__ import annotations

import itertools
import json
import pickle
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from malgil.data.corpus import open_whole
from malgil.data.loader import Loader
from malgil.data.sequences import Sequences, pack
from malgil.data.settings import DataSettings
from malgil.data.store import TokenStore, token_store
from malgil.errors import ConfigError
from malgil.models import FAMILIES, build_model, family
from malgil.models.base import Encoder
from malgil.objectives.base import Assembled, BatchPlan, check_fit
from malgil.objectives.masked_lm import MaskedBatch, MaskedBatches, MaskedLanguageModelling, collate_masked
from malgil.objectives.masking import Masking
from malgil.text.settings import TokenizerSettings
from malgil.text.tokenizer import Tokenizer
from malgil.text.training import train_tokenizer
from malgil.text.words import Vocabulary

WORDS = ("산", "높은", "river", "빛을", "carries", "물은", "흐른다")
LENGTH = 23
SMALL: dict[str, dict[str, Any]] = {
    "bert": {"n_layers": 2, "n_heads": 3, "d_model": 15, "max_len": LENGTH, "dropout": 0.0},
    "modernbert": {"n_layers": 2, "n_heads": 3, "d_model": 18, "max_len": LENGTH, "window": 6},
    "birnn": {"n_layers": 1, "d_model": 9, "max_len": LENGTH, "dropout": 0.0},
}


def texts() -> list[str]:
    random = np.random.default_rng(0)
    return [f"{i} " + " ".join(random.choice(WORDS, random.integers(1, 9))) for i in range(61)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(texts(), TokenizerSettings(kind="char")).with_mask()


@pytest.fixture(scope="module")
def store(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    """61 documents, all different, some of them longer than a row."""
    path = tmp_path_factory.mktemp("texts") / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts()), encoding="utf-8")
    part, _ = open_whole(DataSettings(paths=[str(path)]))
    return token_store(part, tokenizer)


@pytest.fixture(scope="module")
def masking(tokenizer: Tokenizer) -> Masking:
    return Masking(Vocabulary.of(tokenizer))


def model(name: str, tokenizer: Tokenizer) -> Assembled:
    torch.manual_seed(3)
    return Assembled(build_model(name, family(name).config(**SMALL[name]), tokenizer.vocab_size), {})


def rows_of(batches: list[MaskedBatch]) -> list[tuple[int, ...]]:
    """The text of every sequence, begin and end included, with what is hidden put back."""
    found = []
    for batch in batches:
        tokens = batch.tokens.clone()
        tokens.view(-1)[batch.positions] = batch.targets
        segments = batch.segment_ids if batch.segment_ids is not None else torch.ones_like(tokens)
        if batch.token_mask is not None:
            segments = segments.masked_fill(~batch.token_mask, 0)
        for row, places in zip(tokens, segments, strict=True):
            found += [tuple(row[places == i].tolist()) for i in range(1, int(places.max()) + 1)]
    return found


def batches_of(store: TokenStore, masking: Masking, room: int | None = LENGTH, **plan: Any) -> MaskedBatches:
    return MaskedBatches(Sequences(store, LENGTH), masking, BatchPlan(**{"batch_size": 6, "seed": 5, **plan}), room)


# -- the collator -----------------------------------------------------------------------------------


def test_a_batch_in_full(store: TokenStore, masking: Masking) -> None:
    sequences = Sequences(store, LENGTH)
    rows = [np.array([4, 0]), np.array([7])]
    batch = collate_masked(sequences, rows, [0, 3], masking, room=99, seed=1)
    lengths = sequences.lengths[[4, 0, 7]].tolist()
    assert batch.segment_ids is not None
    assert batch.segment_ids.tolist() == [
        [*[1] * lengths[0], *[2] * lengths[1], *[0] * (99 - lengths[0] - lengths[1])],
        [*[1] * lengths[2], *[0] * (99 - lengths[2])],
    ]
    assert batch.token_mask is None
    expected = [sequences.ids(i) for i in (4, 0, 7)]
    assert rows_of([batch]) == [tuple(ids.tolist()) for ids in expected]
    hidden = [
        masking.hide(sequences.ids(i), sequences.lengths[[i]], np.array([i]), np.array([epoch]), seed=1)
        for i, epoch in ((4, 0), (0, 0), (7, 3))
    ]
    assert (
        batch.targets.tolist()
        == np.concatenate([ids[chosen] for ids, (_, chosen) in zip(expected, hidden, strict=True)]).tolist()
    )
    assert batch.tokens[batch.segment_ids > 0].tolist() == np.concatenate([seen for seen, _ in hidden]).tolist()
    assert not batch.tokens[batch.segment_ids == 0].any()


def test_moving_keeps_everything(store: TokenStore, masking: Masking) -> None:
    for room in (LENGTH, None):
        (batch,) = batches_of(store, masking, room)(0)
        moved = batch.to(torch.device("meta"))
        assert {k for k, v in vars(moved).items() if v is not None} == {
            k for k, v in vars(batch).items() if v is not None
        }
        assert all(value.is_meta for value in vars(moved).values() if value is not None)
        assert batch.to(torch.device("cpu")) is batch


# -- which row goes where ---------------------------------------------------------------------------


@pytest.mark.parametrize("room", [LENGTH, None])
def test_an_epoch_reads_every_sequence_once_and_masks_change(
    room: int | None, store: TokenStore, masking: Masking
) -> None:
    batches = batches_of(store, masking, room, batch_size=1)
    sequences = Sequences(store, LENGTH)
    once = Counter(tuple(sequences.ids(i).tolist()) for i in range(len(sequences)))
    per_epoch = round(batches.steps_per_epoch)
    steps = [batches(step) for step in range(3 * per_epoch)]
    assert Counter(itertools.chain.from_iterable(map(rows_of, steps[:per_epoch]))) == once
    second = next(
        n
        for n in range(1, 2 * per_epoch)
        if sum(len(rows_of(s)) for s in steps[per_epoch : per_epoch + n]) >= len(sequences)
    )
    assert Counter(itertools.chain.from_iterable(map(rows_of, steps[per_epoch : per_epoch + second]))) == once
    assert [batches.tokens(step) for step in range(5)] == [sum(map(len, rows_of(s))) for s in steps[:5]]
    assert batches.tokens_per_step == round(sequences.lengths.sum() / batches.steps_per_epoch)


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_and_micro_batches_share_the_rows_of_one_process(world: int, store: TokenStore, masking: Masking) -> None:
    alone = batches_of(store, masking, batch_size=12)
    shared = [batches_of(store, masking, batch_size=6, accumulate=2, rank=r, world=world) for r in range(world)]
    for step in (0, 1, 2, 9):  # an epoch ends in the middle of a step
        whole, parts = alone(step), [batch for rank in shared for batch in rank(step)]
        assert sorted(rows_of(parts)) == sorted(rows_of(whole))
        assert Counter(torch.cat([b.targets for b in parts]).tolist()) == Counter(whole[0].targets.tolist())
        assert (
            sum((b.tokens == masking.vocabulary.mask_id).sum() for b in parts)
            == (whole[0].tokens == masking.vocabulary.mask_id).sum()
        )
        assert {rank.tokens(step) for rank in shared} == {alone.tokens(step)}


def test_any_step_from_any_process(store: TokenStore, masking: Masking) -> None:
    def content(batches: list[MaskedBatch]) -> list[list[int]]:
        return [batch.tokens.flatten().tolist() + batch.targets.tolist() for batch in batches]

    batches = batches_of(store, masking)
    whole = [content(batches(step)) for step in range(20)]
    assert [content(batches(step)) for step in range(19, -1, -1)] == whole[::-1]
    assert content(pickle.loads(pickle.dumps(batches))(14)) == whole[14]
    made = itertools.islice(Loader(batches_of(store, masking), 13, 1), 3)
    assert [content(micro_batches) for micro_batches in made] == whole[13:16]


# -- the loss ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(SMALL))
def test_loss_is_cross_entropy_at_the_hidden_places(
    name: str, store: TokenStore, tokenizer: Tokenizer, masking: Masking
) -> None:
    objective, assembled = MaskedLanguageModelling(masking), model(name, tokenizer)
    (batch,) = objective.training_batches(store, assembled.body, LENGTH, BatchPlan(5, seed=2))(1)
    assert (batch.segment_ids is None) == (name == "birnn")
    sums, carry = objective.loss(assembled, batch, None)
    hidden = assembled.body(batch.tokens, token_mask=batch.token_mask, segment_ids=batch.segment_ids).hidden
    every = torch.full((batch.tokens.numel(),), -100)
    every[batch.positions] = batch.targets
    expected = F.cross_entropy(assembled.body.logits(hidden).flatten(0, 1), every, reduction="sum")
    torch.testing.assert_close(sums["mlm"], expected, rtol=1e-5, atol=1e-5)
    assert carry is None
    assert objective.counts(batch) == {"mlm": len(batch.targets)}


def gradients(assembled: Assembled, batches: list[MaskedBatch], masking: Masking) -> list[Tensor]:
    assembled.zero_grad()
    for batch in batches:
        MaskedLanguageModelling(masking).loss(assembled, batch, None)[0]["mlm"].backward()
    return [p.grad.clone() for p in assembled.parameters() if p.grad is not None]


@pytest.mark.parametrize("name", ["bert", "modernbert"])
def test_packing_and_sharing_change_no_gradient(
    name: str, store: TokenStore, tokenizer: Tokenizer, masking: Masking
) -> None:
    assembled = model(name, tokenizer)
    sequences = Sequences(store, LENGTH)
    numbers = np.argsort(sequences.lengths)[[0, 1, 2, 40, 3]]
    rows = np.split(numbers, pack(sequences.lengths[numbers], LENGTH)[1:-1])
    assert len(rows) < len(numbers)
    packed = collate_masked(sequences, rows, [0] * len(rows), masking, room=LENGTH, seed=1)
    apart = [collate_masked(sequences, [numbers[[i]]], [0], masking, room=None, seed=1) for i in range(5)]
    for got, wanted in zip(gradients(assembled, [packed], masking), gradients(assembled, apart, masking), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", list(SMALL))
def test_a_few_texts_are_learnt(name: str, store: TokenStore, tokenizer: Tokenizer, masking: Masking) -> None:
    assembled = model(name, tokenizer)
    (batch,) = batches_of(store, masking, None if name == "birnn" else LENGTH, batch_size=3)(0)
    objective = MaskedLanguageModelling(masking)
    optimizer = torch.optim.AdamW(assembled.parameters(), lr=0.03)
    for _ in range(30):
        loss = objective.loss(assembled, batch, None)[0]["mlm"] / len(batch.targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5


def test_a_model_that_reads_one_way_is_refused(masking: Masking) -> None:
    lm = build_model("gpt2", family("gpt2").config(n_layers=1, n_heads=1, d_model=4, max_len=4), 9)
    with pytest.raises(ConfigError, match=r"MaskedLanguageModelling does not fit model GPT2.*bert"):
        check_fit(MaskedLanguageModelling, type(lm), {name: f.model for name, f in FAMILIES.items()})
    assert issubclass(FAMILIES["bert"].model, Encoder)
