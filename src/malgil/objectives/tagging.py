"""Tagging: -log p(tag of a word | the sentence), asked at the word's first piece (Devlin et al. 2019, section 5.3).

    words      서울특별시     에     간다
    tags       B-LOC        O     O
    tokens     <|> 서울 특별 시 에 간 다 <|>
    positions      1           4  5               in all rows, laid out flat
    targets        1           0  0

The head is one layer on the encoder's vectors: a tag is chosen for each word by itself, in the light of what the
encoder knows of its neighbours. Long sentences: see `data.tag_store`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from malgil.data.tag_store import UNKNOWN_TAG, TagRows, TagStore
from malgil.models.base import Encoder, Model, State
from malgil.objectives.base import Assembled, Batches, BatchPlan, Objective
from malgil.objectives.rows import RowBatches
from malgil.objectives.texts import TextHead, Texts, collate_texts, freeze_unread, token_vectors

#: the name of the head among the parts
HEAD = "tags"


@dataclass(frozen=True)
class TagBatch:
    """Rows of sentences.

    Attributes:
        texts: the rows (B, T).
        positions: (N,) int64, the places of words that are asked for in (B, T) laid out flat, row after row.
        targets: (N,) int64, numbers of tags; -100 where nothing counts, as where the model does not know the tag.
        count: how many targets count.
    """

    texts: Texts
    positions: Tensor
    targets: Tensor
    count: int

    def to(self, device: torch.device) -> TagBatch:
        positions, targets = self.positions.to(device), self.targets.to(device)
        return replace(self, texts=self.texts.to(device), positions=positions, targets=targets)


def collate_tags(rows: TagRows, numbers: Sequence[int], *, counted: bool = True) -> TagBatch:
    """Some rows as one batch.

    Args:
        counted: False: nothing counts in it.
    """
    texts = collate_texts(rows, numbers)
    width = texts.tokens.shape[1]
    positions = np.concatenate([rows.places(row) + width * place for place, row in enumerate(numbers)])
    targets = np.concatenate([rows.tags(row) for row in numbers])
    if not counted:
        targets = np.full_like(targets, UNKNOWN_TAG)
    count = int((targets != UNKNOWN_TAG).sum())
    return TagBatch(texts, torch.from_numpy(positions), torch.from_numpy(targets), count)


class Tagging(Objective[TagBatch]):
    """-log p(tag), summed over words.

    Args:
        names: of the tags, in the order of their numbers.
        dropout: on the vectors that the head reads.
    """

    requires = Encoder
    terms: ClassVar[dict[str, float]] = {"tags": 1.0}

    def __init__(self, names: Sequence[str], dropout: float = 0.0) -> None:
        self.names, self.dropout = tuple(names), dropout

    def parts(self, body: Model) -> dict[str, nn.Module]:
        return {HEAD: TextHead(body.d_model, len(self.names), self.dropout)}

    def begin(self, body: Model) -> None:
        freeze_unread(body, token_vectors)

    def training_batches(self, store: TagStore, body: Model, length: int, plan: BatchPlan) -> Batches:
        """Batches of the store's rows, those of similar length together.

        Raises:
            ConfigError: rows of fewer than three tokens.
        """
        return RowBatches(store.rows, store.rows.lengths, collate_tags, plan)

    def counts(self, batch: TagBatch) -> dict[str, int]:
        return {"tags": batch.count}

    def loss(self, model: Assembled, batch: TagBatch, carry: State | None) -> tuple[dict[str, Tensor], State | None]:
        return {"tags": tag_nll(tag_logits(model, batch), batch)}, None


def tag_logits(model: Assembled, batch: TagBatch) -> Tensor:
    """(N, tags) in fp32: scores of the tags of the words that are asked for."""
    vectors = token_vectors(model.body, batch.texts).flatten(0, 1)
    logits: Tensor = model.parts[HEAD](vectors.index_select(0, batch.positions))
    return logits.float()


def tag_nll(logits: Tensor, batch: TagBatch) -> Tensor:
    """-log p(tag), summed over the words that count."""
    return F.cross_entropy(logits, batch.targets, ignore_index=UNKNOWN_TAG, reduction="sum")
