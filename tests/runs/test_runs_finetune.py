"""Fine-tuning: what a run gives to the next, and that nothing of it is needed afterwards."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from run_cases import TRAINING, Recorder, bits, trained
from safetensors.torch import load_file, save_file
from test_runs_resume import CutAt, PowerCut

import malgil
from malgil.config import Tree
from malgil.errors import CheckpointError, ConfigError, NotFoundError
from malgil.models import build_model, family
from malgil.runs.classify import ClassifyTask
from malgil.runs.fit import LABELLED_RATES
from malgil.runs.run import Run
from malgil.runs.training import train
from malgil.training.checkpoint import load_model


@pytest.fixture(scope="module")
def start(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("start") / "bert"
    return trained("bert", corpus, out, model={"max_len": 32, "dropout": 0.3, "pooler": True}, training={"steps": 3})


def settings(corpus: Path, **training: Any) -> Tree:
    return {
        "data": {"paths": [str(corpus.with_name("reviews.tsv"))], "label_field": "label"},
        "training": {**TRAINING, **training},
    }


def tuned(start: Path, corpus: Path, out: Path, recipe: str = "classify", **training: Any) -> Run:
    return train(recipe, settings(corpus, **training), out=out, start=start, display=Recorder())


def body(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix("body."): tensor for name, tensor in weights.items() if name.startswith("body.")}


@pytest.mark.parametrize("timed", [False, True])
def test_the_first_step_begins_with_the_bodys_weights(timed: bool, start: Run, corpus: Path, tmp_path: Path) -> None:
    still = {"steps": 1, "learning_rate": 1e-30, "muon_learning_rate": 1e-30, "weight_decay": 0.0, "ema": None}
    if timed:  # a trial moves weights before the first step
        still |= {"steps": 1, "seconds": 60.0}
    run = tuned(start.path, corpus, tmp_path / "run", **still)
    expected, found = start.model.state_dict(), run.model.state_dict()
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert set(body(load_model(run.path / "checkpoints" / "step-000001"))) == set(expected)


def test_a_body_that_knows_something_is_no_fault(
    start: Run, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClassifyTask, "untrained_loss", lambda *_: (50.0, "ln(labels)"))
    for begun, warned in ((None, True), (start.path, False)):
        said = Recorder()
        train("classify", settings(corpus, steps=1), out=tmp_path / str(warned), start=begun, display=said)
        assert ("the first loss is" in said.text) == warned


def test_rates_follow_the_size_of_the_weights(start: Run, corpus: Path, tmp_path: Path) -> None:
    rates = ("learning_rate", "muon_learning_rate")
    small = tuned(start.path, corpus, tmp_path / "small", steps=1).config["training"]
    assert [small[key] for key in rates] == [LABELLED_RATES[key] for key in rates]  # no lower than from nothing
    large = tmp_path / "large"
    shutil.copytree(start.path, large)
    weights = {name: 20 * tensor for name, tensor in load_file(start.path / "model.safetensors").items()}
    save_file(weights, large / "model.safetensors")
    twice = tmp_path / "twice"
    shutil.copytree(large, twice)
    save_file({name: 2 * tensor for name, tensor in weights.items()}, twice / "model.safetensors")
    found = [
        tuned(place, corpus, tmp_path / f"of {place.name}", steps=1).config["training"] for place in (large, twice)
    ]
    for key in rates:
        assert LABELLED_RATES[key] < found[0][key] < found[1][key]
        assert found[1][key] == pytest.approx(2 * found[0][key], rel=0.05)
    named = tuned(large, corpus, tmp_path / "named", steps=1, learning_rate=0.5).config["training"]
    assert named["learning_rate"] == 0.5
    assert named["muon_learning_rate"] == found[0]["muon_learning_rate"]


@pytest.mark.parametrize("recipe", ["classify-ngrams", "classify-birnn", "classify-albert", "classify-modernbert"])
def test_any_encoder_can_be_begun_with(recipe: str, corpus: Path, tmp_path: Path) -> None:
    """Also one without blocks, whose weights are all AdamW's."""
    size = {"d_model": 16} if recipe == "classify-ngrams" else {"d_model": 16, "n_layers": 1}
    first = train(recipe, {**settings(corpus, steps=1), "model": size}, out=tmp_path / "first", display=Recorder())
    run = tuned(first.path, corpus, tmp_path / "run", steps=1, learning_rate="auto", muon_learning_rate="auto")
    assert run.config["training"]["learning_rate"] >= LABELLED_RATES["learning_rate"]
    assert run.config["training"]["muon_learning_rate"] >= LABELLED_RATES["muon_learning_rate"]
    assert run.config["model"]["name"] == first.config["model"]["name"]


def test_what_is_taken_and_what_is_the_recipes(start: Run, corpus: Path, tmp_path: Path) -> None:
    run = tuned(start.path, corpus, tmp_path / "run", steps=2)
    assert run.tokenizer.fingerprint == start.tokenizer.fingerprint
    taken = {**start.config["model"], "dropout": run.config["model"]["dropout"]}
    assert run.config["model"] == taken
    assert run.config["model"]["dropout"] == 0.1
    assert run.config["objective"]["name"] == "classification"
    assert run.config["training"]["start"] == str(start.path)
    changed = {name for name, t in run.model.state_dict().items() if not torch.equal(t, start.model.state_dict()[name])}
    unread = {name for name in run.model.state_dict() if name.startswith(("head.", "pooler.", "output_bias"))}
    assert changed == set(run.model.state_dict()) - unread


