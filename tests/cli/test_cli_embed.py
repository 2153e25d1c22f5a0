"""`malgil embed`: vectors and what is near, from files and pipes; the attention of encoders."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_cases import TINY, Malgil

import malgil as package
from malgil.cli.main import main

PAIRS = "산은 높다\tmountains are high\n물이 흐른다\twater flows\n말길\tthe way of words\n책을 읽는다\ta book\n" * 4
CORPUS = "산은 높다\n\n물이 흐른다\nthe way that words take\n책\n"


@pytest.fixture(scope="module")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two steps, whose context is nine tokens."""
    folder = tmp_path_factory.mktemp("embedding")
    pairs = "".join(f"{i} {line}\n" for i, line in enumerate(PAIRS.splitlines()))
    (folder / "pairs.tsv").write_text(pairs, encoding="utf-8")
    words = ["train", "embed", "--data", str(folder / "pairs.tsv"), "--steps", "2", "--out", str(folder / "run")]
    assert main([*words, *TINY]) == 0
    return folder / "run"


Give = Callable[[str], None]


@pytest.fixture
def give(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Give]:
    """Makes standard input of a text, as a file."""
    with ExitStack() as files:

        def given(text: str) -> None:
            path = tmp_path / "input"
            path.write_text(text, encoding="utf-8", newline="")
            monkeypatch.setattr(sys, "stdin", files.enter_context(path.open(encoding="utf-8")))

        yield given


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_a_vector(malgil: Malgil, embedding: Path, give: Give) -> None:
    give('\ufeff산은 높다\n{"text": "말길", "id": 7}\r\n\n')
    said = malgil("embed", embedding)
    assert said.status == 0
    first, second, third = lines(said.out)
    assert [first["text"], second["text"], third["text"]] == ["산은 높다", "말길", ""]
    assert second["id"] == 7
    vectors = package.load(embedding).embed(["산은 높다", "말길", ""])
    for row, vector in zip((first, second, third), vectors, strict=True):
        np.testing.assert_allclose(row["embedding"], vector, atol=1e-6)
    assert all(len(str(number)) < 16 for number in first["embedding"])


def test_a_file_of_vectors(malgil: Malgil, embedding: Path, give: Give) -> None:
    give("산은 높다\n말길\n")
    said = malgil("embed", embedding, "--out", "벡터.npy", "--raw", "--batch", 1)
    assert said.status == 0
    assert said.out == "벡터.npy: 2 vectors of 12 numbers\n"
    stored = np.load("벡터.npy", allow_pickle=False)
    expected = package.load(embedding).embed(["산은 높다", "말길"], normalize=False)
    assert stored.dtype == np.float32
    np.testing.assert_allclose(stored, expected, atol=1e-6)
    give("")
    assert malgil("embed", embedding, "--out", "none.npy").out == "none.npy: 0 vectors of 12 numbers\n"
    assert np.load("none.npy").shape == (0, 12)


@pytest.mark.parametrize("kind", ["txt", "jsonl"])
def test_search(kind: str, malgil: Malgil, embedding: Path, give: Give) -> None:
    texts = [line for line in CORPUS.splitlines() if line]
    rows = '{"text": " "}\n\n' + "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    Path(f"corpus.{kind}").write_text(CORPUS if kind == "txt" else rows, encoding="utf-8")
    give("물이 흐른다\n")
    said = malgil("embed", embedding, "--search", f"corpus.{kind}", "--top", 2)
    assert said.status == 0
    (row,) = lines(said.out)
    assert row["text"] == "물이 흐른다"
    assert row["found"][0] == {"text": "물이 흐른다", "score": 1.0, "line": 3 if kind == "txt" else 4}
    (hits,) = package.load(embedding).search(["물이 흐른다"], texts, top=2)
    assert [hit["text"] for hit in row["found"]] == [hit.text for hit in hits]


