"""Texts -> vectors, and the texts whose vectors are nearest.

A vector does not depend on the texts it is made with: rows are padded, and padding is never read. Texts of similar
length are read together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from malgil.data.epochs import Int64s
from malgil.data.label_alike import Alike
from malgil.data.label_store import label_store
from malgil.errors import InputError
from malgil.evaluation.language import TOKENS_PER_BATCH
from malgil.evaluation.texts import Records, batches_by_length
from malgil.models.base import Encoder, parameter_device
from malgil.objectives.texts import collate_texts, text_vectors
from malgil.runtime.device import Precision
from malgil.text.tokenizer import Tokenizer

Float32s = npt.NDArray[np.float32]
#: cosines that are held at a time in a search
_COSINES = 1 << 24


@dataclass(frozen=True)
class Hit:
    """A text that was found.

    Attributes:
        index: its number among the texts, from 0.
        score: its cosine with what was asked for.
    """

    index: int
    score: float
    text: str


@dataclass(frozen=True)
class Embedder:
    """Makes vectors of texts.

    Args:
        pooling: see `objectives.texts.text_vectors`.
        normalize: whether vectors are made of length 1.
        longest: tokens of a text that are read, begin and end included; None: any.
    """

    model: Encoder
    tokenizer: Tokenizer
    pooling: str
    normalize: bool
    longest: int | None
    precision: Precision

    def __call__(self, texts: Sequence[str]) -> Float32s:
        """(N, D), a row a text, in the order given; no texts give (0, D)."""
        return self.read(texts)[0]

    def index(self, texts: Sequence[str]) -> Index:
        """Texts to be searched again and again."""
        return Index(self, texts)

    def read(self, texts: Sequence[str]) -> tuple[Float32s, Int64s]:
        """The vectors (N, D), and how many tokens of each text were left out (N,), since it is too long."""
        store = label_store([Alike(text) for text in texts], self.tokenizer, self.longest)
        made = vectors_of(self.model, store, self.pooling, self.precision)
        vectors = F.normalize(made, dim=-1) if self.normalize else made
        return vectors.numpy(), store.whole_lengths - store.lengths


def vectors_of(
    model: Encoder,
    store: Records,
    pooling: str,
    precision: Precision,
    check: Callable[[], None] = lambda: None,
) -> Tensor:
    """(N, D) float32 on the CPU: the vectors of a store's texts, in the model's present mode: with dropout in training.

    Args:
        check: called between batches; may raise to stop.
    """
    device, lengths = parameter_device(model), store.lengths
    budget = TOKENS_PER_BATCH.get(device.type, TOKENS_PER_BATCH["cpu"])
    vectors = torch.zeros(len(lengths), model.d_model)
    with torch.no_grad(), precision.autocast(device):
        for rows in batches_by_length(lengths, budget) if len(lengths) else []:
            check()
            made = text_vectors(model, collate_texts(store, rows).to(device), pooling)
            vectors[torch.from_numpy(rows)] = made.float().cpu()
    return vectors


class Index:
    """Texts that are searched by meaning: exactly, by the cosine with each.

    Args:
        vectors: (N, D) of the texts, of any length.
    """

    def __init__(self, embedder: Embedder, texts: Sequence[str], vectors: Float32s | None = None) -> None:
        self.embedder, self.texts = embedder, texts
        self.vectors = unit(embedder(texts) if vectors is None else vectors)

    def search(self, queries: Sequence[str], top: int) -> list[list[Hit]]:
        """For each query the nearest texts, the nearest first; where cosines are equal, in their order.

        Raises:
            InputError: `top` is no integer, or below 1.
        """
        if isinstance(top, bool) or not isinstance(top, int) or top < 1:
            raise InputError(f"the nearest {top!r} texts", "top", "take an integer, 1 or more")
        asked = unit(self.embedder(queries))
        found = []
        at_a_time = max(1, _COSINES // max(1, len(self.texts)))
        for first in range(0, len(asked), at_a_time):
            for cosines in asked[first : first + at_a_time] @ self.vectors.T:
                best = nearest(cosines, top)
                found.append([Hit(int(i), float(cosines[i]), self.texts[int(i)]) for i in best])
        return found


def nearest(scores: Float32s, top: int) -> Int64s:
    """The places of the largest scores (N,), the largest first, equal ones in their order: (min(top, N),).

    >>> nearest(np.array([0.1, 0.9, 0.3, 0.9], dtype=np.float32), 3).tolist()
    [1, 3, 2]
    """
    if top >= len(scores):
        top, least = len(scores), scores.min(initial=np.inf)
    else:
        least = np.partition(scores, len(scores) - top)[len(scores) - top]
    places = np.flatnonzero(scores >= least)
    best: Int64s = places[np.argsort(-scores[places], kind="stable")][:top]
    return best


def unit(vectors: Float32s) -> Float32s:
    """(N, D): the same directions at length 1; a vector of zeros stays one."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions: Float32s = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return directions
