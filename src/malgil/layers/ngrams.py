"""Embeddings of n-grams: a token is known by the tokens before it too, before any layer has mixed them.

    tokens          말 길 이 좋 다          at 이, with runs of up to 3 tokens:
    runs at 이      길이, 말길이             e(이) + up(e'(길이) + e'(말길이))

A syllable says little, and words are too many to have a row each; Korean's stems and endings are runs of syllables. A
run's row in the table is its hash, as in fastText (Bojanowski et al. 2017, 3.2; Joulin et al. 2016); encoders of
characters gain by runs as ZEN did (Diao et al. 2020). Where two runs share a row, they share a vector.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from malgil.layers.dropout import dropout

#: of the table; a matrix brings what is summed to the model's width, so that many rows cost little
WIDTH = 64
_FACTOR, _PRIME, _APART = 1_000_003, 2**31 - 1, 97_561


class NGramEmbedding(nn.Module):
    """The sum of the vectors of the runs of 2 to `longest` tokens that end at each token.

    Args:
        longest: tokens of a run.
        buckets: rows of the table.
        p: dropout, of whole runs.
    """

    def __init__(self, longest: int, buckets: int, d_model: int, p: float = 0.0) -> None:
        super().__init__()
        self.longest, self.p = longest, p
        self.table = nn.Embedding(buckets, WIDTH)
        self.up = nn.Linear(WIDTH, d_model, bias=False)

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """(..., T) -> (..., T, d_model).

        Args:
            tokens: the tokens of a document stand side by side along the last axis.
            positions: of each token in its document, (..., T) or (T,); no run reaches beyond its document.
        """
        rows = self.rows(tokens, positions).flatten(0, -2)
        weights = dropout(torch.ones(rows.shape, device=rows.device), self.p, self.training)
        found = F.embedding_bag(rows, self.table.weight, mode="sum", per_sample_weights=weights)
        return self.up(found.view(*tokens.shape, WIDTH))  # type: ignore[no-any-return]

    def rows(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """(..., T, longest - 1): the row of each run, the shorter first; what stands before a document is a token."""
        key, found = tokens, []
        for back in range(1, self.longest):
            before = torch.where(positions >= back, tokens.roll(back, -1), -1)
            key = (key * _FACTOR + before + 2) % _PRIME  # below 2^52 before the remainder is taken
            found.append((key + back * _APART) % self.table.num_embeddings)
        return torch.stack(found, -1)


def n_gram_embedding(longest: int, buckets: int, d_model: int, p: float) -> NGramEmbedding | None:
    """What a model's settings `n_grams` and `n_gram_buckets` ask for; None where runs are of one token."""
    return NGramEmbedding(longest, buckets, d_model, p) if longest > 1 else None
