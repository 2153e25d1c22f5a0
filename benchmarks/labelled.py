"""Labelled data for the benchmarks: parts that follow from the texts alone, and the logistic regression beside them.

Each data set has three parts: `train`, `choose` (settings and weights are chosen by it) and `score` (read once a
reported run). A text that comes twice stands in one part.

    nsmc             by a hash of the id: 85 / 5 / 10
    subjectivity     by a hash of the sentence: 70 / 10 / 20
    movie_reviews    by a hash of the text: 70 / 10 / 20
    korsts, wnut17   the training file 90 / 10 by a hash of the first sentence; the development file is the score part
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import PEERS, data, run_json

PARTS = ("train", "choose", "score")
KOREAN = ("ko_book_review01", "ko_fairytale01", "ko_unesco_report", "ko_wikinews")


@dataclass(frozen=True)
class Dataset:
    """A data set and what is done with it.

    Attributes:
        recipe: of `malgil finetune`.
        figure: by which it is judged, as `Run.evaluate` names it.
        settings: command-line settings beside the recipe, which name columns.
        rows: (part, text or words, pair or None, label, score or tags) of each record.
    """

    name: str
    recipe: str
    figure: str
    settings: tuple[str, ...]
    rows: Callable[[], Iterator[tuple[str, Any, str | None, Any]]]

    def write(self, folder: Path, limit: int | None = None) -> dict[str, Path]:
        """A file a part; of the training part the first `limit` records, by a hash, if there is one."""
        folder.mkdir(parents=True, exist_ok=True)
        by_part: dict[str, list[tuple[Any, str | None, Any]]] = {part: [] for part in PARTS}
        for part, *record in self.rows():
            by_part[part].append((record[0], record[1], record[2]))
        if limit is not None:
            by_part["train"].sort(key=lambda record: place("limit " + json.dumps(record)))
            del by_part["train"][limit:]
        files = {}
        for part, records in by_part.items():
            keys = ("tokens", "pair", "tags") if self.recipe == "tag" else ("text", "pair", "label")
            rows = [{k: v for k, v in zip(keys, record, strict=True) if v is not None} for record in records]
            files[part] = folder / f"{self.name}.{part}.jsonl"
            files[part].write_text(
                "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
            )
        return files

    @property
    def fields(self) -> dict[str, str]:
        """The same settings, as `Run.evaluate` takes them."""
        names = (name.removeprefix("--data.").replace("-", "_") for name in self.settings[::2])
        return dict(zip(names, self.settings[1::2], strict=True))


def place(key: str) -> float:
    """A number in [0, 1) that follows from a text alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") / 2**32


def part_of(key: str, train: float, choose: float) -> str:
    """The part that a key belongs to; `train` and `choose` are where those parts end."""
    where = place(key)
    return "train" if where < train else "choose" if where < choose else "score"


def nsmc() -> Iterator[tuple[str, Any, str | None, Any]]:
    for line in gzip.decompress(data("sentiment/nsmc.train.tsv.gz").read_bytes()).decode("utf-8").splitlines()[1:]:
        number, text, label = line.split("\t")
        if text.strip():
            yield part_of(number, 0.85, 0.9), text, None, label


def subjectivity() -> Iterator[tuple[str, Any, str | None, Any]]:
    with zipfile.ZipFile(data("sentiment/subjectivity.zip")) as archive:
        for file, label in (("plot", "objective"), ("quote", "subjective")):
            for line in archive.read(f"subjectivity/{file}.tok.gt9.5000").decode("latin-1").splitlines():
                yield part_of(line.strip(), 0.7, 0.8), line.strip(), None, label


def movie_reviews() -> Iterator[tuple[str, Any, str | None, Any]]:
    with zipfile.ZipFile(data("sentiment/movie_reviews.zip")) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".txt"):
                text = " ".join(archive.read(name).decode("latin-1").split())
                yield part_of(text, 0.7, 0.8), text, None, name.split("/")[1]


def korsts() -> Iterator[tuple[str, Any, str | None, Any]]:
    for file in ("train", "dev"):
        with data(f"similarity/korsts.{file}.tsv").open(encoding="utf-8") as lines:
            for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
                part = "score" if file == "dev" else part_of(row["sentence1"], 0.9, 1.0)
                if row["sentence1"] and row["sentence2"]:
                    yield part, row["sentence1"], row["sentence2"], float(row["score"])


