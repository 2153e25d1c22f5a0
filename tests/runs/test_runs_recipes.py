"""Every recipe builds, trains two steps and writes text where it can; a new file in recipes/ is tested by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_cases import pairs, questions, reviews, tagged

import malgil
from malgil.models import family
from malgil.runs.pretraining import place_of
from malgil.runs.recipe import SECTIONS, compose, recipe, recipe_names
from malgil.runs.run import Run

TEXT = "말길은 글이 가는 길이다. ㅋㅋ 낱말이 모여 글이 된다.\nThe way that words take is long.\n" * 30


PAIRS = "말길\tthe way of words\n산은 높다\tmountains are high\n물이 흐른다\twater flows\n" * 30
SCORES = "text\tscore\n" + "".join(f"말길은 {'길고 ' * i}길다\t{i}\n" for i in range(40))
#: by the objective: the file to train on
DATA = {
    "seq2seq": ("글.tsv", PAIRS),
    "classification": ("글.tsv", reviews(60)),
    "regression": ("글.tsv", SCORES),
    "tagging": ("글.conll", tagged(60)),
    "answering": ("글.jsonl", questions(60)),
    "contrastive": ("글.tsv", pairs(60)),
}


def objective_of(name: str) -> str:
    return str(recipe(name)["objective"]["name"])


def used(run: Run, objective: str) -> object:
    """What a run is there for, done once."""
    if objective == "causal_lm":
        return run.generate("말길", max_tokens=3)
    if objective == "seq2seq":
        return run.translate("말길", max_tokens=3)
    if objective == "answering":
        return run.predict([{"question": "누가 왔니?", "context": "말길이 서울에서 왔다."}])
    return run.predict(["말길은 길다"]) if objective in ("classification", "regression", "tagging") else run


# a student has a teacher: tests of distillation train it
@pytest.mark.parametrize("name", [name for name in recipe_names() if objective_of(name) != "distillation"])
def test_builds_and_runs_two_steps(name: str, tmp_path: Path) -> None:
    model = {"d_model": 24} if name == "classify-ngrams" else {"n_layers": 2, "d_model": 24}
    file, text = DATA.get(objective_of(name), ("글.txt", TEXT))
    out, data = tmp_path / "run", tmp_path / file
    data.write_text(text, encoding="utf-8")
    run = malgil.train(name, data=data, out=out, steps=2, device="cpu", threads=1, quiet=True, model=model)
    assert run.config["recipe"] == name
    before = [Run(place)] if (place := place_of(out)).exists() else []
    assert sum(one.metrics[-1]["step"] for one in (*before, run)) == 2
    assert "auto" not in str({k: v for k, v in run.config.items() if k not in ("training", "description")})
    assert used(run, objective_of(name)) is not None
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


def test_sizes_stay_open_in_another_family() -> None:
    model = compose("classify", [], {"model": {"name": "modernbert", "n_layers": 3}})["model"]
    assert {key: model[key] for key in ("name", "n_layers", "d_model", "max_len")} == {
        "name": "modernbert",
        "n_layers": 3,
        "d_model": "auto",
        "max_len": "auto",
    }
    assert "n_heads" not in compose("gpt2", [], {"model": {"name": "rnn_lm"}})["model"]  # it has none
