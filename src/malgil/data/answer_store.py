"""Questions about texts as rows that a model reads: windows on the text, the question before each.

    row         <|> 어디서 왔니 ? <|> 말길 은 서울 에서 왔다 . <|>
    type_ids     0    0    0   0  0    1   1   1    1    1   1  1
    places                                     7                       start and stop of the answer; both 0, where the
                                                                       begin token stands, if it is not in the window

A text that is too long has several windows of one size, evenly spread, each half of a window after the one before
at most: an answer no longer than that stands whole in one of them. Characters and tokens are mapped to each other both
ways, so that what is found is a stretch of the text as it was given.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from malgil.data.epochs import Int64s
from malgil.data.label_records import Answer, Question, nfc
from malgil.errors import ConfigError
from malgil.text.tokenizer import Tokenizer

#: a question takes at most this share of a row
_QUESTION = 0.5
#: texts that are encoded at a time
_AT_A_TIME = 200


@dataclass(frozen=True)
class Context:
    """A text as tokens.

    Attributes:
        ids: (n,)
        spans: (n, 2) from which character to before which each token stands, white space around it left out.
        visible: (n,) False for tokens that are white space alone.
    """

    text: str
    ids: Int64s
    spans: Int64s
    visible: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, text: str, ids: Sequence[int], spans: Sequence[tuple[int, int]]) -> Context:
        """
        Args:
            spans: as `Tokenizer.encode_spans` gives them, with the space that a token begins with.
        """
        bare = [_without_space(text, *span) for span in spans]
        array = np.array(bare, dtype=np.int64).reshape(-1, 2)
        return cls(text, np.array(ids, dtype=np.int64), array, array[:, 0] < array[:, 1])

    def tokens_of(self, answer: Answer) -> tuple[int, int] | None:
        """(first, last) token that the answer touches; None where it touches none."""
        touched = np.flatnonzero((self.spans[:, 0] < answer.stop) & (self.spans[:, 1] > answer.start) & self.visible)
        return (int(touched[0]), int(touched[-1])) if len(touched) else None

    def characters(self, first: int, last: int) -> tuple[int, int]:
        """(start, stop) of the tokens first to last in the text, no letter parted from its marks."""
        start, stop = int(self.spans[first, 0]), int(self.spans[first : last + 1, 1].max())
        while start and _continues(self.text[start]):
            start -= 1
        while stop < len(self.text) and _continues(self.text[stop]):
            stop += 1
        return start, stop


@dataclass(frozen=True)
class AnswerStore:
    """Questions as tokens; from `answer_store`.

    Attributes:
        records: the questions.
        questions: (q,) ids of each.
        contexts: the different texts.
        context_of: (questions,) which of them each question is about.
        answers: (questions, 2) first and last token of the first right answer; -1 where there is none.
        begin_id, end_id: what stands around a row's texts.
        n_bytes: UTF-8 bytes of questions and different texts.
        n_unknown: how many of their tokens are the tokenizer's unknown one.
        fingerprint: SHA-256 of all tokens and answers.
        longest: tokens of a row at most; None: any.
    """

    records: tuple[Question, ...]
    questions: tuple[Int64s, ...]
    contexts: tuple[Context, ...]
    context_of: Int64s
    answers: Int64s
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
        """(questions,) tokens of question and text, with begin and both ends."""
        sizes = np.array([len(context.ids) for context in self.contexts])
        lengths: Int64s = np.array([len(ids) for ids in self.questions]) + sizes[self.context_of] + 3
        return lengths

    @cached_property
    def rows(self) -> AnswerRows:
        """What a model reads.

        Raises:
            ConfigError: no room for a question and some text.
        """
        return AnswerRows(self, int(self.lengths.max(initial=8)) if self.longest is None else self.longest)

    def notes(self) -> list[str]:
        """How many answers begin or end inside a token, so that nothing found can be exactly them."""
        inside = 0
        for record, context, (first, last) in zip(self.records, self.context_of, self.answers, strict=True):
            if first >= 0:
                answer = record.answers[0]
                whole = answer.start + len(answer.text) - len(answer.text.lstrip()), len(answer.text.strip())
                start, stop = self.contexts[context].characters(int(first), int(last))
                inside += (start, stop - start) != whole
        if not inside:
            return []
        share = 100 * inside / int((self.answers[:, 0] >= 0).sum())
        return [f"{inside:,} answers ({share:.3g} %) begin or end inside a token; whole tokens stand for them"]


def answer_store(records: Sequence[Question], tokenizer: Tokenizer, longest: int | None = None) -> AnswerStore:
    """The questions as tokens.

    Args:
        longest: tokens of a row at most; None: any.
    """
    texts = list(dict.fromkeys(record.context for record in records))
    contexts = tuple(_contexts(texts, tokenizer))
    number = {text: place for place, text in enumerate(texts)}
    context_of = np.array([number[record.context] for record in records], dtype=np.int64)
    encoded = tokenizer.encode_batch([record.question for record in records])
    questions = tuple(np.array(ids, dtype=np.int64) for ids in encoded)
    answers = np.full((len(records), 2), -1, dtype=np.int64)
    for place, record in enumerate(records):
        found = contexts[context_of[place]].tokens_of(record.answers[0]) if record.answers else None
        if found:
            answers[place] = found
    digest = hashlib.sha256(context_of.tobytes() + answers.tobytes())
    sides = [*questions, *(context.ids for context in contexts)]
    for ids in sides:
        digest.update(len(ids).to_bytes(8, "little") + ids.tobytes())
    asked = dict.fromkeys(record.question for record in records)
    unknown = tokenizer.unknown_id
    return AnswerStore(
        records=tuple(records),
        questions=questions,
        contexts=contexts,
        context_of=context_of,
        answers=answers,
        begin_id=tokenizer.begin_id,
        end_id=tokenizer.end_id,
        n_bytes=sum(len(text.encode("utf-8", "replace")) for text in (*texts, *asked)),
        n_unknown=0 if unknown is None else sum(int((ids == unknown).sum()) for ids in sides),
        fingerprint=digest.hexdigest(),
        longest=longest,
    )


class AnswerRows:
    """The rows of a store: for each question a window on its text, or several.

    Args:
        longest: tokens of a row at most.

    Attributes:
        lengths: (rows,) tokens of each.
        question: (rows,) whose row it is; ascending.
        windows: (rows, 2) from which token of the text to before which it reads.

    Raises:
        ConfigError: no room for a question and some text.
    """

    def __init__(self, store: AnswerStore, longest: int) -> None:
        if longest < 8:
            raise ConfigError(f"model.max_len {longest} has no room for a question and a text", fix="take at least 8")
        self.store, self.longest = store, longest
        sizes = np.array([len(ids) for ids in store.questions], dtype=np.int64)
        self._asked = np.minimum(sizes, int(_QUESTION * (longest - 3)))  # tokens of each question that are read
        self._cut = int((sizes > self._asked).sum())
        spread = [
            windows(len(store.contexts[context].ids), int(longest - 3 - asked))
            for context, asked in zip(store.context_of, self._asked, strict=True)
        ]
        self.question: Int64s = np.repeat(np.arange(len(store)), [len(found) for found in spread])
        self.windows: Int64s = np.array([window for found in spread for window in found], dtype=np.int64).reshape(-1, 2)
        self.lengths: Int64s = self._asked[self.question] + np.diff(self.windows)[:, 0] + 3

    def __len__(self) -> int:
        return len(self.lengths)

    def ids(self, index: int) -> Int64s:
        """The tokens of a row (T,)."""
        store, question, (start, stop) = self.store, self.question[index], self.windows[index]
        asked = store.questions[question][: self._asked[question]]
        text = store.contexts[store.context_of[question]].ids[start:stop]
        return np.concatenate([[store.begin_id], asked, [store.end_id], text, [store.end_id]])

    def types(self, index: int) -> Int64s:
        """0 for the begin, the question and its end, 1 for the text and its end (T,)."""
        return (np.arange(self.lengths[index]) >= self.first(index)).astype(np.int64)

    def first(self, index: int) -> int:
        """Where the text's window begins in the row, which is where type 1 begins."""
        return int(self._asked[self.question[index]]) + 2

    def places(self, index: int) -> tuple[int, int]:
        """Where the answer's first and last token stand in the row; (0, 0) where the window does not hold it whole."""
        first, last = self.store.answers[self.question[index]]
        start, stop = self.windows[index]
        if first < start or last >= stop:
            return 0, 0
        shift = self.first(index) - int(start)
        return int(first) + shift, int(last) + shift

    def visible(self, index: int) -> npt.NDArray[np.bool_]:
        """(T,): True for the places of a row at which an answer may begin or end."""
        start, stop = self.windows[index]
        context = self.store.contexts[self.store.context_of[self.question[index]]]
        seen = np.zeros(self.lengths[index], dtype=np.bool_)
        seen[self.first(index) : -1] = context.visible[start:stop]
        return seen

    def notes(self) -> list[str]:
        """What a person should know about questions and texts that do not fit."""
        said = []
        long = int((np.bincount(self.question, minlength=len(self.store)) > 1).sum())
        if long:
            said.append(
                f"{long:,} of {len(self.store):,} questions are about texts too long for {self.longest} tokens, "
                f"read in overlapping windows ({len(self):,} in all)"
            )
        if self._cut:
            said.append(f"{self._cut:,} of {len(self.store):,} questions were cut to half of a row")
        unseen = [place for place in np.flatnonzero(self.store.answers[:, 0] >= 0) if not self._holds(int(place))]
        if unseen:
            said.append(f"{len(unseen):,} answers fit no window: they are longer than half of one")
        return said

    def _holds(self, question: int) -> bool:
        """Whether a window holds the question's answer."""
        start, stop = np.searchsorted(self.question, [question, question + 1])
        return any(self.places(row) != (0, 0) for row in range(start, stop))


