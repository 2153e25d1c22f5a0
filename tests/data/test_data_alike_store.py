"""Texts that belong together as tokens: each text once, whatever it belongs to."""

from __future__ import annotations

import numpy as np
import pytest

from malgil.data.alike_store import alike_store
from malgil.data.label_alike import Alike
from malgil.errors import DataError
from malgil.text.settings import TokenizerSettings
from malgil.text.training import train_tokenizer

RECORDS = [Alike("비가", "온다 온다"), Alike("눈", "비가"), Alike("눈", "온다 온다")]
TOKENIZER = train_tokenizer(["비가 온다 눈 "], TokenizerSettings(kind="char"))


def test_each_text_is_encoded_once() -> None:
    store = alike_store(RECORDS, TOKENIZER)
    assert [record.text for record in store.texts.records] == ["비가", "온다 온다", "눈"]
    assert store.first.tolist() == [0, 2, 2]
    assert store.second.tolist() == [1, 0, 1]
    assert store.texts.ids(1).tolist() == [TOKENIZER.begin_id, *TOKENIZER.encode("온다 온다"), TOKENIZER.end_id]
    assert store.lengths.tolist() == [4 + 7, 3 + 4, 3 + 7]
    assert store.scores is None
    assert not store.alone
    assert len(store) == 3
    assert store.n_bytes == len("비가온다 온다눈".encode())


def test_texts_are_cut_one_by_one() -> None:
    store = alike_store(RECORDS, TOKENIZER, longest=5)
    assert store.n_cut == 1
    assert store.longest == 5
    assert store.lengths.tolist() == [4 + 5, 3 + 4, 3 + 5]
    assert store.texts.ids(1).tolist() == [TOKENIZER.begin_id, *TOKENIZER.encode("온다 "), TOKENIZER.end_id]


def test_texts_alone_are_their_own_partners() -> None:
    store = alike_store([Alike("눈"), Alike("비가")], TOKENIZER)
    assert store.alone
    assert np.array_equal(store.first, store.second)


def test_the_fingerprint_is_that_of_texts_partners_and_scores() -> None:
    scored = [Alike("눈", "비가", 2.0), Alike("비가", "눈", 3.0)]
    several = [
        RECORDS,
        RECORDS[::-1],
        [Alike("비가", "온다 온다"), Alike("눈", "비가"), Alike("눈", "눈")],
        scored,
        [Alike("눈", "비가", 2.0), Alike("비가", "눈", 4.0)],
        [Alike(r.text, r.pair) for r in scored],
    ]
    prints = [alike_store(records, TOKENIZER).fingerprint for records in several]
    assert len(set(prints)) == len(prints)
    assert alike_store(RECORDS, TOKENIZER).fingerprint == prints[0]
    assert alike_store(scored, TOKENIZER).scores is not None
    with pytest.raises(DataError, match="some pairs have a score and some have none"):
        alike_store([*RECORDS, *scored], TOKENIZER)
