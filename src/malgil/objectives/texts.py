"""What the objectives on labelled texts have in common: rows of whole texts, their vectors, batches by length.

tokens       <|> 말 길 이 좋 다 <|>         type_ids   0 0 0 0 0 0 0
             <|> 비 가 온 다 <|> .                      0 0 0 0 0 0 0
token_mask     1  1  1  1  1  1  1          vectors    a row each: the mean over its tokens, or its first token's
               1  1  1  1  1  1  0

A second text stands in the same row (its type_ids are 1); what is learnt of pairs reads three vectors of a row, its own
and how those of both texts differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from malgil.data.buckets import Buckets
from malgil.data.epochs import Epochs, Int64s
from malgil.layers.dropout import Dropout
from malgil.layers.pooling import first_pool, mean_pool
from malgil.models.base import Encoder, Model, Output, parameter_device
from malgil.objectives.base import BatchPlan

#: standard deviation of a head's weights as they begin (Devlin et al. 2019)
INITIAL = 0.02


@dataclass(frozen=True)
class Texts:
    """Rows of texts.

    Attributes:
        tokens: (B, T) int64, padded with 0 on the right.
        type_ids: (B, T) int64, which text of a row a token belongs to; None: all are 0.
        token_mask: (B, T) bool, True = real; None: all are.
        n_grams: (B, K) int64, see `objectives.ngrams`; None: they were not asked for.
    """

    tokens: Tensor
    type_ids: Tensor | None = None
    token_mask: Tensor | None = None
    n_grams: Tensor | None = None

    def to(self, device: torch.device) -> Texts:
        if self.tokens.device == device:
            return self
        moved = {name: value.to(device, non_blocking=True) for name, value in vars(self).items() if value is not None}
        return replace(self, **moved)


class Readable(Protocol):
    """A store of what a model reads, such as `data.label_store.LabelStore`."""

    def ids(self, index: int) -> Int64s: ...
    def types(self, index: int) -> Int64s: ...


def collate_texts(store: Readable, rows: Sequence[int] | Int64s) -> Texts:
    """Some of a store's records as one right-padded batch."""
    ids, types = [store.ids(int(row)) for row in rows], [store.types(int(row)) for row in rows]
    lengths = np.array([len(row) for row in ids])
    real = np.arange(lengths.max()) < lengths[:, None]  # (B, T)
    tokens, type_ids = np.zeros(real.shape, dtype=np.int64), np.zeros(real.shape, dtype=np.int64)
    tokens[real], type_ids[real] = np.concatenate(ids), np.concatenate(types)
    return Texts(
        tokens=torch.from_numpy(tokens),
        type_ids=torch.from_numpy(type_ids) if type_ids.any() else None,
        token_mask=None if real.all() else torch.from_numpy(real),
    )


def token_vectors(body: Model, texts: Texts) -> Tensor:
    """(B, T, D): a vector for each token; at padding it means nothing."""
    output: Output = body(texts.tokens, token_mask=texts.token_mask, type_ids=texts.type_ids)
    return output.hidden


def text_vectors(body: Model, texts: Texts, pooling: str) -> Tensor:
    """(B, D): a vector for each row.

    Args:
        pooling: `mean` over the real tokens, or `first`: what the family makes of the first token's vector.
    """
    return _pooled(body, token_vectors(body, texts), texts, pooling)


@dataclass(frozen=True)
class TextVectors:
    """What a head reads of each row: (B, D), its vector; with `pairs` (B, 3 D), see `compared`.

    Args:
        pooling: see `text_vectors`.
    """

    pooling: str
    pairs: bool

    def __call__(self, body: Model, texts: Texts) -> Tensor:
        hidden = token_vectors(body, texts)
        whole = _pooled(body, hidden, texts, self.pooling)
        return torch.cat([whole, compared(hidden, texts)], dim=-1) if self.pairs else whole

    def width(self, body: Model) -> int:
        """D or 3 D."""
        return 3 * body.d_model if self.pairs else body.d_model


def _pooled(body: Model, hidden: Tensor, texts: Texts, pooling: str) -> Tensor:
    if pooling == "first":
        assert isinstance(body, Encoder)
        return body.pooled(first_pool(hidden))
    return mean_pool(hidden, texts.token_mask)


