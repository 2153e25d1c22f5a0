"""How recipes fit themselves: every `auto` becomes a number, by rules that grow with the budget."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from malgil.config import AUTO, flat
from malgil.errors import ConfigError
from malgil.models import FAMILIES
from malgil.runs import fit
from malgil.runs.prepare import block_parameters
from malgil.runs.recipe import compose, recipe_names, settings_of

LABELLED = ("classification", "regression", "tagging", "answering", "contrastive")
CORE = 1.6e11  # FLOP/s of one core with bf16 instructions


def fitted(recipe: str, *, rate: float = CORE, n_tokens: int = 1_000_000, vocab: int = 67, **training: Any) -> Any:
    tree = copy.deepcopy(compose(recipe, [], {"training": training, "tokenizer": {"kind": "char"}}))
    fit.fit_budget(tree, "cpu")
    fit.fit_tokenizer(tree, n_tokens)
    measured: Any = {"rate": lambda: rate, "count": lambda model: block_parameters(model, (vocab, None))}
    if tree["objective"]["name"] == "seq2seq":
        fit.fit_pairs(tree, n_tokens=n_tokens, device="cpu", **measured)
    elif tree["objective"]["name"] in LABELLED:
        tree["model"]["max_len"] = 64  # follows from the texts
        tree["objective"] = {k: v for k, v in tree["objective"].items() if v != AUTO}  # as these do
        fit.fit_labels(tree, n_tokens=n_tokens, n_records=n_tokens // 40, device="cpu", **measured)
    else:
        fit.fit_model(tree, n_tokens=n_tokens, vocab_size=vocab, device="cpu", **measured)
    fit.fit_rhythm(tree, 1000)
    return tree


@pytest.mark.parametrize("recipe", recipe_names())
def test_nothing_stays_open(recipe: str) -> None:
    tree = fitted(recipe, seconds=60.0)
    open_ = [k for k, v in flat(tree).items() if v == AUTO and k not in ("training.precision", "training.device")]
    assert [k for k in open_ if k != "training.compile"] == []
    settings = settings_of(tree)
    assert settings.family in FAMILIES
    assert fit.rhythm_is_set(tree)


def blocks(tree: Any) -> int:
    return block_parameters(tree["model"], (67, None))


@pytest.mark.parametrize("recipe", ["gpt", "gpt2", "lstm", "rnn", "seq2seq", "transformer"])
def test_more_time_or_a_faster_machine_gives_a_larger_model(recipe: str) -> None:
    sizes = [blocks(fitted(recipe, seconds=s)) for s in (6.0, 120.0, 3600.0, 86400.0)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[1] < sizes[-1]
    assert blocks(fitted(recipe, seconds=60.0, rate=100 * CORE)) > blocks(fitted(recipe, seconds=60.0))


def test_the_sizes_that_were_measured_come_out() -> None:
    """docs/results.md: a sixth of a minute wants about 0.35 M parameters, two minutes 0.75 M."""
    short, long = fitted("gpt", seconds=16.7), fitted("gpt", seconds=117.0)
    assert 250_000 < blocks(short) < 600_000
    assert (long["model"]["n_layers"], long["model"]["d_model"], long["model"]["max_len"]) == (4, 128, 64)
    assert 700_000 < blocks(long) < 800_000
    assert 10 <= short["training"]["batch_size"] < long["training"]["batch_size"] <= 24
    assert 0.025 < long["training"]["muon_learning_rate"] < short["training"]["muon_learning_rate"] < 0.05
    assert 0.95 <= short["training"]["beta2"] < long["training"]["beta2"] <= 0.99


@pytest.mark.parametrize(("epochs", "dropout"), [(3, 0.0), (10, 0.1), (20, 0.2)])
@pytest.mark.parametrize("size", [{}, {"d_model": 48}, {"d_model": 48, "n_layers": 1, "n_heads": 4, "d_ff": 96}])
@pytest.mark.parametrize("recipe", ["seq2seq-bahdanau", "transformer"])
def test_dropout_follows_from_how_often_the_text_is_read(
    recipe: str, size: dict[str, int], epochs: int, dropout: float
) -> None:
    """Also where the size was named."""
    size = {key: value for key, value in size.items() if recipe == "transformer" or not key.startswith(("n_", "d_ff"))}
    tree = compose(recipe, [], {"model": size, "training": {"epochs": float(epochs)}})
    said = fit.fit_pairs(
        tree,
        n_tokens=10**6,
        device="cpu",
        rate=lambda: CORE,
        count=lambda m: block_parameters(m, (67, None)),
    )
    assert tree["model"]["dropout"] == dropout
    assert f"dropout {dropout}" in said[0]


def test_what_is_named_stays() -> None:
    tree = compose(
        "gpt", [], {"model": {"d_model": 72, "n_heads": 3, "d_ff": 100}, "training": {"batch_size": 7, "seconds": 60.0}}
    )
    tree["tokenizer"]["kind"] = "char"
    fit.fit_model(
        tree,
        n_tokens=10**6,
        vocab_size=67,
        device="cpu",
        rate=lambda: CORE,
        count=lambda m: block_parameters(m, (67, None)),
    )
    assert (tree["model"]["d_model"], tree["model"]["n_heads"], tree["model"]["d_ff"]) == (72, 3, 100)
    assert tree["training"]["batch_size"] == 7
    assert isinstance(tree["model"]["n_layers"], int)


def test_a_run_limited_by_steps_times_nothing() -> None:
    def refuse() -> float:
        raise AssertionError("the machine was timed")

    tree = compose("gpt", [], {"training": {"steps": 300}})
    tree["tokenizer"]["kind"] = "char"
    fit.fit_model(
        tree, n_tokens=10**6, vocab_size=67, device="cpu", rate=refuse, count=lambda m: block_parameters(m, (67, None))
    )
    assert tree["training"]["batch_size"] >= 8


def test_a_little_text_is_read_by_characters_and_gets_a_short_context() -> None:
    tree = compose("gpt", [], {})
    assert fit.fit_tokenizer(tree, 50_000) == ["tokenizer: char"]
    big = compose("gpt", [], {})
    fit.fit_tokenizer(big, 50_000_000)
    assert (big["tokenizer"]["kind"], big["tokenizer"]["vocab_size"]) == ("bpe", 32768)
    assert fitted("gpt", seconds=60.0, n_tokens=1500)["model"]["max_len"] == 16


def test_auto_where_nothing_chooses_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"nothing chooses training\.weight_decay"):
        compose("gpt", [], {"training": {"weight_decay": AUTO}})


def test_without_a_limit_a_time_is_chosen_and_said() -> None:
    tree = compose("gpt", [], {})
    assert fit.fit_budget(tree, "cpu") == ["no limit given: training for 120 s"]
    assert fit.fit_budget(compose("gpt", [], {"training": {"steps": 5}}), "cpu") == []


def test_labelled_texts_get_pieces_epochs_and_rates_of_their_own() -> None:
    tree: Any = {"training": {}, "tokenizer": {"kind": AUTO, "vocab_size": AUTO}}
    assert fit.fit_pieces(tree, 3_000) == ["tokenizer: wordpiece", "vocabulary: 4,096"]
    tree["tokenizer"]["vocab_size"] = AUTO
    fit.fit_pieces(tree, 15_000_000)
    assert tree["tokenizer"]["vocab_size"] == 32_768
    for few, chosen in ((1_000, 10.0), (200_000, 3.0)):
        tree = {"training": {}}
        assert fit.fit_epochs(tree, few) == [f"no limit given: {chosen:.0f} epochs"]
        assert tree["training"]["epochs"] == chosen
    tuned: Any = {"training": {"start": "runs/bert"}}
    fit.fit_epochs(tuned, 1_000)
    assert tuned["training"]["epochs"] == 3.0
    limited: Any = {"training": {"seconds": 9.0}}
    assert fit.fit_epochs(limited, 1_000) == []
    assert limited == {"training": {"seconds": 9.0}}


@pytest.mark.parametrize(("n_records", "rows"), [(10, 1), (200, 10), (10_000, 32)])
def test_an_epoch_of_few_texts_has_steps_too(n_records: int, rows: int) -> None:
    tree = compose("classify", [], {"training": {"epochs": 2}, "model": {"max_len": 16}})
    measured: Any = {"rate": lambda: CORE, "count": lambda model: block_parameters(model, (67, None))}
    fit.fit_labels(tree, n_tokens=12 * n_records, n_records=n_records, device="cpu", **measured)
    assert tree["training"]["batch_size"] == rows
    shared = compose("classify", [], {"training": {"epochs": 2}, "model": {"max_len": 16}})
    fit.fit_labels(shared, n_tokens=12 * n_records, n_records=n_records, device="cpu", world=3, **measured)
    assert shared["training"]["batch_size"] % 3 == 0
