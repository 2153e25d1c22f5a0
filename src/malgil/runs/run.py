"""A trained run as an object: generate, evaluate, export."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from malgil.config import check_values, parse, to_tree
from malgil.data.settings import DataSettings
from malgil.errors import CheckpointError, ConfigError, DataError, InputError
from malgil.explain.view import view_language, view_translation
from malgil.generation.settings import GenerationSettings
from malgil.generation.text import Completion, generate_text, stream_text
from malgil.generation.translation import Translation, stream_translations, translate_text
from malgil.interop.configs import MAX_POSITIONS
from malgil.interop.huggingface import Exported, export_model
from malgil.models import build_model
from malgil.models.base import CausalLM, Encoder, EncoderDecoder, Model
from malgil.report.attention_page import AttentionView, attention_page
from malgil.report.attention_picture import attention_picture
from malgil.report.words import language_of
from malgil.runs.failures import failures
from malgil.runs.folder import RunFolder, newest_run
from malgil.runs.recipe import Settings, settings_of
from malgil.runs.task import Tokenizers
from malgil.runs.tasks import task_of
from malgil.runtime.device import prepare_cpu, resolve_device
from malgil.runtime.files import atomic_write
from malgil.text.tokenizer import Tokenizer
from malgil.training.checkpoint import load_weights, newest_checkpoint, save_weights
from malgil.training.settings import TrainingSettings

BODY = "body."
CAUTION = "the kept weights were chosen by this text: give --data with other text for a figure that chose nothing"
#: settings of the `data` section that name files beside `paths`
_FILES = ("validation", "source", "target", "validation_source", "validation_target")
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
    def tokenizers(self) -> Tokenizers:
        """Of what the model writes and, where that is another, of what it reads."""
        return Tokenizers.load(self.folder)

    @property
    def tokenizer(self) -> Tokenizer:
        """Of what the model writes."""
        return self.tokenizers.target

    @cached_property
    def device(self) -> torch.device:
        prepare_cpu(self._threads)
        return resolve_device(self._device)

    @cached_property
    def model(self) -> Model:
        """The model with its trained weights, ready for use.

        Raises:
            CheckpointError: weights are missing, or are not those of this model.
        """
        settings = self.settings
        with failures():
            weights = load_run_weights(self.folder)
            sizes = (settings.family, settings.model, *settings.vocab_sizes)
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
            return model.to(self.device).eval()

    def view_attention(self, text: str, target: str | None = None) -> AttentionView:
        """Who attends to whom as the model reads a text, or translates it as `translate` does; see `explain.view`.

        Args:
            target: the translation to read instead of the model's own.

        Raises:
            ConfigError: the model has no attention, or a target is given to one that does not translate.
            InputError: a text that is none, or an empty one.
        """
        text, target = _text(text), None if target is None else _text(target)
        with failures():
            model, tokenizers = self.model, self.tokenizers
            if isinstance(model, EncoderDecoder):
                how = self.generation_settings()
                return view_translation(model, tokenizers.reading, tokenizers.target, text, target, how)
            if target is not None:
                raise ConfigError(
                    f"a {self.settings.family} model reads one text, and has no target",
                    str(self.folder.path),
                    "leave the target out",
                )
            return view_language(self._writer, tokenizers.target, text)

    def attention(self, text: str, target: str | None = None) -> dict[str, npt.NDArray[np.float32]]:
        """The attention maps as arrays (n_layers, H, T, S), by kind; see `view_attention`."""
        return dict(self.view_attention(text, target).maps)

    def write_attention(
        self, text: str, out: Path | str, *, target: str | None = None, png: Path | str | None = None
    ) -> str:
        """Write a page of the attention maps, and a picture; returns what was written, in words.

        Raises:
            InputError: a file in a folder that does not exist, or a folder in place of a file.
        """
        for path in (out, png):
            if path is not None and not Path(path).parent.is_dir():
                raise InputError("no such folder", str(Path(path).parent), "make it first, or name another file")
            if path is not None and Path(path).is_dir():
                raise InputError("a folder stands where a file is to be written", str(path), "name a file in it")
        view = self.view_attention(text, target)
        atomic_write(Path(out), attention_page(view, language_of(text)))
        if png is not None:
            attention_picture(view, Path(png))
        return f"{out}: {view.describe()}" + (f"\n{png}" if png is not None else "")

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        return self.folder.lines(self.folder.metrics)

    @property
    def _writer(self) -> CausalLM:
        if not isinstance(self.model, CausalLM):
            raise self._refusal("continue a text")
        return self.model

    @property
    def _translator(self) -> EncoderDecoder:
        if not isinstance(self.model, EncoderDecoder):
            raise self._refusal("turn one text into another")
        return self.model

    def _refusal(self, wanted: str) -> ConfigError:
        """The model is of another kind than the one that is asked for."""
        uses = {
            CausalLM: "it continues a text: malgil generate, or Run.generate",
            EncoderDecoder: "it turns one text into another: malgil translate, or Run.translate",
            Encoder: "it reads a text whole: Run.model gives a vector for each token",
        }
        fix = next(use for kind, use in uses.items() if isinstance(self.model, kind))
        return ConfigError(f"a {self.settings.family} model does not {wanted}", str(self.folder.path), fix)

    def translate(self, text: str, **settings: Any) -> str:
        """What the model makes of a source; settings as in `GenerationSettings` (`beam`, `max_tokens`, ...)."""
        return self.translations([text], **settings)[0].text

    def translations(self, texts: Iterable[str], **settings: Any) -> list[Translation]:
        """A batch of sources, with scores and the `n_best` hypotheses of each, in the order given.

        Raises:
            InputError: a source that is no text, or one text in place of a list.
        """
        sources = list(_texts(texts))
        with failures():
            model, tokenizers = self._translator, self.tokenizers
            how = self.generation_settings(**settings)
            return translate_text(model, tokenizers.reading, tokenizers.target, sources, how)

    def translate_lines(self, lines: Iterable[str], batch: int = 1, **settings: Any) -> Iterator[Translation]:
        """Translations of lines as they come, `batch` at a time.

        Raises:
            InputError: `batch` is no integer or below 1, or a line is no text.
        """
        if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
            raise InputError(f"a batch of {batch!r} lines", "--batch", "take an integer, 1 or more")
        with failures():
            model, tokenizers, sources = self._translator, self.tokenizers, _texts(lines)
            how = self.generation_settings(**settings)
            yield from stream_translations(model, tokenizers.reading, tokenizers.target, sources, how, batch=batch)

    def generate(self, prompt: str = "", **settings: Any) -> str:
        """What the model writes after `prompt`; settings as in `GenerationSettings` (`max_tokens`, `top_k`, ...)."""
        return self.complete([prompt], **settings)[0].text

    def complete(self, prompts: Iterable[str], **settings: Any) -> list[Completion]:
        """A batch of prompts, `samples` completions each, in the order of the prompts."""
        begun = list(_texts(prompts))
        with failures():
            return generate_text(self._writer, self.tokenizer, begun, self.generation_settings(**settings))

    def stream(self, prompt: str = "", **settings: Any) -> Iterator[str]:
        """The same as `generate`, piece by piece, never half a character; errors come before the first piece."""
        begun = _text(prompt)
        with failures():
            return stream_text(self._writer, self.tokenizer, begun, self.generation_settings(**settings))

    def evaluate(
        self,
        data: str | Path | Sequence[str | Path] | None = None,
        *,
        generation: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> dict[str, Any]:
        """How good the model is on a text, or on pairs, all of it.

        Args:
            data: files, folders, globs or `builtin`; without it the run's own validation part.
            generation: how translations are made, such as `{"beam": 5}`.
            settings: of the `data` section, such as `text_field`, or `source` and `target` for aligned files.

        Returns:
            loss (nats a token), perplexity, bits_per_byte (None where it would not be comparable, for the reason in
            `not_comparable`), tokens, bytes, unknown; for a recurrent model `carried_loss`, its state carried on. Of
            pairs: loss, perplexity, accuracy (of tokens whose beginning is given), bleu and chrf with the signatures
            of sacrebleu, and BLEU by length of the source. Of an encoder: loss and perplexity of hidden tokens,
            accuracy, masked (how many were hidden);
            `caution` where the text is the one by which the kept weights were chosen.
        """
        own, task = to_tree(self.settings.data), task_of(self.settings.objective.name)
        with failures():
            how = self.generation_settings(**generation or {})
            own_part = data is None and not settings.get("source")
            if own_part:
                part = task.open(parse(DataSettings, own | settings, "data")).validation
            else:
                fresh = {"text_field": None, "skip_bad": 0, "paths": _paths(data)} | {key: [] for key in _FILES}
                part, _ = task.open_whole(parse(DataSettings, own | fresh | settings, "data"))
            chosen = replace(self.settings, generation=how)
            result = task.evaluate(self.model, chosen, self.tokenizers, part, self.device)
        if own_part and self._chosen_by_validation:
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
            format: `hf` (GPT-2, Llama, Qwen3, Marian, BERT and its family) or `torch` (recurrent models).

        Returns:
            the folder, and in `verifications` what was compared.

        Raises:
            InputError, ConfigError, StorageError, RunError: as `malgil.interop.huggingface.export_model`.
        """
        with failures():
            target, source = self.tokenizers.target, self.tokenizers.source
            settings = self.settings.model
            return export_model(self.model, settings, target, Path(out), format=format, source_tokenizer=source)


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


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"a text must be a str, not of type {type(value).__name__}", "", "give one text at a time")
    return value


def _texts(values: Any) -> Iterator[str]:
    """Each as it comes; a single text is refused, as nobody means its characters."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputError(f"texts must be a list, not of type {type(values).__name__}", "", "write [text] for one")
    yield from map(_text, values)


def _paths(data: str | Path | Sequence[str | Path] | None) -> list[str]:
    if data is None:
        return []
    return [str(data)] if isinstance(data, (str, Path)) else [str(path) for path in data]


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
