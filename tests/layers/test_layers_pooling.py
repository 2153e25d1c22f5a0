"""Pooling against plain loops."""

from __future__ import annotations

import torch

from malgil.layers.pooling import first_pool, mean_pool

LENGTHS = [5, 1, 3, 0]


def _padded() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    hidden = torch.randn(len(LENGTHS), 5, 3, generator=generator, requires_grad=True)
    return hidden, torch.arange(5) < torch.tensor(LENGTHS)[:, None]


def test_mean_is_that_of_the_real_tokens() -> None:
    hidden, token_mask = _padded()
    pooled = mean_pool(hidden, token_mask)
    for row, length in enumerate(LENGTHS[:3]):
        total = torch.zeros(3)
        for place in range(length):
            total = total + hidden[row, place]
        torch.testing.assert_close(pooled[row], total / length)
    assert pooled[3].tolist() == [0.0, 0.0, 0.0]
    assert pooled.shape == (4, 3)


def test_padding_gets_no_gradient_and_does_not_count_whatever_stands_there() -> None:
    hidden, token_mask = _padded()
    mean_pool(hidden, token_mask).sum().backward()  # type: ignore[no-untyped-call]
    assert hidden.grad is not None
    assert torch.equal(hidden.grad[~token_mask], torch.zeros(11, 3))
    torch.testing.assert_close(hidden.grad[2, :3], torch.full((3, 3), 1 / 3))
    noise = hidden.detach().masked_fill(~token_mask.unsqueeze(-1), float("nan"))
    torch.testing.assert_close(mean_pool(noise, token_mask), mean_pool(hidden, token_mask))


def test_without_a_mask_every_token_counts() -> None:
    hidden, _ = _padded()
    torch.testing.assert_close(mean_pool(hidden), sum(hidden[:, place] for place in range(5)) / 5)


def test_first_is_the_first_token() -> None:
    hidden, _ = _padded()
    assert torch.equal(first_pool(hidden), hidden[:, 0])
