"""Labelled texts on the command line: train, fine-tune, evaluate, and lines in, JSON lines out."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from cli_cases import TEXT, TINY, Malgil

from malgil.cli import writing
from malgil.cli.main import main

REVIEWS = "id\tdocument\tlabel\n" + "".join(
    f"{i}\t{('참 좋다', '너무 나쁘다')[i % 2]} {'ㅋ' * (i % 5)} {i}\t{i % 2}\n" for i in range(60)
)
WIDER = [word if word != "9" else "24" for word in TINY]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two steps."""
    folder = tmp_path_factory.mktemp("classifier")
    (folder / "reviews.tsv").write_text(REVIEWS, encoding="utf-8")
    words = ["train", "classify", "--data", str(folder / "reviews.tsv"), "--steps", "2"]
    assert main([*words, "--out", str(folder / "run"), *WIDER]) == 0
    return folder / "run"


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Give the next command a file as its standard input."""
    opened = []

    def give(data: bytes) -> None:
        path = tmp_path / "input"
        path.write_bytes(data)
        opened.append(io.TextIOWrapper(path.open("rb")))
        monkeypatch.setattr(sys, "stdin", opened[-1])

    yield give
    for stream in opened:
        stream.close()


def test_train_shows_figures_samples_and_what_is_next(malgil: Malgil) -> None:
    Path("reviews.tsv").write_text(REVIEWS, encoding="utf-8")
    said = malgil("train", "classify", "--data", "reviews.tsv", "--steps", 2, "--out", "run", *WIDER)
    assert said.status == 0
    for words in ("labels: 0 (50.0 %), 1 (50.0 %)", "accuracy", "in the data:", "predict run < FILE", "evaluate run"):
        assert words in said.err
    assert "perplexity" not in said.err
    assert "tokens right" not in said.err


def test_lines_are_answered_by_json_lines(malgil: Malgil, classifier: Path, stdin) -> None:
    given = '참 좋다\r\n{"text": "너무 나쁘다", "번호": 3}\n\n  {"text": "ᄒ\\u1161\\u11ab글"}\n'
    stdin(given.encode())
    said = malgil("predict", classifier)
    assert said.status == 0
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert [row["text"] for row in rows] == ["참 좋다", "너무 나쁘다", "", "ᄒ\u1161\u11ab글"]
    assert rows[1]["번호"] == 3
    assert "너무 나쁘다" in said.out  # Hangul as it is
    for row in rows:
        assert row["label"] in ("0", "1")
        assert row["probabilities"][row["label"]] == max(row["probabilities"].values())


def test_a_line_that_is_no_json_is_named(malgil: Malgil, classifier: Path, stdin) -> None:
    stdin('참 좋다\n{"text": "나쁘다",\n'.encode())
    said = malgil("predict", classifier)
    assert said.status == 2
    assert "not a JSON object: " in said.error
    assert "; line 2; mend it" in said.error
    stdin('{"글": "나쁘다"}\n'.encode())
    assert "'text' is missing; line 1" in malgil("predict", classifier).error
    stdin(b"[1]\n{1}\n")
    assert "; line 2; " in malgil("predict", classifier).error


def test_lines_before_a_bad_one_are_answered_where_they_come_one_by_one(
    malgil: Malgil, classifier: Path, stdin
) -> None:
    stdin('참 좋다\n너무 나쁘다\n{"글": 3}\n'.encode())
    said = malgil("predict", classifier, "--batch", 1)
    assert said.status == 2
    assert [json.loads(line)["text"] for line in said.out.splitlines()] == ["참 좋다", "너무 나쁘다"]
    stdin('참 좋다\n{"글": 3}\n'.encode())
    assert malgil("predict", classifier).out == ""


def test_batches_follow_the_kind_of_input(classifier: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sizes = []

    class Fake:
        def predict_lines(self, rows, batch, *, precision):
            sizes.append((batch, list(rows)))
            return []

    path = tmp_path / "lines"
    path.write_bytes(b'a\n{"text": "b"}\n')
    with path.open("rb") as file:
        writing.write_predictions(Fake(), file, batch=None)
    monkeypatch.setattr("stat.S_ISREG", lambda mode: False)
    with path.open("rb") as file:
        writing.write_predictions(Fake(), file, batch=None)
    assert sizes == [(1024, ["a", {"text": "b"}]), (1, ["a", {"text": "b"}])]


def test_bytes_that_are_no_text_are_replaced_and_said(malgil: Malgil, classifier: Path, stdin) -> None:
    stdin(b"\xff\xec\n")
    said = malgil("predict", classifier)
    assert json.loads(said.out)["text"] == "\ufffd\ufffd"
    assert "not UTF-8 were replaced" in said.err


def test_without_input_or_with_another_run(malgil: Malgil, classifier: Path, run: Path, stdin, monkeypatch) -> None:
    stdin(b"a\n")
    assert "a gpt2 model does not label texts" in malgil("predict", run).error
    monkeypatch.setattr(sys, "stdin", None)
    assert "there is no standard input; malgil predict" in malgil("predict", classifier).error
    assert "--temperature" in malgil("predict", classifier, "--temperature", 1).error


def test_evaluate(malgil: Malgil, classifier: Path) -> None:
    said = malgil("evaluate", classifier)
    assert said.status == 0
    for words in ("loss (a text)", "accuracy", "macro F1", "Matthews", "label  precision   recall       F1    texts"):
        assert words in said.out
    Path("other.csv").write_text("말,종류\n참 좋다,1\n너무 나쁘다,2\n아주 나쁘다,0\n", encoding="utf-8")
    fields = ("--data.text-field", "말", "--data.label-field", "종류")
    said = malgil("evaluate", classifier, "--data", "other.csv", *fields)
    assert "the model does not know these labels, and texts with them count as wrong: 2" in said.out
    found = json.loads(malgil("evaluate", classifier, "--data", "other.csv", *fields, "--json").out)
    assert found["texts"] == 3
    assert found["unknown_labels"] == ["2"]
    assert {"loss", "accuracy", "f1", "macro_f1", "micro_f1", "matthews", "by_label", "confusion"} <= set(found)


def test_finetune(malgil: Malgil, classifier: Path, run: Path) -> None:
    Path("reviews.tsv").write_text(REVIEWS, encoding="utf-8")
    assert malgil("train", "bert", "--data", "text.txt", "--steps", 1, "--out", "bert", *WIDER).status == 0
    tiny = ("--device", "cpu", "--threads", "1", "--training.precision", "fp32", "--training.batch-size", 3)
    said = malgil("finetune", "bert", "classify", "--data", "reviews.tsv", "--steps", 2, "--out", "tuned", *tiny)
    assert said.status == 0, said.err
    assert "start: bert\n" in Path("tuned/config.yaml").read_text(encoding="utf-8")
    assert malgil("train", "--resume", "--out", "tuned", "--steps", 3).status == 0
    assert malgil("evaluate", "tuned").status == 0
    dry = malgil("finetune", "bert", "classify", "--data", "reviews.tsv", "--steps", 2, "--dry-run", *tiny)
    assert "parameters:" in dry.out
    wrong = malgil("finetune", run, "classify", "--data", "reviews.tsv", "--steps", 2, *tiny)
    assert "a gpt2 model does not read a text whole" in wrong.error
    assert "finetune needs RECIPE" in malgil("finetune", "bert").error
    assert malgil("finetune", "--help").status == 0


def test_the_built_in_labels(malgil: Malgil) -> None:
    said = malgil("train", "classify", "--data", "builtin", "--steps", 1, "--out", "run", *WIDER)
    assert said.status == 0
    assert "asyncio" in said.err
    assert len(TEXT) > 0


def test_recipes_name_the_settings(malgil: Malgil) -> None:
    shown = malgil("recipes", "classify").out
    for flag in ("--objective.labels", "--objective.pooling", "--objective.class-weights", "--training.start"):
        assert flag in shown
