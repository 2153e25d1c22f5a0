"""What a run does beside training, which depends on the kind of its data: text, or pairs of texts.

The trainer, the run folder and the commands are the same for every task. A task opens the data, makes tokenizers and
stores, and says how a model is scored and what a preview shows.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch

from malgil.config import Tree
from malgil.data.inner import inner_split
from malgil.data.settings import DataSettings
from malgil.objectives.base import Assembled, Objective, Specials
from malgil.report.run_report import DataFacts
from malgil.report.words import Words
from malgil.runs.compared import Compared
from malgil.runs.fit import fit_budget, fit_tokenizer
from malgil.runs.folder import RunFolder
from malgil.runs.recipe import Settings
from malgil.runtime.device import Precision, resolve_precision
from malgil.text.tokenizer import Tokenizer

Progress = Callable[[int, int], None]
#: identifier, heading and HTML
ReportSection = tuple[str, str, str]


@dataclass(frozen=True)
class Tokenizers:
    """Of the text that a model writes, and of its source where that has one of its own."""

    target: Tokenizer
    source: Tokenizer | None = None

    @classmethod
    def load(cls, folder: RunFolder) -> Tokenizers:
        """Those of a run."""
        own = folder.source_tokenizer.exists()
        return cls(Tokenizer.load(folder.tokenizer), Tokenizer.load(folder.source_tokenizer) if own else None)

    def save(self, folder: RunFolder) -> None:
        """Into a run, unless they are there."""
        for tokenizer, path in ((self.target, folder.tokenizer), (self.source, folder.source_tokenizer)):
            if tokenizer is not None and not path.exists():
                tokenizer.save(path)

    @property
    def reading(self) -> Tokenizer:
        """That of the source."""
        return self.source or self.target

    @property
    def vocab_sizes(self) -> tuple[int, int | None]:
        """As `build_model` takes them."""
        return self.target.vocab_size, None if self.source is None else self.source.vocab_size

    @property
    def fingerprints(self) -> dict[str, str]:
        """By name."""
        own = {"tokenizer": self.target.fingerprint}
        return own if self.source is None else own | {"source tokenizer": self.source.fingerprint}


class Data(Protocol):
    """What was found: two parts (of text, or of pairs), and sentences that a person should see."""

    @property
    def train(self) -> Any: ...
    @property
    def validation(self) -> Any: ...
    @property
    def notes(self) -> tuple[str, ...]: ...


class Store(Protocol):
    """A part as tokens."""

    fingerprint: str
    n_bytes: int
    n_unknown: int

    def __len__(self) -> int: ...


class Score(Protocol):
    """What an evaluation found."""

    @property
    def loss(self) -> float: ...


@dataclass(frozen=True)
class OfBody:
    """An evaluator that asks the body alone, where there are no heads.

    Args:
        evaluator: called with a model and what to call between batches.
    """

    evaluator: Any

    def __call__(self, assembled: Assembled, check: Callable[[], None] = lambda: None) -> Any:
        return self.evaluator(assembled.body, check)


@dataclass(frozen=True)
class Preview:
    """What a model makes of a prompt or a source, for people to see how it learns."""

    prompt: str
    text: str


class Task(ABC):
    """A kind of data, and what is done with it.

    Attributes:
        objective_class: of what `objective` makes, which says what models it can train before there is any data.
        metric: the figure that the task is judged by, a name of `figures`, and whether more of it is better.
        compared: what `malgil compare` measures of its models; None where they are not compared.
        of_tokens: whether the loss is that of a token, whose exponential is a perplexity.
        handed_on: settings of the objective that a run gives to one of the same task which begins with its body.
    """

    objective_class: ClassVar[type[Objective[Any]]]
    metric: ClassVar[tuple[str, bool]] = ("val_loss", False)
    compared: ClassVar[Compared | None] = None
    of_tokens: ClassVar[bool] = True
    handed_on: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def open(self, settings: DataSettings) -> Data:
        """The training and the validation part; see `data.corpus.open_corpus`."""

    def opened(self, settings: DataSettings) -> Data:
        """As `open`; under `data.inner` the training part is parted once more, in place of the two parts."""
        data = self.open(settings)
        return inner_split(data, settings.holdout) if settings.inner else data

    @abstractmethod
    def open_whole(self, settings: DataSettings) -> Any:
        """Everything that the settings name, as one part."""

    @abstractmethod
    def tokenizers(self, tree: Tree, data: Data) -> Tokenizers:
        """Trained on the training part, or loaded; the `tokenizer` section is filled in."""

    @abstractmethod
    def training_store(self, part: Any, tokenizers: Tokenizers, tree: Tree, progress: Progress | None) -> Any:
        """The training part as tokens."""

    @abstractmethod
    def validation_store(self, part: Any, tokenizers: Tokenizers, tree: Tree, progress: Progress | None) -> Any:
        """The validation part as tokens; `tree` is as `training_store` has left it."""

    def fit_budget(self, tree: Tree, data: Data, device: str) -> list[str]:
        """Choose a limit where there is none; returns what is to be said."""
        return fit_budget(tree, device)

    def fit_tokenizer(self, tree: Tree, data: Data) -> list[str]:
        """Choose what of the tokenizer is `auto`; returns what is to be said."""
        return fit_tokenizer(tree, data.train.n_bytes)

    def fit_objective(self, tree: Tree, data: Data) -> list[str]:
        """Fill in what of the objective follows from the data, such as the names of labels; returns what is to be
        said."""
        return []

    def notes(self, train: Any, validation: Any) -> Sequence[str]:
        """What a person should know of the stores, such as pairs that were dropped."""
        return ()

    @abstractmethod
    def fit(self, tree: Tree, *, store: Any, vocab_size: int, device: str, world: int, **measured: Any) -> list[str]:
        """Choose what of model and training is `auto`; returns what is to be said. See `runs.fit`."""

    @abstractmethod
    def objective(self, settings: Settings, tokenizers: Tokenizers) -> Objective[Any]:
        """What is trained."""

    @abstractmethod
    def evaluator(self, settings: Settings, tokenizers: Tokenizers, store: Any, device: torch.device) -> Any:
        """Called with an `Assembled` and what to call between batches; returns a `Score` over all of the store."""

    @abstractmethod
    def figures(self, score: Any) -> dict[str, Any]:
        """The line of metrics of a score: `val_loss` and what else the task has."""

    @abstractmethod
    def evaluate(
        self, assembled: Assembled, settings: Settings, tokenizers: Tokenizers, part: Any, device: torch.device
    ) -> dict[str, Any]:
        """All figures of a model on a part, by name; for JSON."""

    def check(self, part: Any, settings: Settings) -> None:  # noqa: B027 - most have nothing to refuse
        """Refuse a part that a person names and a run cannot be judged by.

        Raises:
            DataError: so it is.
        """

    @abstractmethod
    def previews(self, assembled: Assembled, tokenizers: Tokenizers, part: Any, settings: Settings) -> list[Preview]:
        """What the model writes now, for the validation part where it needs a source."""

    def untrained_loss(self, settings: Settings, tokenizers: Tokenizers) -> tuple[float, str] | None:
        """The loss of a model that knows nothing, and how it is computed, in words; None where nobody can say."""
        return math.log(tokenizers.target.vocab_size), "ln(vocabulary)"

    def fingerprints(self, settings: Settings) -> dict[str, str]:
        """Of what training reads beside data and tokenizers, by name, so that a run goes on with the same."""
        return {}

    def bits_per_nat(self, store: Any) -> float | None:
        """Bits per byte of text that a loss of one nat a token comes to; None where nobody asks."""
        return None

    @abstractmethod
    def suggestions(self, run: Any, where: str) -> list[str]:
        """What to try with a finished run whose folder is `where`: commands, without the program's name."""

    @abstractmethod
    def excerpt(self, store: Any, tokenizers: Tokenizers) -> str:
        """Some text of a part, by which a report chooses its language."""

    @abstractmethod
    def facts(self, run: Any) -> DataFacts:
        """What a report says of the data of a `Prepared` run."""

    def sections(
        self, run: Any, assembled: Assembled, words: Words, say: Callable[[str], None]
    ) -> Sequence[ReportSection]:
        """What else the report of a finished run shows.

        Args:
            run: as it was prepared.
            assembled: with the weights that the run keeps.
            say: tells a person what is being done.
        """
        return ()


def specials_of(tokenizer: Tokenizer) -> Specials:
    """The ids that collators and decoders need."""
    return Specials(tokenizer.begin_id, tokenizer.end_id)


def scoring_precision(settings: Settings, device: torch.device) -> Precision:
    """Scores are computed in fp32 on a CPU, in the run's precision elsewhere."""
    name = "fp32" if device.type == "cpu" else settings.training.precision
    return Precision("fp32") if name == "fp32" else resolve_precision(name, device)


def predicting_precision(settings: Settings, device: torch.device) -> Precision:
    """Predictions are computed as scores are, unless `generation.precision` asks for another arithmetic."""
    asked = settings.generation.precision
    return scoring_precision(settings, device) if asked == "fp32" else resolve_precision(asked, device)


def loaded_or(path: str | None, make: Callable[[], Tokenizer]) -> Tokenizer:
    """The tokenizer that settings name, or a new one."""
    return Tokenizer.load(Path(path)) if path else make()


def joined(documents: Iterator[Iterator[str]]) -> Iterator[str]:
    """All chunks of all documents."""
    return (chunk for document in documents for chunk in document)
