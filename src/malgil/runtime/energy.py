"""How much energy a run took: measured where a counter exists, else an estimate that says so.

    GPU         NVML's counter of the whole card (Volta and newer), through `nvidia-ml-py`
    processor   RAPL, `/sys/class/powercap/intel-rapl:*` (Intel and AMD): packages and memory, all processes
    else        busy time x a range of watts

The estimate is of the processor's share alone: no memory, disk, power supply or cooling. Its watts a
busy core are thermal design power / cores of processors in use: 3.8 W (EPYC 9654, 360 W / 96),
6.8 W (Xeon Platinum 8380, 270 W / 40), 3.5 W (Ryzen 7 7840U, 28 W / 8), 10.6 W (Ryzen 9 7950X,
170 W / 16). A virtual processor is often half a core and a lone busy core runs above its share, so the
range is wider than the list; the single figure is its geometric mean, because the range is one of factors.
A GPU without a counter is taken between a card of 70 W (T4) at less than half load and one of 700 W (H100 SXM).
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

POWERCAP = Path("/sys/class/powercap")
WATTS_PER_BUSY_CORE = (2.0, 15.0)
WATTS_PER_UNMETERED_GPU = (30.0, 700.0)

Source = Literal["measured (RAPL)", "measured (NVML)", "estimate"]


@dataclass(frozen=True)
class Energy:
    """An amount of energy in joules with its bounds; for a measured one all three are equal.

    Energies add, so that a resumed run continues its sum. `source` names every way in which a part was
    found, joined by " + ".
    """

    joules: float
    low: float
    high: float
    source: str

    @property
    def measured(self) -> bool:
        """Whether no part of it is an estimate."""
        return "estimate" not in self.source

    def __add__(self, other: Energy) -> Energy:
        parts = dict.fromkeys([*self.source.split(" + "), *other.source.split(" + ")])
        return Energy(
            self.joules + other.joules, self.low + other.low, self.high + other.high, " + ".join(sorted(parts)[::-1])
        )


class EnergyMeter:
    """Energy used between `start` and `stop`, and so far at any `read` in between.

    RAPL counters return to zero after some 60 kJ to 260 kJ, in ten minutes or more: read more often than
    that (a logging step does), since one turn between two reads is put right and a second one is lost.

    Args:
        cuda_devices: ordinals of the CUDA devices in use, as PyTorch counts them.
        previous: what the run had used before it was resumed.
        powercap: where the kernel shows RAPL.
    """

    def __init__(
        self, cuda_devices: Sequence[int] = (), previous: Energy | None = None, powercap: Path = POWERCAP
    ) -> None:
        self._previous = previous
        self._sources = [_processor(powercap), *(_gpu(device) for device in cuda_devices)]
        self._running = False

    def start(self) -> EnergyMeter:
        """Begin to count; time before it, or between a stop and a start, is not counted."""
        for source in self._sources:
            source.begin()
        self._running = True
        return self

    def read(self) -> Energy:
        """What has been used so far, including `previous`."""
        if self._running:
            for source in self._sources:
                source.advance()
        total = self._sources[0].energy()
        for source in self._sources[1:]:
            total = total + source.energy()
        return total if self._previous is None else self._previous + total

    def joules(self) -> float:
        """The single figure of `read`."""
        return self.read().joules

    def stop(self) -> Energy:
        """Stop counting and return the sum."""
        total = self.read()
        self._running = False
        return total

    def __enter__(self) -> EnergyMeter:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Counter:
    """A reading that only grows (and may wrap), summed while the meter runs.

    Args:
        reading: joules for a counter of energy, busy seconds for an estimate.
        wrap: the reading at which it returns to zero.
        watts: (low, high) watts of a busy second; None for a counter of joules.
    """

    def __init__(
        self,
        reading: Callable[[], float],
        source: Source,
        *,
        wrap: float | None = None,
        watts: tuple[float, float] | None = None,
    ) -> None:
        self.reading, self.source, self.wrap, self.watts = reading, source, wrap, watts
        self.last = 0.0
        self.total = 0.0

    def begin(self) -> None:
        self.last = self.reading()

    def advance(self) -> None:
        try:
            now = self.reading()
        except Exception:  # NVML and the kernel have errors of their own; a meter that fails must not end the run
            return
        if now < self.last and self.wrap is not None:
            self.total += self.wrap
        self.total += now - self.last
        self.last = now

    def energy(self) -> Energy:
        if self.watts is None:
            return Energy(self.total, self.total, self.total, self.source)
        low, high = (watts * self.total for watts in self.watts)
        return Energy(math.sqrt(low * high), low, high, self.source)


class _Rapl:
    """Packages and memory of this machine, with the estimate in reserve: some virtual machines show a still counter."""

    def __init__(self, zones: Sequence[_Counter], reserve: _Counter) -> None:
        self.zones, self.reserve = zones, reserve

    def begin(self) -> None:
        for counter in (*self.zones, self.reserve):
            counter.begin()

    def advance(self) -> None:
        for counter in (*self.zones, self.reserve):
            counter.advance()

    def energy(self) -> Energy:
        total = sum(zone.total for zone in self.zones)
        if total == 0 and self.reserve.total > 1:
            return self.reserve.energy()
        return Energy(total, total, total, "measured (RAPL)")


def _processor(powercap: Path) -> _Counter | _Rapl:
    busy = _Counter(_busy_seconds, "estimate", watts=WATTS_PER_BUSY_CORE)
    zones = [counter for zone in sorted(powercap.glob("intel-rapl:*")) if (counter := _zone(zone)) is not None]
    return _Rapl(zones, busy) if zones else busy


def _zone(folder: Path) -> _Counter | None:
    """A RAPL zone to be counted. Cores are inside their package and `psys` holds everything: they would count twice."""
    try:
        name = (folder / "name").read_text().strip()
        wrap = float((folder / "max_energy_range_uj").read_text()) / 1e6
        float((folder / "energy_uj").read_text())
    except (OSError, ValueError):  # since Linux 5.10 only root may read the counter
        return None
    if not name.startswith(("package", "dram")):
        return None
    return _Counter(lambda: float((folder / "energy_uj").read_text()) / 1e6, "measured (RAPL)", wrap=wrap)


def _busy_seconds() -> float:
    """Processor seconds of this process and of its children that have ended."""
    return sum(os.times()[:4])


def _gpu(device: int) -> _Counter:
    """One card. NVML numbers cards in another order than CUDA, so the two meet at the UUID."""
    try:
        import pynvml
        import torch

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:  # not installed, no driver, an old card, a slice of a card: each with an error type of its own
        return _Counter(time.monotonic, "estimate", watts=WATTS_PER_UNMETERED_GPU)
    return _Counter(
        lambda: float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3, "measured (NVML)"
    )  # millijoules since the driver was loaded
