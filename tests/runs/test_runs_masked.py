"""Runs of encoders: train, evaluate twice, what is shown, what does not fit, and out and in again."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from run_cases import Recorder, trained

import malgil
from malgil.config import read_yaml
from malgil.errors import ConfigError
from malgil.runs.exchange import export_run, import_run
from malgil.runs.run import Run


@pytest.fixture(scope="module")
def said() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def run(corpus: Path, said: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of `bert` with every kind of masking's settings changed."""
    objective = {"masking": "word", "mask_rate": 0.3}
    return trained("bert", corpus, tmp_path_factory.mktemp("masked") / "run", said, objective=objective)


def test_figures_are_those_of_hidden_tokens(run: Run, corpus: Path, said: Recorder) -> None:
    evaluated = [line for line in run.metrics if "val_loss" in line]
    assert [line["step"] for line in evaluated] == [5, 10, 12]
    assert evaluated[0]["val_loss"] == pytest.approx(math.log(run.tokenizer.vocab_size), abs=0.8)
    for line in evaluated:
        assert line["val_perplexity"] == pytest.approx(math.exp(line["val_loss"]))
        assert 0 <= line["val_accuracy"] < 0.5
        assert "val_bits_per_byte" not in line
    assert "of tokens right" in said.text
    assert "something is wrong" not in said.text


def test_two_evaluations_are_equal_and_masks_of_training_are_no_part_of_them(run: Run, corpus: Path) -> None:
    first, second = run.evaluate(), Run(run.path, threads=1).evaluate()
    assert first == second
    best = min(line["val_loss"] for line in run.metrics if "val_loss" in line)
    assert first["loss"] == pytest.approx(best, rel=1e-5)
    assert first["masked"] == pytest.approx(0.15 * first["tokens"], rel=0.35)  # of sequences of ten: 2 of 10, 1 of 5
    assert "bits_per_byte" not in first
    everything = run.evaluate(corpus)
    assert everything["tokens"] == len(run.tokenizer.encode(corpus.read_text(encoding="utf-8").replace("\r", "")))


def test_the_tokenizer_has_a_mask_and_the_model_room_for_it(run: Run) -> None:
    assert run.tokenizer.mask_id == run.tokenizer.vocab_size - 1
    assert run.model.vocab_size == run.config["tokenizer"]["vocab_size"] == run.tokenizer.vocab_size


def test_previews_show_gaps_what_stood_there_and_what_is_put_there(run: Run, corpus: Path) -> None:
    lines = [json.loads(line) for line in (run.path / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {line["step"] for line in lines} == {6, 12}
    assert len(lines) == 6
    text = corpus.read_text(encoding="utf-8")
    for line in lines:
        before, gap, _ = line["prompt"].partition("[__]")
        assert gap
        assert before in text
        assert line["text"].startswith(f"{before}[")
    report = (run.path / "report.html").read_text(encoding="utf-8")
    assert "[__]" in report


def test_what_an_encoder_does_not_do_is_said_in_one_line(run: Run) -> None:
    with pytest.raises(ConfigError, match="a bert model does not continue a text"):
        run.generate("말길")
    with pytest.raises(ConfigError, match="a bert model does not turn one text into another"):
        run.translate("말길")


def test_out_and_in_again(run: Run, corpus: Path, tmp_path: Path) -> None:
    export_run(run.path, tmp_path / "hf")
    assert "no recipe" not in import_run(tmp_path / "hf", tmp_path / "back")
    back = Run(tmp_path / "back", threads=1)
    assert back.tokenizer.mask_id == run.tokenizer.mask_id
    expected, found = run.evaluate(corpus), back.evaluate(corpus)
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert found["masked"] == expected["masked"]


def test_a_tokenizer_that_is_given_gets_a_mask(run: Run, corpus: Path, tmp_path: Path) -> None:
    language = trained("gpt2", corpus, tmp_path / "gpt2", training={"steps": 1})
    path = str(language.path / "tokenizer.json")
    given = trained("birnn", corpus, tmp_path / "run", tokenizer={"path": path}, training={"steps": 1})
    assert given.tokenizer.vocab_size == language.tokenizer.vocab_size + 2
    again = trained("bert", corpus, tmp_path / "again", tokenizer={"path": str(given.path / "tokenizer.json")})
    assert again.tokenizer.fingerprint == given.tokenizer.fingerprint


def test_families_that_read_one_way_are_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not fit model GPT2; models that fit: .*bert"):
        trained("gpt2", corpus, tmp_path / "run", objective={"name": "masked_lm"})
    with pytest.raises(ConfigError, match=r"does not fit model Bert; models that fit: .*gpt2"):
        trained("bert", corpus, tmp_path / "run", objective={"name": "causal_lm"})


def test_static_masks_repeat_and_dynamic_ones_do_not(corpus: Path, tmp_path: Path) -> None:
    first = trained("bert", corpus, tmp_path / "a", objective={"mask_once": True}, training={"steps": 2})
    second = trained("bert", corpus, tmp_path / "b", training={"steps": 2})
    assert read_yaml(first.path / "config.yaml")["objective"]["mask_once"] is True
    assert first.metrics[0]["loss"] == second.metrics[0]["loss"]  # the first epoch is the same


@pytest.mark.parametrize("name", ["bert", "birnn"])
def test_from_python(name: str, corpus: Path, tmp_path: Path) -> None:
    sizes = {"n_layers": 1, "d_model": 16, "max_len": 16}
    run = malgil.train(name, data=corpus, out=tmp_path / "run", steps=2, threads=1, quiet=True, model=sizes)
    assert 0 < run.evaluate()["loss"] < 20
