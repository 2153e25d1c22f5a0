"""Contrastive losses against plain loops, and batches whose negatives are those that they ought to be."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from malgil.data.alike_store import AlikeStore, alike_store
from malgil.data.label_alike import Alike
from malgil.errors import ConfigError
from malgil.layers.pooling import mean_pool
from malgil.models import build_model, family
from malgil.models.base import Encoder
from malgil.objectives.base import Assembled, BatchPlan
from malgil.objectives.contrastive import Contrastive, collate_alike, cosent, info_nce, strangers
from malgil.text.settings import TokenizerSettings
from malgil.text.training import train_tokenizer

WORDS = ("산은", "높고", "river", "빛을", "carries", "물이", "흐른다")
T = 0.3
SMALL: dict[str, dict[str, Any]] = {
    "bert": {"n_layers": 2, "n_heads": 3, "d_model": 15, "max_len": 40},
    "albert": {"n_layers": 2, "n_heads": 3, "d_model": 15, "d_embedding": 6, "max_len": 40},
    "modernbert": {"n_layers": 2, "n_heads": 3, "d_model": 18, "max_len": 40},
    "birnn": {"n_layers": 1, "d_model": 9, "max_len": 40},
}


def text(number: int) -> str:
    random = np.random.default_rng(number)
    return f"{number} " + " ".join(random.choice(WORDS, random.integers(1, 6)))


PAIRS = [Alike(text(i), text(100 + i)) for i in range(13)]
ALONE = [Alike(text(i)) for i in range(13)]
SCORED = [Alike(text(i), text(100 + i), float(i % 5)) for i in range(13)]
TOKENIZER = train_tokenizer([" ".join([*WORDS, "0123456789"])], TokenizerSettings(kind="char"))
every_family = pytest.mark.parametrize("name", SMALL)


def stored(records: list[Alike]) -> AlikeStore:
    return alike_store(records, TOKENIZER, 40)


def assembled(name: str = "bert", objective: Contrastive | None = None, **settings: Any) -> Assembled:
    config = family(name).config(**SMALL[name] | {"dropout": 0.0} | settings)
    model = build_model(name, config, TOKENIZER.vocab_size)
    (objective or Contrastive()).begin(model)
    return Assembled(model, {})


def vectors(n: int, seed: int = 3) -> Tensor:
    return F.normalize(torch.randn(n, 4, generator=torch.Generator().manual_seed(seed)), dim=-1)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(((a * b).sum() / a.norm() / b.norm()).detach())


# -- the losses -------------------------------------------------------------------------------------


def test_info_nce_by_hand() -> None:
    first, second = vectors(5), vectors(5, 4)
    losses = info_nce(first @ second.T, torch.ones(5, 5, dtype=torch.bool), T)
    for i in range(5):
        shares = [math.exp(cosine(first[i], second[j]) / T) for j in range(5)]
        assert float(losses[i]) == pytest.approx(-math.log(shares[i] / sum(shares)), abs=1e-5)


def test_symmetric_is_the_mean_of_both_directions() -> None:
    first, second = vectors(5), vectors(5, 4)
    apart = torch.from_numpy(strangers(np.array([0, 0, 1, 2, 3]), np.array([4, 5, 6, 7, 4])))
    there, back = info_nce(first @ second.T, apart, T), info_nce(second @ first.T, apart.T, T)
    torch.testing.assert_close(info_nce(first @ second.T, apart, T, symmetric=True), (there + back) / 2)
    assert not torch.allclose(there, back)


def test_texts_that_belong_together_are_no_strangers() -> None:
    """0 belongs to 4 and to 5; 3 belongs to 4, too; 5 is both a first and a second text."""
    first, second = np.array([0, 0, 5, 3]), np.array([4, 5, 6, 4])
    expected = [
        [False, False, True, False],
        [False, False, True, True],
        [True, False, False, True],
        [False, True, True, False],
    ]
    assert strangers(first, second).tolist() == expected
    cosines = vectors(4) @ vectors(4, 4).T
    losses = info_nce(cosines, torch.tensor(expected), T)
    row = [float(cosines[0, j]) / T for j in (0, 2)]
    assert float(losses[0]) == pytest.approx(math.log(sum(map(math.exp, row))) - row[0], abs=1e-5)


def test_cosent_by_hand() -> None:
    cosines, scores = torch.tensor([0.9, 0.2, -0.3, 0.4]), torch.tensor([1.0, 3.0, 3.0, 5.0])
    total = 1.0
    for i in range(4):
        for j in range(4):
            if scores[i] < scores[j]:
                total += math.exp(float(cosines[i] - cosines[j]) / T)
    assert float(cosent(cosines, scores, T)) == pytest.approx(math.log(total), abs=1e-5)
    ordered = cosent(torch.tensor([-0.9, 0.0, 0.9]), torch.tensor([0.0, 1.0, 2.0]), 0.05)
    assert float(ordered) < 1e-6
    assert float(cosent(cosines, torch.ones(4), T)) == 0.0


def test_nothing_to_be_told_from_is_no_loss_and_still_a_gradient() -> None:
    cosines = torch.tensor([[0.5]], requires_grad=True)
    loss = info_nce(cosines, torch.zeros(1, 1, dtype=torch.bool), T).sum() + cosent(cosines[0], torch.ones(1), T)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert cosines.grad is not None
    assert float(cosines.grad) == 0.0


# -- the objective ----------------------------------------------------------------------------------


@every_family
@pytest.mark.parametrize("records", [PAIRS, SCORED], ids=["pairs", "scored"])
@torch.no_grad()
def test_the_loss_is_that_of_vectors_made_one_by_one(name: str, records: list[Alike]) -> None:
    """Real padding, each text read alone in evaluation mode."""
    objective, rows = Contrastive(temperature=T), np.array([3, 0, 11, 7])
    model = assembled(name).eval()
    batch = collate_alike(stored(records), rows)
    assert batch.texts.token_mask is not None
    sums, _ = objective.loss(model, batch, None)

    def alone(text: str) -> Tensor:
        ids = [TOKENIZER.begin_id, *TOKENIZER.encode(text), TOKENIZER.end_id]
        body = model.body
        assert isinstance(body, Encoder)
        return mean_pool(body(torch.tensor([ids])).hidden)[0]

    firsts, seconds = zip(*([alone(t) for t in records[row].texts] for row in rows), strict=True)
    cosines = torch.tensor([[cosine(a, b) for b in seconds] for a in firsts])
    if records is PAIRS:
        expected = sum(-float((cosines / T).log_softmax(1)[i, i]) for i in range(4))
    else:
        scores = torch.tensor([records[row].score or 0.0 for row in rows])
        expected = 4 * float(cosent(cosines.diagonal(), scores, T))
    assert float(sums["contrastive"]) == pytest.approx(expected, rel=1e-4)
    assert objective.counts(batch) == {"contrastive": 4}


@torch.no_grad()
def test_a_text_alone_is_its_own_partner_under_other_dropout() -> None:
    objective, model = Contrastive(dropout=0.3), assembled(dropout=0.3)
    batch = collate_alike(stored(ALONE), np.arange(5))
    first, second = batch.texts.tokens.chunk(2)
    assert torch.equal(first, second)
    a, b = objective.vectors(model.train(), batch.texts).chunk(2)
    assert 0.1 < float((a * b).sum(-1).mean()) < 0.999
    a, b = objective.vectors(model.eval(), batch.texts).chunk(2)
    torch.testing.assert_close((a * b).sum(-1), torch.ones(5))


@every_family
def test_gradients_reach_all_that_is_trained_and_the_rest_is_frozen(name: str) -> None:
    model, objective = assembled(name), Contrastive()
    sums, _ = objective.loss(model, collate_alike(stored(PAIRS), np.arange(6)), None)
    sums["contrastive"].backward()
    trained = {key for key, p in model.body.named_parameters() if p.requires_grad}
    assert trained == {key for key, p in model.body.named_parameters() if p.grad is not None}
    assert {"head.dense.weight", "output_bias"} & set(dict(model.body.named_parameters()))
    assert not any(key.startswith(("head.", "output_bias")) for key in trained)


def test_similarities_are_in_fp32_under_bf16() -> None:
    objective, model = Contrastive(), assembled()
    batch = collate_alike(stored(PAIRS), np.arange(6))
    with torch.autocast("cpu", torch.bfloat16):
        first, second = objective.vectors(model, batch.texts).chunk(2)
        losses = objective.losses(first, second, batch.strangers, None)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, info_nce(first.float() @ second.float().T, batch.strangers, 0.05))


def test_it_learns_which_texts_belong_together() -> None:
    torch.manual_seed(1)
    objective, model = Contrastive(), assembled()
    batch = collate_alike(stored(PAIRS), np.arange(13))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for _ in range(40):
        loss = objective.loss(model, batch, None)[0]["contrastive"] / 13
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1
    first, second = objective.vectors(model.eval(), batch.texts).chunk(2)
    assert (first @ second.T).argmax(1).tolist() == list(range(13))


# -- batches ----------------------------------------------------------------------------------------


def rows_of(batch: Any, store: AlikeStore) -> list[int]:
    """The records of a batch, found by their first texts."""
    firsts = batch.texts.tokens.chunk(2)[0]
    lookup = {tuple(store.texts.ids(int(store.first[row])).tolist()): row for row in range(len(store))}
    lengths = batch.texts.token_mask.sum(1) if batch.texts.token_mask is not None else [firsts.shape[1]] * len(firsts)
    return [lookup[tuple(ids[: int(n)].tolist())] for ids, n in zip(firsts, lengths, strict=False)]


def test_every_record_once_an_epoch_and_shared_by_processes() -> None:
    store, objective, model = stored(PAIRS), Contrastive(), assembled()
    alone = objective.training_batches(store, model.body, 40, BatchPlan(4, 2, seed=5))
    assert alone.steps_per_epoch == 2.0
    whole = [[rows_of(batch, store) for batch in alone(step)] for step in range(2)]
    assert sorted(row for batches in whole for rows in batches for row in rows) == list(range(13))
    ranks = [objective.training_batches(store, model.body, 40, BatchPlan(4, 2, rank, 2, seed=5)) for rank in range(2)]
    for step in range(2):
        for slot, rows in enumerate(whole[step]):
            dealt = [batches(step)[slot] for batches in ranks]
            assert sum(batch.count for batch in dealt) == len(rows)
            found = [rows_of(batch, store)[: batch.count] for batch in dealt]
            assert sorted(found[0] + found[1]) == sorted(rows)
        assert alone.tokens(step) == int(store.lengths[[row for rows in whole[step] for row in rows]].sum())
    again = pickle.loads(pickle.dumps(alone))
    assert torch.equal(again(1)[1].texts.tokens, alone(1)[1].texts.tokens)


def test_negatives_are_those_of_the_micro_batch() -> None:
    """What a rank without rows reads does not count; accumulation sums micro-batches, each with its own negatives."""
    store, objective, model = stored(PAIRS), Contrastive(), assembled().eval()
    two = [collate_alike(store, np.array(rows)) for rows in ([0, 1, 2], [3, 4])]
    sums = [float(objective.loss(model, batch, None)[0]["contrastive"].detach()) for batch in two]
    first, second = objective.vectors(model, collate_alike(store, np.arange(5)).texts).chunk(2)
    cosines = (first @ second.T / 0.05).detach()
    apart = [-float(cosines[:3, :3].log_softmax(1).diagonal().sum()), -float(cosines[3:, 3:].log_softmax(1).trace())]
    assert sums == pytest.approx(apart, rel=1e-3, abs=1e-4)
    assert sum(sums) < -float(cosines.log_softmax(1).trace())
    idle = collate_alike(store, np.array([0]))
    plan = BatchPlan(2, 1, 1, 2, seed=0, batch_tokens=10)  # a record a batch: rank 1 has none
    (batch,) = objective.training_batches(store, model.body, 40, plan)(0)
    assert batch.count == 0
    assert batch.texts.tokens.shape[0] == idle.texts.tokens.shape[0]
    loss = objective.loss(model, batch, None)[0]["contrastive"]
    assert float(loss.detach()) == 0.0
    assert loss.requires_grad


def test_batches_from_which_nothing_is_learnt_are_refused() -> None:
    store, model = stored(PAIRS), assembled()
    with pytest.raises(ConfigError, match="batch_size 1 leaves a text"):
        Contrastive().training_batches(store, model.body, 40, BatchPlan(1))
    with pytest.raises(ConfigError, match="batch_size 2 leaves a text of 2 processes"):
        Contrastive().training_batches(store, model.body, 40, BatchPlan(2, 1, 0, 2))
    with pytest.raises(ConfigError, match=r"without dropout.*model.dropout 0; take 0.1"):
        Contrastive().training_batches(stored(ALONE), model.body, 40, BatchPlan(4))
    Contrastive(dropout=0.1).training_batches(stored(ALONE), model.body, 40, BatchPlan(4))
