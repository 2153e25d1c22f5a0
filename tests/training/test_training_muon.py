"""Muon: what one step does, equal steps however weights are grouped or sharded, and exact resumption."""

from __future__ import annotations

import copy
import gc
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from malgil.errors import ConfigError
from malgil.training.muon import Muon, orthogonalize

SHAPES = [(6, 6), (9, 4), (4, 9), (6, 6), (4, 9)]


def weights(seed: int = 1) -> list[nn.Parameter]:
    torch.manual_seed(seed)
    return [nn.Parameter(torch.randn(shape)) for shape in SHAPES]


def give_gradients(parameters: list[nn.Parameter], seed: int) -> None:
    torch.manual_seed(seed)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape)


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 24, 10), (2, 10, 24)])
def test_orthogonalize_makes_singular_values_one(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(1)
    matrices = torch.randn(shape) * 1e-3
    u, values, v = torch.linalg.svd(matrices, full_matrices=False)
    result = orthogonalize(matrices, steps=5)
    # all but the smallest values reach 1, and the directions stay
    large = torch.linalg.svdvals(result)[values > 0.05 * values.max()]
    assert (large - 1).abs().max() < 0.15
    assert (torch.linalg.svdvals(orthogonalize(matrices, steps=3)).median() - 1).abs() < 0.35
    assert (result * (u @ v)).sum() > 0.95 * min(shape[1:]) * shape[0]


def test_orthogonalize_of_zero_is_zero() -> None:
    assert torch.equal(orthogonalize(torch.zeros(2, 3, 5)), torch.zeros(2, 3, 5))


def test_orthogonalize_in_bf16_is_near() -> None:
    torch.manual_seed(1)
    matrices = torch.randn(2, 16, 24)
    near = orthogonalize(matrices, dtype=torch.bfloat16)
    torch.testing.assert_close(near.float(), orthogonalize(matrices), atol=0.05, rtol=0.05)


def test_first_step_follows_the_equations() -> None:
    parameters = weights()
    before = [p.detach().clone() for p in parameters]
    give_gradients(parameters, 2)
    Muon(parameters, lr=0.1, momentum=0.9, weight_decay=0.5).step()
    for old, new in zip(before, parameters, strict=True):
        assert new.grad is not None
        average = 0.1 * new.grad
        update = 0.1 * new.grad + 0.9 * average
        scale = max(1.0, old.shape[0] / old.shape[1]) ** 0.5
        expected = old * (1 - 0.1 * 0.5) - 0.1 * scale * orthogonalize(update[None])[0]
        torch.testing.assert_close(new.detach(), expected)


def test_batched_steps_equal_single_ones() -> None:
    together, alone = weights(), weights()
    optimizers = [Muon(together), *(Muon([p]) for p in alone)]
    for step in range(3):
        give_gradients(together, step)
        give_gradients(alone, step)
        for optimizer in optimizers:
            optimizer.step()
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a, b)


def test_weights_without_gradient_stay() -> None:
    parameters = weights()
    give_gradients(parameters, 1)
    parameters[0].grad = None
    before = [p.detach().clone() for p in parameters]
    Muon(parameters, weight_decay=1.0).step()
    assert [torch.equal(a, b) for a, b in zip(before, parameters, strict=True)] == [True, False, False, False, False]


def test_resumed_steps_have_the_same_bits(tmp_path: Path) -> None:
    parameters = weights()
    optimizer = Muon(parameters, lr=0.03, weight_decay=0.1)
    for step in range(2):
        give_gradients(parameters, step)
        optimizer.step()
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    resumed = copy.deepcopy(parameters)
    other = Muon(resumed)
    other.load_state_dict(torch.load(tmp_path / "state.pt"))
    assert set(other.state_dict()["state"][0]) == {"momentum"}
    for step in range(2, 4):
        for pair in ((parameters, optimizer), (resumed, other)):
            give_gradients(pair[0], step)
            pair[1].step()
    assert all(torch.equal(a, b) for a, b in zip(parameters, resumed, strict=True))


def test_only_matrices() -> None:
    with pytest.raises(ConfigError, match=r"shape \(3,\)"):
        Muon([nn.Parameter(torch.randn(3))])


@pytest.mark.parametrize("steps", [0, 9])
def test_number_of_products_is_checked(steps: int) -> None:
    with pytest.raises(ConfigError, match=f"{steps} steps"):
        Muon(weights(), steps=steps)


def _sharded_process(rank: int, file: str, expected: list[Tensor]) -> None:
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    _sharded_steps(expected)
    gc.collect()  # a group that weights still refer to leaves threads behind, which may abort the end of the process
    dist.destroy_process_group()


def _sharded_steps(expected: list[Tensor]) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = nn.ParameterList(weights())
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    optimizer = Muon(model.parameters(), weight_decay=0.1)
    for step in range(2):
        torch.manual_seed(step)
        for parameter in model.parameters():
            whole = torch.randn(parameter.shape)
            parameter.grad = dist.tensor.distribute_tensor(whole, parameter.device_mesh, parameter.placements)
        optimizer.step()
    for parameter, whole in zip(model.parameters(), expected, strict=True):
        assert torch.equal(parameter.full_tensor(), whole)


@pytest.mark.slow
def test_sharded_steps_have_the_same_bits(tmp_path: Path) -> None:
    parameters = weights()
    optimizer = Muon(parameters, weight_decay=0.1)
    for step in range(2):
        give_gradients(parameters, step)
        optimizer.step()
    expected = [p.detach() for p in parameters]
    torch.multiprocessing.spawn(_sharded_process, args=(str(tmp_path / "store"), expected), nprocs=2)
