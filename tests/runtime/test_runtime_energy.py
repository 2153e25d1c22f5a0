"""Energy from counters that the test turns by hand."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from malgil.runtime import energy
from malgil.runtime.energy import Energy, EnergyMeter


def zone(root: Path, folder: str, name: str, joules: float, wrap: float = 1000.0) -> Path:
    """A RAPL zone as the kernel shows it, its unit being the microjoule."""
    path = root / folder
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    (path / "max_energy_range_uj").write_text(f"{wrap * 1e6:.0f}\n")
    turn(path, joules)
    return path


def turn(path: Path, joules: float) -> None:
    (path / "energy_uj").write_text(f"{joules * 1e6:.0f}\n")


def test_packages_and_memory_are_summed_and_what_lies_inside_them_is_not(tmp_path):
    package = zone(tmp_path, "intel-rapl:0", "package-0", 100)
    cores = zone(tmp_path, "intel-rapl:0:0", "core", 50)
    dram = zone(tmp_path, "intel-rapl:0:1", "dram", 10)
    system = zone(tmp_path, "intel-rapl:1", "psys", 7)
    twin = zone(tmp_path, "intel-rapl-mmio:0", "package-0", 100)
    with EnergyMeter(powercap=tmp_path) as meter:
        for path, joules in ((package, 130), (cores, 75), (dram, 15), (system, 99), (twin, 130)):
            turn(path, joules)
    found = meter.read()
    assert found == Energy(35, 35, 35, "measured (RAPL)")
    assert found.measured


def test_a_counter_that_wraps_between_two_reads_goes_on(tmp_path):
    package = zone(tmp_path, "intel-rapl:0", "package-0", 990, wrap=1000)
    meter = EnergyMeter(powercap=tmp_path).start()
    turn(package, 5)
    assert meter.joules() == pytest.approx(15)
    turn(package, 2)
    assert meter.joules() == pytest.approx(15 + 997)


def test_nothing_is_counted_while_the_meter_stands(tmp_path):
    package = zone(tmp_path, "intel-rapl:0", "package-0", 3)
    meter = EnergyMeter(powercap=tmp_path)
    meter.start()
    turn(package, 8)
    assert meter.stop().joules == pytest.approx(5)
    turn(package, 500)
    assert meter.joules() == pytest.approx(5)
    meter.start()
    turn(package, 507)
    assert meter.stop().joules == pytest.approx(12)


def test_an_unreadable_counter_is_not_used(tmp_path, monkeypatch):
    package = zone(tmp_path, "intel-rapl:0", "package-0", 3)
    (package / "energy_uj").unlink()
    (package / "energy_uj").mkdir()  # reading it fails for root too
    monkeypatch.setattr(energy, "_busy_seconds", iter([10.0, 13.0]).__next__)
    meter = EnergyMeter(powercap=tmp_path).start()
    assert meter.stop().source == "estimate"


def test_a_counter_that_fails_later_does_not_end_the_run(tmp_path):
    package = zone(tmp_path, "intel-rapl:0", "package-0", 3)
    meter = EnergyMeter(powercap=tmp_path).start()
    turn(package, 7)
    assert meter.joules() == pytest.approx(4)
    (package / "energy_uj").unlink()
    assert meter.stop().joules == pytest.approx(4)


def test_a_counter_that_stands_still_gives_way_to_the_estimate(tmp_path, monkeypatch):
    zone(tmp_path, "intel-rapl:0", "package-0", 0)
    monkeypatch.setattr(energy, "_busy_seconds", iter([0.0, 30.0]).__next__)
    found = EnergyMeter(powercap=tmp_path).start().stop()
    assert found.source == "estimate"
    assert found.joules > 0


def test_the_estimate_is_busy_time_times_a_range_of_watts(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "_busy_seconds", iter([5.0, 12.0]).__next__)
    found = EnergyMeter(powercap=tmp_path / "none").start().stop()
    low, high = energy.WATTS_PER_BUSY_CORE
    assert (found.low, found.high) == (pytest.approx(7 * low), pytest.approx(7 * high))
    assert found.joules == pytest.approx(7 * math.sqrt(low * high))
    assert not found.measured


def test_a_resumed_run_adds_to_what_it_had_used(tmp_path):
    package = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    saved = json.loads(json.dumps(asdict(Energy(10, 4, 40, "estimate"))))
    meter = EnergyMeter(previous=Energy(**saved), powercap=tmp_path).start()
    turn(package, 6)
    found = meter.stop()
    assert (found.joules, found.low, found.high) == (16, 10, 46)
    assert found.source == "measured (RAPL) + estimate"
    assert not found.measured
    assert (found + found).source == found.source


def fake_nvml(monkeypatch, millijoules: list[int], *, supported: bool = True) -> list[str]:
    """A `pynvml` with one card; returns the UUIDs that were asked for."""
    asked: list[str] = []
    nvml = ModuleType("pynvml")

    def read(handle: object) -> int:
        if not supported:
            raise RuntimeError("Not Supported")
        return millijoules.pop(0) if len(millijoules) > 1 else millijoules[0]

    def handle(uuid: str) -> object:
        asked.append(uuid)
        return object()

    nvml.nvmlInit = lambda: None
    nvml.nvmlDeviceGetHandleByUUID = handle
    nvml.nvmlDeviceGetTotalEnergyConsumption = read
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    torch = SimpleNamespace(cuda=SimpleNamespace(get_device_properties=lambda i: SimpleNamespace(uuid=f"ab-{i}")))
    monkeypatch.setitem(sys.modules, "torch", torch)
    return asked


def test_a_card_is_found_by_its_uuid_and_added_to_the_processor(tmp_path, monkeypatch):
    package = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    asked = fake_nvml(monkeypatch, [9000, 9000, 12_500])
    meter = EnergyMeter(cuda_devices=[3], powercap=tmp_path).start()
    turn(package, 2)
    found = meter.stop()
    assert asked == ["GPU-ab-3"]
    assert found.joules == pytest.approx(2 + 3.5)
    assert found.source == "measured (RAPL) + measured (NVML)"


def test_a_card_without_a_counter_is_estimated_from_time(tmp_path, monkeypatch):
    zone(tmp_path, "intel-rapl:0", "package-0", 0)
    fake_nvml(monkeypatch, [0], supported=False)
    monkeypatch.setattr(energy.time, "monotonic", iter([100.0, 110.0]).__next__)
    found = EnergyMeter(cuda_devices=[0], powercap=tmp_path).start().stop()
    low, high = energy.WATTS_PER_UNMETERED_GPU
    assert (found.low, found.high) == (10 * low, 10 * high)
    assert not found.measured


def test_it_measures_this_machine():
    with EnergyMeter() as meter:
        sum(i * i for i in range(300_000))
    found = meter.read()
    assert 0 < found.low <= found.joules <= found.high < 10_000
