"""How well a question is answered by a stretch of text: SQuAD's exact match and F1, and KorQuAD's for Korean.

    exact match     1 where prediction and answer are the same once normalised
    F1              2 P R / (P + R) over the words that both have, each as often as it stands in both
    character F1    the same over characters: Korean words carry their particles ("말길을"), characters do not

Normalised means lower case, no ASCII punctuation, no English articles, single spaces (Rajpurkar et al. 2016, and the
evaluation script of SQuAD); KorQuAD (Lim, Kim & Lee 2019) turns brackets and quotation marks, also 《》, 〈〉 and ‘’,
into spaces first, and keeps articles. Of several right answers the best one counts. An unanswerable question has none,
and the empty prediction is right (Rajpurkar, Jia & Liang 2018). All figures lie in 0 .. 1.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from malgil.errors import InputError

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_SPACES_FOR_QUOTES = str.maketrans(dict.fromkeys("'\"《》<>〈〉()‘’", " "))


@dataclass(frozen=True)
class AnswerScore:
    """Means over questions.

    Attributes:
        exact_match, f1: as SQuAD counts, over words.
        korean_exact_match, character_f1: as KorQuAD counts.
        answerable_f1, unanswerable: F1 of the questions that have an answer, and the share of the others that were left
            without one; None where there is no such question.
    """

    exact_match: float
    f1: float
    korean_exact_match: float
    character_f1: float
    answerable_f1: float | None
    unanswerable: float | None
    questions: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def normalize(text: str) -> str:
    """SQuAD's form of an answer.

    >>> normalize("The  Korean: '말길'!")
    'korean 말길'
    """
    bare = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(re.sub(r"\b(?:a|an|the)\b", " ", bare).split())


def normalize_korean(text: str) -> str:
    """KorQuAD's form of an answer.

    >>> normalize_korean("《말길》(2026)의 The")
    '말길 2026 의 the'
    """
    return " ".join(text.translate(_SPACES_FOR_QUOTES).lower().translate(_NO_PUNCTUATION).split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1 where the prediction is one of the answers after normalisation, else 0; no answers: 1 where it is empty."""
    return _best(_same, normalize, prediction, answers)


def word_f1(prediction: str, answers: Sequence[str]) -> float:
    """F1 over words, against the answer where it is highest.

    >>> round(word_f1("in Seoul city", ["Seoul", "the Seoul city"]), 2)
    0.8
    """
    return _best(lambda a, b: _overlap(a.split(), b.split()), normalize, prediction, answers)


def korean_exact_match(prediction: str, answers: Sequence[str]) -> float:
    """`exact_match` after KorQuAD's normalisation."""
    return _best(_same, normalize_korean, prediction, answers)


def character_f1(prediction: str, answers: Sequence[str]) -> float:
    """F1 over characters but spaces, against the answer where it is highest (KorQuAD).

    >>> character_f1("서울에", ["서울"])
    0.8
    """
    return _best(lambda a, b: _overlap(a.replace(" ", ""), b.replace(" ", "")), normalize_korean, prediction, answers)


def score_answers(predictions: Sequence[str], answers: Sequence[Sequence[str]]) -> AnswerScore:
    """The means over some questions.

    Args:
        predictions: a stretch of text for each question; empty where it is said to have no answer.
        answers: those that are right, for each question; none where it cannot be answered.

    Raises:
        InputError: no questions, or not as many predictions.
    """
    if len(predictions) != len(answers) or not answers:
        raise InputError(
            f"{len(predictions)} predictions for {len(answers)} questions", fix="give one for each of at least one"
        )
    f1s = list(map(word_f1, predictions, answers))
    answerable = [f1 for f1, right in zip(f1s, answers, strict=True) if right]
    others = [f1 for f1, right in zip(f1s, answers, strict=True) if not right]
    return AnswerScore(
        exact_match=_mean(list(map(exact_match, predictions, answers))),
        f1=_mean(f1s),
        korean_exact_match=_mean(list(map(korean_exact_match, predictions, answers))),
        character_f1=_mean(list(map(character_f1, predictions, answers))),
        answerable_f1=_mean(answerable) if answerable else None,
        unanswerable=_mean(others) if others else None,
        questions=len(answers),
    )


# ---------------------------------------------------------------------------------------------


def _best(
    measure: Callable[[str, str], float], form: Callable[[str], str], prediction: str, answers: Sequence[str]
) -> float:
    """The highest measure over the answers; those of which normalisation leaves nothing are none, as in SQuAD 2.0."""
    formed = form(prediction)
    right = [text for text in map(form, answers) if text] or [""]
    return max(measure(formed, text) for text in right)


def _same(a: str, b: str) -> float:
    return float(a == b)


def _overlap(a: Sequence[str], b: Sequence[str]) -> float:
    """F1 of two bags; where one is empty, whether both are."""
    if not a or not b:
        return float(len(a) == len(b))
    both = (Counter(a) & Counter(b)).total()
    return 2 * both / (len(a) + len(b))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
