"""Runs of `embed`: what is learnt of pairs, of texts alone and of scores; vectors and searches of any encoder's run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from run_cases import ENGLISH, KOREAN, CutAt, PowerCut, Recorder, bits, overrides, resumed, trained
from run_processes import arguments, run_pair

from malgil.errors import ConfigError, InputError, NotFoundError
from malgil.evaluation.vectors import Hit
from malgil.objectives.base import BatchPlan
from malgil.runs.prepare import prepare
from malgil.runs.recipe import compose
from malgil.runs.run import Run
from malgil.runs.training import train


@pytest.fixture(scope="module")
def said() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def run(corpus: Path, said: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Pairs of Korean and English."""
    return trained("embed", corpus, tmp_path_factory.mktemp("embed") / "run", said, training={"batch_size": 8})


@pytest.fixture(scope="module")
def scored(corpus: Path) -> Path:
    """The pairs with scores: how many words they have."""
    path = corpus.with_name("scored.tsv")
    rows = [line.split("\t") for line in corpus.with_suffix(".tsv").read_text(encoding="utf-8").splitlines()]
    path.write_text("".join(f"{a}\t{b}\t{len(a.split())}\n" for a, b in rows), encoding="utf-8")
    return path


# -- training ---------------------------------------------------------------------------------------


