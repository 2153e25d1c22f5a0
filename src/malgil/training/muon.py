"""Muon: momentum whose matrices are made orthogonal before they are applied; for 2-D weights inside the network.

Where Adam scales each number by itself, Muon gives every direction of a matrix the same size. Embeddings, heads,
norms and biases stay with AdamW. Unlike `torch.optim.Muon` it orthogonalises all matrices of one shape in one
batched product, in three steps instead of five, and takes sharded gradients.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from malgil.errors import ConfigError

# Polar Express (Amsel et al. 2025, algorithm 1) for singular values in [1e-3, 1]: a, b, c of a x + b x^3 + c x^5.
_COEFFICIENTS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
)
_SAFETY = 1.01  # keeps singular values inside the interval in spite of rounding


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum (Jordan 2024) with Nesterov's look-ahead and decoupled weight decay.

        m <- momentum * m + (1 - momentum) * g
        u <- (1 - momentum) * g + momentum * m
        W <- (1 - lr * weight_decay) W - lr * sqrt(max(1, rows / columns)) * orthogonal(u)

    Args:
        params: 2-D weights, or groups of them.
        lr: the size of a step; with this scale a weight of any shape changes its output by about lr.
        momentum: the decay of the average of gradients.
        weight_decay: decoupled, times lr.
        steps: steps of the orthogonalisation, 1 to 5; three leave singular values between about 0.1 and 1.9.
        dtype: the type of these products; bf16 where the device is fast in it.

    Raises:
        ConfigError: a weight that is not 2-D, or `steps` out of range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        steps: int = 3,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if not 1 <= steps <= len(_COEFFICIENTS):
            raise ConfigError(f"Muon cannot make {steps} steps", "", f"give 1 to {len(_COEFFICIENTS)}")
        self.dtype = dtype
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "steps": steps})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        for weight in self.param_groups[-1]["params"]:
            if weight.dim() != 2:
                raise ConfigError(f"Muon cannot update a weight of shape {tuple(weight.shape)}", "", "give it to AdamW")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            alike: dict[tuple[torch.Size, torch.device], list[Tensor]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    alike[weight.shape, weight.device].append(weight)
            for weights in alike.values():
                self._update(weights, group)
        return loss

    def _update(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        """One step of weights that have one shape."""
        averages = []
        for weight in weights:
            state = self.state[weight]
            if not state:
                state["momentum"] = torch.zeros_like(weight)
            averages.append(state["momentum"])
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        torch._foreach_lerp_(averages, gradients, 1 - group["momentum"])
        updates = torch._foreach_lerp(gradients, averages, group["momentum"])
        stacked = orthogonalize(torch.stack([_whole(u) for u in updates]), group["steps"], self.dtype)
        changes = [_like(weight, change) for weight, change in zip(weights, stacked.to(weights[0].dtype), strict=True)]
        rows, columns = weights[0].shape
        torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(weights, changes, alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)


def orthogonalize(matrices: Tensor, steps: int = 3, dtype: torch.dtype = torch.float32) -> Tensor:
    """(N, rows, columns) -> U V^T of each, about: singular values become roughly 1.

    Odd polynomials of degree 5 (Newton-Schulz iteration) with Polar Express coefficients, on the smaller side.
    """
    norms = torch.linalg.vector_norm(matrices.flatten(1), dim=1)[:, None, None]
    x: Tensor = (matrices / (norms * _SAFETY + 1e-7)).to(dtype)
    tall = x.shape[1] > x.shape[2]
    for a, b, c in _COEFFICIENTS[:steps]:
        a, b, c = a / _SAFETY, b / _SAFETY**3, c / _SAFETY**5
        gram = x.mT @ x if tall else x @ x.mT
        square = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, x, square, beta=a) if tall else torch.baddbmm(x, square, x, beta=a)
    return x


def _whole(update: Tensor) -> Tensor:
    """All of a sharded tensor: an orthogonal matrix cannot be made shard by shard."""
    if isinstance(update, DTensor):
        whole: Tensor = update.full_tensor()
        return whole
    return update


def _like(weight: Tensor, update: Tensor) -> Tensor:
    """`update` laid out as the weight is: each rank keeps its own shard."""
    if isinstance(weight, DTensor):
        sharded: Tensor = distribute_tensor(update, weight.device_mesh, weight.placements, src_data_rank=None)
        return sharded
    return update
