"""What a run's model looks at: which of the views of `explain` is its kind's, and the files that show it."""

from __future__ import annotations

from pathlib import Path

from malgil.errors import ConfigError, InputError
from malgil.explain.view import view_encoder, view_language, view_translation
from malgil.models.base import CausalLM, Encoder, EncoderDecoder, Model
from malgil.report.attention_page import AttentionView, attention_page
from malgil.report.attention_picture import attention_picture
from malgil.report.words import language_of
from malgil.runs.recipe import Settings
from malgil.runs.task import Tokenizers
from malgil.runtime.files import atomic_write


def view_text(
    model: Model, settings: Settings, tokenizers: Tokenizers, text: str, target: str | None, pair: str | None
) -> AttentionView:
    """Who attends to whom as a run's model reads a text, two texts, or translates one.

    Args:
        target: the translation to read instead of the model's own.
        pair: a second text that an encoder reads with the first.

    Raises:
        ConfigError: the model has no attention, or reads no target or no second text.
        InputError: an empty text.
    """
    kind = f"a {settings.family} model"
    if pair is not None and not isinstance(model, Encoder):
        raise ConfigError(f"{kind} does not read two texts at once", "", "leave the second one out")
    if target is not None and not isinstance(model, EncoderDecoder):
        raise ConfigError(f"{kind} reads one text, and has no target", "", "leave the target out")
    if isinstance(model, EncoderDecoder):
        return view_translation(model, tokenizers.reading, tokenizers.target, text, target, settings.generation)
    if isinstance(model, Encoder):
        return view_encoder(model, tokenizers.target, text, pair)
    assert isinstance(model, CausalLM)
    return view_language(model, tokenizers.target, text)


def check_files(out: Path | str, png: Path | str | None) -> None:
    """Refuse files that could not be written, before anything is computed.

    Raises:
        InputError: a file in a folder that does not exist, or a folder in place of a file.
    """
    for path in (out, png):
        if path is not None and not Path(path).parent.is_dir():
            raise InputError("no such folder", str(Path(path).parent), "make it first, or name another file")
        if path is not None and Path(path).is_dir():
            raise InputError("a folder stands where a file is to be written", str(path), "name a file in it")


def write_view(view: AttentionView, text: str, out: Path | str, png: Path | str | None) -> str:
    """Write the page of a view, in the language of its text, and a picture; returns what was written, in words."""
    atomic_write(Path(out), attention_page(view, language_of(text)))
    if png is not None:
        attention_picture(view, Path(png))
    return f"{out}: {view.describe()}" + (f"\n{png}" if png is not None else "")
