"""What the tasks have in common whose data is text: how it is opened, cut into tokens, and described."""

from __future__ import annotations

from typing import Any

from malgil.config import Tree, parse
from malgil.data.corpus import Corpus, Part, open_corpus, open_whole
from malgil.data.settings import DataSettings
from malgil.data.store import TokenStore, token_store
from malgil.report.run_report import DataFacts
from malgil.runs.fit import fit_model
from malgil.runs.task import Progress, Task, Tokenizers, joined, loaded_or
from malgil.text.settings import TokenizerSettings
from malgil.text.training import train_tokenizer


class TextTask(Task):
    """Documents, which one tokenizer turns into tokens."""

    def open(self, settings: DataSettings) -> Corpus:
        return open_corpus(settings)

    def open_whole(self, settings: DataSettings) -> tuple[Part, tuple[str, ...]]:
        return open_whole(settings)

    def tokenizers(self, tree: Tree, data: Any) -> Tokenizers:
        settings: TokenizerSettings = parse(TokenizerSettings, tree.get("tokenizer", {}), "tokenizer")
        texts = joined(data.train.documents())
        return Tokenizers(loaded_or(settings.path, lambda: train_tokenizer(texts, settings)))

    def training_store(self, part: Part, tokenizers: Tokenizers, tree: Tree, progress: Progress | None) -> TokenStore:
        return self.scored_store(part, tokenizers, progress)

    def validation_store(self, part: Part, tokenizers: Tokenizers, tree: Tree, progress: Progress | None) -> TokenStore:
        return self.scored_store(part, tokenizers, progress)

    def scored_store(self, part: Part, tokenizers: Tokenizers, progress: Progress | None = None) -> TokenStore:
        """A part that is to be scored, whole, as tokens."""
        return token_store(part, tokenizers.target, progress)

    def fit(self, tree: Tree, *, store: Any, vocab_size: int, device: str, world: int, **measured: Any) -> list[str]:
        return fit_model(tree, n_tokens=len(store), vocab_size=vocab_size, device=device, world=world, **measured)

    def excerpt(self, store: TokenStore, tokenizers: Tokenizers) -> str:
        return tokenizers.target.decode(store.tokens[:2000].tolist())

    def facts(self, run: Any) -> DataFacts:
        return DataFacts(
            vocab_size=run.tokenizers.target.vocab_size,
            tokenizer=run.tokenizers.target.kind,
            train_tokens=len(run.train),
            train_bytes=run.train.n_bytes,
            train_documents=run.data.train.n_documents,
            validation_tokens=len(run.validation),
            validation_bytes=run.validation.n_bytes,
            validation_documents=run.data.validation.n_documents,
            unknown=run.validation.n_unknown,
            sources=run.settings.data.paths,
        )
