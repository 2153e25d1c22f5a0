"""Distillation: what each loss is, what the student begins with, and that the teacher stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pretraining_cases import LENGTH, SMALL, encoder

from malgil.data.store import TokenStore
from malgil.errors import ConfigError
from malgil.models.base import Encoder
from malgil.objectives.base import Assembled, BatchPlan
from malgil.objectives.distillation import Distillation, soft_loss, start_from
from malgil.objectives.masking import Masking
from malgil.text.tokenizer import Tokenizer
from malgil.text.words import Vocabulary


def distillation(teacher: Encoder, tokenizer: Tokenizer, temperature: float = 2.0) -> Distillation:
    return Distillation(Masking(Vocabulary.of(tokenizer)), lambda: teacher, temperature)


def shaken(model: Encoder) -> Encoder:
    """With every weight and bias of some size."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def batch_of(objective: Distillation, body: Encoder, store: TokenStore) -> Any:
    (batch,) = objective.training_batches(store, body, LENGTH, BatchPlan(5, seed=2))(1)
    return batch


# -- the losses -------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 2.0, 3.5])
def test_soft_targets_token_by_token(temperature: float) -> None:
    student, teacher = (torch.randn(4, 7, dtype=torch.float64) * 3 for _ in range(2))
    total = 0.0
    for s, t in zip(student.numpy() / temperature, teacher.numpy() / temperature, strict=True):
        p, q = (np.exp(scores) / np.exp(scores).sum() for scores in (t, s))
        total += float((p * np.log(p / q)).sum()) * temperature**2
    assert soft_loss(student, teacher, temperature).item() == pytest.approx(total)
    assert soft_loss(teacher, teacher, temperature).item() == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("name", list(SMALL))
def test_a_student_who_is_the_teacher_has_nothing_to_learn(name: str, store: TokenStore, tokenizer: Tokenizer) -> None:
    teacher = shaken(encoder(name, tokenizer.vocab_size))
    objective, student = distillation(teacher, tokenizer), encoder(name, tokenizer.vocab_size, seed=9)
    objective.begin(student)
    assembled = Assembled(student, objective.parts(student))
    batch = batch_of(objective, student, store)
    sums, _ = objective.loss(assembled, batch, None)
    assert sums["soft"].item() == pytest.approx(0.0, abs=1e-4)
    assert sums["cosine"].item() == pytest.approx(0.0, abs=1e-4)
    assert sums["mlm"].item() > 1
    assert objective.terms == {"soft": 5.0, "mlm": 2.0, "cosine": 1.0}


@pytest.mark.parametrize("name", list(SMALL))
def test_losses_of_texts_read_alone(name: str, store: TokenStore, tokenizer: Tokenizer) -> None:
    teacher, student = (shaken(encoder(name, tokenizer.vocab_size, seed=seed)) for seed in (3, 4))
    objective = distillation(teacher, tokenizer, temperature=3.0)
    batch = batch_of(objective, student, store)
    sums, carry = objective.loss(Assembled(student, {}), batch, None)
    assert carry is None
    segments = batch.segment_ids
    if segments is None:
        mask = batch.token_mask if batch.token_mask is not None else torch.ones_like(batch.tokens)
        segments = mask.long()
    hidden, taught = torch.zeros(2, batch.tokens.numel(), student.d_model)
    cosine, n_tokens = 0.0, 0
    for number, (row, places) in enumerate(zip(batch.tokens, segments, strict=True)):
        for text in range(1, int(places.max()) + 1):
            own, theirs = (m.eval()(row[places == text][None]).hidden[0].detach() for m in (student, teacher))
            at = np.flatnonzero(places == text) + number * len(row)
            hidden[at], taught[at] = own, theirs
            cosine += float((1 - F.cosine_similarity(own, theirs)).sum())
            n_tokens += len(own)
    assert sums["cosine"].item() == pytest.approx(cosine, rel=1e-4)
    scores, soft = student.logits(hidden[batch.positions]), teacher.logits(taught[batch.positions])
    assert sums["mlm"].item() == pytest.approx(F.cross_entropy(scores, batch.targets, reduction="sum").item(), rel=1e-4)
    assert sums["soft"].item() == pytest.approx(soft_loss(scores, soft, 3.0).item(), rel=1e-4)
    n_hidden = len(batch.positions)
    assert objective.counts(batch) == {"soft": n_hidden, "mlm": n_hidden, "cosine": n_tokens}


