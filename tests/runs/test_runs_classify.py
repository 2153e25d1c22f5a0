"""Runs on labelled texts: what is learnt, kept, shown and answered; one label, several, pairs, scores."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from run_cases import LABELS, Recorder, bits, resumed, reviews, trained
from test_runs_resume import cut

import malgil
from malgil.cli.tables import score_lines
from malgil.config import read_yaml
from malgil.data.labels import LABELLED, open_all_labelled_data
from malgil.data.settings import DataSettings
from malgil.errors import CheckpointError, ConfigError, DataError, InputError
from malgil.runs.classify import ClassifyTask
from malgil.runs.run import Run

LEARN = {"steps": 120, "batch_size": 16, "accumulate": 1, "evaluate_every": 60, "keep": "last"}
LEARN |= {"optimizer": "adamw", "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def said() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def run(corpus: Path, said: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of `classify` that has learnt its three labels."""
    out = tmp_path_factory.mktemp("classify") / "run"
    return trained("classify", corpus, out, said, training=LEARN, model={"dropout": 0.0})


def test_labels_that_words_tell_are_learnt_and_given(run: Run, said: Recorder) -> None:
    last = [line for line in run.metrics if "val_loss" in line][-1]
    assert last["val_accuracy"] == last["val_f1"] == last["val_matthews"] == 1.0
    found = run.predict([f"물이 {word} 책" for word in LABELS.values()])
    assert [row["label"] for row in found] == list(LABELS)
    assert all(sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5) for row in found)
    assert "accuracy 1.0000, F1 1.0000" in said.text
    assert "something is wrong" not in said.text
    assert "perplexity" not in said.text


def test_answers_do_not_depend_on_what_is_asked_beside(run: Run, corpus: Path) -> None:
    rows = [line.split("\t")[0] for line in corpus.with_name("reviews.tsv").read_text("utf-8").splitlines()[1:40]]
    together, alone = run.predict(rows), list(run.predict_lines(iter(rows), 1))
    for one, other in zip(together, alone, strict=True):
        assert one["text"] == other["text"]
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=2e-6)


def test_a_run_is_loaded_with_its_head(run: Run) -> None:
    again = Run(run.path, threads=1)
    tensors = run.assembled.state_dict()
    assert any(name.startswith("parts.labels.") for name in tensors)
    assert {k: v.tolist() for k, v in again.assembled.state_dict().items()} == {
        k: v.tolist() for k, v in tensors.items()
    }
    assert again.predict(["물이 훌륭하다"]) == run.predict(["물이 훌륭하다"])
    assert run.assembled.body is run.model


def test_names_of_labels_stand_in_the_settings(run: Run) -> None:
    objective = read_yaml(run.path / "config.yaml")["objective"]
    assert objective["labels"] == sorted(LABELS)
    assert objective["several_labels"] is False
    assert objective["pairs"] is False


