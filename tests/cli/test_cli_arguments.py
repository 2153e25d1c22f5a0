"""Dotted settings on the command line: how they are taken, and how messages spell them."""

from __future__ import annotations

import doctest

import pytest

from malgil.cli import arguments
from malgil.cli.arguments import Given, settings_like, take_settings
from malgil.errors import ConfigError, InputError, NotFoundError


def test_examples() -> None:
    assert doctest.testmod(arguments).failed == 0


@pytest.mark.parametrize(
    "typed, values, rest",
    [
        (["--model.d-model", "5"], {"model.d_model": "5"}, []),
        (["--model.d_model=5"], {"model.d_model": "5"}, []),
        (["--data.text-field=a=b"], {"data.text_field": "a=b"}, []),
        (["--model.tied", "--x"], {"model.tied": True}, ["--x"]),
        (["--model.tied"], {"model.tied": True}, []),
        (["--training.clip", "-1"], {"training.clip": "-1"}, []),
        (["--generation.stop", "가", "--generation.stop", "나"], {"generation.stop": ["가", "나"]}, []),
        (["--generation.stop="], {"generation.stop": ""}, []),
        (["--prompt", "--a.b"], {}, ["--prompt=--a.b"]),
        (["--data", "a.txt", "말.txt"], {}, ["--data", "a.txt", "말.txt"]),
        (["--", "--a.b", "1"], {}, ["--", "--a.b", "1"]),
        ([], {}, []),
    ],
)
def test_settings_are_taken_out(typed: list[str], values: dict[str, object], rest: list[str]) -> None:
    given = Given()
    assert take_settings(typed, given) == rest
    assert given.values == values


def spelled(*typed: str) -> Given:
    given = Given()
    take_settings(list(typed), given)
    return given


@pytest.mark.parametrize(
    "given, error, text",
    [
        (
            spelled("--model.d-modle", "3"),
            NotFoundError("unknown setting 'model.d_modle'", nearest=("model.d_model",)),
            "unknown setting --model.d-modle; did you mean --model.d-model?",
        ),
        (
            spelled("--modle.d-model", "3"),
            NotFoundError("unknown setting 'modle'", nearest=("model",)),
            "unknown setting --modle.d-model; did you mean --model.d-model?",
        ),
        (
            spelled("--training.learning_rate", "-3"),
            InputError("training.learning_rate must be above 0, not -3"),
            "--training.learning_rate must be above 0, not -3",
        ),
        (
            spelled("--model.d-model", "3", "--model.n-heads", "2"),
            ConfigError("model.d_model 3 is not divisible by model.n_heads 2", fix="change model.d_model."),
            "--model.d-model 3 is not divisible by --model.n-heads 2; change --model.d-model.",
        ),
        (
            spelled("--model.d-model"),
            InputError("model.d_model must be an integer, not True"),
            "--model.d-model needs a value",
        ),
        (spelled("--model.d", "3"), InputError("model.d_model must be"), "model.d_model must be"),
        (
            spelled(),
            NotFoundError("unknown setting 'model.x'", fix="did you mean?"),
            "unknown setting 'model.x'; did you mean?",
        ),
    ],
)
def test_messages_say_what_was_typed(given: Given, error: InputError, text: str) -> None:
    assert given.message(error) == text


def test_only_the_sections_a_command_reads() -> None:
    given = spelled("--tokenizer.kind", "char", "--data.skip-bad", "1")
    given.only("data", "tokenizer")
    assert given.section("data") == {"skip_bad": "1"}
    with pytest.raises(InputError, match=r"--tokenizer\.kind is not used"):
        given.only("data")


def test_messages_name_the_short_options_of_a_command() -> None:
    given = spelled("--generation.n-best", "9")
    assert given.options({"generation.beam": ("--beam", None), "generation.max_tokens": ("--max-tokens", 3)}) == {
        "generation.max_tokens": 3
    }
    error = InputError("a beam of 5", "generation.n_best", "raise generation.beam, not generation.beam_size")
    assert given.message(error) == "a beam of 5; --generation.n-best; raise --beam, not generation.beam_size"


def test_options_that_were_meant() -> None:
    sections = {"model": ["d_model"], "training": ["batch_size"], "data": ["workers"]}
    assert settings_like("--batch-size=3", sections) == ["--training.batch-size"]
    assert settings_like("--batchsize", sections) == []