def test_what_is_too_long_is_said(malgil: Malgil, embedding: Path, give: Give) -> None:
    give("말길\n산은 높다 물이 흐른다\n")
    said = malgil("embed", embedding)
    assert "warning: line 2 is longer than the model reads: 5 of its tokens were left out" in said.err
    assert "line 1" not in said.err


def test_a_pipe_is_answered_line_by_line(malgil: Malgil, embedding: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second line is not read before the first is answered."""
    read = 0

    class Pipe(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readline(self, size: int | None = -1, /) -> bytes:
            nonlocal read
            read += 1
            return "말길\n".encode() if read == 1 else b"{broken\n" if read == 2 else b""

        def fileno(self) -> int:
            return Pipe.place

        place = -1

    Pipe.place, other = os.pipe()
    pipe = Pipe()
    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": pipe})())
    said = malgil("embed", embedding)
    os.close(other)
    os.close(Pipe.place)
    assert said.status == 2
    assert "error[input]: not a JSON object" in said.error
    assert "line 2" in said.error
    assert lines(said.out)[0]["text"] == "말길"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--top", 0], "--top must be at least 1, not 0"),
        (["--batch", 0], "--batch must be at least 1, not 0"),
        (["--search", "text.txt", "--out", "x.npy"], "--search finds texts and --out writes vectors"),
        (["--search", "none.txt"], "error[data]: cannot read: No such file or directory; none.txt"),
        (["--search", "empty.txt"], "error[data]: no text to search; empty.txt"),
        (["--out", "."], "a folder stands where a file is to be written"),
        (["--precision", "fp8"], "unknown training.precision 'fp8'"),
    ],
)
def test_what_is_refused(malgil: Malgil, embedding: Path, give: Give, words: list[Any], says: str) -> None:
    Path("empty.txt").write_text(" \n\n", encoding="utf-8")
    give("말길\n")
    said = malgil("embed", embedding, *words)
    assert said.status == 2
    assert says in said.error
    assert not list(Path().glob("*.npy"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"txt": "말길"}\n', "no 'text' in the object; line 1"),
        ('말길\n{"text": 5}\n', "no 'text' in the object; line 2"),
    ],
)
def test_lines_that_are_no_text(malgil: Malgil, embedding: Path, give: Give, text: str, says: str) -> None:
    give(text)
    said = malgil("embed", embedding)
    assert said.status == 2
    assert says in said.error


def test_evaluate_names_its_figures(malgil: Malgil, embedding: Path) -> None:
    Path("pairs.tsv").write_text(PAIRS, encoding="utf-8")
    said = malgil("evaluate", embedding, "--data", "pairs.tsv")
    assert said.status == 0
    assert "partner is the nearest" in said.out
    assert "of candidates" in said.out
    Path("scored.tsv").write_text("산\t강\t1\n물\t물이\t4\n책\t글\t3\n", encoding="utf-8")
    assert "Spearman correlation" in malgil("evaluate", embedding, "--data", "scored.tsv").out


def test_attention_of_an_encoder(malgil: Malgil, embedding: Path, run: Path) -> None:
    said = malgil("attention", embedding, "말길", "--out", "a.html")
    assert said.status == 0
    assert said.out == "a.html: bidirectional self: 1 layer x 2 heads, 4 x 4 tokens\n"
    page = Path("a.html").read_text(encoding="utf-8")
    assert "앞과 뒤의 토큰을" in page
    said = malgil("attention", embedding, "말길", "--pair", "산", "--out", "b.html")
    assert said.out == "b.html: bidirectional self: 1 layer x 2 heads, 6 x 6 tokens\n"
    assert "말길 | 산" in Path("b.html").read_text(encoding="utf-8")
    said = malgil("attention", embedding, "말길", "--target", "산", "--out", "c.html")
    assert "error[config]: a bert model reads one text, and has no target" in said.error
    said = malgil("attention", run, "말길", "--pair", "산", "--out", "c.html")
    assert "error[config]: a gpt2 model does not read two texts at once" in said.error
    assert not Path("c.html").exists()
