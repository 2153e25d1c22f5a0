"""Words and their pieces against plain loops over the text, whatever the tokenizer; rows that lose no word."""

from __future__ import annotations

import doctest
import pickle
import random
from dataclasses import replace

import numpy as np
import pytest

from malgil.data import tag_store as module
from malgil.data.label_records import Tagged
from malgil.data.tag_store import UNKNOWN_TAG, TagStore, overlapping, tag_store
from malgil.errors import ConfigError
from malgil.text.settings import KINDS, TokenizerSettings
from malgil.text.tokenizer import Tokenizer
from malgil.text.training import train_tokenizer

NAMES = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
SENTENCES = [
    ("서울특별시 에 간다 .", "B-LOC O O O"),
    ("Min-su 는 New York 에서 왔다", "B-PER O B-LOC I-LOC O O"),
    ("🙂 3.14 éa ㅋㅋ", "O O B-PER I-PER"),
    ("말길", "O"),
]


def records() -> list[Tagged]:
    return [Tagged(tuple(words.split()), tuple(tags.split())) for words, tags in SENTENCES]


def tokenizer(kind: str) -> Tokenizer:
    text = "서울특별시 에 간다 . 서울 말길 은 New York 에서 왔다 min 는\n" * 9
    return train_tokenizer([text], TokenizerSettings(kind=kind, vocab_size=330))


def long_store(longest: int | None = None) -> TagStore:
    """One sentence of words of one to five characters, each letter a token."""
    draw = random.Random(3)
    words = tuple("".join(draw.choices("가나다라", k=draw.randint(1, 5))) for _ in range(40))
    tags = tuple(draw.choice(NAMES[:2]) for _ in words)
    return tag_store([Tagged(words, tags)], tokenizer("char"), NAMES, longest)


def test_examples() -> None:
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_are_those_of_the_text_and_the_first_of_a_word_carries_its_tag(kind: str) -> None:
    chosen = tokenizer(kind)
    store = tag_store(records(), chosen, NAMES)
    for number, record in enumerate(records()):
        text = " ".join(record.tokens)
        ((ids, spans),) = chosen.encode_spans([text])
        row = store.rows.ids(number)
        assert row.tolist() == [chosen.begin_id, *ids, chosen.end_id]
        expected, start = [], 0
        for word in record.tokens:  # the first token that has a character of the word
            touching = [i for i, span in enumerate(spans) if start in range(*span)]
            expected.append(1 + touching[0])
            start += len(word) + 1
        assert store.rows.places(number).tolist() == expected
        assert store.rows.tags(number).tolist() == [NAMES.index(tag) for tag in record.tags]
        assert store.lengths[number] == store.rows.lengths[number] == len(row)
        assert store.rows.types(number).tolist() == [0] * len(row)


def test_every_word_is_asked_for_once_whatever_the_length_of_rows() -> None:
    whole = long_store()
    for longest in range(3, 60):
        rows = replace(whole, longest=longest).rows
        asked = [word for start, stop in rows.asked.tolist() for word in range(start, stop)]
        assert asked == list(range(40))
        assert int(rows.lengths.max()) <= longest
        carriers = []
        for number in range(len(rows)):
            ids = rows.ids(number)
            assert (ids[0], ids[-1], len(ids)) == (whole.begin_id, whole.end_id, rows.lengths[number])
            assert int(rows.places(number).max()) < len(ids) - 1
            carriers += ids[rows.places(number)].tolist()
        assert carriers == whole.pieces[whole.ends[:-1] + whole.carriers].tolist()
        assert np.concatenate([rows.tags(number) for number in range(len(rows))]).tolist() == whole.tags.tolist()


def test_a_word_at_the_edge_of_a_part_is_read_with_its_neighbours() -> None:
    rows = overlapping([1] * 100, 20)
    assert len(rows) > 5
    for first, start, stop, last in rows:
        assert last - first <= 20
        assert first == max(0, start - 5) or last == 100  # a quarter of twenty
        assert last - stop in (5, 0)
    assert rows[-1][3] - rows[-1][0] == 20  # the last one is full, too


def test_words_that_are_longer_than_a_row_and_words_of_nothing() -> None:
    chosen = tokenizer("char")
    store = tag_store([Tagged(("가" * 9, "나"), ("B-LOC", "O"))], chosen, NAMES, longest=6)
    assert [store.rows.ids(i).tolist()[1:-1] for i in range(2)] == [chosen.encode("가가가가"), chosen.encode(" 나")]
    assert [store.rows.places(i).tolist() for i in range(2)] == [[1], [2]]
    notes = store.rows.notes()
    assert notes == [
        "1 sentence is longer than 6 tokens, read in overlapping parts",
        "1 word is longer than 4 tokens, of which the first are read",
    ]
    assert store.n_unknown == 10  # neither letter is in the training text
    second = tag_store([Tagged(("나", "가" * 9), ("O", "B-LOC"))], chosen, NAMES, longest=6)
    assert second.rows.ids(1).tolist()[1:-1] == chosen.encode("가가가가")  # without the space before it
    assert second.rows.places(1).tolist() == [1]
    blank = tag_store([Tagged(("\u3000", "간다"), ("O", "O"))], tokenizer("wordpiece"), NAMES)
    assert blank.sizes.tolist()[0] == 1
    assert blank.pieces[0] == tokenizer("wordpiece").unknown_id


def test_a_tag_that_is_not_among_the_names_does_not_count() -> None:
    store = tag_store(records(), tokenizer("bpe"), NAMES[:3])
    assert (store.tags == UNKNOWN_TAG).sum() == 3
    assert store.tags[0] == 1


def test_the_fingerprint_tells_tags_names_and_words_apart() -> None:
    chosen, some = tokenizer("char"), records()
    moved = [*some[:3], Tagged(("말길",), ("B-LOC",))]
    other = [*some[:3], Tagged(("길말",), ("O",))]
    prints = {tag_store(one, chosen, NAMES).fingerprint for one in (some, moved, other)}
    prints |= {tag_store(some, chosen, NAMES[:3]).fingerprint}
    assert len(prints) == 4
    assert tag_store(some, chosen, NAMES, 9).fingerprint in prints


def test_rows_travel_to_other_processes() -> None:
    rows = long_store(12).rows
    again = pickle.loads(pickle.dumps(rows))
    assert [again.ids(i).tolist() for i in range(len(again))] == [rows.ids(i).tolist() for i in range(len(rows))]


def test_no_room_is_said() -> None:
    with pytest.raises(ConfigError, match="no room for a word"):
        long_store(2).rows  # noqa: B018
