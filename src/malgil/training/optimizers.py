"""Which parameter is trained by which optimizer, and their state by name.

State is kept under the parameters' names, and not under positions in a list, so that a checkpoint means the
same to any number of processes and to anybody who reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from malgil.errors import CheckpointError
from malgil.models.base import Model
from malgil.runtime.device import Precision
from malgil.training.depth import rate_shares
from malgil.training.muon import Muon
from malgil.training.settings import TrainingSettings


class Optimizers:
    """AdamW, alone or with Muon for the matrices inside blocks.

    Weight decay acts on tensors of two and more dimensions; norms and biases are left alone. Rates fall towards the
    embeddings where `layer_decay` is below 1, see `training.depth`.
    """

    def __init__(self, body: Model, parts: nn.Module, settings: TrainingSettings, precision: Precision) -> None:
        self.names: dict[Tensor, str] = {p: f"body.{n}" for n, p in body.named_parameters() if p.requires_grad}
        own = {p: f"parts.{n}" for n, p in parts.named_parameters() if p.requires_grad}
        self.names |= {p: name for p, name in own.items() if p not in self.names}  # some may share the body's
        models = [body, *(part for part in parts.children() if isinstance(part, Model))]
        inside = {p for model in models for block in model.blocks() for p in block.parameters() if p.dim() == 2}
        muon = [p for p in self.names if settings.optimizer == "muon" and p in inside]
        rest = [p for p in self.names if not (settings.optimizer == "muon" and p in inside)]
        shares = rate_shares(body, settings.layer_decay)
        self.rate = settings.learning_rate if rest else settings.muon_learning_rate
        self.members: list[torch.optim.Optimizer] = []
        if rest:
            self.members.append(_adamw(rest, settings, shares))
        if muon:
            self.members.append(
                Muon(
                    _by_rate(muon, settings.muon_learning_rate, shares),
                    momentum=settings.momentum,
                    weight_decay=settings.weight_decay,
                    dtype=precision.dtype,
                )
            )
        for optimizer in self.members:
            for group in optimizer.param_groups:
                group["highest_lr"] = group["lr"]

    @property
    def parameters(self) -> list[Tensor]:
        return list(self.names)

    def set_rate(self, factor: float) -> float:
        """Scale every group's rate; returns AdamW's for the heads, the highest."""
        for optimizer in self.members:
            for group in optimizer.param_groups:
                group["lr"] = group["highest_lr"] * factor
        return self.rate * factor

    def step(self) -> None:
        for optimizer in self.members:
            optimizer.step()

    def zero_grad(self) -> None:
        for optimizer in self.members:
            optimizer.zero_grad(set_to_none=True)

    def release(self) -> None:
        """Forget the state, and the gradients with it."""
        self.zero_grad()
        for optimizer in self.members:
            optimizer.state.clear()

    def state(self) -> dict[str, Tensor]:
        """Every tensor of the state as `<parameter>.<kind>`, whole and on the CPU; a collective call when sharded."""
        return {
            f"{self.names[p]}.{kind}": whole(value)
            for optimizer in self.members
            for p, kinds in optimizer.state.items()
            for kind, value in kinds.items()
            if isinstance(value, Tensor)
        }

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `state`.

        Raises:
            CheckpointError: a parameter of this run has no state there, or the other way round.
        """
        by_name = {name: p for p, name in self.names.items()}
        unknown = {key.rpartition(".")[0] for key in tensors} - set(by_name)
        if unknown:
            raise CheckpointError(f"optimizer state for unknown parameter '{min(unknown)}'")
        if not tensors:
            return
        for optimizer in self.members:
            for group in optimizer.param_groups:
                for p in group["params"]:
                    prefix = self.names[p] + "."
                    kinds = {k[len(prefix) :]: v for k, v in tensors.items() if k.rpartition(".")[0] + "." == prefix}
                    if not kinds:
                        raise CheckpointError(f"no optimizer state for '{self.names[p]}'")
                    optimizer.state[p] = {kind: _like(value, p) for kind, value in kinds.items()}


def whole(tensor: Tensor) -> Tensor:
    """A tensor, put together from its shards if there are any, on the CPU."""
    if isinstance(tensor, DTensor):
        tensor = tensor.full_tensor()
    return tensor.detach().cpu().contiguous()


def copy_into(parameter: Tensor, value: Tensor) -> None:
    """Overwrite a parameter, sharded or not, with a whole tensor."""
    with torch.no_grad():
        parameter.copy_(_like(value, parameter))


def gradient_norm(parameters: Iterable[Tensor], clip: float | None) -> Tensor:
    """The 2-norm of all gradients together, which are scaled down to `clip` if it is larger."""
    if clip is None:
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    else:
        norm = torch.nn.utils.clip_grad_norm_(list(parameters), clip)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def _adamw(parameters: list[Tensor], settings: TrainingSettings, shares: Mapping[Tensor, float]) -> torch.optim.AdamW:
    matrices = [p for p in parameters if p.dim() >= 2]
    vectors = [p for p in parameters if p.dim() < 2]
    groups = [
        {**group, "weight_decay": decay}
        for kind, decay in ((matrices, settings.weight_decay), (vectors, 0.0))
        for group in _by_rate(kind, settings.learning_rate, shares)
    ]
    fused = all(p.device.type in ("cpu", "cuda") for p in parameters)
    betas = (settings.beta1, settings.beta2)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=betas, eps=settings.eps, fused=fused)


def _by_rate(parameters: list[Tensor], rate: float, shares: Mapping[Tensor, float]) -> list[dict[str, Any]]:
    """Groups of parameters with the same share of the rate; those without one have all of it."""
    groups: dict[float, list[Tensor]] = {}
    for p in parameters:
        groups.setdefault(shares.get(p, 1.0), []).append(p)
    return [{"params": members, "lr": rate * share} for share, members in groups.items()]


def _like(value: Tensor, parameter: Tensor) -> Tensor:
    """`value` on the parameter's device, and sharded like it unless it is a scalar."""
    value = value.to(parameter.device)
    if isinstance(parameter, DTensor) and value.dim():
        return distribute_tensor(value, parameter.device_mesh, parameter.placements)
    return value.clone()
