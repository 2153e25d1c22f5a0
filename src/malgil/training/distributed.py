"""One process or many: PyTorch's own engine behind four questions.

Under `torchrun` every process runs the same program. Copies (DDP) hold all weights and average gradients;
shards (`fully_shard`, Zhao et al. 2023) hold a part of every weight, gather a block when it computes, and share
out the gradients.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

from malgil.objectives.base import Assembled


@dataclass(frozen=True)
class World:
    """This process's place among its peers."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def agree(self, value: Any) -> Any:
        """The leader's value, at every process: decisions that depend on a clock or a signal are taken once."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, in the order of ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values


def join_world(device: torch.device) -> World:
    """Join the processes that `torchrun` started, if it did; safe to call again."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World()
    if not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return World(dist.get_rank(), size)


def leave_world() -> None:
    """Part from the other processes, if there are any."""
    if dist.is_initialized():
        dist.destroy_process_group()


def shard(assembled: Assembled) -> None:
    """Share out the weights, a block at a time and then the rest; before the optimizer is made."""
    for block in assembled.body.blocks():
        fully_shard(block)
        for name in assembled.body.block_methods:
            if hasattr(block, name):
                register_fsdp_forward_method(block, name)
    fully_shard(assembled)


def reshard(module: nn.Module) -> None:
    """Give back what a pass without gradient gathered, which only a backward pass would do by itself."""
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def replicate(assembled: Assembled, world: World) -> nn.Module:
    """The module to call: with several processes and whole weights, one that averages gradients."""
    if world.size == 1 or isinstance(assembled, FSDPModule):
        return assembled
    return DistributedDataParallel(assembled)


def accumulating(module: nn.Module, last: bool) -> contextlib.AbstractContextManager[Any]:
    """Gradients are exchanged with the last micro-batch of a step only."""
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(last)
    elif isinstance(module, DistributedDataParallel) and not last:
        return module.no_sync()
    return contextlib.nullcontext()
