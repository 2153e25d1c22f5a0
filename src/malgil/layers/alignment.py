"""Attention of recurrent decoders: which source positions a decoder looks at while it writes (Bahdanau et al. 2015).

    weights = softmax over the source of score(query, key)        context = sum over the source of weight x value

A Transformer asks many questions at once and always by a scaled dot product; a recurrent decoder asks one
question a step, and the papers differ in how it is scored. Here h is the decoder's vector (query) and s the encoder's:

    dot        h . s                            Luong et al. 2015, equation 8
    general    h . W s                          the same
    concat     v . tanh(W [h; s])               the same
    additive   v . tanh(W h + U s)              Bahdanau et al. 2015, appendix A.1.2

What a score does to the encoder's vectors alone, W s or U s, is done once a sentence: `project_keys` makes the keys
that all steps share. Shapes: B sentences, T queries, S source positions, A width of the scores' inner layer.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from malgil.config import not_found
from malgil.errors import ConfigError


class Alignment(nn.Module, ABC):
    """An attention operator; `weights` takes what `forward` takes, so that hooks can observe who looks where.

    Arguments of both:
        query: (B, T, Dq), vectors of the decoder.
        key: (B, S, A), what `project_keys` made of the encoder's vectors.
        value: (B, S, Dv), the encoder's vectors.
        mask: (B, S) bool, True = real, at least one a row.
    """

    def project_keys(self, hidden: Tensor) -> Tensor:
        """(B, S, Dk) -> (B, S, A), once for all queries."""
        return hidden

    @abstractmethod
    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        """(B, T, S)."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """The context of each query, (B, T, Dv)."""
        return torch.bmm(self.weights(query, key, value, mask).to(value.dtype), value)

    def weights(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """(B, T, S): how much each query looks at each position; rows sum to 1, padding gets 0."""
        return self.scores(query, key).masked_fill(~mask[:, None], -torch.inf).softmax(-1)


class DotAlignment(Alignment):
    """h . s, without parameters; both sides need one width.

    Raises:
        ConfigError: the widths differ.
    """

    def __init__(self, d_query: int, d_key: int) -> None:
        super().__init__()
        if d_query != d_key:
            raise ConfigError(
                f"attention by dot products needs queries ({d_query}) as wide as keys ({d_key})",
                fix="make the decoder as wide as the encoder's vectors, or choose attention general",
            )

    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        return torch.bmm(query, key.transpose(1, 2))


class GeneralAlignment(Alignment):
    """h . W s: a learned similarity between vectors of any two widths."""

    def __init__(self, d_query: int, d_key: int) -> None:
        super().__init__()
        self.key = nn.Linear(d_key, d_query, bias=False)

    def project_keys(self, hidden: Tensor) -> Tensor:
        keys: Tensor = self.key(hidden)
        return keys

    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        return torch.bmm(query, key.transpose(1, 2))


class TanhAlignment(Alignment):
    """v . tanh(W h + U s): a small network with an inner layer as wide as the query."""

    def __init__(self, d_query: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(d_query)
        self.v = nn.Parameter(torch.empty(d_query).uniform_(-bound, bound))

    @abstractmethod
    def matrices(self) -> tuple[Tensor, Tensor]:
        """W (A, Dq) and U (A, Dk)."""

    def project_keys(self, hidden: Tensor) -> Tensor:
        """2 U s, in the precision of the weights; why doubled, see `scores`."""
        return 2 * F.linear(hidden, self.matrices()[1]).to(self.v.dtype)

    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        """By tanh x = 2 sigmoid(2x) - 1: a CPU computes sigmoid six times as fast, and faster in fp32 than in bf16."""
        queries = 2 * F.linear(query, self.matrices()[0]).to(self.v.dtype)
        with torch.autocast(query.device.type, enabled=False):
            return torch.sigmoid(queries[:, :, None] + key[:, None]) @ (2 * self.v) - self.v.sum()


class ConcatAlignment(TanhAlignment):
    """v . tanh(W [h; s]): one matrix over both vectors."""

    def __init__(self, d_query: int, d_key: int) -> None:
        super().__init__(d_query)
        self.inner = nn.Linear(d_query + d_key, d_query, bias=False)

    def matrices(self) -> tuple[Tensor, Tensor]:
        d_query = len(self.v)
        return self.inner.weight[:, :d_query], self.inner.weight[:, d_query:]


class AdditiveAlignment(TanhAlignment):
    """v . tanh(W h + U s): a matrix for each of the two."""

    def __init__(self, d_query: int, d_key: int) -> None:
        super().__init__(d_query)
        self.query = nn.Linear(d_query, d_query, bias=False)
        self.key = nn.Linear(d_key, d_query, bias=False)

    def matrices(self) -> tuple[Tensor, Tensor]:
        return self.query.weight, self.key.weight


_SCORES: dict[str, type[DotAlignment | GeneralAlignment | ConcatAlignment | AdditiveAlignment]] = {
    "dot": DotAlignment,
    "general": GeneralAlignment,
    "concat": ConcatAlignment,
    "additive": AdditiveAlignment,
}
SCORES = list(_SCORES)


def alignment(score: str, d_query: int, d_key: int) -> Alignment:
    """The operator of a score's name.

    Raises:
        NotFoundError: no such score.
        ConfigError: the score does not take these widths.
    """
    if score not in _SCORES:
        raise not_found("attention score", score, _SCORES)
    return _SCORES[score](d_query, d_key)
