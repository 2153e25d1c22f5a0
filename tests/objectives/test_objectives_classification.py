"""Labels: the loss against loops and PyTorch, weights, smoothing, what counts, and that a batch can be learnt."""

from __future__ import annotations

import math
import pickle
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from label_cases import LABELS, SMALL, body, labelled, stored

from malgil.data.label_records import Labelled
from malgil.errors import ConfigError, DataError
from malgil.models import FAMILIES, build_model, family
from malgil.objectives.base import Assembled, BatchPlan, check_fit
from malgil.objectives.classification import HEAD, VOTES, Classification, LabelBatch, balanced_weights
from malgil.objectives.ngrams import NGramTable


def objective(**options: Any) -> Classification:
    return Classification(LABELS, **options)


def assembled(made: Classification, name: str = "bert", **changed: Any) -> Assembled:
    torch.manual_seed(1)
    model = body(name, **changed)
    return Assembled(model, made.parts(model)).eval()


def first_batch(made: Classification, records: list[Labelled], rows: int = 7) -> LabelBatch:
    batch: LabelBatch = made.training_batches(stored(records), body("bert"), 0, BatchPlan(rows))(0)[0]
    return batch


@pytest.mark.parametrize("pooling", ["mean", "first"])
@pytest.mark.parametrize("name", SMALL)
def test_the_loss_is_minus_log_p_of_the_right_label(name: str, pooling: str) -> None:
    made = objective(pooling=pooling)
    model, batch = assembled(made, name), first_batch(made, labelled())
    sums, carry = made.loss(model, batch, None)
    logits = made.logits(model, batch.texts)
    expected = 0.0
    for row, target in zip(logits.tolist(), batch.targets.tolist(), strict=True):
        expected -= row[target.index(1.0)] - math.log(sum(map(math.exp, row)))
    assert carry is None
    assert made.counts(batch) == {"labels": 7}
    assert sums["labels"].item() == pytest.approx(expected, rel=1e-5)
    assert sums["labels"].item() / 7 == pytest.approx(math.log(3), abs=0.2)


def test_smoothing_is_that_of_pytorch_and_of_several_labels_between_yes_and_no() -> None:
    made = objective(smoothing=0.3)
    model, batch = assembled(made), first_batch(made, labelled())
    expected = F.cross_entropy(
        made.logits(model, batch.texts), batch.targets.argmax(1), label_smoothing=0.3, reduction="sum"
    )
    torch.testing.assert_close(made.loss(model, batch, None)[0]["labels"], expected)
    many = objective(smoothing=0.3, several=True)
    model, batch = assembled(many), first_batch(many, labelled(several=True))
    expected = sum(
        -(q * math.log(p) + (1 - q) * math.log(1 - p))
        for ps, ts in zip(many.logits(model, batch.texts).sigmoid().tolist(), batch.targets.tolist(), strict=True)
        for p, q in ((p, 0.85 if t else 0.15) for p, t in zip(ps, ts, strict=True))
    )
    assert many.loss(model, batch, None)[0]["labels"].item() == pytest.approx(expected, rel=1e-5)


def test_balanced_labels_weigh_the_same_in_sum_and_one_text_one_on_average() -> None:
    records = [Labelled(f"글 {i}", None, (LABELS[0 if i < 6 else 1 if i < 8 else 2],)) for i in range(9)]
    made = objective(balanced=True)
    weights = balanced_weights(made.targets(records), several=False)
    assert weights[0, 0] == pytest.approx(9 / (3 * 6))
    assert weights[8, 0] == pytest.approx(9 / 3)
    assert weights[:, 0].mean() == pytest.approx(1)
    model, batch = assembled(made), first_batch(made, records, 9)
    plain = objective().nll(made.logits(model, batch.texts), batch.targets)
    assert batch.weights is not None
    expected = sum(float(w) * float(loss) for w, loss in zip(batch.weights[:, 0], plain.detach(), strict=True))
    assert made.loss(model, batch, None)[0]["labels"].item() == pytest.approx(expected, rel=1e-5)


def test_balanced_yes_and_no_of_each_of_several_labels() -> None:
    targets = objective(several=True).targets(labelled(several=True))
    weights = balanced_weights(targets, several=True)
    for k in range(3):
        yes, no = weights[:, k][targets[:, k] == 1].sum(), weights[:, k][targets[:, k] == 0].sum()
        assert yes == pytest.approx(no)
        assert yes + no == pytest.approx(len(targets), rel=1e-6)


def test_a_label_that_never_occurs_divides_by_nothing() -> None:
    records = [Labelled("글", None, (LABELS[i % 2],)) for i in range(4)]
    made = objective()
    assert balanced_weights(made.targets(records), several=False).tolist() == [[1.0] * 3] * 4
    several = balanced_weights(made.targets(records), several=True)
    assert np.isfinite(several).all()


def test_targets_name_what_is_wrong() -> None:
    with pytest.raises(DataError, match=r"label '굉장함' is not among those of the model.*it knows 나쁨, 보통, 좋음"):
        objective().targets([Labelled("글", None, ("굉장함",))])
    for labels in ((), ("좋음", "보통")):
        with pytest.raises(DataError, match=f"{len(labels)} labels of a text where each has one"):
            objective().targets([Labelled("글", None, labels)])
    assert objective(several=True).targets([Labelled("글", None, ())]).tolist() == [[0.0] * 3]


