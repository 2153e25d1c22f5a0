"""Text as it is generated: the characters that each new token completes.

Decoding the tokens so far again and again costs more with every token and shows half characters; a stream keeps the
bytes of the one unfinished character (three at most) and nothing else.
"""

from __future__ import annotations

import codecs

from malgil.text.pieces import Pieces


class TextStream:
    """Incremental decoding: what `push` returned so far, and then `finish`, is exactly `decode` of all ids.

    Only whole characters come out: the three bytes of a syllable, or the four of an emoji, wait for one another. Bytes
    that are no UTF-8 come out as U+FFFD as soon as that is certain.

        >>> stream = tokenizer.stream()          # a byte tokenizer, say
        >>> [stream.push(i) for i in tokenizer.encode("네!")]
        ['', '', '네', '!']
        >>> stream.finish()
        ''
    """

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._utf8 = codecs.getincrementaldecoder("utf-8")(pieces.errors)
        self._previous: bytes | None = None

    def push(self, token: int) -> str:
        """The text that this id completes; empty while a character is unfinished, and for special tokens.

        Raises:
            InputError: an id that the tokenizer does not have.
        """
        piece = self._pieces.following(token, self._previous)
        if piece is None:
            return ""
        self._previous = piece
        return self._utf8.decode(piece)

    def finish(self) -> str:
        """What was held back: U+FFFD for a character that never became whole, else nothing. Ends the stream."""
        return self._utf8.decode(b"", final=True)
