"""Where a run computes and in which precision; threads; the allocator."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from dataclasses import dataclass

import torch

from malgil.config import not_found
from malgil.errors import InputError
from malgil.runtime.hardware import usable_cores

DEVICES = ("auto", "cpu", "cuda", "mps")
#: matrix kernels that PyTorch and oneDNN keep, each by its own variable: a step of a Transformer needs about 60
_KERNEL_CACHES = ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")
_KEPT_KERNELS = "128"


def resolve_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU; `cuda:1` names a card.

    Raises:
        NotFoundError: a device of no known kind.
        InputError: a device that this machine or this PyTorch does not have.
    """
    if name == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    kind, _, index = name.partition(":")
    if kind not in DEVICES or (index and not index.isdigit()):
        raise not_found("device", name, DEVICES)
    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "no CUDA device is available", f"device '{name}'", "leave --device out, or install PyTorch's CUDA build"
        )
    if kind == "cuda" and index and int(index) >= torch.cuda.device_count():
        raise InputError(
            f"there is no device '{name}'", f"{torch.cuda.device_count()} CUDA devices here", "name one of them"
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise InputError("no Apple GPU is available", f"device '{name}'", "leave --device out")
    if kind == "cuda" and not index:  # a process of `torchrun` takes the card of its number
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device(name)


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all that was asked of it; a CPU always has."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


@dataclass(frozen=True)
class Precision:
    """fp32, or bf16 arithmetic over fp32 weights."""

    name: str

    @property
    def dtype(self) -> torch.dtype:
        """Of the arithmetic."""
        return torch.bfloat16 if self.name == "bf16" else torch.float32

    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager[object]:
        if self.name == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(device.type, dtype=torch.bfloat16)


def resolve_precision(name: str, device: torch.device) -> Precision:
    """`auto`: bf16 where the device computes in it faster than in fp32 (CUDA from Ampere; CPUs with bf16
    instructions), else fp32."""
    if name != "auto":
        return Precision(name)
    if device.type == "cuda":
        return Precision("bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32")
    if device.type == "cpu" and has_bf16_instructions():
        return Precision("bf16")
    return Precision("fp32")


def has_bf16_instructions() -> bool:
    """Whether this CPU multiplies in bf16 (AVX512_BF16, AMX or Arm's BF16 extension), as oneDNN sees it."""
    if platform.machine() in ("arm64", "aarch64"):
        return bool(getattr(torch.cpu, "_is_arm_bf16_supported", lambda: False)())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def prepare_cpu(threads: int | None) -> int:
    """Set the number of threads, flush subnormals, keep large blocks and few kernels; returns the number of threads.

    glibc gives blocks above 128 KiB back to the kernel at each `free`, and a training step then spends about
    15 % of its time on page faults; subnormal numbers, which tiny gradients become, cost up to a hundred
    times a normal one. A kernel is made for every shape of a bf16 product, and batches of text have ever new ones:
    keeping the last 1,024 twice over, as is the default, costs a gigabyte and saves nothing.
    """
    for variable in _KERNEL_CACHES:  # read at the first product
        os.environ.setdefault(variable, _KEPT_KERNELS)
    count = threads or max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    torch.set_num_threads(count)
    torch.set_flush_denormal(True)
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        m_trim_threshold, m_top_pad, m_mmap_threshold = -1, -2, -3  # malloc.h
        for option, value in ((m_mmap_threshold, 1 << 30), (m_trim_threshold, 1 << 30), (m_top_pad, 64 << 20)):
            mallopt(option, value)
    return count
