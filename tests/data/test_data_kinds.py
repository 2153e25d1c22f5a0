"""What a person has named, seen from files as they come."""

from __future__ import annotations

from pathlib import Path

import pytest

from malgil.data.kinds import kind_of
from malgil.data.settings import DataSettings


@pytest.mark.parametrize(
    "name, content, kind",
    [
        ("a.txt", "말길은 흐른다\n", "text"),
        ("a.tsv", "source\ttarget\n가\tgo\n", "pairs"),
        ("a.csv", "id,독일어,영어\n1,Ja,yes\n", "pairs"),
        ("a.tsv", "id\tdocument\tlabel\n1\t좋다\t1\n", "labels"),
        ("a.tsv", "sentence1\tsentence2\tscore\n가\t나\t3.5\n", "labels"),
        ("a.jsonl", '{"text": "말길", "label": "a"}\n', "labels"),
        ("a.jsonl", '{"text": "말길"}\n', "text"),
        ("a.jsonl", '{"question": "왜?", "answer": "그래서."}\n', "pairs"),
        ("a.csv", "text\n말길\n", "text"),
        ("a.tsv", "".join(f"문장 {i}\tsentence {i}\n" for i in range(20)), "pairs"),
        ("a.tsv", "".join(f"문장 {i}\t{i % 2}\n" for i in range(20)), "labels"),
        ("a.json", '{"data": []}', "labels"),
    ],
)
def test_files(tmp_path: Path, name: str, content: str, kind: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    found, why = kind_of(DataSettings(paths=[str(path)]))
    assert found == kind, why
    assert why


@pytest.mark.parametrize(
    "settings, kind",
    [
        ({"paths": ["builtin"]}, "text"),
        ({"source": ["a.ko"], "target": ["a.en"]}, "pairs"),
        ({"paths": ["a.tsv"], "source_field": "1"}, "pairs"),
        ({"paths": ["a.tsv"], "label_field": "분류"}, "labels"),
        ({"paths": ["a.jsonl"], "text_field": "본문"}, "text"),
    ],
)
def test_what_is_said_decides(settings: dict[str, object], kind: str) -> None:
    found, why = kind_of(DataSettings(**settings))  # type: ignore[arg-type]
    assert found == kind
    assert "plain text" in why or "is given" in why


def test_real_data(data_dir: Path) -> None:
    expected = {
        "lm/tinyshakespeare.txt": "text",
        "translation/tatoeba.en-ko.tsv": "pairs",
        "translation/python_docs.ko-en.jsonl.gz": "pairs",
        "sentiment/nsmc.train.tsv.gz": "labels",
        "similarity/korsts.dev.tsv": "labels",
    }
    assert {name: kind_of(DataSettings(paths=[str(data_dir / name)]))[0] for name in expected} == expected
