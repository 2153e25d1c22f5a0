"""The settings of training, the same for every model and objective."""

from __future__ import annotations

from dataclasses import dataclass

from malgil.config import setting
from malgil.errors import ConfigError, InputError

#: the settings that end a run, and their options on the command line
LIMITS = {"steps": "--steps", "tokens": "--tokens", "epochs": "--epochs", "seconds": "--time"}


@dataclass(frozen=True)
class PretrainingSettings:
    """What is trained first, of a recipe for labelled data."""

    recipe: str | None = setting(
        None, "labelled data: this recipe first learns from the same texts without their labels; none: nothing does"
    )
    share: float = setting(0.5, "of the time, or of whatever else limits the run, that it gets", above=0, high=0.95)


@dataclass(frozen=True)
class TrainingSettings:
    """One step reads batch_size x accumulate rows, whatever the number of processes.

    Raises:
        ConfigError: two kinds of averages of the weights.
        InputError: nothing that can be frozen.
    """

    steps: int | None = setting(None, "stop after this many steps", low=1)
    tokens: int | None = setting(None, "stop after this many tokens", low=1)
    epochs: float | None = setting(None, "stop after this many passes over the data", above=0)
    seconds: float | None = setting(None, "stop after this much time for data and optimisation", above=0)
    batch_size: int = setting(12, "rows of a micro-batch, shared by all processes", low=1)
    batch_tokens: int | None = setting(
        None,
        "tokens of a micro-batch of pairs, source and target with padding, shared by all processes;"
        " none = batch_size rows",
        low=1,
    )
    accumulate: int = setting(1, "micro-batches of a step", low=1)
    optimizer: str = setting("adamw", "adamw, or muon for matrices with AdamW for the rest", choices=["adamw", "muon"])
    learning_rate: float = setting(1e-3, "AdamW's rate at its highest", above=0)
    muon_learning_rate: float = setting(0.02, "Muon's rate at its highest", above=0)
    schedule: str = setting(
        "cosine", "shape of the rate over the run", choices=["constant", "linear", "cosine", "trapezoid"]
    )
    warmup: float = setting(100, "steps of rising rate; a recipe may give a share of the run, below 1", low=0)
    cooldown: float = setting(0.5, "share of the run over which a trapezoid falls", low=0, high=1)
    final_rate: float = setting(0.1, "rate at the end, as a share of the highest", low=0, high=1)
    rate_scale: float = setting(1.0, "learning rates are multiplied by this", above=0)
    beta1: float = setting(0.9, "AdamW: decay of the mean gradient", low=0, high=0.9999)
    beta2: float = setting(0.99, "AdamW: decay of the mean squared gradient", low=0, high=0.99999)
    eps: float = setting(1e-8, "AdamW: added to the root of the mean square", above=0)
    momentum: float = setting(0.95, "Muon: decay of the mean gradient", low=0, high=0.9999)
    weight_decay: float = setting(0.1, "decoupled decay of matrices", low=0)
    layer_decay: float = setting(
        1.0,
        "rate of a layer as a share of that of the layer above; heads have all of it, embeddings least",
        above=0,
        high=1,
    )
    freeze: str | None = setting(
        None,
        "what stays as it is: embeddings; a number of layers, counted from the embeddings and frozen with them; body, "
        "all but heads; none = nothing",
    )
    clip: float | None = setting(1.0, "largest norm of the gradient; none = no clipping", above=0)
    evaluate_every: int | None = setting(None, "steps between evaluations; none = at the end only", low=1)
    evaluation_share: float | None = setting(
        None,
        "evaluations before the last one wait until they take no more than this share of the training's time, such as "
        "0.25; none = they never wait",
        above=0,
    )
    checkpoint_every: int | None = setting(None, "steps between checkpoints; none = at the end only", low=1)
    sample_every: int | None = setting(None, "steps between samples for the report; none = at the end only", low=1)
    log_every: int = setting(10, "steps between lines of metrics.jsonl", low=1)
    patience: int | None = setting(None, "stop after this many evaluations without a better one", low=1)
    keep: str = setting("best", "weights of the finished run, by the figure in watch", choices=["best", "last"])
    watch: str = setting(
        "auto", "figure of evaluations by which one is better: val_loss, val_accuracy, ...; auto = that of the task"
    )
    ema: float | None = setting(
        None, "keep a moving average of the weights with this decay, such as 0.999; none = off", above=0, high=0.999999
    )
    average: int | None = setting(None, "keep the mean of the weights at the last N evaluations; none = off", low=2)
    start: str | None = setting(
        None, "the run folder whose body's weights training begins with; `malgil finetune` sets it"
    )
    seed: int = setting(1337, "of initialisation, data order and dropout", low=0, high=2**31 - 1)
    device: str = setting("auto", "auto, cpu, cuda, cuda:N or mps")
    precision: str = setting("auto", "arithmetic; auto = bf16 where it is faster", choices=["auto", "fp32", "bf16"])
    threads: int | None = setting(None, "CPU threads; none = all cores", low=1)
    compile: str = setting("auto", "torch.compile of the blocks; auto = on CUDA", choices=["auto", "on", "off"])
    shard: bool = setting(False, "share weights and optimizer among processes (fully_shard) instead of copying (DDP)")

    def __post_init__(self) -> None:
        if self.ema is not None and self.average is not None:
            raise ConfigError(
                "training.ema and training.average are two ways to average the same weights",
                f"ema {self.ema:g}, average {self.average}",
                "set one of them to none",
            )
        named = self.freeze in (None, "embeddings", "body")
        if not named and not (self.freeze or "").isdecimal():
            raise InputError(
                f"training.freeze must be none, embeddings, body or a number of layers, not '{self.freeze}'"
            )
