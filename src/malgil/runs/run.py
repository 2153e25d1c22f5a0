"""A trained run as an object: generate, evaluate, export."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from malgil.config import check_values, parse, to_tree
from malgil.data.corpus import open_corpus, open_whole
from malgil.data.settings import DataSettings
from malgil.data.store import token_store
from malgil.errors import CheckpointError, ConfigError, DataError, InputError
from malgil.generation.settings import GenerationSettings
from malgil.generation.text import Completion, generate_text, stream_text
from malgil.interop.configs import MAX_POSITIONS
from malgil.interop.huggingface import Exported, export_model
from malgil.models import build_model
from malgil.models.base import CausalLM, Model
from malgil.runs.failures import failures
from malgil.runs.folder import RunFolder, newest_run
from malgil.runs.recipe import Settings, settings_of
from malgil.runs.scoring import evaluator
from malgil.runtime.device import prepare_cpu, resolve_device
from malgil.text.tokenizer import Tokenizer
from malgil.training.checkpoint import load_weights, newest_checkpoint, save_weights
from malgil.training.settings import TrainingSettings

BODY = "body."
CAUTION = "the kept weights were chosen by this text: give --data with other text for a figure that chose nothing"
_RESTORE = "restore the run's files as they were, or train again"


class Run:
    """A run folder, loaded piece by piece as it is needed.

    Args:
        path: the folder.
        device: where the model is put; `auto` = CUDA where there is one.
        threads: of the CPU; None = all cores.

    Attributes:
        config: config.yaml as a tree.

    Raises:
        CheckpointError: this is no run folder, or its config.yaml cannot be read.
        InputError: threads or device of the wrong type or out of range.
    """

    def __init__(self, path: Path | str, device: str = "auto", threads: int | None = None) -> None:
        self.folder = RunFolder(Path(path))
        where = check_values(TrainingSettings, {"device": device, "threads": threads}, "training")
        self._device, self._threads = where["device"], where["threads"]
        try:
            self.config = self.folder.read_config()
        except DataError as error:
            raise CheckpointError(f"config.yaml is corrupt: {error.what}", error.where, _RESTORE) from None

    def __repr__(self) -> str:
        return f"Run({str(self.folder.path)!r})"

    @property
    def path(self) -> Path:
        return self.folder.path

    @cached_property
    def settings(self) -> Settings:
        """All sections of config.yaml, checked.

        Raises:
            CheckpointError: a setting that is missing, unknown or out of its range.
        """
        try:
            return settings_of(self.config)
        except InputError as error:
            raise CheckpointError(f"config.yaml is corrupt: {error}", str(self.folder.config), _RESTORE) from None

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer.load(self.folder.tokenizer)

    @cached_property
    def device(self) -> torch.device:
        prepare_cpu(self._threads)
        return resolve_device(self._device)

    @cached_property
    def model(self) -> CausalLM:
        """The model with its trained weights, ready for use.

        Raises:
            CheckpointError: weights are missing, or are not those of this model.
        """
        settings = self.settings
        with failures():
            weights = load_run_weights(self.folder)
            sizes = (settings.family, settings.model, settings.tokenizer.vocab_size)
            where = str(self.folder.path)
            if settings.model.n_layers > len(weights) or settings.model.max_len > MAX_POSITIONS:
                raise CheckpointError("config.yaml describes a larger model than model.safetensors", where, _RESTORE)
            with torch.device("meta"):  # sizes are compared before anything is allocated
                check_weights(build_model(*sizes), weights, where)
            model = build_model(*sizes)
            model.load_state_dict(weights)
            if self.tokenizer.vocab_size > model.vocab_size:
                raise CheckpointError(
                    f"the tokenizer has {self.tokenizer.vocab_size} tokens, the model {model.vocab_size}",
                    where,
                    _RESTORE,
                )
            if not isinstance(model, CausalLM):
                raise ConfigError(f"{settings.family} does not generate text", where)
            return model.to(self.device).eval()

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        return self.folder.lines(self.folder.metrics)

    def generate(self, prompt: str = "", **settings: Any) -> str:
        """What the model writes after `prompt`; settings as in `GenerationSettings` (`max_tokens`, `top_k`, ...)."""
        return self.complete([prompt], **settings)[0].text

    def complete(self, prompts: list[str], **settings: Any) -> list[Completion]:
        """A batch of prompts, `samples` completions each, in the order of the prompts."""
        with failures():
            return generate_text(self.model, self.tokenizer, prompts, self.generation_settings(**settings))

    def stream(self, prompt: str = "", **settings: Any) -> Iterator[str]:
        """The same as `generate`, piece by piece, never half a character; errors come before the first piece."""
        with failures():
            return stream_text(self.model, self.tokenizer, prompt, self.generation_settings(**settings))

    def evaluate(self, data: str | Path | Sequence[str | Path] | None = None, **settings: Any) -> dict[str, Any]:
        """Loss, perplexity and bits per byte of a text, all of it.

        Args:
            data: files, folders, globs or `builtin`; without it the run's own validation part.
            settings: of the `data` section, such as `text_field`.

        Returns:
            loss (nats a token), perplexity, bits_per_byte (None where it would not be comparable, for the reason in
            `not_comparable`), tokens, bytes, unknown; for a recurrent model `carried_loss`, its state carried on;
            `caution` where the text is the one by which the kept weights were chosen.
        """
        own = to_tree(self.settings.data)
        with failures():
            if data is None:
                part = open_corpus(parse(DataSettings, own | settings, "data")).validation
            else:
                paths = [str(data)] if isinstance(data, (str, Path)) else [str(p) for p in data]
                fresh = {"text_field": None, "skip_bad": 0, "paths": paths, "validation": []}
                part, _ = open_whole(parse(DataSettings, own | fresh | settings, "data"))
            model = self.model
            score = evaluator(self.settings, self.tokenizer, token_store(part, self.tokenizer), self.device)
            result = score(model).to_dict()
            carried = score.carried(model)
        if carried is not None:
            result["carried_loss"] = carried
        if data is None and self._chosen_by_validation:
            result["caution"] = CAUTION
        return result

    @property
    def _chosen_by_validation(self) -> bool:
        """Whether the kept weights are the best of several evaluations, so that the score of their part is too good."""
        evaluations = sum("val_loss" in line for line in self.metrics)
        return self.settings.training.keep == "best" and evaluations > 1

    def generation_settings(self, **settings: Any) -> GenerationSettings:
        """The run's own settings of generation with some of them replaced.

        Raises:
            NotFoundError, InputError: a setting that does not exist, or a value out of its range.
        """
        return parse(GenerationSettings, to_tree(self.settings.generation) | settings, "generation")

    def export(self, out: Path | str, format: str = "hf") -> Exported:
        """Write the model for another library, read it again and compare.

        Args:
            out: a folder that does not exist or is empty.
            format: `hf` (GPT-2, Llama, Qwen3) or `torch` (recurrent models).

        Returns:
            the folder, and in `verifications` what was compared.

        Raises:
            InputError, ConfigError, StorageError, RunError: as `malgil.interop.huggingface.export_model`.
        """
        with failures():
            return export_model(self.model, self.settings.model, self.tokenizer, Path(out), format=format)


def load(path: Path | str | None = None, *, device: str = "auto", threads: int | None = None) -> Run:
    """A run by its folder; without one the newest run under runs/."""
    return Run(path if path is not None else newest_run().path, device, threads)


def save_run_weights(weights: dict[str, Tensor], path: Path) -> None:
    """A run's model.safetensors from a checkpoint's: the body's names without their prefix."""
    partial = path.with_name(f".{path.name}.partial")
    save_weights({name.removeprefix(BODY): tensor for name, tensor in weights.items()}, partial)
    partial.replace(path)


