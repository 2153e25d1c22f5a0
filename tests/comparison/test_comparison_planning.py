"""What is decided before the first step: the kind, and that everything which must be alike is."""

from __future__ import annotations

from pathlib import Path

import pytest
from comparison_cases import TINY

from malgil.comparison.folder import ComparisonFolder
from malgil.comparison.planning import decide, make_plan
from malgil.comparison.request import Request
from malgil.comparison.widths import TOLERANCE
from malgil.config import AUTO, Tree, flat, merge
from malgil.errors import ConfigError, NotFoundError
from malgil.runs.fit import LABELLED_RATES
from malgil.runs.recipe import compared_recipes, settings_of
from malgil.text.tokenizer import Tokenizer

OPEN: Tree = merge(TINY, {"model": {"max_len": AUTO, "d_model": AUTO}})  # what recipes choose themselves


def asked(data: Path, settings: Tree = TINY, **changed: object) -> Request:
    return Request(**{"tokens": 2000, "settings": merge(settings, {"data": {"paths": [str(data)]}}), **changed})


def quiet(text: str) -> None:
    pass


@pytest.mark.parametrize("suffix, kind", [(".txt", "text"), (".tsv", "pairs"), (".csv", "labels")])
def test_the_kind_is_seen_from_the_data(corpus: Path, suffix: str, kind: str) -> None:
    found = decide(asked(corpus.with_suffix(suffix)))
    assert found.compared.kind == kind
    assert list(found.recipes) == compared_recipes(found.objective)
    assert len(found.recipes) >= 4


def test_the_kind_is_seen_from_the_recipes_or_said(corpus: Path) -> None:
    assert decide(asked(corpus, recipes=("transformer", "seq2seq"))).compared.kind == "pairs"
    assert decide(asked(corpus.with_suffix(".tsv"), kind="text")).compared.kind == "text"


