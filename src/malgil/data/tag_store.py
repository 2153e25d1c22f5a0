"""Tagged sentences as pieces of words, and as rows that a model reads.

    words     서울특별시    에    간다              a tag each
    pieces    서울 특별 시   에    간 다             the first piece of a word carries its tag, the others do not count
    row       <|> 서울 특별 시 에 간 다 <|>
    places        1            4  5

A word is tokenised by itself, with the space before it that a text would have there, so that its pieces are those of
the text and no piece belongs to two words, whatever the kind of tokenizer. Where the space is a token of its own (char,
byte), the piece after it carries the tag.

A sentence that is too long for the model makes several rows. They overlap, so that a word has something on both sides,
and each word is asked for in one of them:

    words     a b c d e f g h i j
    row 0     a b c d e F            asked for: a to e; F is there to be read
    row 1             E f g h i j    asked for: f to j
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from malgil.data.epochs import Int64s
from malgil.data.label_records import Tagged
from malgil.errors import ConfigError
from malgil.text.tokenizer import Tokenizer

#: the number of a tag that the model does not know: it does not count
UNKNOWN_TAG = -100
#: the part of a row that each side of a word may take as surroundings
_MARGIN = 4


@dataclass(frozen=True)
class TagStore:
    """Sentences as pieces of words; from `tag_store`.

    Attributes:
        pieces: (P,) of all words.
        sizes: (W,) pieces of each word, at least one.
        carriers: (W,) which of its pieces carries a word's tag.
        starts: (sentences + 1,) where each sentence's words begin.
        tags: (W,) numbers of tags; `UNKNOWN_TAG` where the names do not hold the tag.
        records: the sentences.
        names: of the tags, in the order of their numbers.
        begin_id, end_id: what stands around a row.
        n_bytes: UTF-8 bytes of the words, a space between two.
        n_unknown: how many pieces are the tokenizer's unknown one.
        fingerprint: SHA-256 of pieces, tags and names.
        longest: tokens of a row at most, begin and end included; None: any.
    """

    pieces: Int64s
    sizes: Int64s
    carriers: Int64s
    starts: Int64s
    tags: Int64s
    records: tuple[Tagged, ...]
    names: tuple[str, ...]
    begin_id: int
    end_id: int
    n_bytes: int
    n_unknown: int
    fingerprint: str
    longest: int | None = None

    def __len__(self) -> int:
        return len(self.records)

    @cached_property
    def lengths(self) -> Int64s:
        """(sentences,) tokens of each, begin and end included."""
        return np.diff(self.ends[self.starts]) + 2

    @cached_property
    def ends(self) -> Int64s:
        """(W + 1,) pieces before each word, and of all."""
        return np.append(0, np.cumsum(self.sizes))

    @cached_property
    def rows(self) -> TagRows:
        """What a model reads.

        Raises:
            ConfigError: no room between begin and end.
        """
        return TagRows(self, int(self.lengths.max(initial=3)) if self.longest is None else self.longest)


def tag_store(
    records: Sequence[Tagged], tokenizer: Tokenizer, names: Sequence[str], longest: int | None = None
) -> TagStore:
    """The sentences as tokens.

    Args:
        names: of the tags that there are to predict.
        longest: tokens of a row at most, begin and end included; None: any.
    """
    words = [word if place == 0 else f" {word}" for record in records for place, word in enumerate(record.tokens)]
    different = list(dict.fromkeys(words))
    spelt = dict(zip(different, map(_Word.of(tokenizer), tokenizer.encode_batch(different)), strict=True))
    known = [spelt[word] for word in words]
    numbers = {name: number for number, name in enumerate(names)}
    tags = [numbers.get(tag, UNKNOWN_TAG) for record in records for tag in record.tags]
    pieces = np.array([piece for word in known for piece in word.pieces], dtype=np.int64)
    starts = np.cumsum([0, *(len(record.tokens) for record in records)])
    digest = hashlib.sha256(repr((list(names), tags, starts.tolist())).encode())
    digest.update(pieces.tobytes())
    return TagStore(
        pieces=pieces,
        sizes=np.array([len(word.pieces) for word in known], dtype=np.int64),
        carriers=np.array([word.carrier for word in known], dtype=np.int64),
        starts=starts,
        tags=np.array(tags, dtype=np.int64),
        records=tuple(records),
        names=tuple(names),
        begin_id=tokenizer.begin_id,
        end_id=tokenizer.end_id,
        n_bytes=sum(len(text.encode("utf-8", "replace")) for record in records for text in record.texts),
        n_unknown=0 if tokenizer.unknown_id is None else int((pieces == tokenizer.unknown_id).sum()),
        fingerprint=digest.hexdigest(),
        longest=longest,
    )


class TagRows:
    """The rows of a store: sentences, those that are too long in several.

    Args:
        longest: tokens of a row at most, begin and end included.

    Attributes:
        lengths: (rows,) tokens of each.
        asked: (rows, 2) from which word of the store to before which each row is asked for.

    Raises:
        ConfigError: no room between begin and end.
    """

    def __init__(self, store: TagStore, longest: int) -> None:
        if longest < 3:
            raise ConfigError(
                f"model.max_len {longest} has no room for a word between begin and end", fix="take at least 3"
            )
        self.store, self.longest = store, longest
        rows = [row for sentence in range(len(store)) for row in self._rows(sentence)]
        words = np.array(rows, dtype=np.int64).reshape(-1, 4)
        first, self.asked, last = words[:, 0], words[:, 1:3], words[:, 3]
        cut = np.append(store.sizes, 0)[first] > longest - 2  # such a word is alone, and begins where its letters do
        self._begins = store.ends[first] + np.where(cut, np.append(store.carriers, 0)[first], 0)
        self.lengths: Int64s = np.minimum(store.ends[last] - self._begins + 2, longest)

    def __len__(self) -> int:
        return len(self.lengths)

    def ids(self, index: int) -> Int64s:
        """A row's tokens (T,)."""
        store = self.store
        ids = np.empty(self.lengths[index], dtype=np.int64)
        ids[0], ids[-1] = store.begin_id, store.end_id
        ids[1:-1] = store.pieces[self._begins[index] :][: len(ids) - 2]
        return ids

    def types(self, index: int) -> Int64s:
        """Which text its tokens belong to (T,): there is one."""
        return np.zeros(self.lengths[index], dtype=np.int64)

    def places(self, index: int) -> Int64s:
        """Where the pieces stand that carry the tags of the words it is asked for (n,)."""
        store, (start, stop) = self.store, self.asked[index]
        places: Int64s = 1 + store.ends[start:stop] + store.carriers[start:stop] - self._begins[index]
        return places

    def tags(self, index: int) -> Int64s:
        """Their tags (n,)."""
        start, stop = self.asked[index]
        return self.store.tags[start:stop]

    def notes(self) -> list[str]:
        """What a person should know about sentences that do not fit."""
        room = self.longest - 2
        sentences, cut = len(self) - len(self.store), int((self.store.sizes > room).sum())
        said = []
        if sentences:
            long = int((self.store.lengths > self.longest).sum())
            said.append(f"{_counted(long, 'sentence')} longer than {self.longest} tokens, read in overlapping parts")
        if cut:
            said.append(f"{_counted(cut, 'word')} longer than {room} tokens, of which the first are read")
        return said

    def _rows(self, sentence: int) -> list[tuple[int, int, int, int]]:
        first, stop = int(self.store.starts[sentence]), int(self.store.starts[sentence + 1])
        room = self.longest - 2
        if self.store.ends[stop] - self.store.ends[first] <= room:
            return [(first, first, stop, stop)] if stop > first else []
        sizes = np.minimum(self.store.sizes[first:stop], room).tolist()
        return [(first + a, first + b, first + c, first + d) for a, b, c, d in overlapping(sizes, room)]