def test_pairs(run: Run, said: Recorder) -> None:
    assert "pairs of texts" in said.text
    assert "something is wrong" not in said.text
    evaluated = [line for line in run.metrics if "val_loss" in line]
    assert [line["step"] for line in evaluated] == [5, 10, 12]
    assert all(0 <= line["val_accuracy_at_1"] <= 1 for line in evaluated)
    assert all(np.isfinite(line["loss"]) for line in run.metrics)
    report = (run.path / "report.html").read_text(encoding="utf-8")
    assert "the partner is the nearest of" in report or "짝이 가장 가깝습니다" in report
    samples = [json.loads(line) for line in (run.path / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(samples) == 6
    assert all(sample["text"].endswith(")") and sample["prompt"] not in sample["text"] for sample in samples)


def test_evaluations_are_equal(run: Run, corpus: Path) -> None:
    first, second = run.evaluate(), Run(run.path, threads=1).evaluate()
    assert first.pop("loss") == pytest.approx(loss := second.pop("loss"), rel=1e-5)  # threads sum in another order
    assert first == second
    best = min(line["val_loss"] for line in run.metrics if "val_loss" in line)
    assert loss == pytest.approx(best, rel=1e-5)
    everything = run.evaluate(corpus.with_suffix(".tsv"))
    assert everything["texts"] == 120
    assert "caution" not in everything


def test_texts_alone_and_scores(corpus: Path, scored: Path, tmp_path: Path) -> None:
    """One kind to learn from, another to be judged by."""
    said = Recorder()
    data = {"paths": [str(corpus)], "validation": [str(scored)]}
    alone = trained("embed", corpus, tmp_path / "alone", said, data=data, training={"batch_size": 8, "steps": 6})
    assert " texts" in said.text
    assert all("val_spearman" in line for line in alone.metrics if "val_loss" in line)
    assert alone.evaluate(corpus)["accuracy_at_1"] > 0.5  # of two readings, with other dropout
    with pytest.raises(ConfigError, match=r"without dropout.*take 0.1, or give pairs"):
        trained("embed", corpus, tmp_path / "none", data=data, model={"dropout": 0.0})

    data = {"paths": [str(scored)]}
    ranked = trained("embed", corpus, tmp_path / "scored", data=data, training={"batch_size": 8, "steps": 6})
    assert ranked.config["training"]["watch"] == "val_spearman"
    found = ranked.evaluate()
    assert {"loss", "spearman", "pearson"} <= found.keys()
    assert -1 <= found["spearman"] <= 1
    report = (ranked.path / "report.html").read_text(encoding="utf-8")
    assert "Spearman correlation of" in report or "스피어먼 상관은" in report


@pytest.mark.parametrize("kind", ["pairs", "texts"])
def test_a_broken_run_ends_with_the_same_bits(kind: str, corpus: Path, tmp_path: Path) -> None:
    """Also where dropout is all that tells two readings of a text apart."""
    settings = {"training": {"batch_size": 8}, **({} if kind == "pairs" else {"data": {"paths": [str(corpus)]}})}
    trained("embed", corpus, tmp_path / "whole", **settings)
    with pytest.raises(PowerCut):
        trained("embed", corpus, tmp_path / "cut", CutAt(5), **settings)
    resumed(tmp_path / "cut")
    assert bits(tmp_path / "cut") == bits(tmp_path / "whole")


@pytest.mark.parametrize("name", ["albert", "modernbert", "birnn"])
def test_other_encoders(name: str, corpus: Path, tmp_path: Path) -> None:
    model = {"name": name, "n_layers": 2, "d_model": 16, "max_len": 32, "dropout": 0.1}
    tree = overrides("embed", corpus) | {"model": model, "training": {"steps": 2, "batch_size": 8, "threads": 1}}
    made = train("embed", tree, out=tmp_path / "run", display=Recorder())
    assert made.embed(["말길", "산은 높다"]).shape == (2, made.model.d_model)


def test_a_body_that_was_pretrained(corpus: Path, tmp_path: Path) -> None:
    """`finetune`, from masked words."""
    masked = trained("bert", corpus, tmp_path / "bert", training={"steps": 2})
    assert masked.embed(["말길"]).shape == (1, 16)
    tree = {key: value for key, value in overrides("embed", corpus).items() if key in ("data", "training")}
    tree["training"] = {**tree["training"], "batch_size": 8, "steps": 2}
    made = train("embed", tree, out=tmp_path / "embed", display=Recorder(), start=masked.path)
    assert made.tokenizer.fingerprint == masked.tokenizer.fingerprint
    assert not np.allclose(made.embed(["말길"]), masked.embed(["말길"]), atol=1e-4)


@pytest.mark.slow
def test_two_processes_tell_texts_from_those_of_their_own_batch(corpus: Path, tmp_path: Path) -> None:
    """The first loss is that of both processes' batches, computed here by one."""
    settings = {"steps": 3, "batch_size": 8, "accumulate": 2, "log_every": 1}
    words = arguments("embed", corpus, tmp_path / "two", {"dropout": 0.0}, **settings)
    assert run_pair(words, tmp_path / "log") == [0, 0], (tmp_path / "log.0").read_text(encoding="utf-8")
    logged = [line["loss"] for line in Run(tmp_path / "two").metrics]
    assert len(logged) == 3

    tree = compose("embed", [], overrides("embed", corpus, model={"dropout": 0.0}, training=settings))
    made = prepare(tree, lambda text: None)
    total, count = 0.0, 0
    for rank in range(2):
        plan = BatchPlan(8, 2, rank, 2, made.settings.training.seed)
        for batch in made.objective.training_batches(made.train, made.model, 32, plan)(0):
            with torch.no_grad():
                total += float(made.objective.loss(made.assembled, batch, None)[0]["contrastive"])
            count += batch.count
    assert count == 16
    assert logged[0] == pytest.approx(total / count, abs=1e-5)
    assert logged[0] < np.log(4)  # of 4 candidates each, and not of 8


# -- use --------------------------------------------------------------------------------------------


def test_embeddings_do_not_depend_on_the_batch(run: Run) -> None:
    texts = [f"{word} " * (1 + i % 7) + str(i) for i, word in enumerate((KOREAN + ENGLISH) * 30)]
    vectors = run.embed(texts)
    assert vectors.shape == (720, 16)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    for i in (0, 1, 100, 719):
        np.testing.assert_allclose(run.embed([texts[i]])[0], vectors[i], atol=1e-6)
    raw = run.embed(texts[:5], normalize=False)
    assert not np.allclose(np.linalg.norm(raw, axis=1), 1, atol=0.1)
    np.testing.assert_allclose(raw / np.linalg.norm(raw, axis=1, keepdims=True), vectors[:5], atol=1e-6)
    rough = run.embed(texts[:50], precision="bf16")
    assert 1e-6 < float(np.abs(rough - vectors[:50]).max()) < 0.1
    assert run.embed([]).shape == (0, 16)


def test_settings_say_what_an_embedding_is(run: Run) -> None:
    other = Run(run.path, threads=1)
    other.config["objective"] |= {"normalize": False, "pooling": "first", "max_text_len": 5}
    with torch.no_grad():
        ids = [run.tokenizer.begin_id, *run.tokenizer.encode("말길 산은 높다")[:3], run.tokenizer.end_id]
        expected = run.model(torch.tensor([ids])).hidden[0, 0]
    np.testing.assert_allclose(other.embed(["말길 산은 높다"])[0], expected.numpy(), atol=1e-6)
    assert other.embed(["말길"], normalize=True)[0] @ other.embed(["말길"], normalize=True)[0] == pytest.approx(1)


def test_search(run: Run) -> None:
    texts = [" ".join(KOREAN[i : i + 3]) for i in range(9)]
    found = run.search([texts[4], "river"], texts, top=3)
    assert [len(hits) for hits in found] == [3, 3]
    assert found[0][0] == Hit(4, pytest.approx(1.0, abs=1e-5), texts[4])
    vectors, asked = run.embed(texts), run.embed(["river"])[0]
    assert [hit.index for hit in found[1]] == np.argsort(-(vectors @ asked), kind="stable")[:3].tolist()
    index = run.embedder().index(texts)
    assert [hit.index for hit in index.search(["river"], 2)[0]] == [hit.index for hit in found[1]][:2]
    for top in (0, True, 2.5, "3"):
        with pytest.raises(InputError, match=r"the nearest .* texts"):
            run.search(["말길"], texts, top=top)  # type: ignore[arg-type]


def test_predictions_are_embeddings_or_cosines(run: Run) -> None:
    rows = [{"text": "말길", "id": 3}, {"text": "말길 산은", "pair": "river"}, "책"]
    first, second, third = run.predict(rows)
    assert first["id"] == 3
    np.testing.assert_allclose(first["embedding"], run.embed(["말길"])[0], atol=1e-6)
    a, b = run.embed(["말길 산은", "river"])
    assert second["score"] == pytest.approx(float(a @ b), abs=1e-5)
    assert "embedding" not in second
    assert third["text"] == "책"
    with pytest.raises(InputError, match="'pair' is no text"):
        run.predict([{"text": "말길", "pair": 5}])


def test_what_gives_no_embedding(corpus: Path, run: Run, tmp_path: Path) -> None:
    language = trained("gpt2", corpus, tmp_path / "gpt2", training={"steps": 1})
    with pytest.raises(ConfigError, match="a gpt2 model gives no vector for a text"):
        language.embed(["말길"])
    with pytest.raises(InputError, match="a text must be a str"):
        run.embed(["말길", 5])  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"texts must be a list.*write \[text\]"):
        run.embed("말길")
    with pytest.raises(NotFoundError, match=r"unknown training\.precision 'bf17'"):
        run.embed(["말길"], precision="bf17")
