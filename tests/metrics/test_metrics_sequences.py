"""Edit distances against their recursive definition, and rates with several right answers."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malgil.errors import InputError
from malgil.metrics.sequences import edit_distance, error_rate, wrong_share

LETTERS = st.text(alphabet="말길은a", max_size=7)


@cache
def slow_distance(a: str, b: str) -> int:
    """The definition, without a table."""
    if not a or not b:
        return len(a) + len(b)
    if a[-1] == b[-1]:
        return slow_distance(a[:-1], b[:-1])
    return 1 + min(slow_distance(a[:-1], b), slow_distance(a, b[:-1]), slow_distance(a[:-1], b[:-1]))


@given(LETTERS, LETTERS)
def test_the_distance_is_its_definition(a: str, b: str) -> None:
    assert edit_distance(a, b) == slow_distance(a, b) == edit_distance(b, a)
    assert edit_distance(list(a), tuple(b)) == edit_distance(a, b)


def test_known_distances() -> None:
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance("말길을", "말길") == 1
    assert edit_distance("", "말길") == edit_distance("말길", "") == 2
    assert edit_distance(["M", "AA1", "L"], ["M", "AA2", "L", "G"]) == 2


def test_the_nearest_of_several_references_counts_with_its_own_length() -> None:
    hypotheses = [["K", "AE", "T"], ["D", "AO"]]
    references = [[["B", "AE", "T", "S"], ["K", "AH", "T"]], [["D", "AO", "G", "Z"]]]
    # 1 edit of 3, 2 edits of 4
    assert error_rate(hypotheses, references) == pytest.approx(3 / 7)


def test_of_equally_near_references_the_first_counts() -> None:
    assert error_rate(["말길"], [["말", "말길은"]]) == 1
    assert error_rate(["말길"], [["말길은", "말"]]) == pytest.approx(1 / 3)


def test_one_right_answer_is_enough() -> None:
    words = [("말", "길"), ("산",), ("물",), ()]
    right = [[["말"], ["말", "길"]], [["강"], ["산", "은"]], [["물"]], [["새", "벽"]]]
    assert wrong_share(words, right) == 0.5
    assert error_rate(words[:1], right[:1]) == 0


@pytest.mark.parametrize("measure", [error_rate, wrong_share])
def test_what_cannot_be_compared_is_refused(measure) -> None:
    with pytest.raises(InputError, match="2 hypotheses and references for 1"):
        measure(["말", "길"], [["말"]])
    with pytest.raises(InputError, match="0 hypotheses"):
        measure([], [])
    with pytest.raises(InputError, match="no reference; item 1"):
        measure(["말", "길"], [["말"], []])


def test_empty_references_have_no_rate() -> None:
    with pytest.raises(InputError, match="empty references"):
        error_rate(["말"], [[""]])
