"""N-grams that vote: against plain loops over strings, and beside a model."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch

from malgil.objectives.ngrams import ALPHA, LEAST_TEXTS, UNIT, NGramTable, NGramVotes, n_grams

LONGEST = 3
TEXTS = [("참 좋다",), ("좋다 좋다!",), ("별로다",), ("참 별로",), ("좋은 날",), ("fine, 좋다",), ("",), ("참 별로다",)]
TARGETS = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [1, 0], [1, 0], [0, 1], [0, 1]], dtype=np.float32)


def _strings(text: str) -> set[str]:
    padded = f" {text} "
    return {padded[i : i + n] for n in range(1, LONGEST + 1) for i in range(len(padded) - n + 1)}


def _hashes(texts: tuple[str, ...]) -> set[int]:
    return {int(key) for key in n_grams([texts], LONGEST)[0] if key}


def _votes() -> NGramVotes:
    table = NGramTable(TEXTS, LONGEST)
    votes = NGramVotes(len(table.keys), 2, 0.5)
    votes.fill(table.keys, table.ratios(TARGETS))
    return votes


def test_each_n_gram_of_a_text_is_there_once() -> None:
    found = n_grams(TEXTS, LONGEST)
    for row, (text,) in zip(found, TEXTS, strict=True):
        real = row[row > 0]
        assert len(real) == len(set(real.tolist())) == len(_strings(text))


def test_equal_n_grams_have_one_hash_and_others_do_not_share_it() -> None:
    for one in TEXTS:
        for other in TEXTS:
            assert len(_hashes(one) & _hashes(other)) == len(_strings(one[0]) & _strings(other[0]))


def test_those_of_a_second_text_are_others() -> None:
    assert _hashes(("좋다", "좋다")) > _hashes(("좋다",))
    assert len(_hashes(("좋다", "좋다"))) == 2 * len(_hashes(("좋다",)))
    assert not _hashes(("좋다", "")) & _hashes(("날", "좋다")) - _hashes(("날", ""))  # but for the blanks of both


def test_a_text_does_not_depend_on_those_beside_it() -> None:
    together = n_grams(TEXTS, LONGEST)
    for row, text in zip(together, TEXTS, strict=True):
        assert {int(key) for key in row if key} == _hashes(text)


def test_those_of_three_texts_vote() -> None:
    counts = Counter(gram for (text,) in TEXTS for gram in _strings(text))
    table = NGramTable(TEXTS, LONGEST)
    assert len(table.keys) == sum(count >= LEAST_TEXTS for count in counts.values()) > 0
    assert (np.diff(table.keys) > 0).all()


@pytest.mark.parametrize("at_a_time", [3, 4096])
def test_votes_begin_as_naive_bayes(at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("malgil.objectives.ngrams._AT_A_TIME", at_a_time)  # 3: in several pieces
    counts = Counter(gram for (text,) in TEXTS for gram in _strings(text))
    voting = [gram for gram, count in counts.items() if count >= LEAST_TEXTS]
    inside = {
        gram: [sum(t[k] for (text,), t in zip(TEXTS, TARGETS, strict=True) if gram in _strings(text)) for k in (0, 1)]
        for gram in voting
    }
    sizes = [sum(ALPHA + inside[gram][k] for gram in voting) for k in (0, 1)]
    expected = []
    for (text,) in TEXTS:
        own = [gram for gram in voting if gram in _strings(text)]
        ratio = sum(
            math.log((ALPHA + inside[gram][0]) / sizes[0]) - math.log((ALPHA + inside[gram][1]) / sizes[1])
            for gram in own
        )
        expected.append([0.5 * sign * ratio / math.sqrt(max(1, len(own))) for sign in (1, -1)])
    votes = _votes()(torch.from_numpy(n_grams(TEXTS, LONGEST)))
    torch.testing.assert_close(votes, torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_a_weight_moves_its_own_n_gram_alone() -> None:
    votes, found = _votes(), torch.from_numpy(n_grams(TEXTS, LONGEST))
    before = votes(found).detach()
    with torch.no_grad():
        votes.moved[0] += 1 / UNIT
    changed = (votes(found) - before).abs().sum(1) > 1e-6
    has = (found == votes.keys[0]).any(1)
    assert torch.equal(changed, has)
    assert 0 < int(has.sum()) < len(TEXTS)


def test_a_row_is_the_same_to_the_bit_whatever_room_others_need() -> None:
    votes = _votes()
    long = ("참 좋다 " * 40 + "가나다라마바사아자차카타파하" * 3,)
    alone = votes(torch.from_numpy(n_grams([TEXTS[1]], LONGEST)))
    beside = votes(torch.from_numpy(n_grams([TEXTS[1], long], LONGEST)))
    assert torch.equal(alone[0], beside[0])
