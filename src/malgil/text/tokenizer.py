"""Text to ids and back: one class for tokenizers trained here and for imported ones, saved as one tokenizer.json.

The `tokenizers` library does the work and loads the file alone. Two things are Malgil's own. Text is only ever text: a
user who writes "<|endoftext|>" gets the tokens of those characters. And the file says what it is: its post-processor is
a template that adds nothing but names the tokens that begin and end a document, and the kind.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken

from malgil.config import not_found
from malgil.errors import CheckpointError
from malgil.runtime.files import atomic_write
from malgil.text.pieces import Pieces, read_pieces, token_names
from malgil.text.settings import KINDS
from malgil.text.streaming import TextStream

_KIND = "malgil.kind."
MASK, PAD = "<|mask|>", "<|pad|>"


def clean(text: str) -> tuple[str, int]:
    """Text that UTF-8 can hold, and how many lone surrogates were replaced by U+FFFD in it. Pairs are joined."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        return re.subn("[\ud800-\udfff]", "\ufffd", joined)
    return text, 0


class Tokenizer:
    """A tokenizer with the content of its tokenizer.json; nothing in it changes.

    Attributes:
        kind: 'char', 'byte', 'bpe', 'wordpiece', 'unigram', 'word', or 'imported'.
        vocab_size: ids are 0 to vocab_size - 1.
        begin_id: starts every document and every prompt.
        end_id: ends every document; generation stops at it. The same as `begin_id` in tokenizers trained here.
        unknown_id: stands for what the vocabulary cannot spell; None where it can spell everything.
        mask_id: stands for a hidden token that an encoder is to guess; None where there is none.
        pad_id: fills rows in other libraries; None where there is none.
        fingerprint: SHA-256 of the file's bytes.

    Args:
        content: a tokenizer.json that `save` wrote; use `load`, `train_tokenizer`, `wrap` or `from_hf_file`.
        source: what errors call it.

    Raises:
        CheckpointError: the content is no tokenizer, or none of Malgil's.
    """

    def __init__(self, content: str, source: str = "tokenizer.json") -> None:
        self._content = content
        self._backend = _read(content, source)
        try:
            roles = json.loads(content)["post_processor"]["special_tokens"]
            (self.kind,) = [role.removeprefix(_KIND) for role in roles if role.startswith(_KIND)]
            ids = {role: token["ids"][0] for role, token in roles.items() if token["ids"]}
            sound = self.kind in (*KINDS, "imported") and all(
                roles[role]["tokens"] == [self._backend.id_to_token(i)] for role, i in ids.items()
            )
            self.begin_id: int = ids["begin"]
            self.end_id: int = ids["end"]
            self.unknown_id: int | None = ids.get("unknown")
            self.mask_id: int | None = ids.get("mask")
            self.pad_id: int | None = ids.get("pad")
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError):
            sound = False
        if not sound:
            raise CheckpointError(
                "the tokenizer was not saved by Malgil",
                source,
                "import it with Tokenizer.from_hf_file and name its tokens",
            )
        self._backend.encode_special_tokens = True  # "<|endoftext|>" in a text is text
        self.fingerprint = hashlib.sha256(content.encode("utf-8")).hexdigest()

    @classmethod
    def wrap(
        cls,
        backend: tokenizers.Tokenizer,
        kind: str,
        *,
        begin: str,
        end: str,
        unknown: str | None = None,
        mask: str | None = None,
        pad: str | None = None,
    ) -> Tokenizer:
        """A tokenizer of the `tokenizers` library together with the names of its special tokens.

        What BERT calls [CLS] and [SEP] is the begin and the end here.

        Raises:
            NotFoundError: a name that is no token.
            CheckpointError: its decoder is of a kind that cannot be decoded token by token.
        """
        optional = {"unknown": unknown, "mask": mask, "pad": pad}
        names = {"begin": begin, "end": end} | {role: name for role, name in optional.items() if name is not None}
        roles: dict[str, dict[str, Any]] = {f"{_KIND}{kind}": {"id": f"{_KIND}{kind}", "ids": [], "tokens": []}}
        for role, name in names.items():
            i = backend.token_to_id(name)
            if i is None:
                raise not_found("token", name, (n for n in token_names(backend) if n), f"as the {role} token")
            roles[role] = {"id": role, "ids": [i], "tokens": [name]}
        tree = json.loads(backend.to_str())
        tree["truncation"] = tree["padding"] = None
        text_a, text_b = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
        tree["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [text_a],
            "pair": [text_a, text_b],
            "special_tokens": roles,
        }
        tokenizer = cls(json.dumps(tree, ensure_ascii=False, separators=(",", ":")))
        _ = tokenizer._pieces
        return tokenizer

    @classmethod
    def from_hf_file(
        cls,
        path: Path,
        *,
        begin: str,
        end: str,
        unknown: str | None = None,
        mask: str | None = None,
        pad: str | None = None,
    ) -> Tokenizer:
        """Any Hugging Face tokenizer.json (GPT-2, Llama 3, Qwen, ...); its special tokens are given by name.

        Raises:
            CheckpointError: the file is no tokenizer.
            NotFoundError: a name that is no token of it.
        """
        backend = _read(_text(path), str(path))
        return cls.wrap(backend, "imported", begin=begin, end=end, unknown=unknown, mask=mask, pad=pad)

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """A saved tokenizer.

        Raises:
            CheckpointError: the file is missing, corrupt, or was not saved by Malgil.
        """
        return cls(_text(path), str(path))

    def with_mask(self) -> Tokenizer:
        """The same tokenizer with a mask at the end of its vocabulary, and a pad for other libraries, if it has none.

        No id changes, and a text has the tokens that it had.
        """
        if self.mask_id is not None:
            return self
        backend = _read(self._content, "tokenizer.json")
        names = token_names(backend)
        backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (PAD, MASK)])
        return Tokenizer.wrap(
            backend,
            self.kind,
            begin=str(names[self.begin_id]),
            end=str(names[self.end_id]),
            unknown=None if self.unknown_id is None else names[self.unknown_id],
            mask=MASK,
            pad=PAD if self.pad_id is None else names[self.pad_id],
        )

    def save(self, path: Path) -> None:
        """Writes tokenizer.json, whole or not at all; `tokenizers.Tokenizer.from_file` loads it too."""
        atomic_write(path, self._content)

    @property
    def vocab_size(self) -> int:
        return len(self._pieces.first)

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without special tokens. Lone surrogates count as U+FFFD."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of several texts, encoded on all cores."""
        encodings = self._backend.encode_batch_fast([clean(text)[0] for text in texts], add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def encode_spans(self, texts: Sequence[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """The ids of several clean texts (see `clean`), and the stretch (start, stop) of characters behind each id.

        A stretch includes the space that a token begins with. Tokens that spell one character share it; of a syllable
        or an accented letter that normalisation put together it names the first character alone.
        """
        encodings = self._backend.encode_batch(list(texts), add_special_tokens=False)
        return [(encoding.ids, encoding.offsets) for encoding in encodings]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids; special tokens add nothing to it.

        Raises:
            InputError: an id that the tokenizer does not have.
        """
        return self._pieces.decode(ids)

    def piece(self, id_: int) -> bytes | None:
        """What a token adds to a text that has begun, the space before a word included; None for special tokens."""
        return self._pieces.rest[id_]

    def stream(self) -> TextStream:
        """Incremental decoding, from the beginning of a text."""
        return TextStream(self._pieces)

    def normalize(self, text: str) -> str:
        """The text as the tokenizer sees it: what the byte-level kinds promise to give back."""
        cleaned = clean(text)[0]
        normalizer = self._backend.normalizer
        return cleaned if normalizer is None else str(normalizer.normalize_str(cleaned))

    @cached_property
    def _pieces(self) -> Pieces:
        return read_pieces(self._backend)

    def __repr__(self) -> str:
        return f"Tokenizer({self.kind}, {self.vocab_size:,} tokens, {self.fingerprint[:8]})"

    def __reduce__(self) -> tuple[type[Tokenizer], tuple[str]]:
        return Tokenizer, (self._content,)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError("the tokenizer is not UTF-8", f"{path} at byte {error.start}", "copy it again") from None
    except OSError as error:
        raise CheckpointError(f"cannot read the tokenizer: {error.strerror}", str(path), "check the path") from None


def _read(content: str, source: str) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_str(content)
    except Exception as error:  # the library raises nothing more precise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"no tokenizer: {reason}", source, "copy the file again, or train a new one") from None
