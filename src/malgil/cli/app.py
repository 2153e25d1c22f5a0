"""The program: its commands register here, and its arguments are read here."""

from __future__ import annotations

import json as json_module
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import App, Group, Parameter, Token

from malgil.cli.arguments import Given
from malgil.version import __version__

_EXAMPLES = """\
First:   malgil train --data builtin --time 1m
Then:    malgil generate --prompt "The"
Your own text:   malgil train gpt --data my.txt --time 10m
Every setting:   malgil recipes gpt"""

app = App(
    name="malgil",
    version=__version__,
    help="Language models from the RNN to GPT and the Transformer, on your own text.",
    help_epilogue=_EXAMPLES,
    help_format="plaintext",
    default_parameter=Parameter(negative=(), show_default=False, json_list=False),
    suppress_keyboard_interrupt=False,
)
app["--help"].group = app["--version"].group = Group("Help")
tokenizer_app = App(name="tokenizer", help="Train a tokenizer, or compare all kinds on your text.", sort_key=8)
cache_app = App(name="cache", help="The cache of tokenised text.", sort_key=11)
app.command(tokenizer_app)
app.command(cache_app)


def _as_typed(kind: Any, tokens: Sequence[Token]) -> Any:
    """The text itself: numbers are read where every setting is, which takes 1.5 for no integer."""
    return tokens[0].value


Paths = Annotated[list[str], Parameter(consume_multiple=True)]
Int = Annotated[int | None, Parameter(converter=_as_typed)]
Float = Annotated[float | None, Parameter(converter=_as_typed)]
Json = Annotated[bool, Parameter(name="--json")]
#: the `--section.name VALUE` arguments of this call, taken out before the rest is parsed
given = Given()


def place(device: str | None, threads: int | None) -> dict[str, tuple[str, Any]]:
    """The short options that say where a run computes, by the names of their settings."""
    return {"training.device": ("--device", device), "training.threads": ("--threads", threads)}


def machine(device: str | None, threads: int | None) -> dict[str, Any]:
    """Where a run is loaded."""
    chosen = given.options(place(device, threads))
    return {name.partition(".")[2]: value for name, value in chosen.items()}


def files(
    data: list[str],
    source: list[str],
    target: list[str],
    validation_source: list[str],
    validation_target: list[str],
) -> dict[str, tuple[str, Any]]:
    """The short options that name data, by the names of their settings."""
    return {
        "data.paths": ("--data", data or None),
        "data.source": ("--source", source or None),
        "data.target": ("--target", target or None),
        "data.validation_source": ("--validation-source", validation_source or None),
        "data.validation_target": ("--validation-target", validation_target or None),
    }


def as_json(value: Any) -> str:
    return json_module.dumps(value, ensure_ascii=False)
