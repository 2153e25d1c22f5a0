"""The `data` section of the settings: which text, what is held out, and how examples are drawn from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from malgil.config import setting
from malgil.errors import ConfigError

#: settings of one kind of data alone
OF_TEXT = ("text_field",)
OF_PAIRS = (
    *("source", "target", "validation_source", "validation_target", "source_field", "target_field"),
    *("reverse", "max_ratio", "max_pair_len"),
)
OF_LABELS = ("label_field", "pair_field", "label_separator")


@dataclass(frozen=True)
class DataSettings:
    """Text to train on. Everything that changes which examples are made, or their order, stands here or is the seed."""

    paths: list[str] = setting(
        [], "files, folders, globs, or 'builtin': txt, jsonl, csv, tsv or parquet, each also with .gz"
    )
    validation: list[str] = setting(
        [], "the validation part, named like paths; without it a share of the training data is held out"
    )
    text_field: str | None = setting(
        None, "the column with the text in jsonl, csv, tsv and parquet; by default 'text', else the only text column"
    )
    label_field: str | None = setting(
        None,
        "labelled data: the column with the label, score or tags, a name or a number from 1; by default one with a "
        "usual name such as 'label', else the one after the text",
    )
    pair_field: str | None = setting(
        None, "labelled data: the column with a second text, a name or a number from 1; by default found by usual names"
    )
    label_separator: str | None = setting(
        None, "labelled data: what stands between the labels of a text that has several, such as ','; JSON has lists"
    )
    source: list[str] = setting(
        [], "pairs: files of texts to be turned into others; line i belongs to line i of the file in target"
    )
    target: list[str] = setting([], "pairs: files aligned with those in source, line by line")
    validation_source: list[str] = setting([], "pairs: the validation part, named like source")
    validation_target: list[str] = setting([], "pairs: the validation part, named like target")
    source_field: str | None = setting(
        None, "pairs: the source's column in a table, a name or a number from 1; by default found by usual names"
    )
    target_field: str | None = setting(
        None, "pairs: the target's column in a table, a name or a number from 1; by default found by usual names"
    )
    reverse: bool = setting(False, "pairs: swap source and target")
    max_ratio: float | None = setting(
        None,
        "pairs: drop those whose longer side has more than so many times the tokens of the shorter one, and 5 more",
        low=1,
    )
    max_pair_len: int | None = setting(
        None, "pairs: drop those with a side of more tokens; none: as many as the model's max_len allows", low=1
    )
    holdout: float = setting(
        0.1,
        "share held out for validation: the end of a single file, else whole files or built-in documents",
        above=0,
        high=0.5,
    )
    inner: bool = setting(
        False,
        "choose settings: hold out a share of the training part once more and validate on that, so that the "
        "validation part stays unseen",
    )
    boundaries: str = setting(
        "respect",
        "whether attention stops at a document's border ('respect') or crosses it; carried states cross it",
        choices=("respect", "ignore"),
    )
    sampling: str = setting(
        "shuffle",
        "windows of text, each once an epoch in shuffled order ('shuffle'), or drawn with replacement ('random')",
        choices=("shuffle", "random"),
    )
    workers: int = setting(0, "processes that prepare batches; 0 prepares them in the training process", low=0, high=64)
    skip_bad: int = setting(0, "how many malformed rows to skip before giving up", low=0)

    def refuse(self, names: Iterable[str], what: str, fix: str) -> None:
        """Refuse settings which data of another kind is read with.

        Raises:
            ConfigError: one of them is not as it is by default.
        """
        default = DataSettings()
        for name in names:
            if getattr(self, name) != getattr(default, name):
                raise ConfigError(what, f"data.{name}", fix)
