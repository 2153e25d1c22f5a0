"""A trainer over random tokens, without files: batches are a function of the step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from malgil.models import build_model, family
from malgil.models.base import Model
from malgil.objectives.base import Assembled, BatchPlan, Specials
from malgil.objectives.causal_lm import CausalLanguageModelling, TokenBatch, collate
from malgil.runtime.device import Precision
from malgil.training.distributed import World
from malgil.training.progress import Limits
from malgil.training.settings import TrainingSettings
from malgil.training.trainer import Hooks, Trainer

VOCAB = 19
ATTENTION = {"n_layers": 2, "n_heads": 2, "d_model": 12, "max_len": 9}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", ATTENTION),
    "llama": ("llama", {**ATTENTION, "qk_norm": True}),
    "rnn": ("rnn_lm", {"cell": "rnn", "n_layers": 2, "d_model": 10, "max_len": 5}),
    "gru": ("rnn_lm", {"cell": "gru", "n_layers": 2, "d_model": 10, "max_len": 5}),
    "lstm": ("rnn_lm", {"cell": "lstm", "n_layers": 2, "d_model": 10, "max_len": 5}),
}


class RandomBatches:
    """Rows of random tokens; with `uneven`, of different lengths; with `stream`, without documents."""

    def __init__(self, plan: BatchPlan, *, uneven: bool = False, stream: bool = False, columns: int = 3) -> None:
        self.plan, self.uneven, self.stream, self.columns = plan, uneven, stream, columns
        self.steps_per_epoch, self.tokens_per_step = 10.0, plan.rows * 9

    def __call__(self, step: int) -> list[TokenBatch]:
        batches = [self._batch(step, rows) for rows in self.plan.micro_batches()]
        if self.stream:
            return [replace(b, stream=True, fresh=step % self.columns == 0) for b in batches]
        return batches

    def tokens(self, step: int) -> int:
        return self.tokens_per_step

    def _batch(self, step: int, rows: range) -> TokenBatch:
        windows = []
        for row in rows:
            draw = np.random.default_rng((step, row))
            length = 2 + 4 * (row % 3) if self.uneven else 10
            windows.append((draw.integers(0, VOCAB, length), np.zeros(length, dtype=bool)))
        return collate(windows, Specials(0, 0), respect=True)


def model(name: str, **changed: Any) -> Model:
    """The model of a name in `MODELS`, always with the same weights."""
    family_name, settings = MODELS[name]
    torch.manual_seed(7)
    return build_model(family_name, family(family_name).config(**{**settings, **changed}), VOCAB)


def trainer(
    name: str,
    *,
    hooks: Hooks | None = None,
    uneven: bool = False,
    workers: int = 0,
    dropout: float = 0.0,
    seconds: float | None = None,
    columns: int = 3,
    world: World | None = None,
    **settings: Any,
) -> Trainer:
    """A trainer of a fresh model; `settings` are those of the training section."""
    chosen = TrainingSettings(**{"steps": 6, "batch_size": 4, "warmup": 1, "compile": "off", **settings})
    world = world or World()
    plan = BatchPlan(chosen.batch_size, chosen.accumulate, world.rank, world.size, chosen.seed)
    body = model(name, dropout=dropout)
    return Trainer(
        assembled=Assembled(body, {}),
        objective=CausalLanguageModelling(Specials(0, 0)),
        batches=RandomBatches(plan, uneven=uneven, stream=body.context is None, columns=columns),
        settings=chosen,
        limits=Limits(chosen.steps, seconds),
        device=torch.device("cpu"),
        precision=Precision("fp32"),
        world=world,
        workers=workers,
        hooks=hooks or Hooks(),
    )


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Copies of all weights by name."""
    return {name: p.detach().clone() for name, p in trainer.assembled.named_parameters()}


def gradients(trainer: Trainer, step: int = 0) -> dict[str, torch.Tensor]:
    """What one step would hand to the optimizers; the weights stay."""
    trainer.optimizers.step = trainer.optimizers.zero_grad = lambda: None  # type: ignore[method-assign]
    trainer.step(trainer.batches(step))
    return {name: p.grad.clone() for name, p in trainer.assembled.named_parameters() if p.grad is not None}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of tensors have the same bits."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
