"""What a process may use, from folders that look like a container's."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from malgil.runtime import hardware
from malgil.runtime.hardware import cpu_model, describe_hardware, peak_memory, resident_memory, usable_cores
from malgil.runtime.hardware import usable_memory as memory_of


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content + "\n")
    return root


@pytest.fixture
def seven_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(7)), raising=False)


@pytest.mark.usefixtures("seven_cores")
@pytest.mark.parametrize(
    "files, cores",
    [
        ({}, 7),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000"}, 7),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "250000 100000"}, 3),
        ({"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/cpu.max": "500000 100000"}, 5),
        ({"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/b/cpu.max": "20000 100000"}, 1),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/x\n3:memory:/y",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            2,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            7,
        ),
    ],
)
def test_cores_are_cut_by_the_control_group(tmp_path, files, cores):
    assert usable_cores(write(tmp_path, files)) == cores


def test_memory_is_cut_by_the_smallest_limit_above_the_process(tmp_path):
    files = {
        "proc/self/cgroup": "0::/a/b",
        "sys/fs/cgroup/memory.max": "max",
        "sys/fs/cgroup/a/memory.max": "30000000",
        "sys/fs/cgroup/a/b/memory.max": "50000000",
    }
    assert memory_of(write(tmp_path, files)) == 30_000_000


def test_version_1_without_a_limit_leaves_the_physical_memory(tmp_path):
    physical = memory_of(tmp_path)
    files = {
        "proc/self/cgroup": "2:memory:/",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
    }
    assert memory_of(write(tmp_path, files)) == physical > 1_000_000


def test_the_processor_has_its_trade_name(tmp_path):
    info = "processor\t: 0\nmodel name\t: AMD  EPYC 9554   64-Core\n\nprocessor\t: 1\nmodel name\t: other"
    assert cpu_model(write(tmp_path, {"proc/cpuinfo": info})) == "AMD EPYC 9554 64-Core"
    assert cpu_model(tmp_path / "없음")


def test_peak_memory_counts_bytes_and_never_falls():
    before = peak_memory()
    block = bytearray(40_000_000)
    block[::4096] = b"\x01" * len(block[::4096])
    after = peak_memory()
    assert 1_000_000 < before <= after < memory_of() * 2
    now = resident_memory()
    assert now is None or (40_000_000 < now <= after + 2_000_000)


@pytest.mark.parametrize("system, scale", [("linux", 1024), ("darwin", 1)])
def test_ru_maxrss_has_another_unit_on_each_system(monkeypatch, tmp_path, system, scale):
    monkeypatch.setattr(hardware, "ROOT", tmp_path)
    monkeypatch.setattr(hardware.sys, "platform", system)
    peak = hardware.resource.getrusage(hardware.resource.RUSAGE_SELF).ru_maxrss
    assert peak_memory() == pytest.approx(peak * scale, rel=0.05)
    assert resident_memory() is None


def test_the_description_names_machine_and_versions_and_is_json():
    found = json.loads(json.dumps(describe_hardware()))
    assert list(found) == ["cpu", "cores", "memory", "gpus", "os", "python", "torch", "malgil"]
    assert found["cores"] >= 1
    assert found["torch"][0].isdigit()
    assert found["cpu"]
