"""Replaced tokens: what is drawn, what is asked, what is shared, and whom the gradients reach."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pretraining_cases import LENGTH, encoder, restored
from torch import Tensor

from malgil.data.store import TokenStore
from malgil.objectives.base import Assembled, BatchPlan
from malgil.objectives.masked_lm import MaskedBatch, hidden_vectors
from malgil.objectives.masking import Masking
from malgil.objectives.replaced_tokens import ReplacedTokenDetection, draw_tokens, generator_of, replace_tokens
from malgil.text.tokenizer import Tokenizer
from malgil.text.words import Vocabulary

NARROW: dict[str, Any] = {"n_heads": 1, "d_model": 5, "pooler": False}


def made(tokenizer: Tokenizer, name: str = "bert", **changed: Any) -> tuple[ReplacedTokenDetection, Assembled]:
    size = tokenizer.vocab_size
    wide = {"bert": {"d_embedding": 15}, "albert": {"d_embedding": 7}}[name]
    objective = ReplacedTokenDetection(
        Masking(Vocabulary.of(tokenizer)), lambda: encoder(name, size, 8, **NARROW, **wide, **changed)
    )
    body = encoder(name, size, **changed)
    assembled = Assembled(body, objective.parts(body))
    objective.begin(body)
    return objective, assembled


def batch_of(
    objective: ReplacedTokenDetection, body: Any, store: TokenStore, step: int = 1, **plan: int
) -> MaskedBatch:
    plan = {"batch_size": 5, "seed": 2, **plan}
    (batch,) = objective.training_batches(store, body, LENGTH, BatchPlan(**plan))(step)
    assert isinstance(batch, MaskedBatch)
    return batch


def replaced_of(assembled: Assembled, batch: MaskedBatch) -> Any:
    generator = generator_of(assembled)
    return replace_tokens(generator, hidden_vectors(generator, batch).index_select(0, batch.positions), batch)


# -- what is drawn ----------------------------------------------------------------------------------


def test_tokens_are_drawn_as_often_as_they_are_likely(tokenizer: Tokenizer) -> None:
    generator = encoder("bert", tokenizer.vocab_size)
    hidden = torch.randn(1, 15).expand(4001, 15)
    noise = (torch.arange(4001, dtype=torch.float64) + 0.5) / 4001
    drawn = draw_tokens(generator, hidden, noise)
    expected = generator.logits(hidden[:1])[0].softmax(-1).detach()
    shares = torch.bincount(drawn, minlength=tokenizer.vocab_size) / 4001
    torch.testing.assert_close(shares, expected, atol=1e-3, rtol=0)
    # by hand, token after token
    for place in (0, 1234, 4000):
        upto, token = 0.0, -1
        while upto <= noise[place]:
            token += 1
            upto += float(expected[token])
        assert drawn[place] == token
    ends = draw_tokens(generator, hidden[:2], torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64))
    assert ends.tolist() == [0, tokenizer.vocab_size - 1]


def test_noise_is_that_of_the_place_whatever_is_read_with_it(store: TokenStore, tokenizer: Tokenizer) -> None:
    objective, assembled = made(tokenizer)
    whole = batch_of(objective, assembled.body, store, batch_size=6)
    parts = [batch_of(objective, assembled.body, store, batch_size=6, rank=rank, world=3) for rank in range(3)]
    assert whole.noise is not None
    assert torch.equal(torch.cat([p.noise for p in parts]), whole.noise)  # type: ignore[misc]
    assert len(whole.noise) == len(whole.positions)
    assert len(set(whole.noise.tolist())) == len(whole.noise)
    other = batch_of(objective, assembled.body, store, batch_size=6, seed=3)
    assert other.noise is not None
    assert not set(whole.noise.tolist()) & set(other.noise.tolist())


# -- what is asked ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bert", "albert"])
def test_labels_are_where_the_discriminator_reads_another_token(
    name: str, store: TokenStore, tokenizer: Tokenizer
) -> None:
    objective, assembled = made(tokenizer, name)
    n_right = 0
    for step in range(6):
        batch = batch_of(objective, assembled.body, store, step)
        replaced = replaced_of(assembled, batch)
        whole = [token for ids in restored(batch) for token in ids]
        seen = replaced.tokens.flatten()[batch.real].tolist()
        assert replaced.labels.tolist() == [a != b for a, b in zip(seen, whole, strict=True)]
        places = np.flatnonzero(np.isin(batch.real, batch.positions))
        assert not {i for i, label in enumerate(replaced.labels.tolist()) if label} - set(places.tolist())
        n_right += len(places) - int(replaced.labels.sum())
        assert objective.counts(batch) == {"mlm": len(batch.positions), "rtd": len(whole)}
    assert n_right > 0  # drawn as it had been: not replaced


@pytest.mark.parametrize("name", ["bert", "albert"])
def test_both_losses(name: str, store: TokenStore, tokenizer: Tokenizer) -> None:
    objective, assembled = made(tokenizer, name)
    batch = batch_of(objective, assembled.body, store)
    sums, _ = objective.loss(assembled, batch, None)
    generator, head = generator_of(assembled), assembled.parts["discriminator"]
    replaced = replaced_of(assembled, batch)
    masked = hidden_vectors(generator, batch)[batch.positions]
    expected = F.cross_entropy(generator.logits(masked), batch.targets, reduction="sum")
    torch.testing.assert_close(sums["mlm"], expected, rtol=1e-5, atol=1e-5)
    total, labels = 0.0, replaced.labels.tolist()
    for row, segments in zip(replaced.tokens, batch.segment_ids, strict=True):  # type: ignore[arg-type]
        for text in range(1, int(segments.max()) + 1):
            scores = head(assembled.body(row[segments == text][None]).hidden[0])
            for score in scores.tolist():
                p = 1 / (1 + np.exp(-score))
                total -= float(np.log(p if labels.pop(0) else 1 - p))
    assert not labels
    assert sums["rtd"].item() == pytest.approx(total, rel=1e-4)
    assert objective.terms == {"mlm": 1.0, "rtd": 50.0}


# -- what is shared ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bert", "albert"])
def test_embeddings_are_one(name: str, tokenizer: Tokenizer) -> None:
    _, assembled = made(tokenizer, name)
    body, generator = assembled.body, generator_of(assembled)
    names = ("embedding", "position_embedding", "type_embedding")
    assert all(getattr(body, n).weight is getattr(generator, n).weight for n in names)
    assert generator.d_model < body.d_model
    # a parameter has one name, the body's
    listed = [n for n, _ in assembled.named_parameters()]
    assert f"body.{names[0]}.weight" in listed
    assert not [n for n in listed if n.startswith("parts.generator") and n.split(".")[2] in names]


def gradients(
    objective: ReplacedTokenDetection, assembled: Assembled, batch: MaskedBatch, term: str
) -> dict[str, Tensor]:
    assembled.zero_grad()
    objective.loss(assembled, batch, None)[0][term].backward()
    return {name: p.grad.clone() for name, p in assembled.named_parameters() if p.grad is not None and p.grad.any()}


@pytest.mark.parametrize("name", ["bert", "albert"])
def test_nothing_is_learnt_through_the_draws(name: str, store: TokenStore, tokenizer: Tokenizer) -> None:
    objective, assembled = made(tokenizer, name)
    batch = batch_of(objective, assembled.body, store)
    masked, detection = (gradients(objective, assembled, batch, term) for term in ("mlm", "rtd"))
    assert not [n for n in detection if n.startswith("parts.generator")]
    shared = {f"body.{n}.weight" for n in ("embedding", "position_embedding", "type_embedding")}
    assert {n for n in masked if n.startswith("body.")} <= shared
    assert "body.embedding.weight" in masked
    assert "body.embedding.weight" in detection
    # the discriminator's gradient is that of a batch of given tokens
    replaced = replaced_of(assembled, batch)
    assembled.zero_grad()
    hidden = assembled.body(replaced.tokens, segment_ids=batch.segment_ids).hidden.flatten(0, 1)[batch.real]
    logits = assembled.parts["discriminator"](hidden)
    F.binary_cross_entropy_with_logits(logits, replaced.labels.float(), reduction="sum").backward()
    for n, p in assembled.named_parameters():
        if n in detection:
            torch.testing.assert_close(p.grad, detection[n], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["bert", "albert"])
def test_everything_that_is_trained_gets_a_gradient(name: str, store: TokenStore, tokenizer: Tokenizer) -> None:
    objective, assembled = made(tokenizer, name)
    batch = batch_of(objective, assembled.body, store)
    assembled.zero_grad()
    torch.stack(list(objective.loss(assembled, batch, None)[0].values())).sum().backward()
    trained = {n for n, p in assembled.named_parameters() if p.requires_grad}
    assert trained == {n for n, p in assembled.named_parameters() if p.grad is not None}
    # the discriminator guesses no hidden tokens
    frozen = {n for n, p in assembled.named_parameters() if not p.requires_grad}
    assert frozen == {
        *(f"body.{n}" for n in ("output_bias", "pooler.weight", "pooler.bias")),
        *(f"body.head.{layer}.{kind}" for layer in ("dense", "norm") for kind in ("weight", "bias")),
    }


def test_a_batch_without_noise_is_no_batch_of_this(store: TokenStore, tokenizer: Tokenizer) -> None:
    objective, assembled = made(tokenizer)
    batch = batch_of(objective, assembled.body, store)
    moved = batch.to(torch.device("meta"))
    assert moved.noise is not None
    assert moved.noise.is_meta
    with pytest.raises(AssertionError):
        objective.loss(assembled, replace(batch, noise=None), None)


def test_a_few_texts_are_told_apart(store: TokenStore, tokenizer: Tokenizer, tmp_path: Path) -> None:
    objective, assembled = made(tokenizer)
    batch = batch_of(objective, assembled.body, store, batch_size=2)
    optimizer = torch.optim.AdamW([p for p in assembled.parameters() if p.requires_grad], lr=0.02)
    first = None
    for _ in range(30):
        sums, _ = objective.loss(assembled, batch, None)
        mean = sums["rtd"] / objective.counts(batch)["rtd"]
        first = first or mean.item()
        optimizer.zero_grad()
        mean.backward()
        optimizer.step()
    assert first == pytest.approx(np.log(2), abs=0.1)
    assert mean.item() < 0.15
