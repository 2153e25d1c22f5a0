"""Tokenizers side by side on the same text, one column a language: what Korean costs where English is cheap."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from malgil.errors import DataError
from malgil.text.settings import KINDS, TokenizerSettings
from malgil.text.tokenizer import Tokenizer
from malgil.text.training import train_tokenizer

_SIZELESS = ("char", "byte")


@dataclass(frozen=True)
class Figures:
    """A tokenizer on one sample.

    Attributes:
        tokens_per_character, tokens_per_byte: of the sample as it was given.
        unknown_rate: the share of tokens that are the unknown token.
        round_trip: 'exact', 'normalized' (exact for the text after the tokenizer's normalization), or 'lossy'.
        encode_mb_per_second: 10^6 bytes of UTF-8 a second.
    """

    tokens_per_character: float
    tokens_per_byte: float
    unknown_rate: float
    round_trip: str
    encode_mb_per_second: float


@dataclass(frozen=True)
class Row:
    """A tokenizer on all samples; `vocab_size` is what it has, which may be less than was asked for."""

    kind: str
    vocab_size: int
    train_seconds: float
    languages: dict[str, Figures]


def compare_tokenizers(
    train_texts: Sequence[str],
    samples: Mapping[str, str],
    kinds: Sequence[str] = KINDS,
    vocab_sizes: Sequence[int] = (4096,),
    min_frequency: int = 2,
    normalization: str = "nfc",
) -> list[Row]:
    """Trains every kind with every vocabulary size (char and byte once) and measures it on the samples.

    Args:
        train_texts: read once a tokenizer.
        samples: a text for each language, better not part of the training texts.

    Raises:
        InputError, DataError: as `train_tokenizer`; DataError also for an empty sample.
    """
    for language, sample in samples.items():
        if not sample:
            raise DataError("an empty sample", language, "give a text for each language")
    rows = []
    for kind in kinds:
        for size in vocab_sizes[:1] if kind in _SIZELESS else vocab_sizes:
            settings = TokenizerSettings(
                kind=kind, vocab_size=size, min_frequency=min_frequency, normalization=normalization
            )
            start = time.perf_counter()
            tokenizer = train_tokenizer(train_texts, settings)
            seconds = time.perf_counter() - start
            languages = {language: measure(tokenizer, sample) for language, sample in samples.items()}
            rows.append(Row(kind, tokenizer.vocab_size, seconds, languages))
    return rows


def measure(tokenizer: Tokenizer, sample: str) -> Figures:
    """The figures of one tokenizer, also an imported one, on a text that is not empty."""
    start = time.perf_counter()
    ids = tokenizer.encode(sample)
    seconds = time.perf_counter() - start
    decoded = tokenizer.decode(ids)
    n_bytes = len(sample.encode("utf-8", "replace"))
    unknown = 0 if tokenizer.unknown_id is None else ids.count(tokenizer.unknown_id)
    exact = "exact" if decoded == sample else "normalized" if decoded == tokenizer.normalize(sample) else "lossy"
    return Figures(
        tokens_per_character=len(ids) / len(sample),
        tokens_per_byte=len(ids) / n_bytes,
        unknown_rate=unknown / max(1, len(ids)),
        round_trip=exact,
        encode_mb_per_second=n_bytes / 1e6 / max(seconds, 1e-9),
    )


def to_text(rows: Sequence[Row]) -> str:
    """The comparison as a table for a terminal: one line a tokenizer and language."""
    head = ("kind", "vocab", "train s", "text", "tokens/char", "tokens/byte", "unknown", "round trip", "encode MB/s")
    table = [head]
    for row in rows:
        left = (row.kind, f"{row.vocab_size:,}", f"{row.train_seconds:.2f}")
        for language, f in row.languages.items():
            table.append(
                (
                    *left,
                    language,
                    f"{f.tokens_per_character:.3f}",
                    f"{f.tokens_per_byte:.3f}",
                    f"{f.unknown_rate:.2%}",
                    f.round_trip,
                    f"{f.encode_mb_per_second:.1f}",
                )
            )
            left = ("", "", "")
    widths = [max(map(_width, column)) for column in zip(*table, strict=True)]
    words = {0, 3, 7}  # columns set to the left; numbers are set to the right
    return "\n".join(
        "  ".join(
            _set(cell, width, i in words) for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in table
    )


def _width(cell: str) -> int:
    """Columns on a terminal: Hangul and Han take two, combining characters none."""
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in cell)


def _set(cell: str, width: int, left: bool) -> str:
    space = " " * (width - _width(cell))
    return cell + space if left else space + cell
