"""Texts that belong together as token ids: each different text once, and which two a record is made of.

records          texts                first     second
비 | 비가        0  <|> 비 <|>         0         1
눈 | 비          1  <|> 비 가 <|>      2         0
눈               2  <|> 눈 <|>         2         2          a text alone is its own partner
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from malgil.data.epochs import Int64s
from malgil.data.label_alike import Alike
from malgil.data.label_store import LabelStore, Progress, label_store
from malgil.data.store import Encoder
from malgil.errors import DataError


@dataclass(frozen=True)
class AlikeStore:
    """Records and their tokens; from `alike_store`.

    Attributes:
        records: what was encoded.
        texts: the different texts, in the order in which they come.
        first, second: (records,) which text a record's first and second is.
        scores: (records,) how alike they are; None where nobody says.
    """

    records: tuple[Alike, ...]
    texts: LabelStore[Alike]
    first: Int64s
    second: Int64s
    scores: npt.NDArray[np.float64] | None

    def __len__(self) -> int:
        return len(self.records)

    @property
    def alone(self) -> bool:
        """Whether every text is its own partner."""
        return bool((self.first == self.second).all())

    @property
    def n_bytes(self) -> int:
        return self.texts.n_bytes

    @property
    def n_unknown(self) -> int:
        return self.texts.n_unknown

    @property
    def longest(self) -> int | None:
        return self.texts.longest

    @property
    def n_cut(self) -> int:
        """How many texts are longer than they are read."""
        return self.texts.n_cut

    @cached_property
    def lengths(self) -> Int64s:
        """(records,) tokens that are read of each: of both texts, or of one twice."""
        lengths: Int64s = self.texts.lengths[self.first] + self.texts.lengths[self.second]
        return lengths

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the texts' fingerprint, of what belongs to what, and of the scores."""
        digest = hashlib.sha256(self.texts.fingerprint.encode())
        for numbers in (self.first, self.second, *(() if self.scores is None else (self.scores,))):
            digest.update(numbers.tobytes())
        return digest.hexdigest()


def alike_store(
    records: Sequence[Alike], tokenizer: Encoder, longest: int | None = None, progress: Progress | None = None
) -> AlikeStore:
    """The records as tokens.

    Args:
        longest: tokens of a text at most, begin and end included.
        progress: called with (characters done, characters in all).

    Raises:
        DataError: some records have a score and some have none.
    """
    texts = list(dict.fromkeys(text for record in records for text in record.texts))
    numbers = {text: number for number, text in enumerate(texts)}
    scores = [record.score for record in records if record.score is not None]
    if scores and len(scores) < len(records):
        raise DataError("some pairs have a score and some have none", "", "give data of one form")
    return AlikeStore(
        records=tuple(records),
        texts=label_store([Alike(text) for text in texts], tokenizer, longest, progress),
        first=np.array([numbers[record.texts[0]] for record in records], dtype=np.int64),
        second=np.array([numbers[record.texts[-1]] for record in records], dtype=np.int64),
        scores=np.array(scores) if scores else None,
    )
