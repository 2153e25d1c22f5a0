"""No argument list may give a traceback: a status, and one line where something is wrong."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from unittest.mock import patch

import pytest
from cli_cases import TEXT
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from malgil.cli.main import main
from malgil.models import FAMILIES
from malgil.runs.recipe import SECTIONS, recipe_names

NAMES = [f"{section}.{f.name}" for section, cls in SECTIONS.items() for f in dataclasses.fields(cls)]
NAMES += [f"model.{f.name}" for row in FAMILIES.values() for f in dataclasses.fields(row.config)]
#: left to the sizes that every training here has, so that none is long; `auto` is asked for elsewhere
FIXED = {
    "model.n_layers",
    "model.d_model",
    "model.max_len",
    "model.d_ff",
    "model.d_head",
    "model.d_hidden",
    "model.name",
}
FIXED |= {"training.steps", "training.batch_size", "training.accumulate", "data.workers", "training.threads"}
FIXED |= {"model.n_heads", "generation.max_tokens", "generation.samples", "training.compile", "model.n_kv_heads"}
SMALL = ["--steps", "1", "--threads", "1", "--model.n-layers", "1", "--model.d-model", "8", "--model.max-len", "5"]
SMALL += ["--training.batch-size", "2"]

values = st.one_of(
    st.sampled_from(
        ["0", "1", "-1", "2", "0.5", "1e-3", "nan", "inf", "-inf", "1e400", "true", "none", "", "말길", "9" * 30]
    ),
    st.sampled_from(
        ["text.txt", "rows.jsonl", "missing.txt", "run", ".", "\udcff", "\x01", "[1]", "{}", "char", "byte"]
    ),
    st.text(st.characters(exclude_characters="\0"), max_size=6),
)
dotted = st.sampled_from([name for name in NAMES if name not in FIXED])
setting_names = st.one_of(dotted, st.sampled_from(["modle.x", "model.", "model.d_modle", "a.b.c", "data.paths.x"]))
setting_arguments = st.builds(
    lambda name, value, joined: [f"--{name}={value}"] if joined else [f"--{name.replace('_', '-')}", value],
    setting_names,
    values,
    st.booleans(),
)
flags = st.sampled_from(
    [
        "--data",
        "--out",
        "--time",
        "--steps",
        "--tokens",
        "--epochs",
        "--config",
        "--seed",
        "--device",
        "--resume",
        "--prompt",
        "--temperature",
        "--top-k",
        "--top-p",
        "--min-p",
        "--stop",
        "--json",
        "--format",
        "--kind",
        "--",
        "-x",
        "--vocab-size",
        "--min-frequency",
        "--normalization",
        "--allow-pickle",
        "--dry-run",
        "--help",
        "--version",
        "---",
    ]
)
option_arguments = st.one_of(
    st.builds(lambda flag, value: [flag, value], flags, values),
    st.builds(lambda flag: [flag], flags),
    st.builds(lambda value: [value], values),
)
tails = st.lists(st.one_of(option_arguments, setting_arguments), max_size=4).map(
    lambda parts: [a for part in parts for a in part]
)
heads = st.one_of(
    st.sampled_from(recipe_names()).map(lambda name: ["train", name, "--data", "text.txt", *SMALL]),
    st.just(["train", "gpt2", "--data", "text.txt", "--dry-run", *SMALL]),
    st.just(["generate", "run", "--max-tokens", "2", "--threads", "1"]),
    st.just(["evaluate", "run", "--threads", "1"]),
    st.just(["recipes"]),
    st.just(["runs"]),
    st.just(["tokenizer", "train", "--data", "text.txt"]),
    st.just(["import", "run"]),
    st.just(["export", "run"]),
    st.just([]),
)


@pytest.fixture
def place(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(TEXT, encoding="utf-8")
    Path("rows.jsonl").write_text('{"text": "말길은 길이다"}\n{"text": \n', encoding="utf-8")
    return tmp_path


@pytest.mark.slow
@settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(head=heads, tail=tails)
@example(head=["train", "gpt2", "--data", "text.txt", *SMALL], tail=["--training.seed", "9" * 400])
@example(head=["generate", "run"], tail=["--prompt", "\udcff\ud800"])
@example(head=["runs"], tail=["\udcff"])
def test_no_arguments_give_a_traceback(
    head: list[str], tail: list[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.chdir(place)
    capsys.readouterr()
    with patch.dict(os.environ, {"COLUMNS": "80"}):
        status = main([*head, *tail])
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if line.startswith("error[")]
    assert status in (0, 1, 2), (status, err)
    assert len(lines) == (0 if status == 0 else 1), err
    assert "Traceback" not in err
    assert not any(line.startswith("error[bug]") for line in lines), err
