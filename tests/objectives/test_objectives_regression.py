"""Scores: standardised, squared, and back in the units of the data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from label_cases import SMALL, body, scored, stored

from malgil.objectives.base import Assembled, BatchPlan
from malgil.objectives.regression import HEAD, Regression

MEAN, SPREAD = 3.5, 0.75


def assembled(made: Regression, name: str = "bert", **changed: Any) -> Assembled:
    torch.manual_seed(1)
    model = body(name, **changed)
    return Assembled(model, made.parts(model)).eval()


@pytest.mark.parametrize("name", SMALL)
def test_the_loss_is_the_squared_error_of_standardised_scores(name: str) -> None:
    made, records = Regression(MEAN, SPREAD), scored()
    store, model = stored(records), assembled(made, name)
    (batch,) = made.training_batches(store, model.body, 0, BatchPlan(9))(0)
    found = made.scores(model, batch.texts).tolist()
    right = {tuple(store.ids(i).tolist()): record.score for i, record in enumerate(records)}
    expected = 0.0
    for row, score in enumerate(found):
        real = slice(None) if batch.texts.token_mask is None else batch.texts.token_mask[row]
        expected += ((score - right[tuple(batch.texts.tokens[row][real].tolist())]) / SPREAD) ** 2
    assert made.counts(batch) == {"squared_error": 9}
    assert made.loss(model, batch, None)[0]["squared_error"].item() == pytest.approx(expected, rel=1e-4)


def test_a_head_that_says_nothing_says_the_mean() -> None:
    made = Regression(MEAN, SPREAD)
    model = assembled(made)
    torch.nn.init.zeros_(model.parts[HEAD].linear.weight)  # type: ignore[union-attr, arg-type]
    (batch,) = made.training_batches(stored(scored()), model.body, 0, BatchPlan(4))(0)
    assert made.scores(model, batch.texts).tolist() == [MEAN] * 4
    assert np.allclose(made.standardised([MEAN, MEAN + SPREAD]), [0, 1])


def test_scores_can_be_learnt_and_what_does_not_count_moves_nothing() -> None:
    made = Regression(MEAN, SPREAD)
    model = assembled(made, d_model=30).train()
    (batch,) = made.training_batches(stored(scored()), model.body, 0, BatchPlan(6))(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = made.loss(model, batch, None)[0]["squared_error"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    empty = made.training_batches(stored(scored(3)), model.body, 0, BatchPlan(1, 1, 1, 2, batch_tokens=1))(0)[0]
    nothing = made.loss(model, empty, None)[0]["squared_error"]
    assert nothing.item() == 0
    assert nothing.requires_grad