@pytest.mark.parametrize(
    "changed, error, said",
    [
        ({"recipes": ("lstm", "transformer")}, ConfigError, "learn different things"),
        ({"recipes": ("bert", "roberta")}, ConfigError, "of no kind that is compared"),
        ({"recipes": ("lstm",)}, ConfigError, "two recipes at least"),
        ({"recipes": ("lstn", "gpt")}, NotFoundError, "did you mean lstm"),
        ({"kind": "그림"}, NotFoundError, "unknown kind of comparison '그림'"),
        ({"kind": "pairs", "recipes": ("gpt", "gru")}, ConfigError, "the recipes are of text, not of pairs"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    corpus: Path, changed: dict[str, object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        decide(asked(corpus, **changed))


def test_the_usual_recipes_are_those_that_say_so() -> None:
    assert compared_recipes("causal_lm") == ["rnn", "gru", "lstm", "gpt2", "gpt"]
    assert compared_recipes("classification") == [
        *(
            "classify-ngrams",
            "classify-birnn",
            "classify",
            "classify-albert",
            "classify-modernbert",
            "classify-pretrained",
        ),
    ]
    assert compared_recipes("seq2seq") == ["seq2seq", "seq2seq-luong", "seq2seq-bahdanau", "transformer"]


@pytest.mark.parametrize(
    "suffix, recipes",
    [(".txt", ("lstm", "gpt")), (".tsv", ("seq2seq-luong", "transformer")), (".csv", ("classify-birnn", "classify"))],
)
def test_what_must_be_alike_is(tmp_path: Path, corpus: Path, suffix: str, recipes: tuple[str, ...]) -> None:
    folder = ComparisonFolder(tmp_path / "비교")
    plan = make_plan(asked(corpus.with_suffix(suffix), OPEN, recipes=recipes), folder, quiet)
    trees = [flat(plan["recipes"][name]["settings"]) for name in recipes]
    alike = [key for key in trees[0] if key.partition(".")[0] in ("data", "tokenizer")]
    alike += [f"training.{key}" for key in ("tokens", "seconds", "keep", "patience", "accumulate", "seed", "precision")]
    alike.append("training.evaluation_share")
    alike += list(plan["once"])
    for key in alike:
        assert trees[0].get(key) == trees[1].get(key), key
    assert trees[0]["training.keep"] == "last"
    assert trees[0]["training.patience"] is None
    assert AUTO not in plan["once"].values()
    assert trees[0]["tokenizer.path"] == str(folder.tokenizer)
    assert Tokenizer.load(folder.tokenizer).vocab_size == plan["data"]["vocab_size"]
    rhythm = ("evaluate_every", "checkpoint_every", "log_every", "sample_every", "compile", "warmup")
    still = [key for tree in trees for key, value in tree.items() if value == AUTO]
    assert {key.partition(".")[2] for key in still} <= set(rhythm)


def test_rates_that_follow_from_a_pretraining_stay_open(tmp_path: Path, corpus: Path) -> None:
    settings = merge(TINY, {"training": {"learning_rate": AUTO, "muon_learning_rate": AUTO}})
    request = asked(corpus.with_suffix(".csv"), settings, recipes=("classify", "classify-pretrained"))
    plan = make_plan(request, ComparisonFolder(tmp_path / "c"), quiet)
    found = {name: one["settings"]["training"]["learning_rate"] for name, one in plan["recipes"].items()}
    assert found == {"classify": LABELLED_RATES["learning_rate"], "classify-pretrained": AUTO}


def test_a_recipes_own_batch_and_limit_give_way(tmp_path: Path, corpus: Path) -> None:
    """nanogpt-char names a batch, a context, steps and a draw of windows; only the last is its own here."""
    settings = {"training": {"precision": "fp32", "threads": 1}, "tokenizer": {"kind": "char"}}
    request = asked(corpus, settings, recipes=("gpt", "nanogpt-char"))
    plan = make_plan(request, ComparisonFolder(tmp_path / "c"), quiet)
    ours, theirs = (plan["recipes"][name]["settings"] for name in ("gpt", "nanogpt-char"))
    for section, key in (
        ("training", "batch_size"),
        ("model", "max_len"),
        ("training", "steps"),
        ("training", "tokens"),
    ):
        assert ours[section][key] == theirs[section][key]
    assert theirs["training"]["steps"] is None
    assert theirs["data"]["sampling"] == "random"


@pytest.mark.parametrize("parameters, wanted", [(0, None), (60_000, 60_000)])
def test_equal_parameters(tmp_path: Path, corpus: Path, parameters: int, wanted: int | None) -> None:
    recipes = ("rnn", "lstm", "gpt2", "gpt")
    settings = merge(OPEN, {"training": {"batch_size": 2}})
    plan = make_plan(
        asked(corpus, settings, recipes=recipes, parameters=parameters), ComparisonFolder(tmp_path / "c"), quiet
    )
    goal = plan["parameters"]
    assert wanted is None or goal == wanted
    assert all(abs(plan["recipes"][name]["parameters"] / goal - 1) <= TOLERANCE for name in recipes)


def test_without_equal_parameters_each_is_its_recipes(tmp_path: Path, corpus: Path) -> None:
    plan = make_plan(asked(corpus, OPEN, recipes=("rnn", "lstm")), ComparisonFolder(tmp_path / "c"), quiet)
    assert plan["parameters"] is None
    rnn, lstm = (plan["recipes"][name] for name in ("rnn", "lstm"))
    assert lstm["parameters"] > rnn["parameters"]
    assert rnn["settings"]["model"]["cell"] == "rnn"
    rest = {k: v for k, v in rnn["settings"].items() if k != "training"}
    assert settings_of({"recipe": "rnn", **rest}).family == rnn["family"]


def test_a_plan_that_goes_on_stays_as_it_was(tmp_path: Path, corpus: Path) -> None:
    folder = ComparisonFolder(tmp_path / "c")
    first = make_plan(asked(corpus, OPEN, recipes=("rnn", "lstm")), folder, quiet)
    folder.write_plan(first)
    more = make_plan(asked(corpus, OPEN, recipes=("rnn", "lstm", "gpt"), seeds=2), folder, quiet)
    assert {name: more["recipes"][name] for name in ("rnn", "lstm")} == first["recipes"]
    assert {key: more[key] for key in ("once", "machine", "started", "language")} == {
        key: first[key] for key in ("once", "machine", "started", "language")
    }
    assert more["recipes"]["gpt"]["settings"]["model"]["max_len"] == first["once"]["model.max_len"]


def test_the_language_is_that_of_the_text(tmp_path: Path, corpus: Path) -> None:
    request = asked(corpus, recipes=("rnn", "gru"))
    assert make_plan(request, ComparisonFolder(tmp_path / "a"), quiet)["language"] == "ko"
    english = asked(corpus, recipes=("rnn", "gru"), language="en")
    assert make_plan(english, ComparisonFolder(tmp_path / "b"), quiet)["language"] == "en"


def test_data_that_is_missing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        make_plan(asked(tmp_path / "없음.txt", recipes=("rnn", "gru")), ComparisonFolder(tmp_path / "c"), quiet)
    assert not (tmp_path / "c").exists()