def test_the_teacher_stays_as_it_is(store: TokenStore, tokenizer: Tokenizer) -> None:
    """It has no dropout, no gradients, and no part in what is saved."""
    teacher = encoder("bert", tokenizer.vocab_size, dropout=0.5).train()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    objective, student = distillation(teacher, tokenizer), encoder("bert", tokenizer.vocab_size, n_layers=1)
    objective.begin(student)
    assembled = Assembled(student, objective.parts(student))
    batch = batch_of(objective, student, store)
    first, second = (objective.loss(assembled, batch, None)[0]["soft"] for _ in range(2))
    assert torch.equal(first, second)
    torch.stack(list(objective.loss(assembled, batch, None)[0].values())).sum().backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())
    assert {n for n, p in assembled.named_parameters() if p.grad is not None} == {
        n for n, p in assembled.named_parameters() if p.requires_grad
    }
    assert len(assembled.state_dict()) == len(student.state_dict())


# -- what the student begins with -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_student", "taken"), [(1, [0]), (2, [0, 2]), (3, [0, 1, 3]), (4, [0, 1, 2, 3]), (5, range(5))]
)
def test_every_second_layer(n_student: int, taken: Any, tokenizer: Tokenizer) -> None:
    teacher = shaken(encoder("bert", tokenizer.vocab_size, n_layers=5))
    student = encoder("bert", tokenizer.vocab_size, seed=9, n_layers=n_student)
    start_from(student, teacher)
    own, theirs = student.state_dict(), teacher.state_dict()
    for layer, source in enumerate(taken):
        names = [n.removeprefix(f"layers.{layer}.") for n in own if n.startswith(f"layers.{layer}.")]
        assert len(names) > 9
        assert all(torch.equal(own[f"layers.{layer}.{n}"], theirs[f"layers.{source}.{n}"]) for n in names)
    assert all(torch.equal(own[n], theirs[n]) for n in own if not n.startswith("layers."))


def test_without_types_the_first_one_goes_into_the_positions(tokenizer: Tokenizer) -> None:
    teacher = shaken(encoder("bert", tokenizer.vocab_size, pooler=False))
    student = encoder("bert", tokenizer.vocab_size, n_types=0, pooler=False)
    start_from(student, teacher)
    tokens = torch.randint(0, tokenizer.vocab_size, (3, 11))
    torch.testing.assert_close(student(tokens).hidden, teacher(tokens).hidden, rtol=1e-5, atol=1e-5)


def test_a_shared_block_is_used_less_often(tokenizer: Tokenizer) -> None:
    teacher = shaken(encoder("albert", tokenizer.vocab_size, n_layers=4))
    student = encoder("albert", tokenizer.vocab_size, seed=9, n_layers=2)
    start_from(student, teacher)
    assert all(torch.equal(a, b) for a, b in zip(student.parameters(), teacher.parameters(), strict=True))


def test_rows_of_no_token_are_left_behind(store: TokenStore, tokenizer: Tokenizer) -> None:
    size = tokenizer.vocab_size
    teacher, student = shaken(encoder("bert", size + 5)), encoder("bert", size, seed=9)
    objective = distillation(teacher, tokenizer)
    objective.begin(student)
    assert torch.equal(student.embedding.weight, teacher.embedding.weight[:size])
    sums, _ = objective.loss(Assembled(student, {}), batch_of(objective, student, store), None)
    assert sums["soft"].item() == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("changed", [{"d_model": 18}, {"d_ff": 7}, {"max_len": 40}, {"n_types": 3}], ids=str)
def test_another_width_is_refused(changed: dict[str, int], tokenizer: Tokenizer, tmp_path: Path) -> None:
    teacher = encoder("bert", tokenizer.vocab_size)
    with pytest.raises(ConfigError, match=r"the student's tensor '.*' is .*, its teacher has"):
        start_from(encoder("bert", tokenizer.vocab_size, **changed), teacher)
    with pytest.raises(ConfigError, match="its teacher has none"):
        start_from(encoder("albert", tokenizer.vocab_size, d_embedding=15), teacher)
