"""A corpus of two languages, pairs beside it, and disks that need not be waited for."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_cases import pairs, questions, reviews, sentences, tagged


@pytest.fixture(autouse=True)
def _no_waiting_for_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here takes the power away, and confirmed writes are half of a tiny run's time."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text(sentences(1400), encoding="utf-8")
    path.with_suffix(".tsv").write_text(pairs(120), encoding="utf-8")
    path.with_name("reviews.tsv").write_text(reviews(90), encoding="utf-8")
    path.with_name("tagged.conll").write_text(tagged(90), encoding="utf-8")
    path.with_name("questions.jsonl").write_text(questions(90), encoding="utf-8")
    return path
