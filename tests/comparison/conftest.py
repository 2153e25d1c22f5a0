"""A small corpus and pairs in a folder of their own, and disks that need not be waited for."""

from __future__ import annotations

from pathlib import Path

import pytest
from comparison_cases import labelled, pairs, sentences


@pytest.fixture(autouse=True)
def _no_waiting_for_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda handle: None)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "말길.txt"
    path.write_text(sentences(300), encoding="utf-8")
    path.with_suffix(".tsv").write_text(pairs(90), encoding="utf-8")
    path.with_suffix(".csv").write_text(labelled(120), encoding="utf-8")
    return path
