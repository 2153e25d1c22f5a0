"""The `tokenizer` section of the settings: how text becomes ids."""

from __future__ import annotations

from dataclasses import dataclass

from malgil.config import setting

KINDS = ("char", "byte", "bpe", "wordpiece", "unigram", "word")
NORMALIZATIONS = ("nfc", "none", "nfkc")


@dataclass(frozen=True)
class TokenizerSettings:
    """A tokenizer to train on the training text, or one that was saved before."""

    kind: str = setting(
        "bpe",
        "what a token is: a character, a byte, a frequent run of bytes (bpe), a part of a word (wordpiece, unigram) "
        "or a whole word",
        choices=KINDS,
    )
    vocab_size: int = setting(
        4096, "the most tokens to have, special ones included; char and byte take what they need", low=2, high=1_000_000
    )
    min_frequency: int = setting(
        2, "how often a word, or a pair of parts, must occur in the training text to become a token", low=1
    )
    normalization: str = setting(
        "nfc",
        "Unicode normalization of all text: 'nfc' (Hangul as whole syllables), 'none', "
        "or 'nfkc' (also rewrites ㅋㅋ, ㅠㅠ and ①)",
        choices=NORMALIZATIONS,
    )
    path: str | None = setting(None, "a saved tokenizer.json to use as it is, instead of training one")
    source_kind: str | None = setting(
        None,
        "pairs: the source's tokenizer is one of its own, of this kind; none = one tokenizer for both sides",
        choices=KINDS,
    )
    source_vocab_size: int | None = setting(
        None, "pairs: the most tokens of the source's own tokenizer; none = vocab_size", low=2, high=1_000_000
    )
    source_path: str | None = setting(None, "pairs: a saved tokenizer.json for the source alone")
