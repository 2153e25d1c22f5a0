"""What the tasks on labelled data have in common: how data is opened, cut into tokens, described, and asked about."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from malgil.config import AUTO, Tree, parse
from malgil.data.label_records import nfc
from malgil.data.label_store import label_store
from malgil.data.labels import Kind, LabelledData, LabelledPart, open_all_labelled_data, open_labelled_data
from malgil.data.settings import DataSettings
from malgil.errors import DataError
from malgil.evaluation.texts import read_all
from malgil.models.base import parameter_device
from malgil.objectives.base import Assembled
from malgil.objectives.texts import Texts, collate_texts
from malgil.report.run_report import DataFacts
from malgil.runs.fit import fit_epochs, fit_labels, fit_pieces
from malgil.runs.recipe import Settings
from malgil.runs.task import Progress, Task, Tokenizers, joined, loaded_or, predicting_precision
from malgil.text.settings import TokenizerSettings
from malgil.text.training import train_tokenizer

R = TypeVar("R")
#: of probabilities and cosines that are written
DIGITS = 6
#: the context that is chosen holds so many of the records whole, within these bounds
WHOLE, SHORTEST, LONGEST = 0.99, 16, 512


class LabelTask(Task):
    """Records of texts with what is to be learnt of them.

    Attributes:
        kind: of the data.
    """

    of_tokens = False
    kind: ClassVar[Kind[Any]]
    handed_on: ClassVar[tuple[str, ...]] = ("pooling",)

    def open(self, settings: DataSettings) -> LabelledData[Any]:
        return open_labelled_data(settings, self.kind)

    def open_whole(self, settings: DataSettings) -> tuple[LabelledPart[Any], tuple[str, ...]]:
        return open_all_labelled_data(settings, self.kind)

    def tokenizers(self, tree: Tree, data: Any) -> Tokenizers:
        """Trained on the different texts of the training part, or loaded."""
        settings: TokenizerSettings = parse(TokenizerSettings, tree.get("tokenizer", {}), "tokenizer")
        texts = joined(data.train.documents())
        return Tokenizers(loaded_or(settings.path, lambda: train_tokenizer(texts, settings)))

    def fit_budget(self, tree: Tree, data: Any, device: str) -> list[str]:
        """Epochs: few where there is much to read, or a body that has been trained."""
        return fit_epochs(tree, len(data.train))

    def fit_tokenizer(self, tree: Tree, data: Any) -> list[str]:
        return fit_pieces(tree, data.train.n_bytes)

    def fit_objective(self, tree: Tree, data: Any) -> list[str]:
        """Whether texts come in pairs, which is asked again when the run is used."""
        records = [*data.train.records, *data.validation.records]
        n_pairs = sum(len(record.texts) > 1 for record in records)
        tree["objective"]["pairs"] = n_pairs > 0
        if 0 < n_pairs < len(records):
            return [f"{n_pairs:,} of {len(records):,} {self.kind.noun} have a second text, the others have none"]
        return []

    def encode(
        self,
        part: LabelledPart[Any],
        tokenizers: Tokenizers,
        *,
        labels: Sequence[str],
        longest: int | None,
        progress: Progress | None = None,
    ) -> Any:
        """A part as tokens.

        Args:
            labels: the names of what there is to predict, in the order of their numbers.
            longest: tokens of a row at most; None: any.
        """
        return label_store(part.records, tokenizers.target, longest, progress, cached=True)

    def training_store(
        self, part: LabelledPart[Any], tokenizers: Tokenizers, tree: Tree, progress: Progress | None
    ) -> Any:
        """The training part; where the context is open, it is chosen so that nearly all records fit."""
        if tree["model"].get("max_len") != AUTO:
            return self.validation_store(part, tokenizers, tree, progress)
        labels = tree["objective"].get("labels", [])
        store = self.encode(part, tokenizers, labels=labels, longest=None, progress=progress)
        tree["model"]["max_len"] = context_for(store.lengths)
        return replace(store, longest=tree["model"]["max_len"])

    def validation_store(
        self, part: LabelledPart[Any], tokenizers: Tokenizers, tree: Tree, progress: Progress | None
    ) -> Any:
        labels, longest = tree["objective"].get("labels", []), tree["model"].get("max_len")
        return self.encode(part, tokenizers, labels=labels, longest=longest, progress=progress)

    def notes(self, train: Any, validation: Any) -> Sequence[str]:
        """What is cut."""
        said = []
        for name, store in (("training", train), ("validation", validation)):
            if store.n_cut:
                share = 100 * store.n_cut / len(store)
                said.append(
                    f"{name}: {store.n_cut:,} of {len(store):,} {self.kind.noun} ({share:.3g} %) are longer than"
                    f" {store.longest} tokens, and their ends are not read; --model.max-len holds more"
                )
        return said

    def fit(self, tree: Tree, *, store: Any, vocab_size: int, device: str, world: int, **measured: Any) -> list[str]:
        return fit_labels(
            tree, n_tokens=int(store.lengths.sum()), n_records=len(store), device=device, world=world, **measured
        )

    def evaluate(
        self,
        assembled: Assembled,
        settings: Settings,
        tokenizers: Tokenizers,
        part: LabelledPart[Any],
        device: torch.device,
    ) -> dict[str, Any]:
        store = self.encode(part, tokenizers, labels=settings.objective.labels, longest=settings.model.max_len)
        score = self.evaluator(settings, tokenizers, store, device)(assembled)
        return dict(score.to_dict())

    def fault(self, row: Mapping[str, Any], settings: Settings) -> tuple[str, str] | None:
        """What is wrong with a row that is to be predicted, and what to do; None where nothing is."""
        names = ("text", "pair") if settings.objective.pairs else ("text",)
        shown = "{" + ", ".join(f'"{name}": "..."' for name in names) + "}"
        for name in names:
            if not isinstance(row.get(name), str):
                what = "is missing" if row.get(name) is None else f"is no text but of type {type(row[name]).__name__}"
                return f"'{name}' {what}", f"write {shown}"
        if "pair" not in names and row.get("pair") is not None:
            return "a second text, where the run was trained on single ones", f"write {shown}"
        return None

    @abstractmethod
    def predict(
        self, assembled: Assembled, settings: Settings, tokenizers: Tokenizers, rows: Sequence[Mapping[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        """Each row with what was found in it, in the order of the rows, which are read together.

        Args:
            rows: mappings of names to values, such as `{"text": "말길이 참 좋다"}`.

        Raises:
            InputError: a row without what the task reads.
        """

    def suggestions(self, run: Any, where: str) -> list[str]:
        return [f"predict {where} < FILE", f"evaluate {where} --data FILE"]

    def untrained_loss(self, settings: Settings, tokenizers: Tokenizers) -> tuple[float, str] | None:
        return None

    def excerpt(self, store: Any, tokenizers: Tokenizers) -> str:
        return "\n".join(text for record in store.records[:20] for text in record.texts)[:2000]

    def facts(self, run: Any) -> DataFacts:
        return DataFacts(
            vocab_size=run.tokenizers.target.vocab_size,
            tokenizer=run.tokenizers.target.kind,
            train_tokens=int(run.train.lengths.sum()),
            train_bytes=run.train.n_bytes,
            train_documents=len(run.train),
            validation_tokens=int(run.validation.lengths.sum()),
            validation_bytes=run.validation.n_bytes,
            validation_documents=len(run.validation),
            unknown=run.validation.n_unknown,
            sources=run.settings.data.paths,
            of_tokens=False,
            untrained=self.untrained_loss(run.settings, run.tokenizers),
        )


def texts_of(row: Mapping[str, Any]) -> tuple[str, str | None]:
    """The text and the second text, if there is one, of a row without fault."""
    pair = row.get("pair")
    return nfc(row["text"]), None if pair is None else nfc(pair)


def refuse_other_texts(part: LabelledPart[Any], settings: Settings) -> None:
    """Refuse pairs where the run was trained on single texts, and single ones where it was on pairs.

    Raises:
        DataError: so it is.
    """
    pairs = any(len(record.texts) > 1 for record in part.records)
    if settings.objective.pairs != pairs:
        what = ("single texts", "pairs of texts")
        fix = "give single texts" if pairs else "name the columns with --data.text-field and --data.pair-field"
        raise DataError(f"{what[pairs]}, where the run was trained on {what[not pairs]}", part.source, fix)


def read_records(
    assembled: Assembled,
    settings: Settings,
    tokenizers: Tokenizers,
    records: Sequence[Any],
    compute: Callable[[Assembled, Texts], Tensor],
    collate: Callable[[Any, Any], Texts] = collate_texts,
) -> tuple[Tensor, list[dict[str, int]]]:
    """What a model makes of each record (records, ...), see `evaluation.texts.read_all`; and for each `{"cut": n}`,
    where n of its tokens are beyond what the model reads, else nothing."""
    store = label_store(records, tokenizers.target, settings.model.max_len)
    precision = predicting_precision(settings, parameter_device(assembled.body))
    cut = (store.whole_lengths - store.lengths).tolist()
    return read_all(assembled, store, compute, precision, collate=collate), [{"cut": n} if n else {} for n in cut]


def spread(records: Sequence[R], most: int) -> list[R]:
    """At most so many, from the middle of as many equal stretches."""
    count = min(most, len(records))
    return [records[(2 * i + 1) * len(records) // (2 * count)] for i in range(count)]


def context_for(lengths: np.ndarray) -> int:
    """A context that holds nearly all rows of these lengths whole: a multiple of 8."""
    longest = int(np.quantile(lengths, WHOLE, method="higher")) if len(lengths) else SHORTEST
    return min(LONGEST, max(SHORTEST, 8 * math.ceil(longest / 8)))
