"""How well one text is turned into another: token by token, with the right beginning given, and as whole texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from malgil.data.buckets import Buckets
from malgil.data.pair_store import PairStore
from malgil.evaluation.language import TOKENS_PER_BATCH
from malgil.evaluation.targets import score_targets
from malgil.metrics.language import LanguageScore
from malgil.metrics.sequences import error_rate, wrong_share
from malgil.metrics.translation import LengthRow, TranslationMetric, bleu, by_length, chrf
from malgil.models.base import EncoderDecoder, parameter_device
from malgil.objectives.base import Specials
from malgil.objectives.seq2seq import PairBatch, collate_pairs
from malgil.runtime.device import Precision


@dataclass(frozen=True)
class PairScore(LanguageScore):
    """The score of the targets, each token of which was predicted from the source and the right tokens before it.

    Attributes:
        accuracy: the share of target tokens, ends included, which the model holds the likeliest, 0 to 1.
        cut_sources, cut_targets: how many were longer than the model's context and read without what lies beyond.
    """

    accuracy: float = 0.0
    cut_sources: int = 0
    cut_targets: int = 0

    @property
    def not_comparable(self) -> str | None:
        """Why bits per byte of the target mean nothing here, or None when they do."""
        if self.cut_targets:
            return f"not comparable: {self.cut_targets} targets are longer than the context and were cut"
        return super().not_comparable


@dataclass(frozen=True)
class TranslationEvaluator:
    """Scores a model on all pairs of a store, by the likelihood of their targets."""

    store: PairStore
    specials: Specials
    source_specials: Specials
    precision: Precision

    def __call__(self, model: EncoderDecoder, check: Callable[[], None] = lambda: None) -> PairScore:
        """The score, without label smoothing; `check` is called between batches and may raise to stop."""
        device = parameter_device(model)
        training = model.training
        model.eval()
        nll, right, count = 0.0, 0, 0
        try:
            with torch.no_grad(), self.precision.autocast(device):
                for batch in self.batches(model):
                    check()
                    batch_nll, batch_right = _batch_sums(model, batch.to(device))
                    nll, right, count = nll + batch_nll, right + batch_right, count + batch.n_targets
        finally:
            model.train(training)
        return self._score(model, nll, right, count)

    def batches(self, model: EncoderDecoder) -> Iterator[PairBatch]:
        """All pairs, those of similar length together, cut to the model's context."""
        most_source, most_target = _most(model.source_context), _most(model.context)
        lengths = (
            np.minimum(self.store.source_lengths, most_source) + 1,
            np.minimum(self.store.target_lengths, most_target) + 1,
        )
        budget = TOKENS_PER_BATCH.get(parameter_device(model).type, TOKENS_PER_BATCH["cpu"])
        epoch = Buckets(*lengths, batch_tokens=budget).epoch(0)
        for number in range(len(epoch)):
            pairs = [self.store.pair(int(i)) for i in epoch.group(number)]
            cut = [(source[:most_source], target[:most_target]) for source, target in pairs]
            yield collate_pairs(cut, self.specials, self.source_specials)

    def _score(self, model: EncoderDecoder, nll: float, right: int, count: int) -> PairScore:
        store = self.store
        score = LanguageScore.from_sums(nll, tokens=count, n_bytes=store.n_bytes, unknown=store.n_unknown)
        cut_sources = int((store.source_lengths > _most(model.source_context)).sum())
        cut_targets = int((store.target_lengths > _most(model.context)).sum())
        known = vars(score) | ({"bits_per_byte": None} if cut_targets else {})
        return PairScore(**known, accuracy=right / count, cut_sources=cut_sources, cut_targets=cut_targets)


@dataclass(frozen=True)
class TranslationScore:
    """What translations are worth, as a whole and by the length of what was translated.

    Attributes:
        by_length: rows from short to long sources, counted in words: what stands between spaces.
        exact_match: the share of sources whose translation is a right one, 0 to 1; for words and their pronunciations
            1 - the word error rate.
        token_error_rate: edits of words over the words of the nearest right translation; of pronunciations the phoneme
            error rate.
    """

    sentences: int
    bleu: TranslationMetric
    chrf: TranslationMetric
    by_length: list[LengthRow]
    exact_match: float
    token_error_rate: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON: scores with their signatures, and a mapping a row."""
        return {
            "sentences": self.sentences,
            "bleu": self.bleu.score,
            "bleu_signature": self.bleu.signature,
            "chrf": self.chrf.score,
            "chrf_signature": self.chrf.signature,
            "exact_match": self.exact_match,
            "token_error_rate": self.token_error_rate,
            "bleu_by_source_words": [row._asdict() for row in self.by_length],
        }


def score_translations(
    sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str], *, tokenize: str = "13a"
) -> TranslationScore:
    """Compare translations with what a person wrote.

    A source that stands there several times has several right translations, any of which `exact_match` and
    `token_error_rate` accept; they count each source once.

    Args:
        tokenize: how BLEU finds words, see `malgil.metrics.translation`.

    Raises:
        InputError: no sentences, or different numbers of them.
        NotFoundError: an unknown tokenisation.
    """
    words = [len(source.split()) for source in sources]
    rows = by_length(words, hypotheses, references, tokenize=tokenize)
    accepted: dict[str, list[list[str]]] = {}
    for source, reference in zip(sources, references, strict=True):
        accepted.setdefault(source, []).append(reference.split())
    made = dict(zip(sources, (hypothesis.split() for hypothesis in hypotheses), strict=True))
    found, right = [made[source] for source in accepted], list(accepted.values())
    return TranslationScore(
        sentences=len(hypotheses),
        bleu=bleu(hypotheses, references, tokenize),
        chrf=chrf(hypotheses, references),
        by_length=rows,
        exact_match=1 - wrong_share(found, right),
        token_error_rate=error_rate(found, right),
    )


def _batch_sums(model: EncoderDecoder, batch: PairBatch) -> tuple[float, int]:
    """Summed -log p of the targets in nats, and how many were held the likeliest."""
    memory = model.encode(batch.source, source_mask=batch.source_mask)
    hidden = model(batch.tokens, token_mask=batch.token_mask, memory=memory).hidden.flatten(0, 1)
    targets = batch.targets.flatten()
    if batch.positions is not None:
        hidden, targets = hidden[batch.positions], targets[batch.positions]
    return score_targets(model, hidden, targets)


def _most(context: int | None) -> int:
    """Tokens of a text that a context holds beside the one that begins or ends it."""
    return np.iinfo(np.int64).max if context is None else context - 1
