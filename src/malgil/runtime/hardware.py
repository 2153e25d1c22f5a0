"""What the machine gives to this process, which is less than what it has: affinity and control groups count.

A container often shows 64 cores and 256 GB and allows two cores and 4 GB; a run that plans with the
first figures is slow or killed.
"""

from __future__ import annotations

import math
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from malgil.version import __version__

ROOT = Path("/")


def describe_hardware() -> dict[str, Any]:
    """The machine and the versions, as a report or a log wants them.

    Returns:
        cpu, cores (usable), memory (usable bytes), gpus (names), os, python, torch, malgil. Imports torch.
    """
    import torch

    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "memory": usable_memory(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(n_gpus)],
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "malgil": __version__,
    }


def cpu_model(root: Path = ROOT) -> str:
    """The processor's trade name, or its architecture where the system does not tell."""
    info = _text(root / "proc/cpuinfo")
    for line in info.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return " ".join(value.split())
    if sys.platform == "darwin":
        try:
            found = subprocess.run(
                ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, timeout=5, check=True
            )
            return found.stdout.strip()
        except (OSError, subprocess.SubprocessError):
            pass
    return platform.processor() or platform.machine()


def usable_cores(root: Path = ROOT) -> int:
    """Cores that this process may keep busy: its affinity, cut by the processor quota of its control group."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in _cgroups(root, "cpu"):
        quota, period = [*_text(folder / "cpu.max").split(), "", ""][:2]  # version 2: "200000 100000" or "max 100000"
        if not quota:
            quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period) > 0:
            cores = min(cores, math.ceil(int(quota) / int(period)))
    return max(1, cores)


def usable_memory(root: Path = ROOT) -> int:
    """Bytes that this process may ever hold: physical memory, cut by the limit of its control group."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for folder in _cgroups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = _text(folder / name)
            if limit.isdigit():  # "max" is no limit; version 1 writes a number beyond any memory
                memory = min(memory, int(limit))
    return memory


def peak_memory() -> int:
    """The most memory this process has held so far, in bytes.

    On Linux from `VmHWM`: `ru_maxrss` outlives `exec` there and may be that of the shell or of a parent.
    """
    for line in _text(ROOT / "proc/self/status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident_memory() -> int | None:
    """The memory this process holds now, in bytes; None where the system does not tell (macOS)."""
    fields = _text(ROOT / "proc/self/statm").split()
    return int(fields[1]) * resource.getpagesize() if len(fields) > 1 else None


def _cgroups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's control group and of all above it, for version 1 and 2; each may set a limit."""
    base = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and controller not in controllers.split(","):
            continue
        top = base / controller if controllers else base
        folder = top / path.strip("/")
        while folder != top and top in folder.parents:
            yield folder
            folder = folder.parent
        yield top


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