def overlapping(sizes: Sequence[int], room: int) -> list[tuple[int, int, int, int]]:
    """Words in rows of at most `room` pieces, as (first, start, stop, last).

    words[first:last] are read, and words[start:stop] asked for, each word in one row. On each side a quarter of a row
    at most is there to be read alone; the last row may read more.

    Args:
        sizes: pieces of each word, none more than `room`.

    >>> overlapping([1] * 10, 6)
    [(0, 0, 5, 6), (4, 5, 10, 10)]
    """
    margin, count = room // _MARGIN, len(sizes)
    rows = []
    start = 0
    while start < count:
        first = start
        used = sizes[start]
        while first and sum(sizes[first - 1 : start]) <= margin and used + sizes[first - 1] <= room:
            first -= 1
            used += sizes[first]
        last = start + 1
        while last < count and used + sizes[last] <= room:
            used += sizes[last]
            last += 1
        while last == count and first and used + sizes[first - 1] <= room:  # the last row is full, too
            first -= 1
            used += sizes[first]
        stop = last
        while last < count and stop - 1 > start and sum(sizes[stop - 1 : last]) <= margin:
            stop -= 1
        rows.append((first, start, stop, last))
        start = stop
    return rows


# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Word:
    """The pieces of a word, and which of them carries its tag."""

    pieces: tuple[int, ...]
    carrier: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Callable[[Sequence[int]], _Word]:
        """What makes words of pieces; one of which the tokenizer leaves nothing is an unknown one."""
        nothing = tokenizer.end_id if tokenizer.unknown_id is None else tokenizer.unknown_id

        def word(ids: Sequence[int]) -> _Word:
            blank = [not (tokenizer.piece(i) or b"?").strip() for i in ids]
            return cls(tuple(ids) or (nothing,), blank.index(False) if False in blank else 0)

        return word


def _counted(number: int, noun: str) -> str:
    return f"1 {noun} is" if number == 1 else f"{number:,} {noun}s are"
