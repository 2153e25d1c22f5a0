"""What a run will take, before it is begun: parameters, memory, time (`--dry-run`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from malgil.models.base import count_parameters
from malgil.runs.display import Display
from malgil.runs.fit import FEW_EPOCHS, Budget
from malgil.runs.prepare import Prepared, prepare
from malgil.runs.pretraining import first_settings, pretrains, second_settings
from malgil.runs.recipe import compose
from malgil.runs.start import composed
from malgil.training.trainer import Hooks

FP32 = 4
#: terms of losses whose targets go through the output layer
OVER_VOCABULARY = ("nll", "mlm")


@dataclass(frozen=True)
class Estimate:
    """Bytes beside the interpreter and its libraries; seconds of data and optimisation, None if nothing was timed.

    Attributes:
        parameters: of the model with its heads.
        trained: those that are not frozen.
    """

    parameters: int
    trained: int
    weights: int
    gradients: int
    optimizer: int
    averages: int
    activations: int
    steps: int
    tokens: int
    epochs: float
    seconds: float | None

    @property
    def memory(self) -> int:
        """All of it, at the height of a step."""
        return self.weights + self.gradients + self.optimizer + self.averages + self.activations

    def lines(self) -> list[str]:
        """For a person."""
        parts = f"weights {_mib(self.weights)}, gradients {_mib(self.gradients)}, optimizer {_mib(self.optimizer)}"
        if self.averages:
            parts += f", averages {_mib(self.averages)}"
        time = "unknown" if self.seconds is None else f"about {self.seconds:,.0f} s of training"
        some = f", {self.trained:,} of them trained" if self.trained < self.parameters else ""
        return [
            f"parameters: {self.parameters:,}{some}",
            f"memory:     {_mib(self.memory)} beside Python and PyTorch"
            f" ({parts}, activations {_mib(self.activations)})",
            f"steps:      {self.steps:,}, {self.tokens:,} tokens, {self.epochs:.2f} epochs",
            f"time:       {time}",
        ]


def dry_run(
    recipe: str | None,
    overrides: Mapping[str, Any],
    *,
    config_files: list[Path] | None = None,
    display: Display,
    start: Path | None = None,
) -> Estimate:
    """What `train` would build, how much memory and time it would take; nothing is written but the cache.

    Of a run that pretrains it is the second part; of the first it is said.
    """
    tree, tokenizers = composed(recipe, config_files or [], overrides, start), None
    if pretrains(tree):
        name = tree["pretraining"]["recipe"]
        display.say(f"first {name}")
        first = prepare(compose(name, [], first_settings(tree)), display.say, progress=display.tokenising)
        for line in [*estimate(first).lines(), f"then {tree['recipe']}"]:
            display.say(line)
        tree, tokenizers = second_settings(tree, {"model": first.tree["model"]}), first.tokenizers
        if not Budget.of(tree["training"]).limited:
            tree["training"]["epochs"] = FEW_EPOCHS  # as of any body that was trained before
    return estimate(prepare(tree, display.say, tokenizers, display.tokenising))


def estimate(run: Prepared) -> Estimate:
    """Measure one forward pass of a row or two, and count the rest.

    A step is timed where a time limit made that necessary anyway; otherwise a few are timed now.
    """
    activations = _activations(run)
    trainer = run.trainer(Hooks())
    parameters = count_parameters(run.assembled)
    trained = sum(p.numel() for p in trainer.optimizers.parameters)
    if run.seconds_per_step is None:
        run.seconds_per_step = run.trial()
    # AdamW keeps two numbers a parameter, Muon one
    kept = sum(
        p.numel() * (1 if type(optimizer).__name__ == "Muon" else 2)
        for optimizer in trainer.optimizers.members
        for group in optimizer.param_groups
        for p in group["params"]
    )
    steps, training = run.planned_steps, run.settings.training
    copies = 1 if training.ema is not None else 0 if training.average is None else training.average + 1
    return Estimate(
        parameters=parameters,
        trained=trained,
        weights=FP32 * parameters,
        gradients=FP32 * trained,
        optimizer=FP32 * kept,
        averages=FP32 * trained * copies,
        activations=activations,
        steps=steps,
        tokens=steps * run.batches.tokens_per_step,
        epochs=steps / run.batches.steps_per_epoch,
        seconds=steps * run.seconds_per_step,
    )


def _activations(run: Prepared) -> int:
    """Bytes that the backward pass of a micro-batch needs: what autograd keeps of one, counted as it is kept."""
    batch = run.batches(0)[0].to(run.device)
    own = {p.untyped_storage().data_ptr() for p in run.assembled.parameters()}
    seen: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    trainer = run.trainer(Hooks())
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), run.precision.autocast(run.device):
        trainer.assembled(run.objective.loss, batch, None)
    width = 2 if run.precision.name == "bf16" else FP32
    targets = sum(n for term, n in run.objective.counts(batch).items() if term in OVER_VOCABULARY)
    logits = targets * run.model.vocab_size * width  # they keep themselves, see layers/heads
    return sum(seen.values()) + logits


def _mib(n_bytes: int) -> str:
    mib = n_bytes / 2**20
    return f"{mib:,.1f} MiB" if mib < 1024 else f"{mib / 1024:,.1f} GiB"