def compared(hidden: Tensor, texts: Texts) -> Tensor:
    """(B, 2 D): u * v and |u - v| of the means u and v over the tokens of a row's two texts (Conneau et al. 2017,
    figure 1). In one vector of both texts a small encoder hardly finds how they differ.

    Args:
        hidden: (B, T, D); a row without a second text has zeros for v.
    """
    second = torch.zeros_like(texts.tokens, dtype=torch.bool) if texts.type_ids is None else texts.type_ids == 1
    real = torch.ones_like(second) if texts.token_mask is None else texts.token_mask
    u, v = mean_pool(hidden, real & ~second), mean_pool(hidden, real & second)
    return torch.cat([u * v, (u - v).abs()], dim=-1)


class TextHead(nn.Module):
    """dropout, then a linear layer: (..., D) -> (..., n)."""

    def __init__(self, width: int, n: int, dropout: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.linear = nn.Linear(width, n)
        nn.init.normal_(self.linear.weight, std=INITIAL)
        nn.init.zeros_(self.linear.bias)

    def forward(self, vectors: Tensor) -> Tensor:
        return self.linear(self.dropout(vectors))  # type: ignore[no-any-return]


def freeze_unread(body: Model, read: Callable[[Model, Texts], Tensor]) -> None:
    """Freeze what of a body no gradient reaches, such as the output layer of a masked language model.

    It is found by trying: two short texts are read, and parameters without a gradient are those that are not used.

    Args:
        read: what the objective computes of texts with the body, before its head.
    """
    tokens = torch.zeros(1, 2, dtype=torch.long, device=parameter_device(body))
    training = body.training
    body.eval()
    with torch.enable_grad():
        result = read(body, Texts(tokens, torch.tensor([[0, 1]], device=tokens.device)))
        parameters = [p for p in body.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(result.sum(), parameters, allow_unused=True)
    body.train(training)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)


class Counted(Protocol):
    """A batch, a frozen dataclass, of which the first `count` rows count: all, or none."""

    @property
    def count(self) -> int: ...


B = TypeVar("B", bound=Counted)


class RecordBatches(Generic[B]):
    """Records of similar length, batch after batch and epoch after epoch, each once an epoch; see `BucketBatches`.

    A step takes the next `accumulate` batches of that endless row; the records of a batch are dealt out to the ranks,
    and one that gets none works on a record that does not count, so that nobody waits for it.

    Args:
        lengths: (records,) tokens of each.
        collate: a batch of some records, by their numbers; picklable where processes are spawned.
    """

    def __init__(self, lengths: Int64s, collate: Callable[[Int64s], B], plan: BatchPlan) -> None:
        self.lengths, self.collate, self.plan = lengths, collate, plan
        buckets = Buckets(
            lengths,
            np.zeros_like(lengths),
            batch_tokens=plan.batch_tokens,
            batch_size=plan.batch_size,
            seed=plan.seed,
        )
        self._epochs = Epochs(buckets.epoch)
        self.steps_per_epoch = len(self._epochs(0)) / plan.accumulate
        self.tokens_per_step = max(1, round(int(lengths.sum()) / self.steps_per_epoch))

    def __reduce__(self) -> tuple[type[RecordBatches[B]], tuple[Any, ...]]:
        return RecordBatches, (self.lengths, self.collate, self.plan)

    def __call__(self, step: int) -> list[B]:
        return [self._batch(rows[self.plan.rank :: self.plan.world], rows) for rows in self._rows(step)]

    def tokens(self, step: int) -> int:
        return sum(int(self.lengths[rows].sum()) for rows in self._rows(step))

    def _batch(self, own: Int64s, rows: Int64s) -> B:
        if len(own):
            return self.collate(own)
        return replace(self.collate(rows[:1]), count=0)  # type: ignore[type-var]

    def _rows(self, step: int) -> list[Int64s]:
        """The records (B,) of each of the step's batches, of all processes."""
        first = step * self.plan.accumulate
        return [self._epochs.group(number) for number in range(first, first + self.plan.accumulate)]
