"""The endless row of groups, whose epochs differ in length."""

from __future__ import annotations

import numpy as np

from malgil.data.epochs import Epoch, Epochs

SIZES = [3, 1, 4, 2]


def made(epoch: int) -> Epoch:
    """Epoch e has SIZES[e % 4] groups of two examples, numbered from 100 e on."""
    n = 2 * SIZES[epoch % 4]
    return Epoch(np.arange(n) + 100 * epoch, np.arange(0, n + 1, 2))


def test_groups_follow_one_another_across_epochs() -> None:
    epochs = Epochs(made)
    expected = [(epoch, group) for epoch in range(8) for group in range(SIZES[epoch % 4])]
    assert [epochs.place(number) for number in range(20)] == expected
    assert [epochs.group(number).tolist() for number in (0, 3, 4, 19)] == [[0, 1], [100, 101], [200, 201], [702, 703]]


def test_any_number_may_be_asked_for_first() -> None:
    assert Epochs(made).place(19) == (7, 1)
    epochs = Epochs(made)
    assert [epochs.place(number) for number in (19, 0, 12)] == [(7, 1), (0, 0), (4, 2)]


def test_two_epochs_are_kept() -> None:
    asked: list[int] = []

    def counted(epoch: int) -> Epoch:
        asked.append(epoch)
        return made(epoch)

    epochs = Epochs(counted)
    for number in (2, 3, 2, 3, 4, 3):  # back and forth over a border
        epochs.group(number)
    assert asked == [0, 1, 2]