def load_run_weights(folder: RunFolder) -> dict[str, Tensor]:
    """The weights of a run; of one that is not finished, those of its newest checkpoint."""
    if folder.weights.exists():
        return load_weights(folder.weights)
    checkpoint = newest_checkpoint(folder.checkpoints)
    if checkpoint is None:
        raise CheckpointError(
            "this run has no weights yet", str(folder.path), "train it: malgil train --resume --out DIR"
        )
    weights = load_weights(checkpoint / "model.safetensors")
    return {name.removeprefix(BODY): tensor for name, tensor in weights.items()}


def check_weights(model: Model, weights: dict[str, Tensor], where: str) -> None:
    """Every tensor of the model must be there, fit, and be wanted; the model may lie on the meta device.

    Raises:
        CheckpointError
    """
    wanted = model.state_dict()
    for name, tensor in wanted.items():
        if name not in weights:
            raise CheckpointError(f"tensor '{name}' is missing", where, "were these weights made for this model?")
        if weights[name].shape != tensor.shape:
            given, expected = tuple(weights[name].shape), tuple(tensor.shape)
            raise CheckpointError(f"tensor '{name}' is {given}, config.yaml asks for {expected}", where, _RESTORE)
    if extra := set(weights) - set(wanted):
        raise CheckpointError(f"tensor '{min(extra)}' is not part of the model", where, _RESTORE)
