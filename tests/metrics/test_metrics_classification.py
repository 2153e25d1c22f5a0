"""Figures of classes against their definitions, counted text by text, and against published values."""

from __future__ import annotations

import doctest
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from malgil.errors import InputError
from malgil.metrics import classification as module
from malgil.metrics.classification import confusion_matrix, matthews, score_classes, score_label_sets

PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30)


def slow_f1(predicted: list[int], right: list[int], k: int) -> float | None:
    """2 TP / (2 TP + FP + FN); None where the class is not met."""
    pairs = list(zip(predicted, right, strict=True))
    hits = sum(p == r == k for p, r in pairs)
    wrong = sum((p == k) != (r == k) for p, r in pairs)
    return 2 * hits / (2 * hits + wrong) if hits + wrong else None


def slow_matthews(predicted: list[int], right: list[int]) -> float:
    """The correlation of the indicator vectors (Gorodkin 2004): cov(X, Y) / √(cov(X, X) cov(Y, Y))."""
    x, y = np.eye(4)[predicted], np.eye(4)[right]
    x, y = x - x.mean(0), y - y.mean(0)
    spread = (x * x).sum() * (y * y).sum()
    return (x * y).sum() / math.sqrt(spread) if spread > 1e-12 else 0.0


@given(PAIRS)
def test_figures_are_their_definitions(pairs: list[tuple[int, int]]) -> None:
    predicted, right = map(list, zip(*pairs, strict=True))
    score = score_classes(predicted, right, 4)
    f1s = [slow_f1(predicted, right, k) for k in range(4)]
    met = [f1 for f1 in f1s if f1 is not None]
    assert score.accuracy == score.micro_f1 == pytest.approx(sum(p == r for p, r in pairs) / len(pairs))
    assert score.macro_f1 == pytest.approx(sum(met) / len(met))
    assert [row.f1 for row in score.classes] == pytest.approx([f1 or 0 for f1 in f1s])
    assert score.matthews == pytest.approx(slow_matthews(predicted, right), abs=1e-9)
    assert [row.support for row in score.classes] == [right.count(k) for k in range(4)]
    assert [row.predicted for row in score.classes] == [predicted.count(k) for k in range(4)]
    json.dumps(score.to_dict(), allow_nan=False)


def test_the_matrix_has_what_is_right_in_its_rows() -> None:
    found = confusion_matrix([0, 2, 2, 1, 2], [0, 0, 0, 1, 1], 3)
    assert found.tolist() == [[1, 0, 2], [0, 1, 1], [0, 0, 0]]


def test_a_worked_example() -> None:
    """Three classes, of which the last is predicted and never right."""
    score = score_classes([0, 2, 2, 1, 2], [0, 0, 0, 1, 1], 3)
    first, second, third = score.classes
    assert (first.precision, first.recall, first.f1) == pytest.approx((1, 1 / 3, 0.5))
    assert (second.precision, second.recall, second.f1) == pytest.approx((1, 0.5, 2 / 3))
    assert (third.precision, third.recall, third.f1, third.support) == (0, 0, 0, 0)
    assert score.macro_f1 == pytest.approx((0.5 + 2 / 3) / 3)


def test_matthews_of_two_classes_is_the_formula_of_1975() -> None:
    true_0, false_1, false_0, true_1 = 5, 3, 2, 7
    below = (true_1 + false_1) * (true_1 + false_0) * (true_0 + false_1) * (true_0 + false_0)
    expected = (true_1 * true_0 - false_1 * false_0) / math.sqrt(below)
    assert matthews(np.array([[true_0, false_1], [false_0, true_1]])) == pytest.approx(expected)
    assert matthews(np.array([[0, 4], [6, 0]])) == -1
    assert matthews(np.diag([3, 5, 7])) == 1


def test_matthews_of_more_texts_than_squares_fit() -> None:
    big = np.array([[4, 1], [2, 3]], dtype=np.int64)
    assert matthews(big * 10**15) == pytest.approx(matthews(big))


def test_constant_predictions_and_one_class_have_values() -> None:
    constant = score_classes([1, 1, 1, 1], [0, 1, 1, 0], 2)
    assert (constant.accuracy, constant.matthews) == (0.5, 0)
    assert constant.macro_f1 == pytest.approx((0 + 2 / 3) / 2)
    alone = score_classes([0, 0], [0, 0], 5)
    assert (alone.accuracy, alone.macro_f1, alone.matthews) == (1, 1, 0)


SETS = st.lists(st.tuples(*[st.booleans()] * 6), min_size=1, max_size=12)


@given(SETS)
def test_label_sets_are_their_definitions(rows: list[tuple[bool, ...]]) -> None:
    predicted, right = [row[:3] for row in rows], [row[3:] for row in rows]
    score = score_label_sets(predicted, right)
    columns = [([int(row[k]) for row in rows], [int(row[k + 3]) for row in rows]) for k in range(3)]
    f1s = [slow_f1(p, r, 1) for p, r in columns]
    met = [f1 for f1 in f1s if f1 is not None]
    flat = slow_f1([x for p, _ in columns for x in p], [x for _, r in columns for x in r], 1)
    assert score.macro_f1 == pytest.approx(sum(met) / len(met) if met else 0)
    assert score.micro_f1 == pytest.approx(flat or 0)
    assert score.exact_match == pytest.approx(sum(a == b for a, b in zip(predicted, right, strict=True)) / len(rows))
    assert [row.support for row in score.labels] == [sum(r) for _, r in columns]
    json.dumps(score.to_dict(), allow_nan=False)


def test_no_label_at_all() -> None:
    score = score_label_sets([[False, False]], np.array([[False, False]]))
    assert (score.micro_f1, score.macro_f1, score.exact_match) == (0, 0, 1)


def test_what_cannot_be_scored_is_refused() -> None:
    for measure in (lambda p, r: score_classes(p, r, 2), score_label_sets):
        with pytest.raises(InputError, match="2 predictions for 1 texts"):
            measure([0, 1], [1])
        with pytest.raises(InputError, match="0 predictions for 0 texts"):
            measure([], [])
    with pytest.raises(InputError, match="prediction 2 of 2 classes; text 1; number the classes 0 to 1"):
        score_classes([0, 2], [1, 1], 2)
    with pytest.raises(InputError, match="class -1 of 2 classes; text 0"):
        score_classes([0, 1], [-1, 1], 2)
    with pytest.raises(InputError, match=r"shape \(1, 2\) and labels of shape \(1, 3\)"):
        score_label_sets([[True, False]], [[True, False, True]])


def test_doctests() -> None:
    result = doctest.testmod(module)
    assert result.attempted >= 1
    assert result.failed == 0
