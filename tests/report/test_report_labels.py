"""Sections on labels and scores, and a report whose losses are not those of tokens."""

from __future__ import annotations

import math
import re

import pytest

from malgil.metrics.classification import score_classes
from malgil.report.curves import Curves
from malgil.report.labels import MOST_LABELS, labels_section, mistakes_section, scores_section
from malgil.report.run_report import DataFacts, RunFacts, render_run
from malgil.report.verdict import Even, findings
from malgil.report.words import Words

ATTACK = '<script>alert("말길")</script>'


class Wrong:
    shown, right, predicted, confidence = ATTACK, ("나쁨",), (), 0.987


def cells(html: str) -> list[str]:
    return re.findall(r"<td[^>]*>(.*?)</td>", html)


def test_the_matrix_has_what_is_in_rows_and_what_was_called_in_columns() -> None:
    score = score_classes([0, 1, 1, 1], [0, 0, 1, 1], 2)
    labels = ("나쁨", "좋음")
    html = labels_section(labels, score.classes, score.confusion, {"accuracy": score.accuracy}, Words("ko"))
    assert "accuracy 0.7500" in html
    assert cells(html)[:4] == ["1", "1", "0", "2"]
    shares = [int(share) for share in re.findall(r"(\d+)%, transparent", html)]
    assert shares == [30, 30, 0, 60]
    assert html.count("--celadon") == html.count("--seal") == 2
    assert "0.667" in html  # precision of the second
    assert "혼동 행렬" in html


def test_many_labels_have_no_matrix() -> None:
    n = MOST_LABELS + 1
    score = score_classes(list(range(n)), list(range(n)), n)
    html = labels_section([str(i) for i in range(n)], score.classes, score.confusion, {}, Words("en"))
    assert "color-mix" not in html
    assert html.count("<tr>") == n + 1


def test_texts_and_labels_are_escaped() -> None:
    words = Words("en")
    html = mistakes_section([Wrong()], 3, 40, words)
    assert "3 of 40 validation texts" in html
    assert "98.7%" in html
    assert "(none)" in html
    score = score_classes([0], [0], 1)
    html += labels_section([ATTACK], score.classes, score.confusion, {}, words)
    html += scores_section([(ATTACK * 20, 3.0, 1.5)], {"pearson": 0.5, "spearman": 0.25, "mse": 2.25}, words)
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "-1.500" in html
    assert "Spearman 0.2500" in html
    assert "..." in html
    assert mistakes_section([], 0, 40, words).count("<table") == 0


def line(step: int, loss: float, **figures: float) -> dict[str, float]:
    return {"step": step, "tokens": step * 35, "seconds": step / 7, "loss": loss, "lr": 1e-3, **figures}


LINES = [
    line(1, 1.1),
    line(2, 0.9, val_loss=0.95, val_accuracy=0.5, val_f1=0.4),
    line(3, 0.7, val_loss=0.8, val_accuracy=0.625, val_f1=0.6),
]


@pytest.mark.parametrize(("language", "says"), [("en", "right on 62.5%"), ("ko", "62.5%를 맞힙니다")])
def test_a_report_of_labels_speaks_of_no_tokens(language: str, says: str) -> None:
    data = DataFacts(vocab_size=9000, tokenizer="char", of_tokens=False, untrained=(math.log(3), "ln(labels)"))
    page = render_run(RunFacts("classify", "bert", 5, data, "finished", LINES), language)
    assert says in page
    assert "ln(labels) = 1.10" in page
    assert Words(language)("val_f1") in page
    assert "0.625" in page
    for words in ("perplexity", "bits", "nats"):
        assert f">{Words(language)(words)}<" not in page
    assert "9,000개 토큰" not in page
    assert "nanoGPT" not in page


def test_no_better_than_guessing_is_said_of_labels_too() -> None:
    lines = [line(step, 1.1, val_loss=1.1, val_accuracy=0.3) for step in (1, 20, 40)]
    told = findings(Curves.of(lines), Even(math.log(3), "ln(labels)"), "char", None, "en")
    assert any("no better than guessing evenly" in one.text for one in told)
    assert not any("right on" in one.text for one in told)


def test_scores_are_told_by_their_ranks_and_need_no_even_loss() -> None:
    lines = [line(1, 1.0, val_loss=0.7, val_pearson=0.5, val_spearman=0.45)]
    told = " ".join(one.text for one in findings(Curves.of(lines), None, "bpe", None, "en"))
    assert "rank correlation of 0.450" in told
    f1 = [line(1, 1.0, val_loss=0.7, val_f1=0.25)]
    assert "its F1 is 0.250" in " ".join(one.text for one in findings(Curves.of(f1), None, "bpe", None, "en"))
