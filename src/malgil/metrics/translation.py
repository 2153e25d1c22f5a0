"""How close translations come to what a person wrote: BLEU and chrF, as sacrebleu computes them.

    BLEU = BP x exp(mean over n = 1 .. 4 of ln p_n)                      (Papineni et al. 2002)
    chrF = (1 + 2²) P R / (2² P + R), characters in groups of 1 .. 6     (Popović 2015)

p_n is the share of the translations' n-grams that stand in the references, BP punishes translations that are shorter;
P and R are precision and recall. Both lie in 0 .. 100 and belong to a whole corpus: the mean over its sentences is
another number. The signature names every choice; only scores with the same one compare (Post 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from malgil.config import not_found
from malgil.errors import InputError

#: sacrebleu's ways to cut a text into words that need neither other packages nor a download
TOKENIZATIONS = ("13a", "intl", "char", "zh", "none")


@dataclass(frozen=True)
class TranslationMetric:
    """A score in 0 .. 100, and sacrebleu's signature."""

    score: float
    signature: str


class LengthRow(NamedTuple):
    """The BLEU of the sentences whose sources are `low` to `high` long."""

    low: int
    high: int
    sentences: int
    bleu: float


def bleu(hypotheses: Sequence[str], references: Sequence[str], tokenize: str = "13a") -> TranslationMetric:
    """BLEU of translations, against a reference each.

    Args:
        tokenize: one of `TOKENIZATIONS`; 13a, the default of WMT, parts words at spaces and punctuation, in Korean too.

    Raises:
        InputError: no sentences, or not as many references.
        NotFoundError: another tokenisation.
    """
    if tokenize not in TOKENIZATIONS:
        raise not_found("tokenisation of BLEU", tokenize, TOKENIZATIONS)
    from sacrebleu.metrics.bleu import BLEU

    return _scored(BLEU(tokenize=tokenize), hypotheses, references)


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> TranslationMetric:
    """chrF of translations, against a reference each. It needs no words, which suits Korean with its endings.

    Raises:
        InputError: no sentences, or not as many references.
    """
    from sacrebleu.metrics.chrf import CHRF

    return _scored(CHRF(), hypotheses, references)


def by_length(
    lengths: Sequence[int],
    hypotheses: Sequence[str],
    references: Sequence[str],
    n_groups: int = 6,
    tokenize: str = "13a",
) -> list[LengthRow]:
    """BLEU in groups of sentences by the length of their sources, short to long (as Bahdanau et al. 2015, figure 2).

    The groups are about equally large; sentences of one length are never parted, so that there may be fewer groups.

    Args:
        lengths: of the sources, in any unit.
        n_groups: at most so many.

    Raises:
        InputError: no sentences, or not as many references or lengths.
        NotFoundError: an unknown tokenisation.
    """
    _check(len(hypotheses), references=len(references), lengths=len(lengths))
    sizes = np.asarray(lengths)
    edges = np.unique(np.quantile(sizes, np.arange(1, n_groups + 1) / n_groups, method="inverted_cdf"))
    group_of = np.searchsorted(edges, sizes)
    rows = []
    for group in range(len(edges)):
        members = np.flatnonzero(group_of == group).tolist()
        found = bleu([hypotheses[i] for i in members], [references[i] for i in members], tokenize)
        rows.append(LengthRow(int(sizes[members].min()), int(edges[group]), len(members), found.score))
    return rows


def _scored(metric: Any, hypotheses: Sequence[str], references: Sequence[str]) -> TranslationMetric:
    _check(len(hypotheses), references=len(references))
    score = metric.corpus_score(list(hypotheses), [list(references)]).score
    return TranslationMetric(float(score), str(metric.get_signature()))


def _check(sentences: int, **counts: int) -> None:
    if sentences == 0:
        raise InputError("no translation to score", fix="give at least one")
    for name, count in counts.items():
        if count != sentences:
            raise InputError(f"{sentences} translations but {count} {name}", fix="give one for each translation")
