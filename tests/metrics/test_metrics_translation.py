"""BLEU and chrF against hand-made counts and sacrebleu itself, with their signatures."""

from __future__ import annotations

import math

import pytest
import sacrebleu

from malgil.errors import InputError, NotFoundError
from malgil.metrics.translation import TOKENIZATIONS, bleu, by_length, chrf

REFERENCES = ["말길을 따라 천천히 걷는다.", "The river carries light down to the sea.", "산은 높고 물은 맑다."]
HYPOTHESES = ["말길을 따라 걷는다.", "The river carries light to the sea.", "산이 높고 물은 맑다."]


def test_bleu_is_its_definition() -> None:
    """One sentence: the words a b c d e x against a b c d e f g."""
    precisions = [5 / 6, 4 / 5, 3 / 4, 2 / 3]
    brevity = math.exp(1 - 7 / 6)
    expected = 100 * brevity * math.exp(sum(map(math.log, precisions)) / 4)
    assert bleu(["가 나 다 라 마 x"], ["가 나 다 라 마 바 사"]).score == pytest.approx(expected)


def test_chrf_is_its_definition() -> None:
    """Six equal characters but for the last: n-grams of n characters, 7 - n in all, 6 - n of them right; the last of
    which, six characters long, is wrong."""
    shares = [(6 - n) / (7 - n) for n in range(1, 7)]
    assert chrf(["가나다라마x"], ["가나다라마바"]).score == pytest.approx(100 * sum(shares) / 6)


def test_scores_and_signatures_are_those_of_sacrebleu() -> None:
    found = bleu(HYPOTHESES, REFERENCES)
    assert found.score == sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES]).score
    assert found.signature == f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}"
    found = chrf(HYPOTHESES, REFERENCES)
    assert found.score == sacrebleu.corpus_chrf(HYPOTHESES, [REFERENCES]).score
    assert found.signature == f"nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:{sacrebleu.__version__}"


@pytest.mark.parametrize("tokenize", TOKENIZATIONS)
def test_a_perfect_corpus_scores_100(tokenize: str) -> None:
    found = bleu(REFERENCES, REFERENCES, tokenize)
    assert found.score == pytest.approx(100)
    assert f"|tok:{tokenize}|" in found.signature


def test_an_unknown_tokenisation_names_the_nearest() -> None:
    with pytest.raises(NotFoundError, match="13a"):
        bleu(HYPOTHESES, REFERENCES, "13")


def test_groups_by_length_are_about_equal_and_never_part_a_length() -> None:
    lengths = [5, 3, 9, 3, 3, 12, 9, 40, 5]
    texts = [f"문장 {i} 의 말길 은 길다" for i in range(9)]
    wrong = [text if length < 9 else "전혀 다른 말" for text, length in zip(texts, lengths, strict=True)]
    rows = by_length(lengths, wrong, texts, n_groups=3)
    assert [(row.low, row.high, row.sentences) for row in rows] == [(3, 3, 3), (5, 9, 4), (12, 40, 2)]
    assert rows[0].bleu == pytest.approx(100)
    assert rows[0].bleu > rows[1].bleu > rows[2].bleu == 0
    members = [i for i, length in enumerate(lengths) if 5 <= length <= 9]
    assert rows[1].bleu == bleu([wrong[i] for i in members], [texts[i] for i in members]).score


def test_equal_lengths_are_one_group() -> None:
    (row,) = by_length([4, 4, 4], HYPOTHESES, REFERENCES)
    assert row == (4, 4, 3, bleu(HYPOTHESES, REFERENCES).score)


@pytest.mark.parametrize("score", [bleu, chrf, lambda a, b: by_length([1] * len(a), a, b)])
def test_what_cannot_be_scored_is_refused(score) -> None:
    with pytest.raises(InputError, match="3 translations but 2 references"):
        score(HYPOTHESES, REFERENCES[:2])
    with pytest.raises(InputError, match="no translation"):
        score([], [])


def test_lengths_of_other_sentences_are_refused() -> None:
    with pytest.raises(InputError, match="3 translations but 4 lengths"):
        by_length([1, 2, 3, 4], HYPOTHESES, REFERENCES)
