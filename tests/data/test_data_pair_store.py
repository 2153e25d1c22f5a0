"""Pairs as tokens: which ids belong to which pair, and which pairs are dropped."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from malgil.data.pair_store import PairStore, pair_store
from malgil.data.pairs import PairPart, open_all_pairs
from malgil.data.settings import DataSettings
from malgil.errors import DataError

PAIRS = [
    ("Go.", "가."),
    ("a" * 21, "가" * 3),  # badly matched: 21 > 5 * 3 + 5
    ("Run!", ""),
    ("bb", "나" * 14),  # 14 <= 5 * 2 + 5
    ("c" * 31, "다" * 29),  # too long
    ("라", "d e"),
]


@pytest.fixture
def part(tmp_path: Path) -> PairPart:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"source": s, "target": t}) + "\n" for s, t in PAIRS), encoding="utf-8")
    return open_all_pairs(DataSettings(paths=[str(path)]))[0]


def ids(text: str) -> list[int]:
    return [ord(c) + 3 for c in text]


def lists(store: PairStore) -> list[tuple[list[int], list[int]]]:
    pairs = [store.pair(i) for i in range(len(store))]
    assert all(side.dtype == np.int64 for pair in pairs for side in pair)
    return [(source.tolist(), target.tolist()) for source, target in pairs]


def stored(part: PairPart, source: Any, target: Any, **settings: Any) -> PairStore:
    return pair_store(part, source, target, **{"longest": None, "max_ratio": None, "filtering": True, **settings})


@pytest.mark.parametrize("source_end, target_end", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_pairs_without_begin_and_end(
    part: PairPart, code_points: Callable[..., Any], source_end: int, target_end: int
) -> None:
    store = stored(part, code_points(end_id=source_end), code_points(end_id=target_end))
    full = [pair for pair in PAIRS if all(pair)]
    assert lists(store) == [(ids(s), ids(t)) for s, t in full]
    assert store.source_lengths.tolist() == [len(s) for s, _ in full]
    assert store.target_lengths.tolist() == [len(t) for _, t in full]
    assert store.kept.tolist() == [0, 1, 2, 3, 4]
    assert store.dropped == {"empty": 1, "too long": 0, "badly matched": 0}
    assert store.notes() == ["1 pair was dropped: 1 empty"]
    assert store.n_bytes == sum(len(t.encode()) for _, t in full)


def test_what_is_dropped(part: PairPart, code_points: Callable[..., Any]) -> None:
    store = stored(part, code_points(), code_points(), longest=30, max_ratio=5)
    assert lists(store) == [(ids(s), ids(t)) for s, t in (PAIRS[0], PAIRS[3], PAIRS[5])]
    assert store.kept.tolist() == [0, 2, 4]
    assert store.notes() == ["3 pairs were dropped: 1 empty, 1 longer than 30 tokens, 1 badly matched"]
    scored = stored(part, code_points(), code_points(), longest=30, max_ratio=5, filtering=False)
    assert len(scored) == 5
    assert scored.notes() == ["1 pair was dropped: 1 empty"]
    assert len(stored(part, code_points(), code_points(), longest=31)) == 5  # the limit itself is allowed
    assert len({s.fingerprint for s in (store, scored, stored(part, code_points(), code_points(end_id=1)))}) == 3


def test_a_text_that_becomes_no_token_is_empty(part: PairPart, code_points: Callable[..., Any]) -> None:
    class Deaf(code_points):  # type: ignore[misc, valid-type]
        def encode_batch(self, texts: list[str]) -> list[list[int]]:
            return [[] if text == "라" else row for text, row in zip(texts, super().encode_batch(texts), strict=True)]

    store = stored(part, Deaf(), code_points())
    assert store.dropped["empty"] == 2
    assert len(store) == 4


@pytest.mark.parametrize(
    ("source", "limits", "cure"),
    [
        ("가" * 9, {"longest": 5, "max_ratio": 9.0}, r"raise --model\.max-len, and --data\.max-pair-len if it is set$"),
        ("가" * 9, {"longest": 9, "max_ratio": 1.0}, r"; raise --data\.max-ratio$"),
    ],
)
def test_nothing_is_left(
    tmp_path: Path, code_points: Callable[..., Any], source: str, limits: dict[str, float], cure: str
) -> None:
    path = tmp_path / "a.tsv"
    path.write_text(f"{source}\tno\n{source}\tyes\n", encoding="utf-8")
    part = open_all_pairs(DataSettings(paths=[str(path)]))[0]
    with pytest.raises(DataError, match=rf"no pair is left: 2 pairs were dropped: .*{cure}"):
        stored(part, code_points(), code_points(), **limits)


def test_every_reason_has_a_cure(part: PairPart, code_points: Callable[..., Any]) -> None:
    with pytest.raises(
        DataError, match=r"no pair is left: 6 pairs were dropped: .*; give texts on both sides; raise --model"
    ):
        stored(part, code_points(), code_points(), longest=1)


def test_unknown_tokens_are_the_targets(part: PairPart, code_points: Callable[..., Any]) -> None:
    store = stored(part, code_points(), code_points(vocab_size=256))
    assert store.n_unknown == sum(ord(c) > 252 for s, t in PAIRS if s for c in t)


def test_another_process_finds_the_same(part: PairPart, code_points: Callable[..., Any]) -> None:
    store = stored(part, code_points(), code_points(end_id=1), longest=30, max_ratio=5)
    packed = pickle.dumps(store)
    assert len(packed) < 1000  # files are mapped, not sent
    copy = pickle.loads(packed)
    assert lists(copy) == lists(store)
    assert (copy.fingerprint, copy.notes()) == (store.fingerprint, store.notes())


def test_both_directions_share_the_stores(part: PairPart, code_points: Callable[..., Any], cache: Path) -> None:
    stored(part, code_points(), code_points())
    back = open_all_pairs(DataSettings(paths=[str(part.pieces[0].file.path)], reverse=True))[0]  # type: ignore[union-attr]
    turned = stored(back, code_points(), code_points())
    assert lists(turned)[0] == (ids("가."), ids("Go."))
    assert len(list((cache / "stores").iterdir())) == 2
