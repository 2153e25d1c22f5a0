"""The split inside the training part: nothing of it is validated on before, nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from malgil.data.corpus import Part, open_corpus
from malgil.data.inner import inner_split
from malgil.data.label_records import Labelled
from malgil.data.labels import LabelledData, LabelledPart
from malgil.data.pairs import open_pairs
from malgil.data.settings import DataSettings
from malgil.errors import DataError


def text_of(part: Part) -> str:
    return "".join(chunk for document in part.documents() for chunk in document)


def test_a_text_is_cut_where_its_training_part_ends_earlier(tmp_path: Path) -> None:
    path = tmp_path / "말길.txt"
    path.write_text("말길은 흐른다.\n" * 40 + "the end\n", encoding="utf-8")
    outer = open_corpus(DataSettings(paths=[str(path)]))
    inner = inner_split(outer, 0.2)
    whole = text_of(outer.train)
    assert text_of(inner.train) + text_of(inner.validation) == whole
    assert len(text_of(inner.validation)) == len(whole) - int(0.8 * len(whole))
    for part in (inner.train, inner.validation):
        assert (part.n_characters, part.n_bytes) == (len(text_of(part)), len(text_of(part).encode()))
    assert len({part.fingerprint for part in (outer.train, outer.validation, inner.train, inner.validation)}) == 4
    assert inner.notes == outer.notes


def test_rows_and_several_files_stay_whole(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"text": "줄 {i}"}}\n' for i in range(50)), encoding="utf-8")
    inner = inner_split(open_corpus(DataSettings(paths=[str(rows)])), 0.1)
    assert (inner.train.n_documents, inner.validation.n_documents) == (40, 5)
    assert text_of(inner.validation) == "".join(f"줄 {i}" for i in range(40, 45))
    for i in range(8):
        (tmp_path / f"{i}.txt").write_text(f"{i} 말 " * 30, encoding="utf-8")
    outer = open_corpus(DataSettings(paths=[str(tmp_path / "[0-9].txt")]))
    inner = inner_split(outer, 0.2)
    names = [{piece.path.name for piece in part.pieces} for part in (inner.train, inner.validation)]  # type: ignore[union-attr]
    assert names[0] | names[1] == {piece.path.name for piece in outer.train.pieces}  # type: ignore[union-attr]
    assert names[0]
    assert names[1]
    assert not names[0] & names[1]


@pytest.mark.slow
def test_builtin_documents_are_drawn_anew() -> None:
    outer = open_corpus(DataSettings(paths=["builtin"]))
    inner = inner_split(outer, 0.1)
    sizes = [sum(len(piece.indices) for piece in part.pieces) for part in (outer.train, inner.train, inner.validation)]  # type: ignore[union-attr]
    assert sizes[0] == sizes[1] + sizes[2]
    assert 0.04 < sizes[2] / sizes[0] < 0.2
    indices = [{i for piece in part.pieces for i in piece.indices} for part in (outer.validation, inner.validation)]  # type: ignore[union-attr]
    assert not indices[0] & indices[1]


def test_pairs(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"가 {i}\tgo {i}\n" for i in range(100)), encoding="utf-8")
    inner = inner_split(open_pairs(DataSettings(paths=[str(path)], reverse=True)), 0.1)
    assert [part.n_pairs for part in (inner.train, inner.validation)] == [81, 9]
    assert next(iter(inner.validation.pairs())) == ("go 81", "가 81")
    counted = sum(len(a.encode()) + len(b.encode()) for a, b in inner.validation.pairs())
    assert inner.validation.n_bytes == counted
    numbers = inner_split(open_pairs(DataSettings(paths=["builtin"])), 0.1)
    first, second = (set(part.pairs()) for part in (numbers.train, numbers.validation))
    assert first
    assert second
    assert not first & second


def test_labelled_texts_stay_together() -> None:
    records = tuple(Labelled(f"글 {i % 60}", None, (str(i % 2),)) for i in range(120))
    part = LabelledPart(records, "말.tsv", "texts")
    data = LabelledData(part, part, (), ("0", "1"))
    inner = inner_split(data, 0.25)
    assert len(inner.train) + len(inner.validation) == 120
    groups = [{record.group for record in one.records} for one in (inner.train, inner.validation)]
    assert not groups[0] & groups[1]
    assert 5 < len(groups[1]) < 25
    assert inner.names == ("0", "1")


def test_too_little_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("말길", encoding="utf-8")
    with pytest.raises(DataError, match="too little training data"):
        inner_split(open_corpus(DataSettings(paths=[str(path)])), 0.5)
    one = LabelledPart((Labelled("글", None, ("1",)),), "말.tsv", "texts")
    with pytest.raises(DataError, match="too little training data"):
        inner_split(LabelledData(one, one, (), ("1",)), 0.5)
    with pytest.raises(TypeError, match="no way to part"):
        inner_split(LabelledData("글", one, (), ()), 0.5)  # type: ignore[arg-type]
