"""The task of pairs: one text into another."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import torch

from malgil.config import AUTO, Tree, parse
from malgil.data.pair_store import PairStore, pair_store
from malgil.data.pairs import PairCorpus, PairPart, open_all_pairs, open_pairs
from malgil.data.settings import DataSettings
from malgil.data.sources import BUILTIN
from malgil.evaluation.translation import PairScore, TranslationEvaluator, TranslationScore, score_translations
from malgil.generation.settings import GenerationSettings
from malgil.generation.translation import translate_text
from malgil.models.base import EncoderDecoder, Model
from malgil.objectives.base import Assembled
from malgil.objectives.seq2seq import SequenceToSequence
from malgil.report.length_chart import length_section
from malgil.report.run_report import DataFacts
from malgil.report.words import Words
from malgil.runs.compared_pairs import ComparedPairs, spread
from malgil.runs.fit import fit_pairs
from malgil.runs.recipe import Settings
from malgil.runs.task import (
    OfBody,
    Preview,
    Progress,
    ReportSection,
    Task,
    Tokenizers,
    loaded_or,
    scoring_precision,
    specials_of,
)
from malgil.text.settings import TokenizerSettings
from malgil.text.training import train_tokenizer

#: tokens of the longer side of a pair, where nothing else is said
LONGEST = 128
PREVIEWS = 3
#: of so many pairs at the beginning of the validation part
PREVIEWED = 1000
#: validation pairs that are translated for the report of a finished run
SHOWN_PAIRS = 300
#: mean lengths of two parts that differ by so much are worth a word
UNLIKE = 1.5


class TranslationTask(Task):
    """Pairs of texts, of which the first is turned into the second."""

    objective_class = SequenceToSequence
    compared = ComparedPairs()

    def open(self, settings: DataSettings) -> PairCorpus:
        return open_pairs(settings)

    def open_whole(self, settings: DataSettings) -> tuple[PairPart, tuple[str, ...]]:
        return open_all_pairs(settings)

    def tokenizers(self, tree: Tree, data: Any) -> Tokenizers:
        """One for both sides, or one for each where settings say anything of the source's."""
        settings: TokenizerSettings = parse(TokenizerSettings, tree.get("tokenizer", {}), "tokenizer")
        pairs = data.train.pairs
        if (settings.source_kind, settings.source_vocab_size, settings.source_path) == (None, None, None):
            both = (text for pair in pairs() for text in pair)
            return Tokenizers(loaded_or(settings.path, lambda: train_tokenizer(both, settings)))
        own = replace(
            settings,
            kind=settings.source_kind or settings.kind,
            vocab_size=settings.source_vocab_size or settings.vocab_size,
        )
        sources, targets = (text for text, _ in pairs()), (text for _, text in pairs())
        return Tokenizers(
            loaded_or(settings.path, lambda: train_tokenizer(targets, settings)),
            loaded_or(settings.source_path, lambda: train_tokenizer(sources, own)),
        )

    def training_store(
        self, part: PairPart, tokenizers: Tokenizers, tree: Tree, progress: Progress | None
    ) -> PairStore:
        """Without pairs that are empty, too long or badly matched."""
        if tree["model"].get("max_len") == AUTO:
            tree["model"]["max_len"] = LONGEST
        data: DataSettings = parse(DataSettings, tree.get("data", {}), "data")
        longest = data.max_pair_len or int(tree["model"].get("max_len", LONGEST)) - 1  # the end needs a place
        return pair_store(
            part,
            tokenizers.reading,
            tokenizers.target,
            longest=longest,
            max_ratio=data.max_ratio,
            filtering=True,
            progress=progress,
        )

    def validation_store(
        self, part: PairPart, tokenizers: Tokenizers, tree: Tree, progress: Progress | None
    ) -> PairStore:
        return self.scored_store(part, tokenizers, progress)

    def scored_store(self, part: PairPart, tokenizers: Tokenizers, progress: Progress | None = None) -> PairStore:
        """A part that is to be scored, whole, as tokens."""
        return pair_store(
            part,
            tokenizers.reading,
            tokenizers.target,
            longest=None,
            max_ratio=None,
            filtering=False,
            progress=progress,
        )

    def fit_tokenizer(self, tree: Tree, data: Any) -> list[str]:
        """Characters for the built-in numerals, whose digits have to stay apart; else pieces of words."""
        section = tree.setdefault("tokenizer", {})
        if section.get("kind") == AUTO:
            section["kind"] = "char" if tree["data"].get("paths") == [BUILTIN] else "bpe"
            return [f"tokenizer: {section['kind']}", *super().fit_tokenizer(tree, data)]
        return super().fit_tokenizer(tree, data)

    def notes(self, train: PairStore, validation: PairStore) -> Sequence[str]:
        """What was dropped; and whether the parts are alike, which the end of a sorted file is not."""
        said = [f"training: {note}" for note in train.notes()] + [f"validation: {note}" for note in validation.notes()]
        means = [float(store.target_lengths.mean()) for store in (train, validation)]
        if max(means) > UNLIKE * min(means):
            said.append(
                f"warning: targets have {means[0]:.1f} tokens on average in training and {means[1]:.1f} in validation:"
                " is the file sorted? shuffle its lines, or name the validation part"
            )
        return said

    def fit(self, tree: Tree, *, store: Any, vocab_size: int, device: str, world: int, **measured: Any) -> list[str]:
        n_tokens = int(store.source_lengths.sum() + store.target_lengths.sum())
        return fit_pairs(tree, n_tokens=n_tokens, device=device, world=world, **measured)

    def objective(self, settings: Settings, tokenizers: Tokenizers) -> SequenceToSequence:
        return SequenceToSequence(
            specials_of(tokenizers.target),
            specials_of(tokenizers.reading),
            label_smoothing=settings.objective.label_smoothing,
        )

    def evaluator(self, settings: Settings, tokenizers: Tokenizers, store: PairStore, device: torch.device) -> OfBody:
        target, reading = specials_of(tokenizers.target), specials_of(tokenizers.reading)
        return OfBody(TranslationEvaluator(store, target, reading, scoring_precision(settings, device)))

    def figures(self, score: PairScore) -> dict[str, Any]:
        return {"val_loss": score.loss, "val_perplexity": score.perplexity, "val_accuracy": score.accuracy}

    def evaluate(
        self, assembled: Assembled, settings: Settings, tokenizers: Tokenizers, part: PairPart, device: torch.device
    ) -> dict[str, Any]:
        """Loss and accuracy with the right beginning given, and BLEU and chrF of what the model writes by itself."""
        store = self.scored_store(part, tokenizers)
        score: PairScore = self.evaluator(settings, tokenizers, store, device)(assembled)
        beam = {"beam": settings.generation.beam}
        return score.to_dict() | beam | translated(assembled.body, tokenizers, part, settings.generation).to_dict()

    def previews(
        self, assembled: Assembled, tokenizers: Tokenizers, part: PairPart, settings: Settings
    ) -> list[Preview]:
        """A few sources of the validation part, and what the model makes of them."""
        sources = [source for source, _ in spread(list(islice(part.pairs(), PREVIEWED)), PREVIEWS)]
        how = replace(settings.generation, samples=1, n_best=1)
        model: Any = assembled.body
        made = translate_text(model, tokenizers.reading, tokenizers.target, sources, how)
        return [Preview(source, one.text) for source, one in zip(sources, made, strict=True)]

    def suggestions(self, run: Any, where: str) -> list[str]:
        room = run.settings.model.max_len
        pairs = zip(run.data.validation.pairs(), run.validation.source_lengths, strict=True)
        source = next((source for (source, _), length in pairs if length < room), "TEXT")
        return [
            f"translate {where} < FILE",
            f"attention {where} {shlex.quote(source)} --out attention.html",
            f"evaluate {where}",
        ]

    def excerpt(self, store: PairStore, tokenizers: Tokenizers) -> str:
        pairs = [store.pair(i) for i in range(min(20, len(store)))]
        return "\n".join(tokenizers.target.decode(target.tolist()) for _, target in pairs)

    def facts(self, run: Any) -> DataFacts:
        train, validation = run.train, run.validation
        data = run.settings.data
        return DataFacts(
            vocab_size=run.tokenizers.target.vocab_size,
            tokenizer=run.tokenizers.target.kind,
            train_tokens=int(train.source_lengths.sum() + train.target_lengths.sum()),
            train_bytes=train.n_bytes,
            train_documents=len(train),
            validation_tokens=int(validation.source_lengths.sum() + validation.target_lengths.sum()),
            validation_bytes=validation.n_bytes,
            validation_documents=len(validation),
            unknown=validation.n_unknown,
            sources=[*data.paths, *data.source, *data.target],
        )

    def sections(
        self, run: Any, assembled: Assembled, words: Words, say: Callable[[str], None]
    ) -> Sequence[ReportSection]:
        """BLEU by the length of the source, over pairs of the validation part."""
        say(f"translating {min(SHOWN_PAIRS, len(run.validation)):,} pairs of the validation part for the report")
        score = translated(assembled.body, run.tokenizers, run.data.validation, run.settings.generation, SHOWN_PAIRS)
        return [("lengths", words("by length"), length_section(score, words))]


def translated(
    model: Model,
    tokenizers: Tokenizers,
    part: PairPart,
    settings: GenerationSettings,
    most: int | None = None,
) -> TranslationScore:
    """Translate the sources of a part, or of at most so many pairs spread over it, and score the result."""
    pairs = list(part.pairs())
    if most is not None:
        pairs = spread(pairs, most)
    sources, references = [source for source, _ in pairs], [target for _, target in pairs]
    assert isinstance(model, EncoderDecoder)
    how = replace(settings, samples=1, n_best=1)
    made = translate_text(model, tokenizers.reading, tokenizers.target, sources, how)
    return score_translations(sources, [one.text for one in made], references)
