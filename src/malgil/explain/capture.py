"""Who attends to whom, seen from outside: hooks on every attention operator of a model while it runs.

    with watching(model) as watch:               # evaluation mode, no gradient, fp32
        watch.model(tokens)                      # what it returns is what it always returns
    watch.maps()                                 # a map for each operator, in the order of their calls

An operator is any module with a method `weights(...)` that takes the arguments of its `forward`: the heads of a
Transformer (`layers.attention`), Bahdanau's and Luong's alignments (`layers.alignment`), and whatever else follows the
rule. What it reads is its argument `value`. The operator itself goes on by its fused kernel, which has no weights to
show; `verify` proves that the weights shown are the ones it used.
"""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from malgil.errors import ConfigError, RunError
from malgil.models.base import parameter_device

M = TypeVar("M", bound=nn.Module)

#: how far weights x values may be from an operator's own result, in fp32
TOLERANCE = 1e-5


class AttentionMap(NamedTuple):
    """What one operator looked at.

    Attributes:
        name: the operator's place in the model, as `layers.0.attention.attend`.
        weights: (B, H, T, S) in fp32 on the CPU: T queries, S keys; rows sum to 1. An alignment has one head.
    """

    name: str
    weights: Tensor


@dataclass(frozen=True)
class Comparison:
    """What `verify` compared: so many calls of operators, and the largest difference, as a share of the largest value
    where that is above 1."""

    calls: int
    largest: float


@dataclass(frozen=True)
class Captured:
    """A model's result and what its operators looked at; `comparison` where it was verified."""

    output: Any
    maps: list[AttentionMap]
    comparison: Comparison | None


def capture(model: nn.Module, *args: Any, verify: bool = False, **kwargs: Any) -> Captured:
    """Call a model once and keep its attention.

    Args:
        args, kwargs: what the model is called with.
        verify: also check every operator's weights against its own result.

    Raises:
        RunError: `verify`, and weights x values is not what an operator returned.
        ConfigError: rows came and went between two steps of one operator.
    """
    with watching(model, verify=verify) as watch:
        output = watch.model(*args, **kwargs)
    return Captured(output, watch.maps(), watch.comparison)


class Watch(Generic[M]):
    """What has been seen so far; see `watching`.

    Attributes:
        model: the model to call: the one that is watched, or a copy of it in fp32.
    """

    def __init__(self, model: M, verify: bool) -> None:
        self.model = model
        self._verify = verify
        self._calls: list[AttentionMap] = []
        self._differences: list[float] = []

    @property
    def comparison(self) -> Comparison | None:
        """What was compared; None where nothing was to be verified."""
        return Comparison(len(self._differences), max(self._differences, default=0.0)) if self._verify else None

    def maps(self) -> list[AttentionMap]:
        """A map for each operator.

        A decoder that writes token by token calls its operator with one query at a time: those pieces are one map,
        keys that came later being 0 in earlier rows. An operator that is called with several queries begins a map.

        Raises:
            ConfigError: the pieces of a map have different rows.
        """
        pieces: list[list[AttentionMap]] = []
        latest: dict[str, list[AttentionMap]] = {}
        for call in self._calls:
            if call.weights.shape[2] > 1 or call.name not in latest:
                latest[call.name] = []
                pieces.append(latest[call.name])
            latest[call.name].append(call)
        return [_joined(calls) for calls in pieces]

    def observe(self, name: str, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Tensor) -> None:
        """A hook behind the `forward` of an operator."""
        weights = module.weights(*args, **kwargs)  # type: ignore[operator]
        if self._verify:
            value = inspect.signature(module.forward).bind(*args, **kwargs).arguments["value"]
            self._differences.append(_difference(weights, value, output, name))
        heads = weights if weights.dim() == 4 else weights[:, None]
        self._calls.append(AttentionMap(name, heads.float().cpu()))


@contextmanager
def watching(model: M, *, verify: bool = False) -> Iterator[Watch[M]]:
    """Watch the operators of a model, in evaluation mode, without gradient and in fp32.

    Call `watch.model`, as often as needed. Weights of another type are copied to fp32, and compiled modules run as
    they are written: a compiled one would pass the hooks by. Afterwards the model is as it was.

    Args:
        verify: check each call: weights x values must be what the operator returned, to 1e-5.

    Raises:
        RunError: `verify`, and it is not.
    """
    if any(p.is_floating_point() and p.dtype != torch.float32 for p in model.parameters()):
        model = copy.deepcopy(model).float()
    modes = {module: module.training for module in model.modules()}
    watch = Watch(model, verify)
    with ExitStack() as stack:
        for name, module in _operators(model):
            hook = module.register_forward_hook(partial(watch.observe, name), with_kwargs=True)
            stack.callback(hook.remove)
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.autocast(parameter_device(model).type, enabled=False))
        if "torch._dynamo" in sys.modules:  # else nothing is compiled, and its import takes seconds
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        model.eval()
        try:
            yield watch
        finally:
            for module, training in modes.items():
                module.training = training


def _operators(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The attention operators of a model and their names; a compiled model adds nothing to them."""
    for name, module in model.named_modules():
        if inspect.ismethod(getattr(module, "weights", None)):
            yield name.removeprefix("_orig_mod."), module


def _difference(weights: Tensor, value: Tensor, output: Tensor, name: str) -> float:
    """The largest difference between weights x values and what the operator returned, see `Comparison`."""
    if value.dim() == 4 and value.shape[1] != weights.shape[1]:  # grouped queries share values
        value = value.repeat_interleave(weights.shape[1] // value.shape[1], dim=1)
    largest = float((weights @ value - output).abs().max() / value.abs().max().clamp(min=1.0))
    if not largest <= TOLERANCE:  # NaN is a difference too
        raise RunError(
            f"weights x values differ from the attention's own result by {largest:.2g}, more than {TOLERANCE:g}",
            name,
            "its `weights` must compute what its `forward` uses",
        )
    return largest


def _joined(calls: list[AttentionMap]) -> AttentionMap:
    """The pieces of one map along T."""
    name = calls[0].name
    rows = {call.weights.shape[0] for call in calls}
    if len(rows) > 1:
        raise ConfigError(
            f"{sorted(rows)} rows in one map", name, "watch one batch, greedy, from its first token to its last"
        )
    longest = max(call.weights.shape[3] for call in calls)
    pieces = [F.pad(call.weights, (0, longest - call.weights.shape[3])) for call in calls]
    return AttentionMap(name, torch.cat(pieces, dim=2))
