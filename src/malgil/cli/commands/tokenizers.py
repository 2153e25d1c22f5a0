"""Commands about tokenizers: train one, compare all kinds."""

from __future__ import annotations

from pathlib import Path

from malgil.cli.app import Int, Paths, given, tokenizer_app


@tokenizer_app.command(name="train")
def tokenizer_train(
    *,
    data: Paths,
    out: Path,
    kind: str | None = None,
    vocab_size: Int = None,
    min_frequency: Int = None,
    normalization: str | None = None,
) -> None:
    """Train a tokenizer on text and save it as one file.

    Parameters
    ----------
    data
        Files, folders, globs, or "builtin".
    out
        The file to write, usually tokenizer.json.
    kind
        char, byte, bpe, wordpiece, unigram or word; by default bpe.
    vocab_size
        How many tokens there may be; by default 4096.
    min_frequency
        How often a word or pair must be seen.
    normalization
        nfc, none or nfkc; by default nfc.
    """
    from malgil.runs.tokenizers import train_on

    options = {
        "tokenizer.kind": ("--kind", kind),
        "tokenizer.vocab_size": ("--vocab-size", vocab_size),
        "tokenizer.min_frequency": ("--min-frequency", min_frequency),
        "tokenizer.normalization": ("--normalization", normalization),
    }
    given.only("data", "tokenizer")
    chosen = given.section("tokenizer") | {
        key.partition(".")[2]: value for key, value in given.options(options).items()
    }
    print(train_on(data, out, chosen, given.section("data")))


@tokenizer_app.command(name="compare")
def tokenizer_compare(*, data: Paths, vocab_size: Int = None) -> None:
    """Every kind of tokenizer, trained and tried on text: tokens a character, unknown rate, round trip, seconds.

    Parameters
    ----------
    data
        Files, folders, globs, or "builtin". Each is a line of its own in the table, so that an English and a
        Korean file stand side by side: 9/10 of all of them train, the rest of each is its sample.
    vocab_size
        How many tokens there may be; by default 4096.
    """
    from malgil.runs.tokenizers import compare_on

    given.only("data")
    chosen = given.options({"tokenizer.vocab_size": ("--vocab-size", vocab_size)})
    print(compare_on(data, chosen.get("tokenizer.vocab_size"), given.section("data")))
