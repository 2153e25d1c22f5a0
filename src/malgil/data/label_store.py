"""Labelled texts as token ids, all in memory; of many texts the cache keeps them for the next time.

    one text     <|> 말 길 이 좋 다 <|>                           <|> begins and ends a text
    types          0  0  0  0  0  0  0

    two          <|> 비 가 온 다 <|> 땅 이 젖 는 다 <|>
    types          0  0  0  0  0  0  1  1  1  1  1  1

What is longer than the model reads is cut at the end, of two texts the longer one first; nothing is left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np

from malgil.data.epochs import Int64s
from malgil.data.label_records import Record
from malgil.data.store import Encoder, token_store
from malgil.errors import ConfigError, StorageError

R = TypeVar("R", bound=Record)
Progress = Callable[[int, int], None]
#: texts that are encoded at a time
_AT_A_TIME = 2000
#: characters from which on reading tokens is so much faster than making them that the cache keeps them
MANY = 1_000_000


@dataclass(frozen=True)
class LabelStore(Generic[R]):
    """Records and their tokens; from `label_store`.

    Attributes:
        records: what was encoded.
        tokens: of all texts, without begin and end.
        starts: (texts + 1,) where each text begins in `tokens`.
        firsts: (records + 1,) which text is a record's first.
        begin_id, end_id: what stands around texts.
        n_unknown: how many of the tokens are the tokenizer's unknown one.
        tokenizer: the fingerprint of what made the tokens.
        longest: tokens of a record at most, begin and ends included; None: any.
    """

    records: tuple[R, ...]
    tokens: Int64s
    starts: Int64s
    firsts: Int64s
    begin_id: int
    end_id: int
    n_unknown: int
    tokenizer: str
    longest: int | None = None

    def __len__(self) -> int:
        return len(self.records)

    @cached_property
    def n_bytes(self) -> int:
        """Of all texts, in UTF-8."""
        return sum(len(text.encode("utf-8", "surrogatepass")) for record in self.records for text in record.texts)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the records and of what made the tokens."""
        digest = hashlib.sha256(f"{self.tokenizer} {self.begin_id} {self.end_id}".encode())
        for record in self.records:
            digest.update(repr(record).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    @cached_property
    def lengths(self) -> Int64s:
        """(records,) tokens of each as it is read, begin and ends included."""
        first, second = self._kept
        return 2 + first + np.where(self._pairs, second + 1, 0)

    @property
    def n_cut(self) -> int:
        """How many records are longer than they are read."""
        return int((self.lengths < self.whole_lengths).sum())

    @cached_property
    def whole_lengths(self) -> Int64s:
        """(records,) tokens that each would have if none were cut."""
        return 2 + self._sizes[0] + np.where(self._pairs, self._sizes[1] + 1, 0)

    def ids(self, index: int) -> Int64s:
        """What a model reads of a record (lengths[index],)."""
        return self._joined(index)[0]

    def types(self, index: int) -> Int64s:
        """Which text each of its tokens belongs to (lengths[index],)."""
        return self._joined(index)[1]

    def _joined(self, index: int) -> tuple[Int64s, Int64s]:
        text = self.firsts[index]
        start, kept = self.starts[text], self._kept[0][index]
        size = 2 + int(kept)
        ids, types = np.full((2, self.lengths[index]), self.end_id, dtype=np.int64)
        ids[0], ids[1 : size - 1] = self.begin_id, self.tokens[start : start + kept]
        types[:] = 0
        if self._pairs[index]:
            start, kept = self.starts[text + 1], self._kept[1][index]
            ids[size:-1] = self.tokens[start : start + kept]
            types[size:] = 1
        return ids, types

    @cached_property
    def _pairs(self) -> np.ndarray:
        """(records,) whether there is a second text."""
        return np.diff(self.firsts) > 1

    @cached_property
    def _sizes(self) -> tuple[Int64s, Int64s]:
        """(records,) tokens of the first and of the second text, of which there may be none."""
        sizes = np.diff(self.starts)
        first = sizes[self.firsts[:-1]]
        second = np.where(self._pairs, sizes[np.minimum(self.firsts[:-1] + 1, len(sizes) - 1)], 0)
        return first, second

    @cached_property
    def _kept(self) -> tuple[Int64s, Int64s]:
        """(records,) tokens of each text that are read: the longer one gives up its end until both are as long."""
        first, second = self._sizes
        if self.longest is None:
            return first, second
        room = self.longest - 2 - self._pairs.astype(np.int64)
        kept = np.minimum(first, np.maximum(room - second, room - room // 2))
        return kept, np.minimum(second, room - kept)


def label_store(
    records: Sequence[R],
    tokenizer: Encoder,
    longest: int | None = None,
    progress: Progress | None = None,
    *,
    cached: bool = False,
) -> LabelStore[R]:
    """The records as tokens.

    Args:
        longest: tokens of a record at most, begin and ends included.
        progress: called with (characters done, characters in all).
        cached: the tokens are read from the cache, and kept there, where the texts are many.

    Raises:
        ConfigError: `longest` has no room for a token of each text.
    """
    texts = [text for record in records for text in record.texts]
    most = max((len(record.texts) for record in records), default=1)
    if longest is not None and longest < 2 * most + 1:
        raise ConfigError(
            f"a context of {longest} tokens has no room for {'a text' if most == 1 else 'two texts'}",
            "model.max_len",
            f"take at least {2 * most + 1}",
        )
    many = sum(map(len, texts)) >= MANY
    tokens, starts = (_kept if cached and many else _encoded)(texts, tokenizer, progress)
    firsts = np.cumsum([0, *(len(record.texts) for record in records)])
    return LabelStore(
        records=tuple(records),
        tokens=tokens,
        starts=starts,
        firsts=firsts,
        begin_id=tokenizer.begin_id,
        end_id=tokenizer.end_id,
        n_unknown=0 if tokenizer.unknown_id is None else int((tokens == tokenizer.unknown_id).sum()),
        tokenizer=tokenizer.fingerprint,
        longest=longest,
    )


@dataclass(frozen=True)
class _Texts:
    """Texts as documents, for `token_store`."""

    texts: list[str]

    @property
    def n_characters(self) -> int:
        return sum(map(len, self.texts))

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for text in self.texts:
            raw = text.encode("utf-8", "surrogatepass")
            digest.update(b"%d " % len(raw) + raw)
        return digest.hexdigest()

    def documents(self) -> Iterator[Iterator[str]]:
        return (iter([text]) for text in self.texts)


def _kept(texts: list[str], tokenizer: Encoder, progress: Progress | None) -> tuple[Int64s, Int64s]:
    """As `_encoded`, by way of the cache."""
    try:
        store = token_store(_Texts(texts), tokenizer, progress)
    except StorageError:  # without the cache only time is lost
        return _encoded(texts, tokenizer, progress)
    # there each text has its begin, and its end where that is another token; else one stands at the very end
    inside = np.ones(len(store), dtype=np.bool_)
    inside[store.starts] = False
    if tokenizer.begin_id == tokenizer.end_id:
        special, end = 1, len(store) - 1
        inside[end] = False
    else:
        special, end = 2, len(store)
        inside[np.append(store.starts[1:], end) - 1] = False
    starts = np.append(store.starts, end) - special * np.arange(len(texts) + 1)
    return store.tokens[inside].astype(np.int64), starts


def _encoded(texts: list[str], tokenizer: Encoder, progress: Progress | None) -> tuple[Int64s, Int64s]:
    """The tokens of all texts, and (texts + 1,) where each begins."""
    total, done = sum(map(len, texts)), 0
    encoded: list[Int64s] = []
    for first in range(0, len(texts), _AT_A_TIME):
        some = texts[first : first + _AT_A_TIME]
        encoded += [np.array(ids, dtype=np.int64) for ids in tokenizer.encode_batch(some)]
        done += sum(map(len, some))
        if progress is not None:
            progress(done, total)
    tokens = np.concatenate(encoded) if encoded else np.zeros(0, dtype=np.int64)
    return tokens, np.cumsum([0, *map(len, encoded)])
