"""Which parameter goes to which optimizer, and that their state survives a journey by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from training_cases import equal, model, trainer

from malgil.errors import CheckpointError
from malgil.runtime.device import Precision
from malgil.training.muon import Muon
from malgil.training.optimizers import Optimizers, gradient_norm
from malgil.training.settings import TrainingSettings


def optimizers(name: str = "llama", parts: nn.Module | None = None, **settings: Any) -> Optimizers:
    return Optimizers(model(name), parts or nn.ModuleDict(), TrainingSettings(**settings), Precision("fp32"))


def give_gradients(members: Optimizers, seed: int) -> None:
    torch.manual_seed(seed)
    for p in members.parameters:
        p.grad = torch.randn_like(p)


def values(members: Optimizers) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for p, name in members.names.items()}


def test_vectors_do_not_decay() -> None:
    (adamw,) = optimizers("gpt2", weight_decay=0.3).members
    decayed = {p.dim(): group["weight_decay"] for group in adamw.param_groups for p in group["params"]}
    assert decayed == {2: 0.3, 1: 0.0}
    assert adamw.defaults["fused"]
    assert sum(len(group["params"]) for group in adamw.param_groups) == len(list(model("gpt2").parameters()))


def test_muon_takes_the_matrices_inside_blocks() -> None:
    members = optimizers("llama", optimizer="muon", weight_decay=0.2, momentum=0.8)
    adamw, muon = members.members
    assert isinstance(muon, Muon)
    inside = {members.names[p] for p in muon.param_groups[0]["params"]}
    outside = {members.names[p] for group in adamw.param_groups for p in group["params"]}
    assert "body.embedding.weight" in outside
    assert all(p.dim() == 2 for p in muon.param_groups[0]["params"])
    assert len(inside) == 2 * 4 or len(inside) == 2 * 7
    assert inside | outside == set(members.names.values())
    assert not inside & outside
    assert (muon.param_groups[0]["weight_decay"], muon.param_groups[0]["momentum"]) == (0.2, 0.8)


def test_a_model_without_blocks_is_left_to_adamw() -> None:
    (adamw,) = optimizers("lstm", optimizer="muon").members
    assert isinstance(adamw, torch.optim.AdamW)


def test_trained_parts_are_named_apart_from_the_body() -> None:
    members = optimizers("gpt2", parts=nn.ModuleDict({"head": nn.Linear(3, 2)}))
    assert {"parts.head.weight", "parts.head.bias", "body.embedding.weight"} <= set(members.names.values())


def test_frozen_parameters_are_left_out() -> None:
    body = model("gpt2")
    body.embedding.weight.requires_grad_(False)
    assert (
        "body.embedding.weight"
        not in Optimizers(body, nn.ModuleDict(), TrainingSettings(), Precision("fp32")).names.values()
    )


def test_rates() -> None:
    members = optimizers("llama", optimizer="muon", learning_rate=0.4, muon_learning_rate=0.2)
    assert members.set_rate(0.5) == pytest.approx(0.2)
    assert [g["lr"] for m in members.members for g in m.param_groups] == pytest.approx([0.2, 0.2, 0.1])
    assert members.set_rate(0.25) == pytest.approx(0.1)  # of the highest, not of the last


def test_adamw_follows_the_equations() -> None:
    """Loshchilov & Hutter 2019, algorithm 2, for one step."""
    settings = {"learning_rate": 0.1, "beta1": 0.8, "beta2": 0.9, "eps": 1e-3, "weight_decay": 0.5}
    members = optimizers("gpt2", **settings)
    before = values(members)
    give_gradients(members, 1)
    members.step()
    for p, name in members.names.items():
        assert p.grad is not None
        decay = 0.5 if p.dim() == 2 else 0.0
        mean, square = 0.2 * p.grad / (1 - 0.8), 0.1 * p.grad.square() / (1 - 0.9)
        expected = before[name] * (1 - 0.1 * decay) - 0.1 * mean / (square.sqrt() + 1e-3)
        torch.testing.assert_close(p.detach(), expected, msg=name)


@pytest.mark.parametrize(("name", "optimizer"), [("gpt2", "adamw"), ("llama", "muon"), ("lstm", "adamw")])
def test_state_round_trip(name: str, optimizer: str) -> None:
    one = optimizers(name, optimizer=optimizer)
    for step in range(3):
        give_gradients(one, step)
        one.step()
    state = {key: value.clone() for key, value in one.state().items()}
    kinds = {key.rpartition(".")[2] for key in state}
    assert kinds == {"step", "exp_avg", "exp_avg_sq"} | ({"momentum"} if optimizer == "muon" else set())
    assert {key.rpartition(".")[0] for key in state} == set(one.names.values())

    other = optimizers(name, optimizer=optimizer)
    with torch.no_grad():
        for a, b in zip(other.parameters, one.parameters, strict=True):
            a.copy_(b)
    other.load_state(state)
    assert equal(other.state(), state)
    for members in (one, other):
        give_gradients(members, 9)
        members.step()
    assert equal(values(other), values(one))
    assert not equal(other.state(), state)  # loaded as copies that go on by themselves


def test_state_before_the_first_step_is_empty() -> None:
    one = optimizers()
    assert one.state() == {}
    one.load_state({})


def test_state_of_other_parameters_is_refused() -> None:
    one = trainer("gpt2")
    one.step(one.batches(0))
    state = one.optimizers.state()
    with pytest.raises(CheckpointError, match=r"unknown parameter 'body\.nobody'"):
        trainer("gpt2").optimizers.load_state(state | {"body.nobody.exp_avg": torch.zeros(1)})
    less = {k: v for k, v in state.items() if not k.startswith("body.embedding.weight.")}
    with pytest.raises(CheckpointError, match=r"no optimizer state for 'body.embedding.weight'"):
        trainer("gpt2").optimizers.load_state(less)


def test_gradient_norm_is_that_of_all_gradients_together() -> None:
    one = optimizers("gpt2")
    give_gradients(one, 1)
    grads = torch.cat([p.grad.flatten() for p in one.parameters if p.grad is not None])
    torch.testing.assert_close(gradient_norm(one.parameters, None), grads.norm())
    after = torch.cat([p.grad.flatten() for p in one.parameters if p.grad is not None])
    assert torch.equal(grads, after)
    torch.testing.assert_close(gradient_norm(one.parameters, 0.5), grads.norm())
    clipped = torch.cat([p.grad.flatten() for p in one.parameters if p.grad is not None])
    torch.testing.assert_close(clipped.norm(), torch.tensor(0.5), rtol=1e-4, atol=0)
