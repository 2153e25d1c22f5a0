"""What a run says of texts: its attention pages show what it translates, and a text is a text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import malgil
from malgil.errors import ConfigError, InputError

TINY: dict[str, Any] = {
    "model": {"n_layers": 1, "n_heads": 2, "d_model": 12, "max_len": 40},
    "tokenizer": {"kind": "char"},
    "steps": 2,
    "device": "cpu",
    "threads": 1,
    "quiet": True,
}
SOURCE = "말길 산은"


@pytest.fixture(scope="module")
def translator(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> malgil.Run:
    """Its beam is wide enough to find that no text at all is likelier than any that the likeliest tokens lead to."""
    return malgil.train(
        "transformer",
        data=corpus.with_suffix(".tsv"),
        out=tmp_path_factory.mktemp("pairs") / "run",
        training={"batch_tokens": 200, "precision": "fp32"},
        generation={"beam": 12, "max_tokens": 9, "length_penalty": 0.0},
        **TINY,
    )


@pytest.fixture(scope="module")
def language(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> malgil.Run:
    return malgil.train(
        "gpt2",
        data=corpus,
        out=tmp_path_factory.mktemp("text") / "run",
        training={"batch_size": 2, "precision": "fp32"},
        **TINY,
    )


def test_attention_shows_the_translation_that_translate_gives(translator: malgil.Run) -> None:
    made = translator.translate(SOURCE)
    assert made != translator.translate(SOURCE, beam=1)
    view = translator.view_attention(SOURCE)
    assert view.title == f"{SOURCE} → {made}"
    assert len(view.group("cross").rows) == len(translator.tokenizer.encode(made)) + 1


def test_only_models_that_translate_have_a_target(language: malgil.Run, translator: malgil.Run) -> None:
    with pytest.raises(ConfigError, match=r"a gpt2 model reads one text.*leave the target out"):
        language.view_attention("말길", "the way")
    assert translator.view_attention(SOURCE, "the river").title == f"{SOURCE} → the river"


def test_a_page_is_a_file_and_no_folder(language: malgil.Run, tmp_path: Path) -> None:
    page = tmp_path / "눈.html"
    for paths in ({"out": tmp_path}, {"out": page, "png": tmp_path}):
        with pytest.raises(InputError, match=r"a folder stands where a file.*name a file in it") as caught:
            language.write_attention("말길", **paths)
        assert caught.value.where == str(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", [5, ["말길"], None, "말길".encode()])
def test_what_is_no_text(translator: malgil.Run, language: malgil.Run, wrong: Any) -> None:
    calls = [
        lambda: translator.translate(wrong),
        lambda: translator.translations(["말길", wrong]),
        lambda: list(translator.translate_lines(["말길", wrong])),
        lambda: translator.attention(wrong),
        lambda: language.generate(wrong),
        lambda: language.stream(wrong),
    ]
    if wrong is not None:  # which asks for the model's own
        calls.append(lambda: translator.attention("말길", wrong))
    for call in calls:
        with pytest.raises(InputError, match=f"a text must be a str, not of type {type(wrong).__name__}"):
            call()


@pytest.mark.parametrize("wrong", ["말 길", 5, None])
def test_a_single_text_is_no_list_of_texts(translator: malgil.Run, language: malgil.Run, wrong: Any) -> None:
    for call in (
        lambda: translator.translations(wrong),
        lambda: list(translator.translate_lines(wrong)),
        lambda: language.complete(wrong),
    ):
        with pytest.raises(InputError, match=r"texts must be a list.*write \[text\] for one"):
            call()


@pytest.mark.parametrize("batch", ["2", 0, -1, 1.5, True, None])
def test_a_batch_is_a_number_of_lines(translator: malgil.Run, batch: Any) -> None:
    with pytest.raises(InputError, match=r"a batch of .* lines.*take an integer, 1 or more"):
        list(translator.translate_lines(["말길"], batch=batch))


def test_texts_may_come_from_anywhere(translator: malgil.Run) -> None:
    texts = ["말길", "산은 높다"]
    assert translator.translations(iter(texts)) == translator.translations(tuple(texts))
