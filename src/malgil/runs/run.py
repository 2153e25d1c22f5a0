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

from malgil.config import check_values, parse, to_tree
from malgil.data.settings import DataSettings
from malgil.errors import CheckpointError, ConfigError, DataError, InputError
from malgil.evaluation.vectors import Embedder, Float32s, Hit
from malgil.generation.settings import GenerationSettings
from malgil.generation.text import Completion, generate_text, stream_text
from malgil.generation.translation import Translation, stream_translations, translate_text
from malgil.interop.configs import MAX_POSITIONS
from malgil.interop.huggingface import Exported, export_model
from malgil.models import build_model
from malgil.models.base import CausalLM, Encoder, EncoderDecoder, Model
from malgil.objectives.base import Assembled
from malgil.report.attention import AttentionView
from malgil.runs.attention import check_files, view_text, write_view
from malgil.runs.embedding import embedder, sentence_vectors
from malgil.runs.failures import failures
from malgil.runs.folder import RunFolder, newest_run
from malgil.runs.given import given_batch, given_text, given_texts, other_files
from malgil.runs.labelled import LabelTask
from malgil.runs.predicting import Row, predictions
from malgil.runs.recipe import Settings, settings_of
from malgil.runs.task import Tokenizers
from malgil.runs.tasks import task_of
from malgil.runs.weights import RESTORE, check_weights, load_parts, load_run_weights, of_body, of_parts
from malgil.runtime.device import prepare_cpu, resolve_device
from malgil.text.tokenizer import Tokenizer
from malgil.training.settings import TrainingSettings
from malgil.training.watching import Watched

