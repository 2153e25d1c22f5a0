"""Dropout's random numbers, which follow from where a run stands and not from what was drawn before."""

from __future__ import annotations

import torch


def seed_dropout(device: torch.device, *numbers: int) -> None:
    """Seed the global generator, which is dropout's alone, by several numbers together.

    `torch.manual_seed` visits every kind of device there might be, which takes half a millisecond.
    """
    seed = _mix(*numbers)
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


def _mix(*numbers: int) -> int:
    """A seed of 63 bits from several numbers (SplitMix64 steps), so that neighbours are unlike."""
    mixed = 0
    for number in numbers:
        mixed = (mixed + number + 0x9E3779B97F4A7C15) & (2**64 - 1)
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
        mixed ^= mixed >> 31
    return mixed >> 1
