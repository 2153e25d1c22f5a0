"""The section on BLEU by length: every row is in the table and is a point of the chart, in both languages."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from malgil.report.length_chart import length_section
from malgil.report.words import Words


@dataclass
class Metric:
    score: float
    signature: str


@dataclass
class Score:
    sentences: int
    bleu: Metric
    chrf: Metric
    by_length: list[tuple[int, int, int, float]]


ROWS = [(1, 3, 1200, 21.5), (4, 4, 700, 17.25), (5, 31, 650, 0.0)]
SCORE = Score(2550, Metric(14.02, "nrefs:1|tok:13a"), Metric(33.333, "nc:6|<b>"), ROWS)


@pytest.mark.parametrize(
    ("language", "words"),
    [("en", ["Words of the source", "Pairs", "Of 2,550 pairs"]), ("ko", ["원문 낱말 수", "쌍", "검증 쌍 2,550개"])],
)
def test_rows_stand_in_the_table_and_in_the_chart(language: str, words: list[str]) -> None:
    html = length_section(SCORE, Words(language))
    assert all(word in html for word in words)
    cells = re.findall(r"<td>(.*?)</td>", html)
    assert cells == ["1–3", "1,200", "21.50", "4", "700", "17.25", "5–31", "650", "0.00"]
    points = re.findall(r'<circle class="validation-dot" cx="([\d.]+)" cy="([\d.]+)"', html)
    xs, ys = [float(x) for x, _ in points], [float(y) for _, y in points]
    assert len(points) == 3
    assert (xs[1] - xs[0]) / (xs[2] - xs[0]) == pytest.approx((4 - 2) / (18 - 2), abs=1e-3)
    assert ys == sorted(ys)  # BLEU falls, and y grows downwards
    assert "1–3: 21.5; 4: 17.2; 5–31: 0.0" in html


def test_scores_come_with_their_signatures_as_plain_text() -> None:
    html = length_section(SCORE, Words("en"))
    assert "BLEU 14.02 (nrefs:1|tok:13a)" in html
    assert "chrF 33.33 (nc:6|&lt;b&gt;)" in html


def test_a_single_length_is_a_chart_too() -> None:
    html = length_section(Score(3, SCORE.bleu, SCORE.chrf, [(4, 4, 3, 50.0)]), Words("ko"))
    assert html.count("<circle") == 1
    assert "nan" not in html.lower()
