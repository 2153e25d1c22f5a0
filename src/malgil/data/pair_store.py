"""Pairs -> two token stores whose documents belong together, and which of the pairs are used.

    pair      source          target
    0         Go.             가.
    1         Yes .. (200)    네.             dropped where pairs are filtered: too long, badly matched
    2         Run!            뛰어!           kept = [0, 2], so that pair(1) is this one

Evaluation filters nothing that has text on both sides: what is hard to translate is scored too.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from malgil.data.pairs import PairPart
from malgil.data.store import Encoder, Progress, TokenStore, token_store
from malgil.errors import DataError

#: tokens by which a side may be longer than the ratio allows: "OK" has many a translation
ALLOWANCE = 5
Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class PairStore:
    """Token ids of pairs of texts; cheap to hand to another process, which maps the same files.

    Args:
        source, target: a document a pair, in the same order.
        separate: of each side, whether begin and end are two tokens (see `store` for the layouts).
        longest: tokens of the longer side, without begin and end; None for any.
        max_ratio: how many times the tokens of the shorter side, and `ALLOWANCE` more, the longer may have; None: any.
        empty: pairs that were left out before, since a side had no text.

    Attributes:
        kept: (pairs,) the documents that are used, ascending.
        source_lengths, target_lengths: (pairs,) tokens of each, without begin and end.
        dropped: how many pairs are not used, by reason.
        n_bytes, n_unknown: of the target's text, filtered or not.
        fingerprint: SHA-256 of the stores' fingerprints and of what is dropped.
    """

    def __init__(
        self,
        source: TokenStore,
        target: TokenStore,
        separate: tuple[bool, bool],
        longest: int | None = None,
        max_ratio: float | None = None,
        empty: int = 0,
    ) -> None:
        self.source, self.target, self.separate = source, target, separate
        self.longest, self.max_ratio = longest, max_ratio
        # A slice of a memmap is one too, which takes longer to make than to read.
        self._source_tokens, self._target_tokens = np.asarray(source.tokens), np.asarray(target.tokens)
        sources, targets = _lengths(source, separate[0]), _lengths(target, separate[1])
        shorter, longer = np.minimum(sources, targets), np.maximum(sources, targets)
        reasons = {
            "empty": shorter == 0,
            "too long": longer > (np.inf if longest is None else longest),
            "badly matched": longer > (np.inf if max_ratio is None else max_ratio * shorter + ALLOWANCE),
        }
        kept, self.dropped = _sieved(reasons, len(sources))
        self._empty = empty
        self.dropped["empty"] += empty
        self.kept: Int64s = np.flatnonzero(kept)
        self.source_lengths, self.target_lengths = sources[kept], targets[kept]
        self.n_bytes, self.n_unknown = target.n_bytes, target.n_unknown
        identity = f"{source.fingerprint} {target.fingerprint} {longest} {max_ratio}"
        self.fingerprint = hashlib.sha256(identity.encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.kept)

    def __reduce__(self) -> tuple[type[PairStore], tuple[object, ...]]:
        return PairStore, (self.source, self.target, self.separate, self.longest, self.max_ratio, self._empty)

    def pair(self, index: int) -> tuple[Int64s, Int64s]:
        """(source ids (S,), target ids (T,)) int64, without begin and end."""
        document = self.kept[index]
        source, target = int(self.source.starts[document]) + 1, int(self.target.starts[document]) + 1
        source_end, target_end = source + int(self.source_lengths[index]), target + int(self.target_lengths[index])
        return (
            self._source_tokens[source:source_end].astype(np.int64),
            self._target_tokens[target:target_end].astype(np.int64),
        )

    def notes(self) -> list[str]:
        """What a person should know about pairs that are not used."""
        total = sum(self.dropped.values())
        if not total:
            return []
        names = {"too long": f"longer than {self.longest} tokens"}
        reasons = [f"{count:,} {names.get(name, name)}" for name, count in self.dropped.items() if count]
        return [f"{total:,} pair{'s were' if total > 1 else ' was'} dropped: {', '.join(reasons)}"]


def pair_store(
    part: PairPart,
    source_tokenizer: Encoder,
    target_tokenizer: Encoder,
    *,
    longest: int | None,
    max_ratio: float | None,
    filtering: bool,
    progress: Progress | None = None,
) -> PairStore:
    """The tokens of a part, both sides from the cache or made now in constant memory.

    Args:
        longest, max_ratio: see `PairStore`; used where `filtering`.
        progress: called with (characters done, characters in all) while a side is tokenised.

    Raises:
        DataError: the text cannot be read any more, or no pair is left.
        StorageError: the cache is full or not writable.
    """
    separate = tuple(tokenizer.begin_id != tokenizer.end_id for tokenizer in (source_tokenizer, target_tokenizer))
    store = PairStore(
        token_store(part.side("source"), source_tokenizer, progress),
        token_store(part.side("target"), target_tokenizer, progress),
        (separate[0], separate[1]),
        longest if filtering else None,
        max_ratio if filtering else None,
        part.counts.empty,
    )
    if not len(store):
        raise DataError(f"no pair is left: {store.notes()[0]}", part.describe(), _cures(store))
    return store


# ---------------------------------------------------------------------------------------------


def _cures(store: PairStore) -> str:
    """What brings back pairs that were dropped, for each reason that has dropped some."""
    cures = {
        "empty": "give texts on both sides",
        "too long": "raise --model.max-len, and --data.max-pair-len if it is set",
        "badly matched": "raise --data.max-ratio",
    }
    return "; ".join(cure for reason, cure in cures.items() if store.dropped[reason])


def _lengths(store: TokenStore, separate: bool) -> Int64s:
    """Tokens of each document (documents,), without begin and end."""
    # One shared token closes the last document and belongs to none.
    borders = np.append(store.starts, len(store) if separate else len(store) - 1)
    return np.diff(borders) - (2 if separate else 1)


def _sieved(reasons: dict[str, Bools], size: int) -> tuple[Bools, dict[str, int]]:
    """What no reason speaks against (size,), and how many each has dropped that none before it had."""
    kept = np.ones(size, dtype=np.bool_)
    dropped = {}
    for name, bad in reasons.items():
        dropped[name] = int(np.count_nonzero(kept & bad))
        kept &= ~bad
    return kept, dropped
