"""Readers against Python's own parsers, and each way in which a file can be bad."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import sys
import tracemalloc
from pathlib import Path

import pytest

from malgil.data import readers
from malgil.data.readers import CHUNK, Tally, cut_chunks, read_documents
from malgil.data.sources import find_files
from malgil.errors import DataError, NotFoundError

POEM = "말길이 열리면\n생각도 흐른다\r\n🙂 e\u0301 ㅋㅋ\u2028끝"


def documents(path: Path, text_field: str | None = None, tally: Tally | None = None) -> list[str]:
    return ["".join(chunks) for chunks in read_documents(path, text_field, tally or Tally())]


def write(path: Path, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.md", "무제"])
def test_text_is_one_document_kept_as_it_is(tmp_path: Path, name: str) -> None:
    assert documents(write(tmp_path / name, POEM)) == [POEM]


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_a_byte_order_mark_is_dropped_at_the_start_only(tmp_path: Path, name: str) -> None:
    assert documents(write(tmp_path / name, "\ufeff말\ufeff길")) == ["말\ufeff길"]


@pytest.mark.parametrize("block", [1, 2, 3, 7])
def test_characters_survive_any_block_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(readers, "_BLOCK", block)
    assert documents(write(tmp_path / "a.txt", "\ufeff" + POEM)) == [POEM]
    rows = write(tmp_path / "a.jsonl", json.dumps({"text": POEM}, ensure_ascii=False) + "\n\n" + '{"text": "둘"}')
    assert documents(rows) == [POEM, "둘"]


@pytest.mark.parametrize("block", [1, 5, 1 << 20])
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.jsonl", "a.csv.gz"])
def test_text_that_is_not_utf8_names_file_and_offset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, block: int
) -> None:
    monkeypatch.setattr(readers, "_BLOCK", block)
    head = '{"text": "가나"}\n'.encode()
    path = write(tmp_path / name, head + b"\xeb\xa7" + b" rest of it")
    with pytest.raises(DataError, match=rf"{name} at byte {len(head)}"):
        documents(path)


def test_text_cut_inside_its_last_character(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at byte 3"):
        documents(write(tmp_path / "a.txt", "말길".encode()[:5]))


def test_utf16_is_recognised(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="iconv -f UTF-16"):
        documents(write(tmp_path / "a.txt", "말길".encode("utf-16")))


@pytest.mark.parametrize("damage", ["cut", "flipped", "not gzip"])
def test_damaged_gzip(tmp_path: Path, damage: str) -> None:
    packed = bytearray(gzip.compress((POEM * 50).encode()))
    if damage == "flipped":
        packed[len(packed) // 2] ^= 0xFF
    data = {"cut": bytes(packed[:-9]), "flipped": bytes(packed), "not gzip": b"plain"}[damage]
    (tmp_path / "a.txt.gz").write_bytes(data)
    with pytest.raises(DataError, match=r"(gzip|not UTF-8).*a\.txt\.gz"):
        documents(tmp_path / "a.txt.gz")


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = write(tmp_path / "a.txt", POEM)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"Permission denied; .*a\.txt"):
        documents(path)


# --- chunks ---------------------------------------------------------------------------------


def test_chunks_end_at_a_line_between_words() -> None:
    text = ("단어 단어 word\n" * 7 + "\n\n  \n") * 9000
    pieces = list(cut_chunks([text[i : i + 70_001] for i in range(0, len(text), 70_001)]))
    assert "".join(pieces) == text
    assert len(pieces) >= 3
    assert all(len(piece) <= CHUNK for piece in pieces)
    for before, after in itertools.pairwise(pieces):
        assert before.endswith("word\n")
        assert not after[0].isspace()


@pytest.mark.parametrize("character", ["가", "a ", "\n"])
def test_one_endless_line_is_cut_anywhere(character: str) -> None:
    text = character * CHUNK
    text = text + text + "끝"
    pieces = list(cut_chunks([text]))
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= CHUNK


# --- rows -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.ndjson"])
def test_jsonl(tmp_path: Path, name: str) -> None:
    rows = [{"text": POEM, "n": 1}, {"text": "", "n": 2}, {"n": 3, "text": "셋"}]
    path = write(tmp_path / name, "\r\n".join(json.dumps(row) for row in rows))
    assert documents(path) == [POEM, "셋"]  # a row without text holds nothing to learn


@pytest.mark.parametrize("name, delimiter", [("a.csv", ","), ("a.csv.gz", ",")])
def test_csv_with_commas_quotes_and_newlines(tmp_path: Path, name: str, delimiter: str) -> None:
    texts = [POEM, 'say "말", twice', "a,b\nc", "가" * 200_000]  # the last is beyond csv's own limit of 131,072
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter).writerows([["id", "text"], *([i, text] for i, text in enumerate(texts))])
    assert documents(write(tmp_path / name, buffer.getvalue())) == texts


def test_tsv_takes_quotes_as_characters(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", 'id\tdocument\tlabel\n1\t"말길" 참 좋다\t1\n2\t"열린 따옴표\t0\n')
    assert documents(path) == ['"말길" 참 좋다', '"열린 따옴표']


@pytest.mark.parametrize("name", ["a.parquet", "a.parquet.gz"])
def test_parquet(tmp_path: Path, name: str) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    buffer = io.BytesIO()
    texts = [f"{i} {POEM}" for i in range(2500)]
    parquet.write_table(arrow.table({"n": list(range(2500)), "말": texts}), buffer, row_group_size=700)
    assert documents(write(tmp_path / name, buffer.getvalue())) == texts
    write(tmp_path / name, buffer.getvalue()[:-7])
    with pytest.raises(DataError, match="damaged parquet"):
        documents(tmp_path / name)


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"malgil\[parquet\]"):
        documents(write(tmp_path / "a.parquet", b"PAR1"))


BAD_ROWS = {
    "not json": ("a.jsonl", '{"text": "하나"}\n{"text": "둘"\n{"text": "셋"}\n', 2),
    "no object": ("a.jsonl", '{"text": "하나"}\n["둘"]\n{"text": "셋"}\n', 2),
    "no field": ("a.jsonl", '{"text": "하나"}\n\n{"txt": "둘"}\n{"text": "셋"}\n', 3),
    "null": ("a.jsonl", '{"text": "하나"}\n{"text": null}\n{"text": "셋"}\n', 2),
    "a number": ("a.jsonl", '{"text": "하나"}\n{"text": 2}\n{"text": "셋"}\n', 2),
    "too deep": ("a.jsonl", '{"text": "하나"}\n' + "[" * 200_000 + '\n{"text": "셋"}\n', 2),
    "first row": ("a.jsonl", '둘\n{"text": "하나"}\n{"text": "셋"}\n', 1),
    "too many fields": ("a.csv", 'text,n\n"하\n나",1\n둘,2,2\n셋,3\n', 4),
    "too few fields": ("a.tsv", "text\tn\n하나\t1\n둘\n셋\t3\n", 3),
    "text after a quote": ("a.csv", 'text,n\n하나,1\n"둘"둘,2\n셋,3\n', 3),
    "an open quote": ("a.csv", 'text,n\n하나,1\n셋,3\n"둘,2\n', 4),
}


@pytest.mark.parametrize("name, content, line", BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_a_malformed_row_is_named_or_tolerated(tmp_path: Path, name: str, content: str, line: int) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(DataError, match=rf"{name}:{line}; .*skip-bad"):
        documents(path)
    tally = Tally(allowed=1)
    found = documents(path, None, tally)
    assert [text.replace("\n", "") for text in found] == ["하나", "셋"]
    assert tally.skipped == 1


def test_one_bad_row_too_many(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "하나"}\n' + "bad\n" * 3)
    with pytest.raises(DataError, match=r"a\.jsonl:4"):
        documents(path, None, Tally(allowed=2))
    with pytest.raises(DataError, match=r"a\.jsonl:1"):
        documents(write(tmp_path / "a.jsonl", "bad\n" * 3))


def test_lone_surrogates_are_replaced_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", r'{"text": "\ud800말\udfff길 \ud83d\ude42"}')
    tally = Tally()
    assert documents(path, None, tally) == ["\ufffd말\ufffd길 🙂"]
    assert tally.surrogates == 2


def test_the_text_column(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id,review,title,label\n1,좋다,글,0\n2,나쁘다,말,1\n")
    assert documents(path, "title") == ["글", "말"]
    with pytest.raises(DataError, match=r"--data\.text-field; columns: id, review, title, label"):
        documents(path)
    with pytest.raises(NotFoundError, match="did you mean review") as caught:
        documents(path, "revew")
    assert caught.value.nearest == ("review",)
    only = write(tmp_path / "b.csv", "id,review,label\n1,좋다,0\n2,3,1\n")
    assert documents(only) == ["좋다", "3"]  # the only column that is not all numbers
    with pytest.raises(DataError, match="no column holds text"):
        documents(write(tmp_path / "c.csv", "id,label\n1,0\n"))


@pytest.mark.parametrize("name, content", [("a.csv", ""), ("a.csv", "text,n\n"), ("a.jsonl", "\n\n"), ("a.tsv", "\n")])
def test_no_rows(tmp_path: Path, name: str, content: str) -> None:
    with pytest.raises(DataError, match="no row of data"):
        documents(write(tmp_path / name, content))


def test_columns_of_one_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.csv:1"):
        documents(write(tmp_path / "a.csv", "text,text\n하나,둘\n"))


# --- sources --------------------------------------------------------------------------------


def test_folders_globs_and_what_is_named_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ["나.txt", "deep/er/가.jsonl.gz", ".hidden.txt", ".git/x.txt", "image.png", "B.CSV"]:
        path = tmp_path / "corpus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    files, notes = find_files(["corpus"], "--data")
    assert [str(path) for path in files] == ["corpus/B.CSV", "corpus/deep/er/가.jsonl.gz", "corpus/나.txt"]
    assert notes == []
    assert [path.name for path in find_files(["corpus/*.txt"], "--data")[0]] == ["나.txt"]
    assert len(find_files(["corpus/**/*.gz", "corpus/d*"], "--data")[0]) == 1
    files, notes = find_files(["corpus/나.txt", "corpus/../corpus/나.txt"], "--data")
    assert len(files) == 1
    assert "named more than once" in notes[0]
    assert find_files(["builtin"], "--data") == ([], [])


def test_a_file_whose_name_looks_like_a_glob(tmp_path: Path) -> None:
    path = write(tmp_path / "a[1].txt", "말")
    assert find_files([str(path)], "--data")[0] == [path]


@pytest.mark.parametrize(
    "name, message",
    [
        ("poem.tx", "did you mean poem.txt"),
        ("zzz/nothing", "no such file"),
        ("*.parquet", "no file matches"),
        ("empty", "known extensions"),
        ("rows.json", "one object a line"),
        ("old.tar.gz", "unpack it"),
        ("x" * 5000, "cannot read"),
    ],
)
def test_paths_that_lead_nowhere(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    for existing in ("poem.txt", "rows.json", "old.tar.gz"):
        (tmp_path / existing).write_text("말")
    with pytest.raises(DataError, match=message):
        find_files([str(tmp_path / name)], "--data")


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(DataError, match="not a regular file"):
        find_files([str(tmp_path / "pipe.txt")], "--data")


def test_reading_does_not_hold_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(24):
            file.write(b"a" * (1 << 20))
    tracemalloc.start()
    try:
        total = sum(len(chunk) for chunks in read_documents(path, None, Tally()) for chunk in chunks)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == 24 << 20
    assert peak < 8 << 20