def test_probabilities() -> None:
    logits = torch.tensor([[0.0, 1.0, -2.0]])
    assert objective().probabilities(logits).sum().item() == pytest.approx(1)
    assert objective(several=True).probabilities(logits)[0, 0].item() == pytest.approx(0.5)


def test_a_batch_that_does_not_count_is_connected_and_still() -> None:
    made = objective()
    model = assembled(made)
    made.begin(model.body)
    batches = made.training_batches(stored(labelled(3)), model.body, 0, BatchPlan(1, 1, 1, 2, batch_tokens=1))
    batch = batches(0)[0]
    assert made.counts(batch) == {"labels": 0}
    loss = made.loss(model, batch, None)[0]["labels"]
    loss.backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert loss.item() == 0
    assert all(p.grad is not None and not p.grad.any() for p in trained)


@pytest.mark.parametrize("several", [False, True])
def test_one_batch_is_learnt(several: bool) -> None:
    made = objective(several=several)
    model, batch = assembled(made, d_model=30).train(), first_batch(made, labelled(several=several), 6)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        loss = made.loss(model, batch, None)[0]["labels"]
        loss.backward()
        optimizer.step()
    found = made.probabilities(made.logits(model, batch.texts))
    assert (found.round() == batch.targets).all()


def test_batches_reach_other_processes_and_devices() -> None:
    made = objective(balanced=True)
    batches = made.training_batches(stored(labelled()), body("bert"), 0, BatchPlan(5))
    again = pickle.loads(pickle.dumps(batches))
    for one, other in zip(batches(2), again(2), strict=True):
        assert torch.equal(one.texts.tokens, other.texts.tokens)
        assert torch.equal(one.targets, other.targets)
        assert torch.equal(one.weights, other.weights)
        assert one.to(torch.device("meta")).weights.device.type == "meta"


def test_the_head_begins_near_zero_and_drops() -> None:
    made = objective(dropout=0.5)
    model = body("bert")
    head = made.parts(model)[HEAD]
    assert head.linear.weight.std().item() == pytest.approx(0.02, rel=0.5)  # type: ignore[union-attr]
    vectors = torch.ones(2000, model.d_model)
    assert head.train()(vectors).std() > head.eval()(vectors).std()


def test_only_encoders_fit() -> None:
    families = {name: one.model for name, one in FAMILIES.items()}
    lm = build_model("gpt2", family("gpt2").config(n_layers=1, n_heads=1, d_model=4, max_len=4), 9)
    with pytest.raises(ConfigError, match=r"models that fit: .*bert"):
        check_fit(Classification, type(lm), families)


def test_the_records_of_a_batch_keep_their_labels() -> None:
    made, records = objective(), labelled()
    store = stored(records)
    right = {tuple(store.ids(i).tolist()): record.labels[0] for i, record in enumerate(records)}
    batches = made.training_batches(store, body("bert"), 0, BatchPlan(4))
    seen: Counter[str] = Counter()
    for step in range(5):
        (batch,) = batches(step)
        for row, target in enumerate(batch.targets):
            real = slice(None) if batch.texts.token_mask is None else batch.texts.token_mask[row]
            label = right[tuple(batch.texts.tokens[row][real].tolist())]
            assert target.tolist() == [float(label == name) for name in LABELS]
            seen[label] += 1
    assert len(seen) == 3


@pytest.mark.parametrize("several", [False, True])
def test_what_is_said_is_the_mean_of_the_model_and_of_votes_and_each_learns_by_itself(several: bool) -> None:
    records = labelled()
    table = NGramTable([record.texts for record in records], 3)
    made = objective(longest=3, n_votes=len(table.keys), several=several)
    model = assembled(made)
    store = stored(records)
    made.prime(dict(model.parts.items()), store)
    texts = made.collate(store, np.arange(5))
    assert texts.n_grams is not None
    plain = made.logits(model, replace(texts, n_grams=None))
    votes = model.parts[VOTES](texts.n_grams)
    torch.testing.assert_close(made.logits(model, texts), 0.4 * plain + 0.6 * votes)
    made.share = 1.0
    torch.testing.assert_close(made.logits(model, texts), votes)
    batch = made.training_batches(store, model.body, 0, BatchPlan(7))(0)[0]
    before = made.loss(model, batch, None)[0]["labels"]
    alone = [
        made.nll(scores, batch.targets).sum()
        for scores in (made.logits(model, replace(batch.texts, n_grams=None)), model.parts[VOTES](batch.texts.n_grams))
    ]
    torch.testing.assert_close(before, sum(alone) / 2)
    before.backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in model.parts.parameters():
            if parameter.grad is not None:
                parameter -= 0.01 * parameter.grad
        assert made.loss(model, batch, None)[0]["labels"] < before


def test_without_an_n_gram_in_three_texts_none_votes() -> None:
    assert VOTES not in objective(longest=3, n_votes=0).parts(body("bert"))