@pytest.mark.parametrize(("recipe", "same"), [("embed", True), ("classify", False)])
def test_how_texts_are_read_is_handed_on(recipe: str, same: bool, start: Run, corpus: Path, tmp_path: Path) -> None:
    """From embeddings to embeddings; what is said goes before it, and another task reads as its recipe does."""
    lines = {"data": {"paths": [str(corpus)]}, "training": {**TRAINING, "steps": 1}}
    chosen = {"pooling": "first", "normalize": False, "max_text_len": 9}
    asked = {**lines, "objective": chosen, "model": {"dropout": 0.1}}
    first = train("embed", asked, out=tmp_path / "뜻", start=start.path, display=Recorder())
    data = lines if recipe == "embed" else settings(corpus, steps=1)
    after = train(recipe, {**data, "model": {"dropout": 0.1}}, out=tmp_path / "a", start=first.path, display=Recorder())
    found = {key: after.config["objective"].get(key) for key in chosen}
    assert (found == chosen) is same
    said = {**data, "model": {"dropout": 0.1}, "objective": {"pooling": "mean"}}
    told = train(recipe, said, out=tmp_path / "b", start=first.path, display=Recorder())
    assert told.config["objective"]["pooling"] == "mean"


def test_the_start_is_needed_until_the_first_checkpoint_alone(start: Run, corpus: Path, tmp_path: Path) -> None:
    tuned(start.path, corpus, tmp_path / "whole")
    copy = Path(shutil.copytree(start.path, tmp_path / "copy"))
    for step, gone in ((1, False), (5, True)):
        out = tmp_path / f"cut{step}"
        with pytest.raises(PowerCut):
            train("classify", settings(corpus), out=out, start=copy, display=CutAt(step))
        if gone:
            shutil.rmtree(copy)
        train(None, {}, out=out, resume=True, display=Recorder())
        assert bits(out) == bits(tmp_path / "whole")


def test_heads_of_the_start_stay_there_and_runs_follow_runs(start: Run, corpus: Path, tmp_path: Path) -> None:
    first = tuned(start.path, corpus, tmp_path / "first", steps=2)
    scores = {**settings(corpus, steps=1, learning_rate=1e-30), "data": {"label_field": "score"}}
    scores["data"]["paths"] = [str(corpus.with_name("reviews.tsv"))]
    second = train("similarity", scores, out=tmp_path / "second", start=first.path, display=Recorder())
    assert torch.equal(second.model.embedding.weight, first.model.embedding.weight)
    assert [name for name, _ in second.assembled.parts.named_parameters()] == [
        "score.linear.weight",
        "score.linear.bias",
    ]


def test_settings_that_change_the_body_are_refused(start: Run, corpus: Path, tmp_path: Path) -> None:
    for changed in ({"n_layers": 3}, {"d_model": 32}, {"max_len": 64}):
        with pytest.raises(
            CheckpointError, match=r"the body does not fit.*only dropout may be another, and max_len lower"
        ):
            train(
                "classify",
                {**settings(corpus), "model": changed},
                out=tmp_path / "run",
                start=start.path,
                display=Recorder(),
            )
    assert not (tmp_path / "run").exists()
    kept = {**settings(corpus, steps=1), "model": {"dropout": 0.0}}
    assert train("classify", kept, out=tmp_path / "ok", start=start.path, display=Recorder()).path.exists()


def test_fewer_tokens_than_the_start_reads_are_its_first_positions(start: Run, corpus: Path, tmp_path: Path) -> None:
    fewer = {**settings(corpus, steps=1, learning_rate=1e-30), "model": {"max_len": 12}}
    run = train("classify", fewer, out=tmp_path / "run", start=start.path, display=Recorder())
    ours, theirs = (one.model.position_embedding.weight for one in (run, start))
    assert len(theirs) > len(ours) == 12
    assert torch.equal(ours, theirs[:12])
    assert run.predict([{"text": "길을 묻는 사람이 " * 20}])[0]["cut"] > 0


def test_what_is_no_encoder_or_no_run_is_refused(start: Run, corpus: Path, tmp_path: Path) -> None:
    language = trained("gpt2", corpus, tmp_path / "gpt2", training={"steps": 1})
    with pytest.raises(ConfigError, match="a gpt2 model does not read a text whole"):
        tuned(language.path, corpus, tmp_path / "run")
    with pytest.raises(CheckpointError, match="no run here"):
        tuned(tmp_path / "없음", corpus, tmp_path / "run")
    with pytest.raises(NotFoundError, match="did you mean classify"):
        tuned(start.path, corpus, tmp_path / "run", "clasify")


def test_an_imported_body_whose_embedding_has_rows_to_spare(start: Run, corpus: Path, tmp_path: Path) -> None:
    from malgil.interop.huggingface import export_model

    torch.manual_seed(0)
    config = family("bert").config(n_layers=1, n_heads=2, d_model=8, max_len=40)
    model = build_model("bert", config, start.tokenizer.vocab_size + 3)
    export_model(model, config, start.tokenizer, tmp_path / "hf")
    imported = malgil.import_model(tmp_path / "hf", tmp_path / "imported")
    run = tuned(imported.path, corpus, tmp_path / "run", steps=4, checkpoint_every=2)
    assert run.model.vocab_size == start.tokenizer.vocab_size + 3
    assert run.predict(["물이 흐른다"])
    again = train(None, {"training": {"steps": 6}}, out=run.path, resume=True, display=Recorder())
    assert again.metrics[-1]["step"] == 6


def test_from_python(start: Run, corpus: Path, tmp_path: Path) -> None:
    run = malgil.finetune(
        start,
        "classify",
        data=corpus.with_name("reviews.tsv"),
        out=tmp_path / "run",
        steps=2,
        threads=1,
        quiet=True,
        training={"batch_size": 4},
    )
    assert run.config["training"]["start"] == str(start.path)
    assert run.predict(["말길"])[0]["label"]
