"""Where sentences end in a text of tokens.

    그가 말했다. "산은 높다." 물은 3.14 배\n끝
               |             |            |  |      behind a full stop and what closes with it, if white space follows;
                                                    at a line end; at the end of the text

No rule of a language's grammar is known here: "Dr. Kim" is cut in two, and so is nothing but marks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from malgil.text.tokenizer import Tokenizer

Bools = npt.NDArray[np.bool_]
#: signs that end a sentence where white space follows, and those that need none
STOPS, WIDE_STOPS = (".", "!", "?", "…"), ("。", "！", "？")
#: signs that may stand between the stop and the white space
CLOSING = "\"'”’)]}»」』）》〉"


@dataclass(frozen=True)
class SentenceEnds:
    """Tables over the ids of a tokenizer.

    Attributes:
        stop: (V,) a token that ends with a stop, with closing signs behind it or without.
        closing: (V,) a token of nothing but closing signs.
        spaced: (V,) a token that begins with white space.
        certain: (V,) a token that ends with a line end or a wide stop, whatever follows.
        blank: (V,) a token of line ends alone, which belongs to the sentence before it.
    """

    stop: Bools
    closing: Bools
    spaced: Bools
    certain: Bools
    blank: Bools

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> SentenceEnds:
        pieces = [tokenizer.piece(i) for i in range(tokenizer.vocab_size)]
        texts = ["" if piece is None else piece.decode("utf-8", "surrogateescape") for piece in pieces]
        ends = [text.rstrip(CLOSING) for text in texts]
        return cls(
            np.array([end.endswith(STOPS) for end in ends]),
            np.array([text != "" and end == "" for text, end in zip(texts, ends, strict=True)]),
            np.array([text[:1].isspace() for text in texts]),
            np.array([text.endswith(("\n", *WIDE_STOPS)) for text in texts]),
            np.array(["\n" in text and not text.strip() for text in texts]),
        )

    def behind(self, ids: npt.NDArray[np.integer]) -> Bools:
        """(N,): whether a sentence ends behind each token of a text (N,); behind the last one it does.

        >>> stop, closing, spaced = np.eye(4, dtype=bool)[1:]
        >>> ends = SentenceEnds(stop, closing, spaced, certain=np.zeros(4, dtype=bool), blank=np.zeros(4, dtype=bool))
        >>> ends.behind(np.array([0, 1, 2, 3, 1, 0])).tolist()
        [False, False, True, False, False, True]
        """
        stop, closing = self.stop[ids], self.closing[ids]
        for _ in range(2):  # a quotation mark and a bracket
            stop[1:] |= closing[1:] & stop[:-1]
        behind: Bools = self.certain[ids]
        behind[:-1] |= stop[:-1] & self.spaced[ids[1:]]
        behind[:-1] &= ~self.blank[ids[1:]]
        behind[-1:] = True
        return behind
