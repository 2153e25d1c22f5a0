"""Every recipe builds, trains two steps and writes text where it can; a new file in recipes/ is tested by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

import malgil
from malgil.models import family
from malgil.runs.recipe import SECTIONS, recipe, recipe_names

TEXT = "말길은 글이 가는 길이다. ㅋㅋ 낱말이 모여 글이 된다.\nThe way that words take is long.\n" * 30


PAIRS = "말길\tthe way of words\n산은 높다\tmountains are high\n물이 흐른다\twater flows\n" * 30
OF_PAIRS = [name for name in recipe_names() if recipe(name)["objective"]["name"] == "seq2seq"]
OF_GAPS = [name for name in recipe_names() if recipe(name)["objective"]["name"] == "masked_lm"]


@pytest.mark.parametrize("name", recipe_names())
def test_builds_and_runs_two_steps(name: str, tmp_path: Path) -> None:
    model = {"n_layers": 2, "d_model": 24}
    out, data = tmp_path / "run", tmp_path / ("글.tsv" if name in OF_PAIRS else "글.txt")
    data.write_text(PAIRS if name in OF_PAIRS else TEXT, encoding="utf-8")
    run = malgil.train(name, data=data, out=out, steps=2, device="cpu", threads=1, quiet=True, model=model)
    assert run.config["recipe"] == name
    assert [line["step"] for line in run.metrics][-1] == 2
    assert "auto" not in str({k: v for k, v in run.config.items() if k not in ("training", "description")})
    if name not in OF_GAPS:
        write = run.translate if name in OF_PAIRS else run.generate
        assert isinstance(write("말길", max_tokens=3), str)
    assert run.evaluate()["loss"] > 0
    assert (out / "report.html").stat().st_size > 1000


@pytest.mark.parametrize("name", recipe_names())
def test_names_only_settings_that_exist(name: str) -> None:
    tree = recipe(name)
    assert set(tree) <= {"description", "model", *SECTIONS}
    assert "\n" not in tree["description"]
    family(tree["model"]["name"])


def test_nanogpt_char_is_nanogpts_setting() -> None:
    tree = recipe("nanogpt-char")
    model, training = tree["model"], tree["training"]
    assert tree["tokenizer"]["kind"] == "char"
    for key, value in {
        "n_layers": 4,
        "n_heads": 4,
        "d_model": 128,
        "max_len": 64,
        "dropout": 0.0,
        "bias": False,
    }.items():
        assert model[key] == value, key
    expected = {
        "optimizer": "adamw",
        "steps": 2000,
        "batch_size": 12,
        "learning_rate": 1e-3,
        "final_rate": 0.1,
        "schedule": "cosine",
        "warmup": 100,
        "beta2": 0.99,
        "weight_decay": 0.1,
        "clip": 1.0,
    }
    for key, value in expected.items():
        assert training[key] == value, key
    assert training.get("beta1", 0.9) == 0.9
