"""What each token contributes to decoded text, as bytes: the table behind `decode` and `TextStream`.

The `tokenizers` library decodes a list of tokens at once, which says nothing about what a single token adds. Here its
decoders are read once into two tables, so that text is decoded token by token, and whole, by one rule:

    text = utf8(first[id of the 1st token] + rest[id of the 2nd] + rest[id of the 3rd] + ...)

`first` differs from `rest` by conventions about spaces: Metaspace ("▁the"), Llama's dummy prefix, WordPiece ("##s"),
words joined by spaces. One rule depends on the token before: words are not set apart after an opening bracket.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import tokenizers
from tokenizers import Regex, decoders

from malgil.errors import CheckpointError, InputError

CLOSING = ".,!?;:%)]}…»”’、。，！？；：」』）》〉\n"
OPENING = "([{«“‘「『（《〈\n"


def word_decoder() -> Any:
    """Words joined by spaces, except at brackets, punctuation and line ends; '##' continues a word."""
    tight = f"(?<=[{re.escape(OPENING)}]) | (?=[{re.escape(CLOSING)}])"
    return decoders.Sequence(
        [decoders.WordPiece(prefix="##", cleanup=False), decoders.Fuse(), decoders.Replace(Regex(tight), "")]
    )


@dataclass(frozen=True)
class Pieces:
    """The bytes of every id, as the first token of a text and later; None for special tokens and unused ids.

    Attributes:
        first, rest: by id.
        errors: how invalid UTF-8 is decoded: 'replace' gives one U+FFFD for a truncated character, as the byte-level
            decoder does, and 'malgil.bytewise' one for each byte, as SentencePiece does.
        opening: last characters of a piece after which the space of the next piece is dropped.
    """

    first: list[bytes | None]
    rest: list[bytes | None]
    errors: str = "replace"
    opening: tuple[bytes, ...] = ()

    def following(self, i: int, previous: bytes | None) -> bytes | None:
        """What id `i` adds after `previous`, the last piece that was added (None at the beginning of a text)."""
        if not 0 <= i < len(self.first):
            raise InputError(f"{i} is no token id", "", f"the ids of this tokenizer are 0 to {len(self.first) - 1}")
        if previous is None:
            return self.first[i]
        piece = self.rest[i]
        if self.opening and piece is not None and piece.startswith(b" ") and previous.endswith(self.opening):
            return piece[1:]
        return piece

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids from its beginning."""
        added: list[bytes] = []
        previous = None
        for i in ids:
            piece = self.following(i, previous)
            if piece is not None:
                added.append(piece)
                previous = piece
        return b"".join(added).decode("utf-8", self.errors)


def token_names(backend: tokenizers.Tokenizer) -> list[str | None]:
    """The token of every id from 0 to the largest; None where a file leaves a gap."""
    ids = backend.get_vocab(with_added_tokens=True)
    names: list[str | None] = [None] * (max(ids.values(), default=-1) + 1)
    for name, i in ids.items():
        names[i] = name
    for i, token in backend.get_added_tokens_decoder().items():
        names[i] = token.content
    return names


def read_pieces(backend: tokenizers.Tokenizer) -> Pieces:
    """The table of a tokenizer.

    Raises:
        CheckpointError: its decoder is of a kind whose tokens cannot be decoded one by one.
    """
    decoder = json.loads(backend.to_str())["decoder"] or {"type": "none"}
    steps = decoder["decoders"] if decoder["type"] == "Sequence" else [decoder]
    types = [step["type"] for step in steps]
    special = {i for i, token in backend.get_added_tokens_decoder().items() if token.special}
    names = [None if i in special else name for i, name in enumerate(token_names(backend))]

    def table(piece: Callable[[str], bytes]) -> list[bytes | None]:
        return [None if name is None else piece(name) for name in names]

    if types == ["ByteLevel"]:
        pieces = table(_byte_level)
        return Pieces(pieces, pieces)
    if decoder == json.loads(_WORDS_JSON):
        return Pieces(table(str.encode), table(_word), opening=tuple(c.encode() for c in OPENING))
    if types == ["none"]:
        return Pieces(table(str.encode), table(lambda name: b" " + name.encode()))
    if types in (["Metaspace"], ["WordPiece"]):
        decode = backend.decoder.decode
        return Pieces(table(lambda n: decode([n]).encode()), table(lambda n: decode(["a", n])[1:].encode()))
    if set(types) <= {"Replace", "ByteFallback", "Fuse", "Strip"} and "Fuse" in types:
        return _fused(steps, table)
    raise CheckpointError(
        f"a decoder of type {' + '.join(types)}",
        "tokenizer.json",
        "known are ByteLevel, Metaspace, WordPiece, and Llama's Replace, ByteFallback, Fuse and Strip",
    )


def _fused(steps: list[dict[str, Any]], table: Callable[[Callable[[str], bytes]], list[bytes | None]]) -> Pieces:
    """SentencePiece's conventions as Llama's files spell them; also tokens that are simply put together."""
    types = [step["type"] for step in steps]
    strip = 0
    replacements: list[tuple[str, str]] = []
    for place, step in enumerate(steps):
        early = place < types.index("Fuse")
        if step["type"] == "Replace" and early and "String" in step["pattern"]:
            replacements.append((step["pattern"]["String"], step["content"]))
        elif step["type"] == "Strip" and not early and (step["content"], step["stop"]) == (" ", 0):
            strip += step["start"]
        elif step["type"] in ("Replace", "Strip"):
            raise CheckpointError(f"a decoder with {step}", "tokenizer.json", "only Llama's form of it is known")

    def rest(name: str) -> bytes:
        if "ByteFallback" in types and re.fullmatch("<0x[0-9A-Fa-f]{2}>", name):
            return bytes([int(name[3:5], 16)])
        for old, new in replacements:
            name = name.replace(old, new)
        return name.encode()

    def first(name: str) -> bytes:
        piece = rest(name)
        return piece[min(strip, len(piece) - len(piece.lstrip(b" "))) :]

    return Pieces(table(first), table(rest), "malgil.bytewise" if "ByteFallback" in types else "replace")


def _word(name: str) -> bytes:
    if name.startswith("##"):
        return name[2:].encode()
    return (name if name.startswith(tuple(CLOSING)) else " " + name).encode()


def _byte_level(name: str) -> bytes:
    """The bytes that GPT-2's printable stand-ins spell; an added token may be ordinary text."""
    try:
        return bytes(_BYTE_OF[c] for c in name)
    except KeyError:
        return name.encode()


def byte_characters() -> list[str]:
    """The printable character that stands for each byte in byte-level vocabularies (GPT-2's `bytes_to_unicode`)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(b if b in printable else next(others)) for b in range(256)]


def _bytewise(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\ufffd" * (error.end - error.start), error.end


codecs.register_error("malgil.bytewise", _bytewise)
_BYTE_OF = {c: b for b, c in enumerate(byte_characters())}
_WORDS_JSON = word_decoder().__getstate__()
