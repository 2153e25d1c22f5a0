"""Neighbours as pairs: nothing is lost, halves fit, and cuts lie at the ends of sentences where they can."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from malgil.data.sentence_pairs import NONE, PairReading, SentencePairs
from malgil.data.store import TokenStore
from malgil.errors import ConfigError, DataError
from malgil.text.sentences import SentenceEnds

StoreOf = Callable[..., TokenStore]
DOCUMENTS = (
    "말길은 길이다. 글이 간다! 산은 높고 물은 흐른다. 끝.",
    "",
    "한 문장",
    "One. Two words here. Three!\nFour is a longer one without an end that goes on and on",
    "새벽. 책.",
)
ONE, TWO = {}, {"begin_id": 0, "end_id": 1}


def ends() -> SentenceEnds:
    """Of the tokenizer of code points: full stops before spaces, and line ends."""
    characters = np.array(["", "", "", *map(chr, range(59_997))])
    of = lambda found: np.isin(characters, list(found))  # noqa: E731
    return SentenceEnds(of(".!?"), of('")'), of(" \n"), of("\n"), of("\n"))


def halves(pairs: SentencePairs, tokenizer: Any) -> list[str]:
    return [tokenizer.decode(pairs.tokens(i).tolist()) for i in range(len(pairs.sizes))]


@pytest.mark.parametrize("special", [ONE, TWO], ids=["one token", "two tokens"])
@pytest.mark.parametrize("longest", [5, 12, 23, 40, 200])
def test_halves_put_together_are_the_documents(
    special: dict[str, int], longest: int, store_of: StoreOf, code_points: Any
) -> None:
    tokenizer = code_points(**special)
    pairs = SentencePairs(store_of(*DOCUMENTS, tokenizer=tokenizer), ends(), longest)
    texts = halves(pairs, tokenizer)
    whole = [d for d in DOCUMENTS if d]
    for number, document in enumerate(whole):
        assert "".join(t for t, d in zip(texts, pairs.document, strict=True) if d == number) == document
    assert pairs.sizes.max() <= (longest - 3) // 2
    assert pairs.sizes.min() >= 1
    # every half is once in a pair, or alone at the end of its document
    used = [i for a, b in zip(pairs.first, pairs.second, strict=True) for i in (a, b) if i != NONE]
    assert used == list(range(len(texts)))
    for a, b in zip(pairs.first, pairs.second, strict=True):
        if b == NONE:
            assert a == np.flatnonzero(pairs.document == pairs.document[a])[-1]
        else:
            assert b == a + 1
            assert pairs.document[a] == pairs.document[b]


def test_cuts_lie_where_sentences_end(store_of: StoreOf, code_points: Any) -> None:
    pairs = SentencePairs(store_of(*DOCUMENTS), ends(), 43)  # halves of 20
    long = DOCUMENTS[3].split("\n")[1]  # three pieces; the odd half is one of them, with no end within
    thirds = [long[i * len(long) // 3 : (i + 1) * len(long) // 3] for i in range(3)]
    assert halves(pairs, code_points()) == [
        "말길은 길이다. 글이 간다!", " 산은 높고 물은 흐른다. 끝.",
        "한 문장",
        "One. Two words here.", " Three!\n",
        *thirds,
        "새벽.", " 책.",
    ]  # fmt: skip
    whole = SentencePairs(store_of(*DOCUMENTS), ends(), 203)
    texts = halves(whole, code_points())
    # a document that fits a half is cut in two at the end of the sentence next to its middle
    assert texts[:2] == ["말길은 길이다. 글이 간다!", " 산은 높고 물은 흐른다. 끝."]
    assert texts[3:5] == ["One. Two words here. Three!\n", DOCUMENTS[3].split("\n")[1]]
    assert [a for a, b in zip(whole.first, whole.second, strict=True) if b == NONE] == [2]


def test_what_is_read(store_of: StoreOf, code_points: Any) -> None:
    tokenizer = code_points(begin_id=0, end_id=1)
    pairs = SentencePairs(store_of(*DOCUMENTS, tokenizer=tokenizer), ends(), 43)
    reading = PairReading(pairs, np.array([8, 2]), np.array([0, NONE]), np.array([1, -100]))
    a, b = (pairs.tokens(i).tolist() for i in (8, 0))
    assert reading.ids(0).tolist() == [0, *a, 1, *b, 1]
    assert reading.ids(1).tolist() == [0, *pairs.tokens(2).tolist(), 1]
    assert reading.lengths.tolist() == [len(a) + len(b) + 3, 6]
    assert reading.first_lengths.tolist() == [len(a) + 2, 6]


def test_pairs_that_are_read_as_one_text_are_as_in_the_document(store_of: StoreOf, code_points: Any) -> None:
    tokenizer = code_points(begin_id=0, end_id=1)
    pairs = SentencePairs(store_of(*DOCUMENTS, tokenizer=tokenizer), ends(), 203)  # a pair a document, or a text
    swapped = np.where(pairs.second == NONE, (pairs.first, pairs.second), (pairs.second, pairs.first))
    reading = PairReading(pairs, swapped[0], swapped[1], np.where(pairs.second == NONE, -100, 1))
    joined = reading.join(np.array([True, True, False, True]))
    whole = [document for document in DOCUMENTS if document]
    for i in (0, 3):
        ids = joined.ids(i).tolist()
        assert (ids[0], tokenizer.decode(ids[1:-1]), ids[-1]) == (0, whole[i], 1)
        assert joined.lengths[i] == joined.first_lengths[i] == len(whole[i]) + 2
    for i in (1, 2):  # one that has no second half, and one that is left as it was
        assert joined.ids(i).tolist() == reading.ids(i).tolist()
        assert joined.lengths[i] == reading.lengths[i] == len(reading.ids(i))
        assert joined.first_lengths[i] == reading.first_lengths[i]
    assert joined.labels.tolist() == [-100, -100, 1, -100]


def test_a_copy_reads_the_same_file(store_of: StoreOf) -> None:
    pairs = SentencePairs(store_of(*DOCUMENTS), ends(), 23)
    copy = pickle.loads(pickle.dumps(pairs))
    assert all(np.array_equal(copy.tokens(i), pairs.tokens(i)) for i in range(len(pairs.sizes)))


def test_what_gives_no_pair_is_refused(store_of: StoreOf) -> None:
    with pytest.raises(ConfigError, match="max_len 4 has no room for a pair"):
        SentencePairs(store_of(*DOCUMENTS), ends(), 4)
    with pytest.raises(DataError, match=r"no document has two sentences.*--objective\.also none"):
        SentencePairs(store_of("산은 높다.", "물"), ends(), 99)


def test_many_documents_are_cut_at_once() -> None:
    store = TokenStore.__new__(TokenStore)
    store.folder = Path()
    store.tokens = np.tile(np.array([0, *[5] * 13, 6, 7, *[5] * 13, 6], dtype=np.uint16), 50_000)
    store.tokens = np.append(store.tokens, np.uint16(0))
    store.starts = np.arange(0, len(store.tokens) - 1, 30)
    pairs = SentencePairs(store, SentenceEnds(*(np.arange(9) == i for i in (6, 99, 7, 99, 99))), 64)
    assert len(pairs.first) == 50_000
    assert pairs.sizes.tolist() == [14, 15] * 50_000
