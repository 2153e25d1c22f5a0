"""Labelled texts as tokens: what stands where, what is cut, and that nothing else of a record matters."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers

from malgil.data.label_records import Labelled, Scored
from malgil.data.label_store import LabelStore, label_store
from malgil.errors import ConfigError
from malgil.text.settings import TokenizerSettings
from malgil.text.tokenizer import Tokenizer
from malgil.text.training import train_tokenizer

TEXTS = ["말길이 참 좋다", "비가 온다", "a", "땅이 젖는다 그리고 길이 미끄럽다"]
PAIRS = [(a, b) for a in TEXTS for b in (None, *TEXTS)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS, TokenizerSettings(kind="char"))


def records() -> list[Labelled]:
    return [Labelled(text, pair, (str(i % 2),)) for i, (text, pair) in enumerate(PAIRS)]


def by_hand(record: Labelled, tokenizer: Tokenizer, longest: int) -> tuple[list[int], list[int]]:
    """Tokens are taken from the end of the longer text, of the second where both are as long, until the rest fits."""
    texts = [tokenizer.encode(text) for text in record.texts]
    while sum(map(len, texts)) + 1 + len(texts) > longest:
        lengths = [len(text) for text in texts]
        texts[max(range(len(texts)), key=lambda i: (lengths[i], i))].pop()
    ids, types = [tokenizer.begin_id], [0]
    for number, text in enumerate(texts):
        ids += [*text, tokenizer.end_id]
        types += [number] * (len(text) + 1)
    return ids, types


@pytest.mark.parametrize("longest", [5, 8, 13, 14, 1000])
def test_rows_are_those_made_by_hand(longest: int, tokenizer: Tokenizer) -> None:
    store = label_store(records(), tokenizer, longest)
    assert len(store) == len(PAIRS)
    cut = 0
    for i, record in enumerate(store.records):
        ids, types = by_hand(record, tokenizer, longest)
        assert store.ids(i).tolist() == ids
        assert store.types(i).tolist() == types
        assert store.lengths[i] == len(ids) <= longest
        cut += len(ids) < len(by_hand(record, tokenizer, 10**6)[0])
    assert store.n_cut == cut
    assert (cut > 0) == (longest < 1000)


def test_a_store_is_cut_anew_without_encoding(tokenizer: Tokenizer) -> None:
    whole = label_store(records(), tokenizer)
    assert whole.n_cut == 0
    cut, expected = replace(whole, longest=9), label_store(records(), tokenizer, 9)
    assert [cut.ids(i).tolist() for i in range(len(cut))] == [expected.ids(i).tolist() for i in range(len(cut))]
    assert cut.whole_lengths.tolist() == whole.lengths.tolist()


def test_counts_and_fingerprints(tokenizer: Tokenizer) -> None:
    store = label_store([*records(), Labelled("뷁 쀍", None, ("0",))], tokenizer)
    texts = [text for a, b in PAIRS for text in (a, b) if text is not None] + ["뷁 쀍"]
    assert store.n_bytes == sum(len(text.encode()) for text in texts)
    assert store.n_unknown == 2
    same = label_store(records(), tokenizer)
    assert same.fingerprint == label_store(records(), tokenizer, 7).fingerprint
    assert same.fingerprint != store.fingerprint
    relabelled = [replace(records()[0], labels=("1",)), *records()[1:]]
    assert label_store(relabelled, tokenizer).fingerprint != same.fingerprint


def test_progress_ends_with_all_characters(tokenizer: Tokenizer) -> None:
    told: list[tuple[int, int]] = []
    label_store(
        [Scored("말길 " * 3, None, float(i)) for i in range(4100)], tokenizer, progress=lambda *n: told.append(n)
    )
    total = 4100 * len("말길 " * 3)
    assert told[-1] == (total, total)
    assert len(told) == 3


def test_another_process_gets_the_same(tokenizer: Tokenizer) -> None:
    store = label_store(records(), tokenizer, 9)
    again: LabelStore[Labelled] = pickle.loads(pickle.dumps(store))
    assert np.array_equal(again.lengths, store.lengths)
    assert again.ids(3).tolist() == store.ids(3).tolist()


@pytest.mark.parametrize(("record", "least"), [(Labelled("말", None, ("0",)), 3), (Labelled("말", "길", ("0",)), 5)])
def test_no_room_is_refused(record: Labelled, least: int, tokenizer: Tokenizer) -> None:
    assert label_store([record], tokenizer, least).lengths[0] == least
    with pytest.raises(ConfigError, match=f"take at least {least}"):
        label_store([record], tokenizer, least - 1)


@pytest.mark.parametrize("special", [1, 2])
def test_the_cache_changes_nothing(
    special: int, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if special == 2:
        vocabulary = {token: i for i, token in enumerate(("[CLS]", "[SEP]", "[UNK]", "비가", "온다", "참"))}
        backend = Backend(models.WordLevel(vocabulary, unk_token="[UNK]"))
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
        backend.decoder = decoders.WordPiece()
        tokenizer = Tokenizer.wrap(backend, "imported", begin="[CLS]", end="[SEP]", unknown="[UNK]")
    assert len({tokenizer.begin_id, tokenizer.end_id}) == special
    monkeypatch.setenv("MALGIL_CACHE", str(tmp_path))
    monkeypatch.setattr("malgil.data.label_store.MANY", 100)
    some = [*records(), Labelled("", None, ("0",))]
    plain = label_store(some, tokenizer, 8)
    assert not (tmp_path / "stores").exists()
    made, read = (label_store(some, tokenizer, 8, cached=True) for _ in range(2))
    assert len(list((tmp_path / "stores").iterdir())) == 1
    for store in (made, read):
        assert np.array_equal(store.tokens, plain.tokens)
        assert np.array_equal(store.starts, plain.starts)
        assert (store.n_unknown, store.fingerprint) == (plain.n_unknown, plain.fingerprint)
    label_store(some[:3], tokenizer, 8, cached=True)
    assert len(list((tmp_path / "stores").iterdir())) == 1, "few texts are not worth a file"


def test_without_a_cache_texts_are_encoded_anew(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MALGIL_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr("malgil.data.label_store.MANY", 1)
    store = label_store(records(), tokenizer, cached=True)
    assert np.array_equal(store.tokens, label_store(records(), tokenizer).tokens)
