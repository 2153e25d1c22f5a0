"""How well a language model predicts a text, from one sum of losses.

Loss and perplexity are per token, so they compare only models with one tokenizer. Bits per byte
divide by the bytes of the original text and compare models across tokenizers, as long as every
byte was really predicted: an unknown token stands for text that nobody had to guess.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from malgil.errors import InputError
from malgil.runtime.numbers import finite


def perplexity(loss: float) -> float:
    """exp(loss), `loss` being the mean negative log-likelihood in nats per token.

    A model of perplexity k is as unsure as one that chooses evenly among k tokens. Infinite where
    the exponential leaves the range of a float.
    """
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def bits_per_byte(nll_sum_nats: float, n_bytes: int) -> float:
    """(sum of -ln p) / (ln 2 x bytes): the bits an ideal coder driven by the model spends on a byte of text.

    Args:
        nll_sum_nats: negative log-likelihood summed over all tokens of the text, in nats.
        n_bytes: length of the original text in UTF-8.

    Raises:
        InputError: the text has no bytes.
    """
    if n_bytes <= 0:
        raise InputError(f"bits per byte of {n_bytes} bytes", "", "score a text that is not empty")
    return nll_sum_nats / (math.log(2) * n_bytes)


@dataclass(frozen=True)
class LanguageScore:
    """The score of a model on one text; `LanguageScore.from_sums` makes it.

    Attributes:
        loss: nats per token.
        perplexity: exp(loss).
        bits_per_byte: None where it would not be comparable; `not_comparable` says why.
        tokens: tokens that were scored.
        bytes: bytes of the original text that these tokens stand for.
        unknown: how many of the tokens are the tokenizer's unknown one.
    """

    loss: float
    perplexity: float
    bits_per_byte: float | None
    tokens: int
    bytes: int
    unknown: int = 0

    @classmethod
    def from_sums(cls, nll_sum_nats: float, tokens: int, n_bytes: int, unknown: int = 0) -> LanguageScore:
        """From the summed negative log-likelihood (nats) of `tokens` tokens which stand for `n_bytes` bytes.

        Raises:
            InputError: no token was scored.
        """
        if tokens <= 0:
            raise InputError(f"the loss of {tokens} tokens", "", "score at least one token")
        loss = nll_sum_nats / tokens
        comparable = unknown == 0 and n_bytes > 0
        bits = bits_per_byte(nll_sum_nats, n_bytes) if comparable else None
        return cls(loss, perplexity(loss), bits, tokens, n_bytes, unknown)

    @property
    def not_comparable(self) -> str | None:
        """Why bits per byte mean nothing here, or None when they do."""
        if self.unknown:
            share = 100 * self.unknown / self.tokens
            return f"not comparable: {self.unknown} of {self.tokens} tokens ({share:.3g} %) are unknown"
        return "not comparable: the text has no bytes" if self.bits_per_byte is None else None

    def to_dict(self) -> dict[str, Any]:
        """For JSON: numbers that are not finite are None; `not_comparable` is there when it says something."""
        result = finite(asdict(self))
        reason = self.not_comparable
        return {**result, "not_comparable": reason} if reason else result
