"""Every command does what it says, as a new user would try it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_cases import TEXT, TINY, Malgil

import malgil as face
from malgil.text.tokenizer import Tokenizer


def test_recipes_lists_each_with_a_line(malgil: Malgil) -> None:
    said = malgil("recipes")
    assert said.status == 0
    names = [line.split()[0] for line in said.out.splitlines()]
    assert names == sorted(names)
    assert {"rnn", "gru", "lstm", "gpt2", "gpt", "nanogpt-char"} <= set(names)


def test_recipe_shows_every_setting_as_it_is_typed(malgil: Malgil) -> None:
    out = malgil("recipes", "lstm").out
    for part in (
        "--model.d-model",
        "--model.cell",
        "lstm",
        "--training.batch-size",
        "[best, last]",
        "--generation.top-k",
    ):
        assert part in out


def test_train_then_everything_else(malgil: Malgil, tmp_path: Path) -> None:
    said = malgil("train", "gpt2", "--data", "text.txt", "--steps", 4, *TINY)
    assert said.status == 0
    assert said.out == ""
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("gpt2-")
    for name in ("config.yaml", "tokenizer.json", "model.safetensors", "metrics.jsonl", "report.html", "checkpoints"):
        assert (folder / name).exists(), name
    assert "finished" in said.err
    assert f"runs/{folder.name}" in said.err
    assert "malgil generate" in said.err

    scored = malgil("evaluate", "--json")  # the newest run, its own validation part
    result = json.loads(scored.out)
    assert {"loss", "perplexity", "bits_per_byte", "tokens", "bytes"} <= set(result)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert result["loss"] == pytest.approx(min(line["val_loss"] for line in lines if "val_loss" in line), rel=1e-5)
    assert {"step", "tokens", "seconds", "loss", "lr", "tokens_per_second"} <= set(lines[0])


def test_generate_writes_the_prompt_and_what_follows(malgil: Malgil, run: Path) -> None:
    said = malgil("generate", run, "--prompt", "말길", "--max-tokens", 7, "--temperature", 0)
    assert said.status == 0
    assert said.err == ""
    expected = face.load(run, threads=1).generate("말길", max_tokens=7, temperature=0)
    assert said.out == f"말길{expected}\n"
    assert malgil("generate", run, "--prompt", "말길", "--max-tokens", 7, "--temperature", 0).out == said.out


def test_generate_numbers_samples(malgil: Malgil, run: Path) -> None:
    said = malgil("generate", run, "--prompt", "글", "--prompt=The", "--samples", 2, "--max-tokens", 3)
    heads = [line for line in said.out.splitlines() if line.startswith("---")]
    assert heads == [f"--- {n} of 4" for n in (1, 2, 3, 4)]
    assert said.out.count("\n글") == 2


@pytest.mark.parametrize("spelled", [("--samples", "3"), ("--generation.samples", "3"), ("--generation.samples=3",)])
def test_generate_takes_long_and_short_names(malgil: Malgil, run: Path, spelled: tuple[str, ...]) -> None:
    said = malgil("generate", run, "--max-tokens", 2, "--json", *spelled)
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert len(lines) == 3
    for line in lines:
        assert set(line) == {"prompt", "text", "finish_reason", "logprob"}


@pytest.mark.parametrize("prompt", ["-5", "--x.y", "[1, 2]", "--", "", '{"글": 1}', "--json"])
def test_any_text_is_a_prompt(malgil: Malgil, run: Path, prompt: str) -> None:
    run_settings = ("--max-tokens", 1, "--temperature", 0)
    said = malgil("generate", run, "--prompt", prompt, *run_settings)
    assert said.status == 0, said.err
    assert said.out.startswith(prompt)


def test_generate_ends_before_a_stop_text(malgil: Malgil, run: Path) -> None:
    whole = malgil("generate", run, "--max-tokens", 9, "--temperature", 1, "--seed", 3).out
    stop = whole[3]
    assert malgil("generate", run, "--max-tokens", 9, "--temperature", 1, "--seed", 3, "--stop", stop).out == (
        whole[: whole.index(stop)] + "\n"
    )


def test_runs_shows_what_each_reached(malgil: Malgil, run: Path) -> None:
    said = malgil("runs", run.parent)
    head, row = said.out.splitlines()
    assert head.split()[:4] == ["run", "recipe", "started", "status"]
    for part in ("gpt2", "finished", " 4 "):
        assert part in row
    (facts,) = [json.loads(line) for line in malgil("runs", run.parent, "--json").out.splitlines()]
    assert facts["parameters"] == sum(p.numel() for p in face.load(run).model.parameters())
    assert facts["val_loss"] > 0
    assert f"{facts['val_bits_per_byte']:.4f}" in row
    (run / "model.safetensors").unlink()
    assert json.loads(malgil("runs", run.parent, "--json").out)["status"] == "interrupted"
    (run / "config.yaml").write_text("{", encoding="utf-8")
    assert "unreadable" in malgil("runs", run.parent).out


def test_a_run_that_is_being_trained_is_running(malgil: Malgil, run: Path) -> None:
    from malgil.runtime.files import FolderLock

    with FolderLock(run):
        assert json.loads(malgil("runs", run.parent, "--json").out)["status"] == "running"
    assert json.loads(malgil("runs", run.parent, "--json").out)["status"] == "finished"


def test_no_runs_says_how_to_make_one(malgil: Malgil) -> None:
    said = malgil("runs")
    assert said.status == 0
    assert "malgil train" in said.out


def test_dry_run_writes_no_run(malgil: Malgil, tmp_path: Path) -> None:
    said = malgil("train", "gpt2", "--data", "text.txt", "--steps", 4, "--dry-run", *TINY)
    assert said.status == 0
    for word in ("parameters:", "memory:", "time:"):
        assert word in said.out
    assert [p.name for p in tmp_path.iterdir()] == ["text.txt"]


def test_resume_on_a_finished_run_says_so(malgil: Malgil, run: Path) -> None:
    said = malgil("train", "--resume", "--out", run)
    assert said.status == 0
    assert "finished" in said.err


def test_tokenizer_train(malgil: Malgil) -> None:
    said = malgil("tokenizer", "train", "--data", "text.txt", "--out", "tok/tokenizer.json", "--vocab-size", 300)
    assert said.status == 0, said.err
    tokenizer = Tokenizer.load(Path("tok/tokenizer.json"))
    assert tokenizer.kind == "bpe"
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT
    again = malgil("tokenizer", "train", "--data", "text.txt", "--out", "tok/tokenizer.json")
    assert again.status == 2
    assert "exists" in again.error


def test_tokenizer_compare_sets_languages_side_by_side(malgil: Malgil) -> None:
    Path("ko.txt").write_text("말길은 글이 가는 길이다. " * 40, encoding="utf-8")
    Path("en.txt").write_text("the way that words take is long " * 40, encoding="utf-8")
    said = malgil("tokenizer", "compare", "--data", "en.txt", "ko.txt", "--vocab-size", 300)
    assert said.status == 0, said.err
    lines = said.out.splitlines()
    assert sum("en.txt" in line for line in lines) == sum("ko.txt" in line for line in lines) == 6
    (byte,) = [i for i, line in enumerate(lines) if line.startswith("byte")]
    assert lines[byte].split()[4:6] == ["1.000", "1.000"]
    assert float(lines[byte + 1].split()[1]) > 2  # a syllable is three bytes


def test_compare_refuses_a_sample_without_text(malgil: Malgil) -> None:
    Path("empty.txt").write_text("", encoding="utf-8")
    assert "empty.txt" in malgil("tokenizer", "compare", "--data", "text.txt", "empty.txt").error


def test_cache_clear(malgil: Malgil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALGIL_CACHE", str(tmp_path / "cache"))
    assert malgil("train", "gpt2", "--data", "text.txt", "--steps", 1, *TINY).status == 0
    assert list((tmp_path / "cache").rglob("tokens.bin"))
    said = malgil("cache", "clear")
    assert said.out.startswith("removed ")
    assert not list((tmp_path / "cache").rglob("tokens.bin"))


def test_settings_from_files_and_arguments(malgil: Malgil) -> None:
    Path("a.yaml").write_text("model:\n  d_model: 20\n  d_ff: 7\n", encoding="utf-8")
    Path("b.yaml").write_text("model: {d_ff: 11}\ngeneration: {stop: [끝]}\n", encoding="utf-8")
    said = malgil(
        *(
            "train",
            "gpt2",
            "--data",
            "text.txt",
            "--steps",
            1,
            "--out",
            "r",
            "--config",
            "a.yaml",
            "--config",
            "b.yaml",
        ),
        *(*TINY, "--model.dropout=0.25", "--model.bias", "false", "--training.learning-rate", "1e-3"),
    )
    assert said.status == 0, said.err
    config = face.load("r").config
    assert (config["model"]["d_model"], config["model"]["d_ff"]) == (12, 11)  # the arguments lie over the files
    assert config["model"]["dropout"] == 0.25
    assert config["model"]["bias"] is False
    assert config["generation"]["stop"] == ["끝"]
    assert "끝" in Path("r/config.yaml").read_text(encoding="utf-8")
    assert malgil("train", "gpt2", "--config", "r/config.yaml", "--out", "again").status == 0  # it repeats the run
    first, again = (face.load(name).metrics for name in ("r", "again"))
    assert [line["loss"] for line in first] == [line["loss"] for line in again]
