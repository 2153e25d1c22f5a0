"""Commands for encoders: train, evaluate; and one line where a command is not for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_cases import TEXT, TINY, Malgil

from malgil.cli.main import main


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two steps."""
    folder = tmp_path_factory.mktemp("encoder")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    words = ["train", "bert", "--data", str(folder / "text.txt"), "--steps", "2", "--objective.masking", "span"]
    assert main([*words, "--out", str(folder / "run"), *TINY]) == 0
    return folder / "run"


def test_train_shows_figures_gaps_and_what_is_next(malgil: Malgil) -> None:
    said = malgil("train", "bert", "--data", "text.txt", "--steps", 2, "--out", "run", *TINY)
    assert said.status == 0
    assert "of tokens right" in said.err
    assert "[__]" in said.err
    assert "evaluate run --data FILE" in said.err
    assert "generate" not in said.err


def test_evaluate(malgil: Malgil, encoder: Path) -> None:
    said = malgil("evaluate", encoder, "--data", "text.txt")
    assert said.status == 0
    assert "hidden tokens" in said.out
    assert "bits per byte" not in said.out
    first, second = (json.loads(malgil("evaluate", encoder, "--data", "text.txt", "--json").out) for _ in range(2))
    assert first == second
    of_pairs = {"sentence_loss", "sentence_accuracy", "pairs"}
    assert set(first) == {"loss", "perplexity", "accuracy", "masked", "tokens", "bytes", "unknown"} | of_pairs
    assert first["bytes"] == len(TEXT.encode())


def test_writing_is_refused(malgil: Malgil, encoder: Path) -> None:
    said = malgil("generate", encoder, "--prompt", "말길")
    assert said.status != 0
    assert "a bert model does not continue a text" in said.error
    assert "it reads a text whole" in said.error


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--objective.masking", "words", "word"),
        ("--objective.mask-rate", "1.5", "mask-rate must be at most 0.9"),
        ("--model.max-len", "4", "no room for a pair of texts; take at least 5"),
        ("--objective.also", "next_sentences", "next_sentence"),
    ],
)
def test_settings_that_mean_nothing_are_refused(option: str, value: str, says: str, malgil: Malgil) -> None:
    tiny = [word for name, old in zip(TINY[::2], TINY[1::2], strict=True) if name != option for word in (name, old)]
    said = malgil("train", "bert", "--data", "text.txt", "--steps", 1, "--out", "run", *tiny, option, value)
    assert said.status != 0
    assert says in said.error
    assert not Path("run").exists()


def test_recipes_of_encoders_are_shown(malgil: Malgil) -> None:
    lines = malgil("recipes").out.splitlines()
    assert {"bert", "roberta", "modernbert", "birnn"} <= {line.split()[0] for line in lines}
    assert "--objective.mask-rate" in malgil("recipes", "modernbert").out
