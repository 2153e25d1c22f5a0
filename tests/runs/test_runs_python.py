"""The Python face: `malgil.train` and what a `Run` does."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

import malgil
from malgil.cli.tables import score_lines
from malgil.errors import InputError
from malgil.generation.text import Completion
from malgil.runs.durations import seconds_of

TEXT = "말길은 글이 가는 길이다. ㅋㅋ 낱말이 모여 글이 된다.\nThe way that words take is long.\n" * 12
SETTINGS: dict[str, Any] = {
    "model": {"n_layers": 1, "n_heads": 3, "d_model": 15, "max_len": 11},
    "training": {"batch_size": 2, "precision": "fp32"},
    "tokenizer": {"kind": "char"},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> malgil.Run:
    folder = tmp_path_factory.mktemp("python")
    (folder / "글.txt").write_text(TEXT, encoding="utf-8")
    out = folder / "run"
    return malgil.train("gpt2", data=[folder / "글.txt"], out=out, steps=3, threads=1, quiet=True, **SETTINGS)


def test_training_says_nothing_when_quiet(capsys: pytest.CaptureFixture[str], run: malgil.Run) -> None:
    again = malgil.train(resume=True, out=run.path, quiet=True)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    assert again.path == run.path


def test_a_run_shows_what_it_is(run: malgil.Run) -> None:
    assert run.path.name == "run"
    assert str(run.path) in repr(run)
    assert run.config["recipe"] == "gpt2"
    assert run.settings.model.d_model == 15
    assert run.tokenizer.kind == "char"
    assert run.metrics == [
        json.loads(line) for line in (run.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert not run.model.training


def test_generate_complete_and_stream_agree(run: malgil.Run) -> None:
    text = run.generate("말길", max_tokens=9, seed=4, temperature=1.5)
    assert text == "".join(run.stream("말길", max_tokens=9, seed=4, temperature=1.5))
    made = run.complete(["말길", "글"], max_tokens=9, seed=4, temperature=1.5, samples=2)
    assert all(isinstance(one, Completion) for one in made)
    assert [one.prompt for one in made] == ["말길", "말길", "글", "글"]
    assert made[0].text == text
    assert run.generation_settings(top_k="3").top_k == 3


def test_evaluate(run: malgil.Run, tmp_path: Path) -> None:
    own = run.evaluate()
    best = min(line["val_loss"] for line in run.metrics if "val_loss" in line)
    assert own["loss"] == pytest.approx(best, rel=1e-5)
    assert own["perplexity"] == pytest.approx(math.exp(own["loss"]))
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"글": TEXT[:300], "n": "1"}, ensure_ascii=False) + "\n", encoding="utf-8")
    result = run.evaluate(other, text_field="글")
    assert result["bytes"] == len(TEXT[:300].encode())
    assert result["bits_per_byte"] == pytest.approx(result["loss"] * result["tokens"] / math.log(2) / result["bytes"])
    unseen = tmp_path / "unseen.txt"
    unseen.write_text("漢字" * 9, encoding="utf-8")
    assert run.evaluate(unseen)["bits_per_byte"] is None
    assert "unknown" in run.evaluate(unseen)["not_comparable"]


def test_a_score_of_the_text_that_chose_the_weights_says_so(tmp_path: Path) -> None:
    text = tmp_path / "글.txt"
    text.write_text(TEXT, encoding="utf-8")
    shape = {"n_layers": 1, "n_heads": 1, "d_model": 8, "max_len": 16}

    def trained(name: str, **training: Any) -> malgil.Run:
        settings = {"batch_size": 2, "precision": "fp32", "threads": 1, **training}
        return malgil.train(
            "gpt2", data=text, out=tmp_path / name, steps=4, quiet=True, model=shape, training=settings, device="cpu"
        )

    chosen, last = trained("chosen", evaluate_every=2), trained("last", evaluate_every=2, keep="last")
    assert "chosen by this text" in chosen.evaluate()["caution"]
    assert "caution" not in chosen.evaluate(text)
    assert "caution" not in last.evaluate()
    assert "note: the kept weights were chosen" in score_lines(chosen.evaluate())


def test_a_run_that_was_loaded_is_the_one_that_was_trained(run: malgil.Run) -> None:
    again = malgil.load(str(run.path), device="cpu", threads=1)
    assert again.generate("글", max_tokens=5) == run.generate("글", max_tokens=5)
    for name, tensor in run.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])


def test_export_and_import(run: malgil.Run, tmp_path: Path) -> None:
    exported = run.export(tmp_path / "hf")
    assert any("bit for bit" in line for line in exported.verifications)
    again = malgil.import_model(exported.folder, tmp_path / "again")
    assert again.generate("말길", max_tokens=9, temperature=0) == run.generate("말길", max_tokens=9, temperature=0)


def test_the_newest_run_is_loaded_without_a_name(
    run: malgil.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "말").symlink_to(run.path)
    assert malgil.load().config == run.config


def test_equal_seeds_give_equal_bits(run: malgil.Run, tmp_path: Path) -> None:
    paths = run.config["data"]["paths"]
    for seed, same in ((1337, True), (7, False)):
        out = tmp_path / str(seed)
        again = malgil.train("gpt2", data=paths, out=out, steps=3, seed=seed, threads=1, quiet=True, **SETTINGS)
        losses = ([line["loss"] for line in one.metrics] for one in (run, again))
        assert (next(losses) == next(losses)) == same


@pytest.mark.parametrize(
    "text, seconds",
    [("90s", 90), ("5m", 300), ("1h30m", 5400), ("90", 90), (2.5, 2.5), ("1.5m", 90), (" 2M ", 120), ("1h1m1s", 3661)],
)
def test_durations(text: str | float, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "0", "0s", "-1", "abc", "1d", "1s1m", "1e3", "nan", "inf", True, math.nan, "분", "９s"]
)
def test_what_is_no_duration(text: Any) -> None:
    with pytest.raises(InputError, match="90s, 5m or 1h30m"):
        seconds_of(text)
