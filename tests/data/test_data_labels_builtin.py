"""The labelled set that needs no file: docstrings, and the modules that they belong to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from malgil.data import builtin
from malgil.data.builtin import builtin_labels
from malgil.data.labels import LABELLED, open_labelled_data
from malgil.data.settings import DataSettings
from malgil.errors import DataError


@pytest.fixture
def little_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Five modules, one of them private and one a package of two files, with a docstring that two share."""
    library = tmp_path / "lib"
    (library / "길").mkdir(parents=True)
    module = '"""{0}: what this module 모듈 is for.\n\nMore."""\ndef f():\n    """{0}: what this function is for."""\n'
    shared = 'def g():\n    """A sentence that stands in two modules."""\ndef h():\n    """Too short."""\n'
    for name in ("json", "copy", "_private", "길/__init__", "길/deeper"):
        (library / f"{name}.py").write_text(module.format(name) + (shared if name in ("json", "copy") else ""))
    (library / "heapq.py").write_text('"""heapq: one docstring alone, too few to count."""')
    monkeypatch.setattr(builtin.sysconfig, "get_paths", lambda: {"stdlib": str(library)})
    monkeypatch.setattr(builtin, "_MODULES", 3)
    builtin_labels.cache_clear()
    yield library
    builtin_labels.cache_clear()


def test_first_paragraphs_belong_to_modules(little_library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = dict(builtin_labels())
    assert found == {
        "copy: what this module 모듈 is for.": "copy",
        "copy: what this function is for.": "copy",
        "json: what this module 모듈 is for.": "json",
        "json: what this function is for.": "json",
        "길/__init__: what this module 모듈 is for.": "길",
        "길/__init__: what this function is for.": "길",
        "길/deeper: what this module 모듈 is for.": "길",
        "길/deeper: what this function is for.": "길",
    }
    assert list(found) == sorted(found)
    builtin_labels.cache_clear()
    monkeypatch.setattr(builtin, "_labelled", lambda library: pytest.fail("the set is in the cache"))
    assert dict(builtin_labels()) == found


def test_no_module_outweighs_the_others(little_library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtin, "_OF_EACH", 2)
    assert Counter(module for _, module in builtin_labels()) == {"copy": 2, "json": 2, "길": 2}


def test_a_python_without_source(little_library: Path) -> None:
    for path in little_library.rglob("*.py"):
        path.unlink()
    with pytest.raises(DataError, match="no built-in text"):
        builtin_labels()


@pytest.mark.slow
def test_the_set_of_this_python() -> None:
    builtin_labels.cache_clear()
    found = open_labelled_data(DataSettings(paths=["builtin"]), LABELLED)
    counts = Counter(record.labels[0] for record in (*found.train.records, *found.validation.records))
    assert len(found.names) == 16
    assert max(counts.values()) <= 2 * min(counts.values())
    assert 0.05 < len(found.validation) / counts.total() < 0.16
    assert not any("contradicting" in note for note in found.notes)
    builtin_labels.cache_clear()
