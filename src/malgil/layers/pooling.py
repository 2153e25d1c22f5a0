"""One vector for a whole text, made of its tokens' vectors."""

from __future__ import annotations

from torch import Tensor


def mean_pool(hidden: Tensor, token_mask: Tensor | None = None) -> Tensor:
    """The mean over each row's real tokens (Reimers & Gurevych 2019, section 3): (B, T, D) -> (B, D).

    Args:
        token_mask: (B, T), True = real; None: all are. A row without a real token gives zeros.
    """
    if token_mask is None:
        return hidden.mean(1)
    total = hidden.masked_fill(~token_mask.unsqueeze(-1), 0.0).sum(1)
    return total / token_mask.sum(1, keepdim=True).clamp(min=1)


def first_pool(hidden: Tensor) -> Tensor:
    """The vector of each row's first token, which stands for the text (Devlin et al. 2019, section 4): -> (B, D)."""
    return hidden[:, 0]