def wnut17() -> Iterator[tuple[str, Any, str | None, Any]]:
    for file in ("train", "dev"):
        text = data(f"tagging/wnut17.{file}.conll").read_text(encoding="utf-8")
        words: list[tuple[str, str]] = []
        for line in [*text.split("\n"), ""]:
            if line.strip():
                word, _, tag = line.strip().rpartition("\t")
                words.append((word, tag))
            elif words:
                tokens, tags = zip(*words, strict=True)
                yield ("score" if file == "dev" else part_of(" ".join(tokens), 0.9, 1.0)), tokens, None, tags
                words = []


DATASETS = {
    found.name: found
    for found in (
        Dataset("nsmc", "classify", "accuracy", (), nsmc),
        Dataset("subjectivity", "classify", "accuracy", (), subjectivity),
        Dataset("movie_reviews", "classify", "accuracy", (), movie_reviews),
        Dataset("korsts", "embed", "spearman", ("--data.pair-field", "pair", "--data.label-field", "label"), korsts),
        Dataset("wnut17", "tag", "f1", (), wnut17),
    )
}


def baseline(dataset: Dataset, files: dict[str, Path], scored: str, python: str, threads: int = 1) -> dict[str, Any]:
    """The logistic regression on n-grams, in the environment of the peers; `scored` names the part to predict.

    Returns:
        the data set's figure, by the same functions as `malgil evaluate` has, and seconds of fitting and predicting.
    """
    from malgil.metrics.correlation import spearman
    from malgil.metrics.tagging import score_tags

    kind = "similarity" if dataset.recipe == "embed" else dataset.recipe
    command = [python, str(PEERS / "ngrams.py"), kind, str(files["train"]), str(files[scored])]
    found = run_json(command, threads)
    rows = [json.loads(line) for line in files[scored].read_text(encoding="utf-8").splitlines()]
    figure: float
    if dataset.recipe == "tag":
        figure = score_tags(found["predicted"], [row["tags"] for row in rows]).f1
    elif kind == "similarity":
        figure = spearman(found["predicted"], [row["label"] for row in rows])
    else:
        right = [one == row["label"] for one, row in zip(found["predicted"], rows, strict=True)]
        figure = sum(right) / len(right)
    return {dataset.figure: figure, "seconds": found["seconds"], "n": len(rows)}


def paragraphs() -> Iterator[str]:
    """Lines of Korean and English texts, paragraphs of a novel, and of the Python documentation in both languages."""
    yield from korean_paragraphs()
    yield from data("lm/wikitext2.valid.txt").read_text(encoding="utf-8").split("\n")
    novel = data("lm/war-and-peace.txt").read_text(encoding="utf-8").replace("\r", "")
    yield from (" ".join(paragraph.split()) for paragraph in novel.split("\n\n"))
    rows = gzip.decompress(data("translation/python_docs.ko-en.jsonl.gz").read_bytes()).decode("utf-8").splitlines()
    for row in map(json.loads, rows):
        yield from (row["ko"], row["en"])


def korean_paragraphs() -> Iterator[str]:
    """Lines of the Korean texts."""
    for name in KOREAN:
        yield from data(f"lm/{name}.txt").read_text(encoding="utf-8").split("\n")


def write_texts(texts: Iterable[str], path: Path) -> Path:
    """A document a text, those that are not empty."""
    lines = (json.dumps({"text": text.strip()}, ensure_ascii=False) + "\n" for text in texts if text.strip())
    path.write_text("".join(lines), encoding="utf-8")
    return path


def texts_of(path: Path) -> Iterator[str]:
    """The texts of a file that `Dataset.write` made, without their labels."""
    for row in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
        yield " ".join(row["tokens"]) if "tokens" in row else row["text"]
        if "pair" in row:
            yield row["pair"]


Settings = dict[str, str]


def given_settings(words: Sequence[str]) -> Settings:
    """`--SECTION.NAME VALUE ...`."""
    given = dict(zip(words[::2], words[1::2], strict=True))
    if wrong := [name for name in given if not name.startswith("--") or "." not in name]:
        sys.exit(f"unknown option {wrong[0]}")
    return given


def own_settings(words: Sequence[str]) -> tuple[Settings, Settings]:
    """`--SECTION.NAME VALUE ...` for pretraining, and `--tune.SECTION.NAME VALUE ...` for fine-tuning."""
    given = given_settings(words)
    tuning = {f"--{name.removeprefix('--tune.')}": v for name, v in given.items() if name.startswith("--tune.")}
    return {name: v for name, v in given.items() if not name.startswith("--tune.")}, tuning


def malgil(words: Sequence[str], settings: Settings) -> None:
    """A command of malgil in this process; the program ends where it fails."""
    from malgil.cli.main import main

    command = [*words, *(word for pair in settings.items() for word in pair)]
    if main(command):
        sys.exit(f"malgil {' '.join(command)} failed")
