"""What every test may rely on: one thread, one seed, a cache of its own, and a way to the real data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    torch.set_flush_denormal(False)  # training sets it, for its whole process


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Token stores go to a folder that ends with the session."""
    before = os.environ.get("MALGIL_CACHE")
    os.environ["MALGIL_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["MALGIL_CACHE"]
    else:
        os.environ["MALGIL_CACHE"] = before


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("MALGIL_DATA") or PROJECT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set MALGIL_DATA")
    return folder
