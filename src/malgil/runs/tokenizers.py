"""Tokenizers by themselves: trained on a person's files, and compared on them."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

from malgil.config import parse
from malgil.data.corpus import Part, open_corpus, open_whole
from malgil.data.settings import DataSettings
from malgil.errors import InputError
from malgil.text.compare import compare_tokenizers, to_text
from malgil.text.settings import TokenizerSettings
from malgil.text.training import train_tokenizer


def train_on(data: list[str], out: Path, settings: dict[str, Any], reading: dict[str, Any]) -> str:
    """Train a tokenizer on all of the data and save it; returns a line about it.

    Args:
        settings: of the `tokenizer` section.
        reading: of the `data` section.

    Raises:
        InputError: `out` exists; the others as in `train_tokenizer` and `open_whole`.
    """
    if out.exists():
        raise InputError(f"{out} exists already", fix="name another file with --out")
    chosen = parse(TokenizerSettings, settings, "tokenizer")
    if chosen.path is not None:
        raise InputError("tokenizer.path names a tokenizer that is there already", fix="leave it out to train one")
    part, notes = open_whole(parse(DataSettings, {"paths": data, **reading}, "data"))
    tokenizer = train_tokenizer(_texts(part), chosen)
    out.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(out)
    return "\n".join(
        [*notes, f"{out}: {tokenizer.kind}, {tokenizer.vocab_size:,} tokens, trained on {part.describe()}"]
    )


def compare_on(data: list[str], vocab_size: Any, reading: dict[str, Any]) -> str:
    """Train every kind on 90 % of each text that is named, measure it on the rest of each; a table.

    Args:
        data: files, folders, globs or `builtin`; each is a sample of its own, named by its last part.
        vocab_size: None = the default of the settings.
    """
    size = {} if vocab_size is None else {"vocab_size": vocab_size}
    settings = parse(TokenizerSettings, size, "tokenizer")
    open_whole(parse(DataSettings, {"paths": data, **reading}, "data"))  # says at once if any cannot be read
    train: list[str] = []
    samples: dict[str, str] = {}
    for name in dict.fromkeys(data):
        corpus = open_corpus(parse(DataSettings, {"paths": [name], **reading}, "data"))
        train += _texts(corpus.train)
        short = Path(name).name
        samples[name if short in samples else short] = "".join(_texts(corpus.validation))
    return to_text(compare_tokenizers(train, samples, vocab_sizes=(settings.vocab_size,)))


def _texts(part: Part) -> chain[str]:
    return chain.from_iterable(part.documents())
