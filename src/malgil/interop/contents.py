"""What is exported: a model's settings and tensors, its tokenizers, and what else its class there has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from malgil.errors import StorageError
from malgil.interop import keys
from malgil.interop.configs import spelling_of, write_config
from malgil.interop.heads import HEADS, PretrainingHead
from malgil.interop.sentences import SentenceVectors, write_sentence_vectors
from malgil.interop.spelling import Spelling
from malgil.interop.tokens import SOURCE, special_ids, write_json, write_tokenizer
from malgil.models import FAMILIES
from malgil.runtime.files import storage_errors
from malgil.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Contents:
    """What is exported."""

    family: str
    config: Any
    state: dict[str, Tensor]
    vocab_size: int
    source_vocab_size: int | None
    tokenizer: Tokenizer | None
    source_tokenizer: Tokenizer | None
    sentences: SentenceVectors | None
    head: PretrainingHead | None = None
    heads: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def spelling(self) -> Spelling:
        padding = None if self.tokenizer is None else self.tokenizer.pad_id
        return spelling_of(self.family, self.config, self.source_vocab_size is not None, padding)

    def with_head(self, heads: Mapping[str, Tensor]) -> Contents:
        """With the one of these heads for which there is a class, in place of what that class does not have."""
        config = self.config
        if any(name.startswith("discriminator.") for name in heads) and hasattr(config, "embedding_width"):
            config = replace(config, d_embedding=config.embedding_width)  # the class is ELECTRA's
        found = replace(self, config=config)
        head = HEADS.get(found.spelling.model_type)
        own = {} if head is None else head.of({name: tensor.float().cpu() for name, tensor in heads.items()})
        if head is None or not own or (head.name == "sentence" and not config.pooler):
            return self
        state = {name: tensor for name, tensor in self.state.items() if head.keeps(name)}
        return replace(found, state=state, head=head, heads=own)

    def kept(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What of a body's tensors was written: all but the head that its class does not have."""
        return {name: tensor for name, tensor in state.items() if self.head is None or self.head.keeps(name)}

    def write(self, folder: Path) -> None:
        """The files of the folder.

        Raises:
            ConfigError: a setting that the format does not have.
            StorageError: the disk is full or not writable.
        """
        kind = FAMILIES[self.family].model
        spelling = self.spelling
        special = special_ids(self.tokenizer, kind)
        tree = write_config(spelling, self.config, self.vocab_size, special, self.source_vocab_size)
        tensors = keys.to_theirs(spelling.table, self.state, self.config)
        if self.head is not None:
            tree["architectures"] = [self.head.architecture]
            tensors |= keys.to_theirs(self.head.table, self.heads, self.config)
        write_json(folder / "config.json", tree)
        path = folder / "model.safetensors"
        try:
            with storage_errors(path):
                save_file(tensors, path, metadata={"format": "pt"})
        except SafetensorError as error:
            raise StorageError(f"cannot write the weights ({error})", str(path), "free some space") from None
        if self.tokenizer is not None:
            write_tokenizer(self.tokenizer, folder, self.config, kind)
        if self.source_tokenizer is not None:
            with storage_errors(path):
                (folder / SOURCE).mkdir()
            write_tokenizer(self.source_tokenizer, folder / SOURCE, self.config, kind)
        if self.sentences is not None:
            write_sentence_vectors(folder, self.sentences, self.config.d_model, self.config.max_len)