CAUTION = "the kept weights were chosen by this text ({figure}): give --data with other text for one that chose nothing"
#: rows that `predict` reads together, so that those of similar length share a batch
PREDICTED_TOGETHER = 1024


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
            raise CheckpointError(f"config.yaml is corrupt: {error.what}", error.where, RESTORE) from None

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
            raise CheckpointError(f"config.yaml is corrupt: {error}", str(self.folder.config), RESTORE) from None

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
            weights = of_body(load_run_weights(self.folder))
            sizes = (settings.family, settings.model, *settings.vocab_sizes)
            where = str(self.folder.path)
            if getattr(settings.model, "n_layers", 0) > len(weights) or settings.model.max_len > MAX_POSITIONS:
                raise CheckpointError("config.yaml describes a larger model than model.safetensors", where, RESTORE)
            with torch.device("meta"):  # sizes are compared before anything is allocated
                check_weights(build_model(*sizes).state_dict(), weights, where)
            model = build_model(*sizes)
            model.load_state_dict(weights)
            if self.tokenizer.vocab_size > model.vocab_size:
                raise CheckpointError(
                    f"the tokenizer has {self.tokenizer.vocab_size} tokens, the model {model.vocab_size}",
                    where,
                    RESTORE,
                )
            return model.to(self.device).eval()

    @cached_property
    def assembled(self) -> Assembled:
        """The model with the heads that were trained with it, ready for use.

        Raises:
            CheckpointError: as `model`.
        """
        model, settings = self.model, self.settings
        with failures():
            objective = task_of(settings.objective.name).objective(settings, self.tokenizers)
            assembled = Assembled(model, objective.parts(model))
            load_parts(assembled, of_parts(load_run_weights(self.folder)), str(self.folder.path))
            return assembled.to(self.device).eval()

    def view_attention(self, text: str, target: str | None = None, *, pair: str | None = None) -> AttentionView:
        """Who attends to whom as the model reads a text, or translates it as `translate` does; see `explain.view`.

        Args:
            target: the translation to read instead of the model's own.
            pair: a second text that an encoder reads with the first.

        Raises:
            ConfigError: the model has no attention, a target is given to one that does not translate, or a second text
                to one that reads none.
            InputError: a text that is none, or an empty one.
        """
        text, (target, pair) = (
            given_text(text),
            (None if other is None else given_text(other) for other in (target, pair)),
        )
        with failures():
            return view_text(self.model, self.settings, self.tokenizers, text, target, pair)

    def attention(
        self, text: str, target: str | None = None, *, pair: str | None = None
    ) -> dict[str, npt.NDArray[np.float32]]:
        """The attention maps as arrays (n_layers, H, T, S), by kind; see `view_attention`."""
        return dict(self.view_attention(text, target, pair=pair).maps)

    def write_attention(
        self,
        text: str,
        out: Path | str,
        *,
        target: str | None = None,
        pair: str | None = None,
        png: Path | str | None = None,
    ) -> str:
        """Write a page of the attention maps, and a picture; returns what was written, in words.

        Raises:
            InputError: a file in a folder that does not exist, or a folder in place of a file.
        """
        check_files(out, png)
        return write_view(self.view_attention(text, target, pair=pair), text, out, png)

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
            Encoder: "it reads a text whole: malgil embed gives vectors, malgil finetune makes a run of it that labels",
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
        sources = list(given_texts(texts))
        with failures():
            model, tokenizers = self._translator, self.tokenizers
            how = self.generation_settings(**settings)
            return translate_text(model, tokenizers.reading, tokenizers.target, sources, how)

    def translate_lines(self, lines: Iterable[str], batch: int = 1, **settings: Any) -> Iterator[Translation]:
        """Translations of lines as they come, `batch` at a time.

        Raises:
            InputError: `batch` is no integer or below 1, or a line is no text.
        """
        batch = given_batch(batch)
        with failures():
            model, tokenizers, sources = self._translator, self.tokenizers, given_texts(lines)
            how = self.generation_settings(**settings)
            yield from stream_translations(model, tokenizers.reading, tokenizers.target, sources, how, batch=batch)

    def predict(self, rows: Iterable[Row], *, precision: str = "fp32") -> list[dict[str, Any]]:
        """Each row with what the model finds in it: `label` and `probabilities`, `score`, `entities`, `answer`.

        Args:
            rows: texts, or names and values such as `{"text": "비가 온다", "pair": "비가 내린다"}`.
            precision: `fp32`, in which a row does not depend on those beside it on a CPU; faster: `bf16` or `auto`.

        Raises:
            ConfigError: the run was not trained on labelled data.
            InputError: a row that the task cannot read, or one text in place of a list.
        """
        if isinstance(rows, (str, Mapping)):
            raise InputError("one row in place of a list of them", "", "write [row] for one")
        return list(self.predict_lines(rows, PREDICTED_TOGETHER, precision=precision))

    def predict_lines(
        self, rows: Iterable[Row], batch: int = 1, *, precision: str = "fp32"
    ) -> Iterator[dict[str, Any]]:
        """The same for rows as they come, `batch` at a time."""
        batch = given_batch(batch)
        with failures():
            task = task_of(self.settings.objective.name)
            if not isinstance(task, LabelTask):
                raise self._refusal("label texts")
            chosen = replace(self.settings, generation=self.generation_settings(precision=precision))
            yield from predictions(task, self.assembled, chosen, self.tokenizers, rows, batch)

    def generate(self, prompt: str = "", **settings: Any) -> str:
        """What the model writes after `prompt`; settings as in `GenerationSettings` (`max_tokens`, `top_k`, ...)."""
        return self.complete([prompt], **settings)[0].text

    def complete(self, prompts: Iterable[str], **settings: Any) -> list[Completion]:
        """A batch of prompts, `samples` completions each, in the order of the prompts."""
        begun = list(given_texts(prompts))
        with failures():
            return generate_text(self._writer, self.tokenizer, begun, self.generation_settings(**settings))

    def stream(self, prompt: str = "", **settings: Any) -> Iterator[str]:
        """The same as `generate`, piece by piece, never half a character; errors come before the first piece."""
        begun = given_text(prompt)
        with failures():
            return stream_text(self._writer, self.tokenizer, begun, self.generation_settings(**settings))

    def embedder(self, *, normalize: bool | None = None, precision: str = "fp32") -> Embedder:
        """What makes vectors of texts with this run's encoder, whatever it was trained for.

        Args:
            normalize: whether they are made of length 1; None: as the run's settings say.
            precision: `fp32`, in which a text's vector does not depend on those beside it, `bf16` or `auto`.

        Raises:
            ConfigError: the model is no encoder.
            InputError: an unknown precision.
        """
        precision = check_values(TrainingSettings, {"precision": precision}, "training")["precision"]
        with failures():
            return embedder(self.model, self.settings, self.tokenizers, normalize=normalize, precision=precision)

    def embed(self, texts: Iterable[str], *, normalize: bool | None = None, precision: str = "fp32") -> Float32s:
        """A vector for each text, (N, D) in their order; see `embedder`."""
        return self.embedder(normalize=normalize, precision=precision)(list(given_texts(texts)))

    def search(self, queries: Iterable[str], texts: Iterable[str], top: int = 5) -> list[list[Hit]]:
        """For each query the nearest texts, the nearest first; `embedder().index(texts)` keeps their vectors."""
        asked, known = list(given_texts(queries)), list(given_texts(texts))
        return self.embedder().index(known).search(asked, top)

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
            accuracy, masked (how many were hidden). Of labelled texts: loss (nats a text), accuracy, f1, matthews,
            by_label and confusion, or pearson, spearman and mse, and what else the task has;
            `notes` on rows that were left out, and `caution` where the text is the one by which the kept weights were
            chosen.
        """
        own, task = to_tree(self.settings.data), task_of(self.settings.objective.name)
        with failures():
            chosen = replace(self.settings, generation=self.generation_settings(**generation or {}))
            own_part = data is None and not settings.get("source")
            notes: tuple[str, ...] = ()
            if own_part:
                part = task.opened(parse(DataSettings, own | settings, "data")).validation
            else:
                part, notes = task.open_whole(parse(DataSettings, own | other_files(data) | settings, "data"))
                task.check(part, chosen)
            result = task.evaluate(self.assembled, chosen, self.tokenizers, part, self.device)
        if notes:
            result["notes"] = list(notes)
        if own_part and self._chosen_by_validation:
            watched = Watched.of(self.settings.training.watch, task.metric)
            result["caution"] = CAUTION.format(figure=watched.spoken)
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
            return export_model(
                self.model,
                self.settings.model,
                target,
                Path(out),
                format=format,
                source_tokenizer=source,
                sentences=sentence_vectors(self.settings),
                heads=of_parts(load_run_weights(self.folder)),
            )


def load(path: Path | str | None = None, *, device: str = "auto", threads: int | None = None) -> Run:
    """A run by its folder; without one the newest run under runs/."""
    return Run(path if path is not None else newest_run().path, device, threads)