def test_evaluate_counts_labels_that_are_unknown_and_refuses_others(run: Run, corpus: Path, tmp_path: Path) -> None:
    own = run.evaluate()
    assert own["accuracy"] == 1.0
    assert "caution" not in own
    path = tmp_path / "other.jsonl"  # other columns than the run's
    rows = [{"리뷰": "물이 훌륭하다", "감정": "좋음"}, {"리뷰": "산은 형편없다", "감정": "최악"}]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    found = run.evaluate(path)
    assert found["unknown_labels"] == ["최악"]
    assert found["accuracy"] == 0.5
    path.write_text("".join(json.dumps({**row, "감정": "a"}) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(DataError, match=r"knows none of these labels: a.*it knows 나쁨, 보통, 좋음"):
        run.evaluate(path)
    with pytest.raises(DataError, match="do not have one label"):
        run.evaluate(path, label_separator="a")


def test_evaluate_says_what_it_left_out_and_refuses_pairs(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "일부.tsv"
    path.write_text("text\tlabel\n물이 훌륭하다\t좋음\n\t좋음\n산은 높다\t\n", encoding="utf-8")
    found = run.evaluate(path)
    assert found["texts"] == 1
    said = score_lines(found)
    assert all(f"note: {note}" in said for note in found["notes"])
    assert sum("일부.tsv:" in note for note in found["notes"]) == 2
    path.write_text("sentence1\tsentence2\tlabel\n물\t훌륭하다\t좋음\n", encoding="utf-8")
    with pytest.raises(DataError, match="pairs of texts, where the run was trained on single texts"):
        run.evaluate(path)


def test_validation_labels_that_are_all_unknown_are_refused(corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "다른.tsv"
    path.write_text("text\tlabel\n물\t최악\n산\t최고\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"knows none of these labels: 최고, 최악"):
        trained("classify", corpus, tmp_path / "run", data={"validation": [str(path)]}, objective={"labels": [*LABELS]})


def test_the_report_shows_labels_and_mistakes(run: Run) -> None:
    page = (run.path / "report.html").read_text(encoding="utf-8")
    for words in ("혼동 행렬", "가장 확신한 오답부터", "정확도", "처음 보는 글의 100.0%를 맞힙니다"):
        assert words in page
    assert "퍼플렉시티</dt>" not in page
    assert "nat / 토큰" not in page


def test_previews_show_texts_labels_and_what_the_data_say(run: Run) -> None:
    lines = [json.loads(line) for line in (run.path / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert all(any(word in line["prompt"] for word in LABELS.values()) for line in lines)
    assert "in the data: " in lines[-1]["text"]
    assert lines[-1]["text"].split(" (")[0] == lines[-1]["text"].split(": ")[1]


def test_rows_that_cannot_be_read_are_named(corpus: Path, tmp_path: Path) -> None:
    run = trained("classify", corpus, tmp_path / "run", training={"steps": 1})
    good = {"text": "말길", "id": 7}
    assert run.predict([good])[0].items() >= good.items()
    assert "cut" not in run.predict([good])[0]
    assert run.predict(["물" * 50])[0]["cut"] == 20  # of 32 places two are begin and end
    for row, says in (
        ({"document": "말길"}, "'text' is missing; line 2"),
        ({"text": 3}, "'text' is no text but of type int; line 2"),
        ({"text": "말", "pair": "길"}, "a second text, where the run was trained on single ones; line 2"),
        (5, "a row of type int; line 2"),
    ):
        with pytest.raises(InputError, match=says):
            run.predict([good, row])
    with pytest.raises(InputError, match="one row in place of a list"):
        run.predict("말길")
    with pytest.raises(InputError, match="a batch of 0 lines"):
        list(run.predict_lines(["말길"], 0))
    masked = trained("bert", corpus, tmp_path / "bert", training={"steps": 1})
    with pytest.raises(ConfigError, match=r"does not label texts; .*malgil finetune"):
        masked.predict(["말길"])


@pytest.mark.parametrize("recipe", ["classify", "similarity"])
@pytest.mark.parametrize("step", [1, 7])
def test_a_run_that_was_broken_off_ends_with_the_same_bits(
    recipe: str, step: int, corpus: Path, tmp_path: Path
) -> None:
    trained(recipe, corpus, tmp_path / "whole")
    cut(recipe, corpus, tmp_path / "cut", step)
    resumed(tmp_path / "cut")
    assert bits(tmp_path / "cut") == bits(tmp_path / "whole")


def test_weights_without_a_head_or_with_another_are_refused(corpus: Path, tmp_path: Path) -> None:
    run = trained("classify", corpus, tmp_path / "run", training={"steps": 1})
    text = (run.path / "config.yaml").read_text(encoding="utf-8")
    (run.path / "config.yaml").write_text(text.replace("- 보통\n", ""), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"tensor 'labels.linear.weight' is \(3, 16\)"):
        _ = Run(run.path).assembled
    assert Run(run.path).model.d_model == 16


def test_n_grams_vote_in_a_run_that_goes_on_and_is_loaded(corpus: Path, tmp_path: Path) -> None:
    said = Recorder()
    changed = {"objective": {"n_grams": 4}, "training": {**LEARN, "steps": 20, "evaluate_every": 10}}
    run = trained("classify", corpus, tmp_path / "whole", said, **changed)
    votes = read_yaml(run.path / "config.yaml")["objective"]["n_gram_votes"]
    assert f"n-grams of up to 4 characters vote: {votes:,}" in said.text
    assert run.metrics[-1]["val_accuracy"] > 0.9, "one word tells the label, and it is among the n-grams"
    assert run.metrics[0]["loss"] < 0.7 * math.log(len(LABELS)), "votes know the data as they begin"
    assert "first loss" not in said.text, "and nothing is wrong with that"
    texts = [f"물이 {word} 책" for word in LABELS.values()]
    found = run.predict(texts)
    assert [row["label"] for row in found] == list(LABELS)
    assert Run(run.path, threads=1).predict(texts) == found
    assert run.predict(texts[:1])[0]["probabilities"] == found[0]["probabilities"]
    cut("classify", corpus, tmp_path / "cut", 12, **changed)
    resumed(tmp_path / "cut")
    assert bits(tmp_path / "cut") == bits(tmp_path / "whole")
    # the settings of one run fit other data
    fewer = tmp_path / "fewer.tsv"
    fewer.write_text(reviews(60, seed=5), encoding="utf-8")
    other = malgil.train(config=run.path / "config.yaml", data=fewer, steps=2, out=tmp_path / "other")
    assert other.settings.objective.n_gram_votes not in (0, votes)


def test_several_labels_a_text(corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "several.tsv"
    one = [line.rsplit("\t", 1)[0] for line in reviews(30).splitlines()]
    both = [f"물이 {' '.join(LABELS.values())} {i}\t좋음,나쁨,보통" for i in range(10)]
    none = [f"물이 흐른다 {i}\t" for i in range(10)]
    path.write_text("\n".join([*one, *both, *none]) + "\n", encoding="utf-8")
    said = Recorder()
    data = {"paths": [str(path)], "label_separator": ","}
    run = trained("classify", corpus, tmp_path / "run", said, data=data, training={"steps": 3})
    assert "several labels a text: yes or no for each of 3" in said.text
    assert run.config["objective"]["several_labels"] is True
    assert "val_exact_match" in run.metrics[-1]
    (row,) = run.predict(["물이 훌륭하다"])
    assert set(row["labels"]) == {name for name, p in row["probabilities"].items() if p >= 0.5}
    assert run.evaluate()["exact_match"] == pytest.approx(run.metrics[-1]["val_exact_match"], abs=0.5)
    assert run.evaluate(path)["texts"] == 50  # labels are parted as in the run
    with pytest.raises(DataError, match=r"labels of a text where each has one.*several-labels true"):
        trained("classify", corpus, tmp_path / "one", data=data, objective={"several_labels": False})


@pytest.mark.parametrize("recipe", ["classify", "similarity"])
def test_pairs_are_told_from_single_texts(recipe: str, corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    rows = [f"비가 {i}\t비가 {i if i % 2 else -i}\t{i % 2}\n" for i in range(1, 40)]
    path.write_text("sentence1\tsentence2\tlabel\n" + "".join(rows), encoding="utf-8")
    data = {"paths": [str(path)], "label_field": "label"}
    run = trained(recipe, corpus, tmp_path / "run", data=data, training={"steps": 2})
    assert run.config["objective"]["pairs"] is True
    one, other = run.predict([{"text": "비가 3", "pair": "비가 3"}, {"text": "비가 3", "pair": "눈이 -3 길이"}])
    key = "probabilities" if recipe == "classify" else "score"
    assert one[key] != other[key]
    with pytest.raises(InputError, match="'pair' is missing; line 1"):
        run.predict(["비가 3"])
    single = tmp_path / "single.tsv"
    single.write_text("text\tlabel\n비가 1\t1\n비가 2\t0\n", encoding="utf-8")
    with pytest.raises(DataError, match="single texts, where the run was trained on pairs of texts"):
        run.evaluate(single, label_field="label")
    types = run.model.type_embedding.weight  # type: ignore[union-attr]
    assert not torch.equal(types[0], types[1])


@pytest.mark.parametrize("recipe", ["classify", "similarity"])
def test_a_run_on_some_pairs_is_judged_by_its_own_part(recipe: str, corpus: Path, tmp_path: Path) -> None:
    """Of two files one has pairs, and those for validation have none."""
    rows = "".join(f"비가 {i}\t{i % 2}\n" for i in range(40))
    files = {"pairs": "sentence1\tsentence2\tlabel\n비가 온다\t눈이 온다\t1\n", "single": f"text\tlabel\n{rows}"}
    files["held"] = "text\tlabel\n" + rows.replace("비가", "눈이")
    for name, content in files.items():
        (tmp_path / f"{name}.tsv").write_text(content, encoding="utf-8")
    paths = [str(tmp_path / f"{name}.tsv") for name in files]
    data = {"paths": paths[:2], "validation": paths[2:], "label_field": "label"}
    run = trained(recipe, corpus, tmp_path / "run", data=data, training={"steps": 2})
    assert run.config["objective"]["pairs"] is True
    assert run.evaluate()["texts"] == 40


def test_scores_are_answered_in_their_own_units(corpus: Path, tmp_path: Path) -> None:
    said = Recorder()
    run = trained("similarity", corpus, tmp_path / "run", said)
    objective = run.config["objective"]
    part, _ = open_all_labelled_data(
        DataSettings(paths=[str(corpus.with_name("reviews.tsv"))], label_field="label"), LABELLED
    )
    assert len(part) == 90
    assert -6 < objective["score_mean"] < 6
    assert objective["score_spread"] > 1
    line = run.metrics[-1]
    assert {"val_loss", "val_pearson", "val_spearman"} <= set(line)
    assert run.predict(["말길"])[0]["score"] == pytest.approx(
        objective["score_mean"], abs=2 * objective["score_spread"]
    )
    found = run.evaluate()
    assert found["mse"] == pytest.approx(found["loss"] * objective["score_spread"] ** 2, rel=1e-6)
    assert "점수" in (run.path / "report.html").read_text(encoding="utf-8")


def test_what_is_uneven_and_what_is_cut_is_said(corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "uneven.tsv"
    rows = [f"말길 {i} {'길다 ' * (20 if i == 3 else 1)}\t{'드묾' if i % 9 == 0 else '흔함'}\n" for i in range(90)]
    path.write_text("text\tlabel\n" + "".join(rows), encoding="utf-8")
    said = Recorder()
    data = {"paths": [str(path)]}
    trained("classify", corpus, tmp_path / "run", said, data=data, training={"steps": 1})
    assert "times as frequent as '드묾'" in said.text
    assert "--objective.class-weights balanced" in said.text
    assert "are longer than 32 tokens" in said.text
    balanced = Recorder()
    objective = {"class_weights": "balanced", "label_smoothing": 0.1}
    out = tmp_path / "balanced"
    trained("classify", corpus, out, balanced, data=data, objective=objective, training={"steps": 1})
    assert "times as frequent" not in balanced.text


def test_without_a_limit_epochs_and_a_context_are_chosen(corpus: Path, tmp_path: Path) -> None:
    path, sizes = corpus.with_name("reviews.tsv"), {"n_layers": 1, "d_model": 16}
    run = malgil.train(
        "classify", data=path, out=tmp_path / "run", threads=1, quiet=True, model=sizes, training={"batch_size": 64}
    )
    assert run.config["training"]["epochs"] >= 3
    assert run.config["training"]["seconds"] is None
    assert 16 <= run.config["model"]["max_len"] <= 48
    assert isinstance(ClassifyTask.metric, tuple)


def test_a_label_that_settings_leave_out_is_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="label '보통' is not among those of the model"):
        trained("classify", corpus, tmp_path / "run", objective={"labels": ["좋음", "나쁨"]})
    kept = trained("classify", corpus, tmp_path / "kept", objective={"labels": [*LABELS, "덤"]}, training={"steps": 1})
    assert list(kept.predict(["말길"])[0]["probabilities"]) == [*LABELS, "덤"]
