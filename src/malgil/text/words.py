"""What masking needs of a vocabulary: which tokens may stand in for another, and which make up a word together.

A word is a run of letters, marks and digits without white space in it: in Korean what stands between two spaces, its
particle included. Whether a token continues a word depends on the one before it, too: after a line end or a bracket a
word begins without a space. Every other sign is a word of its own.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from malgil.errors import ConfigError
from malgil.text.tokenizer import Tokenizer

Bools = npt.NDArray[np.bool_]
Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Vocabulary:
    """Tables over the ids of a tokenizer.

    Attributes:
        mask_id: stands for a hidden token.
        ordinary: (n,) the ids that text is made of, neither special nor unknown.
        goes_on: (V,) a token that begins inside a word, if the token before it breaks off inside one.
        breaks_off: (V,) a token after which a word may go on.
    """

    mask_id: int
    ordinary: Int64s
    goes_on: Bools
    breaks_off: Bools

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Vocabulary:
        """
        Raises:
            ConfigError: the tokenizer has no mask.
        """
        if tokenizer.mask_id is None:
            raise ConfigError(
                "the tokenizer has no token for what is hidden", fix="import a masked model, or train a new one"
            )
        pieces = [tokenizer.piece(i) for i in range(tokenizer.vocab_size)]
        texts = ["" if piece is None else piece.decode("utf-8", "surrogateescape") for piece in pieces]
        ordinary = [i for i, piece in enumerate(pieces) if piece is not None and i != tokenizer.unknown_id]
        return cls(
            tokenizer.mask_id,
            np.array(ordinary),
            np.array([_is_of_a_word(text[:1]) for text in texts]),
            np.array([_is_of_a_word(text[-1:]) for text in texts]),
        )

    def begins_word(self, ids: Int64s) -> Bools:
        """(N,): whether each token of a text (N,) begins a word; the first one does.

        >>> tables = Vocabulary(0, np.array([1, 2]), np.array([False, True, False]), np.array([False, True, True]))
        >>> tables.begins_word(np.array([1, 1, 2, 1])).tolist()
        [True, False, True, False]
        """
        begins = np.ones(len(ids), dtype=np.bool_)
        begins[1:] = ~(self.breaks_off[ids[:-1]] & self.goes_on[ids[1:]])
        return begins


def _is_of_a_word(character: str) -> bool:
    """A letter, mark or digit, or a byte of one that was cut."""
    return bool(character) and unicodedata.category(character) in _OF_WORDS


_OF_WORDS = {"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Cs"}
