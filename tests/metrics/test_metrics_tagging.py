"""Entities from tags as conlleval reads them, and figures counted by hand."""

from __future__ import annotations

import doctest
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malgil.errors import InputError
from malgil.metrics import tagging as module
from malgil.metrics.tagging import Entity, entities, iob2, score_tags

TAGS = st.lists(st.sampled_from(["O", "B-인물", "I-인물", "B-장소", "I-장소"]), max_size=9)


def conlleval(tags: list[str]) -> set[tuple[int, int, str]]:
    """Its two questions asked at every word: does a chunk end before it, does one begin at it?"""
    found, start = set(), None
    for i in range(len(tags) + 1):
        before, before_type = tags[i - 1].split("-") if i and tags[i - 1] != "O" else ("O", "")
        tag, kind = tags[i].split("-") if i < len(tags) and tags[i] != "O" else ("O", "")
        if before != "O" and (tag in "OB" or kind != before_type):
            assert start is not None
            found.add((start, i, before_type))
        if tag == "B" or (tag == "I" and (before == "O" or kind != before_type)):
            start = i
    return found


@given(TAGS)
def test_entities_are_those_of_conlleval(tags: list[str]) -> None:
    found = entities(tags)
    assert set(found) == conlleval(tags)
    assert found == sorted(found)
    assert entities(iob2(tags)) == found  # the same in IOB2
    assert iob2(iob2(tags)) == iob2(tags)
    assert len(iob2(tags)) == len(tags)


def test_other_notations_are_read_too() -> None:
    expected = [Entity(0, 1, "장소"), Entity(1, 4, "장소"), Entity(5, 6, "인물")]
    assert entities(["B-장소", "B-장소", "I-장소", "I-장소", "O", "B-인물"]) == expected  # IOB2
    assert entities(["I-장소", "B-장소", "I-장소", "I-장소", "O", "I-인물"]) == expected  # IOB1
    assert entities(["S-장소", "B-장소", "I-장소", "E-장소", "O", "S-인물"]) == expected  # BIOES
    assert entities(["U-장소", "B-장소", "I-장소", "L-장소", "O", "U-인물"]) == expected  # BILOU
    assert entities(["E-장소", "I-장소"]) == [Entity(0, 1, "장소"), Entity(1, 2, "장소")]
    assert entities(["B", "I", "O", "I"]) == [Entity(0, 2, ""), Entity(3, 4, "")]
    assert iob2(["I", "I", "O", "I"]) == ["B", "I", "O", "B"]


def test_half_an_entity_is_a_wrong_one_and_a_missing_one() -> None:
    right = [["B-LOC", "I-LOC", "O", "B-PER"], ["O", "B-ORG"]]
    predicted = [["B-LOC", "O", "O", "B-PER"], ["B-ORG", "B-LOC"]]
    score = score_tags(predicted, right)
    assert (score.all.predicted, score.all.support) == (4, 3)
    assert (score.all.precision, score.all.recall) == pytest.approx((1 / 4, 1 / 3))
    assert score.f1 == pytest.approx(2 / 7)
    assert score.token_accuracy == pytest.approx(3 / 6)
    assert list(score.types) == ["LOC", "ORG", "PER"]
    assert score.types["PER"].f1 == 1
    assert (score.types["LOC"].predicted, score.types["LOC"].support, score.types["LOC"].f1) == (2, 1, 0)
    found = json.loads(json.dumps(score.to_dict(), allow_nan=False))
    assert found["f1"] == score.f1
    assert found["types"]["ORG"]["support"] == 1


def test_a_type_is_part_of_an_entity_and_a_sentence_its_border() -> None:
    assert score_tags([["B-LOC"]], [["B-ORG"]]).f1 == 0
    assert score_tags([["B-LOC"], ["I-LOC"]], [["B-LOC"], ["B-LOC"]]).f1 == 1
    assert score_tags([["B-LOC"], ["O"]], [["O"], ["B-LOC"]]).f1 == 0


def test_no_entities_have_figures() -> None:
    score = score_tags([["O", "O"]], [["O", "O"]])
    assert (score.f1, score.all.precision, score.token_accuracy, score.types) == (0, 0, 1, {})


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(InputError, match="tags of 1 sentences for 2"):
        score_tags([["O"]], [["O"], ["O"]])
    with pytest.raises(InputError, match="1 tags for 2 tokens; sentence 1"):
        score_tags([["O"], ["O"]], [["O"], ["O", "O"]])
    with pytest.raises(InputError, match="no tags to score"):
        score_tags([[]], [[]])


def test_doctests() -> None:
    result = doctest.testmod(module)
    assert result.attempted >= 2
    assert result.failed == 0