def windows(count: int, room: int) -> list[tuple[int, int]]:
    """(start, stop) of windows of `room` tokens on a text of `count`, evenly spread, half of one apart at most.

    >>> windows(10, 4), windows(3, 4)
    ([(0, 4), (2, 6), (4, 8), (6, 10)], [(0, 3)])
    """
    if count <= room:
        return [(0, count)]
    gaps = -(-(count - room) // max(room // 2, 1))
    starts = [gap * (count - room) // gaps for gap in range(gaps + 1)]
    return [(start, start + room) for start in starts]


def composed(text: str) -> tuple[str, list[int]]:
    """A text in NFC, and for each of its characters, and its end, where in the text as it was it begins.

    >>> composed("\u1112\u1161\u11ab a\u0301!")
    ('한 á!', [0, 3, 4, 6, 7])
    """
    begins = [place for place, character in enumerate(text) if not (place and _continues(character))]
    pieces = [nfc(text[start:stop]) for start, stop in pairwise([*begins, len(text)])]
    places = [start for start, piece in zip(begins, pieces, strict=True) for _ in piece]
    return "".join(pieces), [*places, len(text)]


# ---------------------------------------------------------------------------------------------


def _contexts(texts: Sequence[str], tokenizer: Tokenizer) -> Iterator[Context]:
    """The texts as tokens, some at a time: their characters take a hundred times the memory until they are arrays."""
    for first in range(0, len(texts), _AT_A_TIME):
        some = texts[first : first + _AT_A_TIME]
        for text, (ids, spans) in zip(some, tokenizer.encode_spans(some), strict=True):
            yield Context.of(text, ids, spans)


def _without_space(text: str, start: int, stop: int) -> tuple[int, int]:
    """The stretch without the white space at its ends."""
    while start < stop and text[start].isspace():
        start += 1
    while start < stop and text[stop - 1].isspace():
        stop -= 1
    return start, stop


def _continues(character: str) -> bool:
    """Whether it belongs to the character before it: a mark, or a vowel or final consonant of decomposed Hangul."""
    return unicodedata.category(character)[0] == "M" or "\u1160" <= character <= "\u11ff"
