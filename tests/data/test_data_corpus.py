"""What is held out, what the notes and fingerprints say, and when a file is read again."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from malgil.data import builtin, cache, corpus
from malgil.data.builtin import builtin_documents
from malgil.data.corpus import Corpus, Part, Span, open_corpus, open_whole
from malgil.data.settings import DataSettings
from malgil.errors import DataError, InputError, NotFoundError


def text_of(part: Part) -> list[str]:
    return ["".join(chunks) for chunks in part.documents()]


def opened(*paths: Path | str, **settings: object) -> Corpus:
    return open_corpus(DataSettings(paths=[str(path) for path in paths], **settings))  # type: ignore[arg-type]


def rows(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


@pytest.fixture
def small_builtin(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = tuple(builtin.BuiltinDocument(f"topic:{i}", f"문서 {i}, a document.\n") for i in range(97))
    monkeypatch.setattr(corpus, "builtin_documents", lambda: documents)


def test_one_text_gives_its_last_tenth_of_characters(tmp_path: Path) -> None:
    text = "".join(chr(0xAC00 + i) if i % 2 else "a" for i in range(1007))
    path = tmp_path / "글.txt"
    path.write_text(text, encoding="utf-8")
    found = opened(path)
    assert text_of(found.train) == [text[:906]]
    assert text_of(found.validation) == [text[906:]]
    assert found.train.n_characters == 906
    assert found.train.n_bytes == len(text[:906].encode())
    assert found.validation.n_bytes == len(text[906:].encode())
    assert "글.txt: 1 document, 101 characters" in found.validation.describe()
    assert text_of(opened(path, holdout=0.5).validation) == [text[503:]]


def test_a_text_of_many_chunks_is_cut_inside_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("malgil.data.readers.CHUNK", 64)
    text = "말길이 열린다 \n" * 100
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    found = opened(tmp_path / "a.txt")
    cut = int(0.9 * len(text))
    assert text_of(found.train) == [text[:cut]]
    assert text_of(found.validation) == [text[cut:]]
    assert len(list(next(found.train.documents()))) > 10


def test_tiny_shakespeare_is_cut_where_the_field_cuts_it(data_dir: Path) -> None:
    found = opened(data_dir / "lm" / "tinyshakespeare.txt")
    assert (found.train.n_characters, found.validation.n_characters) == (1_003_854, 111_540)


def test_one_file_of_rows_gives_its_last_tenth_of_rows(tmp_path: Path) -> None:
    texts = [f"{i}번째 줄" for i in range(37)]
    found = opened(rows(tmp_path / "a.jsonl", texts))
    assert text_of(found.train) == texts[:33]
    assert text_of(found.validation) == texts[33:]
    assert (found.train.n_documents, found.validation.n_documents) == (33, 4)


def test_several_files_give_whole_files(tmp_path: Path) -> None:
    texts = {f"{i}.txt": f"{i}째 글 " * (20 + i) for i in range(23)}
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    found = opened(tmp_path)
    held = text_of(found.validation)
    assert sorted(text_of(found.train) + held) == sorted(texts.values())
    assert 0.05 < found.validation.n_bytes / (found.train.n_bytes + found.validation.n_bytes) < 0.15
    again = opened(*sorted(tmp_path.glob("*.txt"), reverse=True))
    assert sorted(text_of(again.validation)) == sorted(held)


@pytest.mark.parametrize("lengths", [(5, 500), (300, 300), (7, 7, 7)])
def test_one_file_at_least_is_held_out_and_one_is_left(tmp_path: Path, lengths: tuple[int, ...]) -> None:
    for i, length in enumerate(lengths):
        (tmp_path / f"{i}.txt").write_text(str(i) * length)
    found = opened(tmp_path)
    assert len(text_of(found.validation)) == 1
    assert found.validation.n_characters == min(lengths)


@pytest.mark.usefixtures("small_builtin")
def test_builtin_gives_whole_documents_by_name(tmp_path: Path) -> None:
    found = opened("builtin")
    held = text_of(found.validation)
    assert sorted(held + text_of(found.train)) == sorted(d.text for d in corpus.builtin_documents())
    assert 3 <= len(held) <= 20
    assert "builtin" in found.train.describe()
    (tmp_path / "a.txt").write_text("가나다라마바사아자차")
    both = opened("builtin", tmp_path / "a.txt")
    assert set(text_of(both.validation)) == {*held, "차"}


def test_validation_that_is_given(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("훈련")
    (tmp_path / "b.txt").write_text("검증")
    found = opened(tmp_path / "a.txt", validation=[str(tmp_path / "b.txt")])
    assert text_of(found.train) == ["훈련"]
    assert text_of(found.validation) == ["검증"]


def test_a_whole_corpus_holds_nothing_out(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("말")  # too short to be cut
    rows(tmp_path / "b.jsonl", ["하나", "둘"])
    part, notes = open_whole(DataSettings(paths=[str(tmp_path)]))
    assert text_of(part) == ["말", "하나", "둘"]
    assert notes == ()
    with pytest.raises(DataError, match="no data was named"):
        open_whole(DataSettings())


def test_validation_that_is_also_training(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("말길")
    (tmp_path / "link.txt").symlink_to(tmp_path / "a.txt")
    with pytest.raises(InputError, match=r"also in the training data; .*a\.txt"):
        opened(tmp_path / "a.txt", validation=[str(tmp_path / "link.txt")])
    with pytest.raises(InputError, match="also in the training data; builtin"):
        opened("builtin", validation=["builtin"])


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("말길" * 10)
    found = opened(tmp_path / "a.txt", tmp_path / "a.txt")
    assert found.train.n_characters == 18
    assert "read once" in found.notes[0]


@pytest.mark.parametrize(
    "name, content", [("a.txt", b""), ("b.txt", b"\xef\xbb\xbf"), ("a.txt.gz", gzip.compress(b""))]
)
def test_an_empty_file(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"empty; .*{name}"):
        opened(tmp_path / name)


def test_too_little_to_hold_out(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("말")
    with pytest.raises(DataError, match=r"1 of at least 2 characters; .*a\.txt"):
        opened(tmp_path / "a.txt")
    with pytest.raises(DataError, match="1 of at least 2 rows"):
        opened(rows(tmp_path / "a.jsonl", ["하나", ""]))
    with pytest.raises(DataError, match="no data was named"):
        opened()


def test_no_such_column(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="columns: text"):
        opened(rows(tmp_path / "a.jsonl", ["하나", "둘"]), text_field="글")


def test_skipped_rows_are_counted_over_all_files(tmp_path: Path) -> None:
    for name in "abc":
        rows(tmp_path / f"{name}.jsonl", [f"{name} 하나", "\ud800둘"])
        with (tmp_path / f"{name}.jsonl").open("a") as file:
            file.write("bad\n")
    with pytest.raises(DataError, match=r"c\.jsonl:3"):
        opened(tmp_path, skip_bad=2)
    found = opened(tmp_path, skip_bad=3)
    assert found.notes == ("3 malformed rows were skipped", "3 lone surrogates were replaced by U+FFFD")
    assert found.train.n_documents + found.validation.n_documents == 6
    assert len(text_of(found.train)) == found.train.n_documents


def test_the_fingerprint_follows_content_not_place(tmp_path: Path) -> None:
    for folder in ("one", "two", "three"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text("말길 " * 30 + (folder if folder == "three" else ""))
    one, two, three = (opened(tmp_path / name) for name in ("one", "two", "three"))
    assert one.train.fingerprint == two.train.fingerprint != three.train.fingerprint
    assert one.train.fingerprint != one.validation.fingerprint
    assert one.train.fingerprint != opened(tmp_path / "one", holdout=0.3).train.fingerprint


def test_a_known_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("말길 " * 30)
    passes = []
    read = corpus.read_documents
    monkeypatch.setattr(corpus, "read_documents", lambda *a: passes.append(a) or read(*a))
    monkeypatch.setattr(cache, "_SETTLED", 0)
    first = opened(path)
    assert len(passes) == 2  # one to count, one to find the bytes before the cut
    assert opened(path) == first
    assert len(passes) == 2
    os.utime(path, ns=(1, 1))
    assert opened(path).train.fingerprint == first.train.fingerprint
    assert len(passes) == 4


def test_a_file_that_may_still_change_is_always_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("가나다라" * 10)
    stamp = path.stat()
    first = opened(path)
    path.write_text("라다나가" * 10)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert opened(path).train.fingerprint != first.train.fingerprint


def test_damaged_facts_are_found_anew(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("malgil.data.cache._SETTLED", 0)
    path = tmp_path / "a.txt"
    path.write_text("말길 " * 30)
    first = opened(path)
    for memo in (cache / "facts").iterdir():
        memo.write_bytes(b'{"stamp": [1')
    assert opened(path) == first


def test_a_file_that_changes_after_opening(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("말길 " * 30)
    found = opened(path)
    path.write_text("다른 글 " * 30)
    with pytest.raises(DataError, match=r"changed since it was opened; .*a\.txt"):
        text_of(found.train)
    path.unlink()
    with pytest.raises(DataError, match="cannot read"):
        text_of(found.train)


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in the way").write_text("")
    monkeypatch.setenv("MALGIL_CACHE", str(tmp_path / "in the way"))
    monkeypatch.setattr(cache, "_SETTLED", 0)
    (tmp_path / "a.txt").write_text("말길 " * 30)
    assert isinstance(opened(tmp_path / "a.txt").train.pieces[0], Span)


# --- the built-in corpus --------------------------------------------------------------------


@pytest.fixture
def little_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A standard library of three modules in place of Python's."""
    library = tmp_path / "lib"
    for folder in ("json", "test", "site-packages"):
        (library / folder).mkdir(parents=True)
    prose = "A sentence that says what this module is for, long enough to count as prose. " * 5
    module = f'"""{prose}"""\n\nclass C:\n    """Class {prose}"""\n\n    def f(self):\n        """Method {prose}"""\n'
    (library / "json" / "decoder.py").write_text(module)
    (library / "copy.py").write_text(f'"""Copies. {prose}"""\ndef g():\n    """Class {prose}"""\n')
    (library / "tiny.py").write_text('"""Too short."""\n')
    (library / "broken.py").write_text("def (:\n")
    (library / "test" / "test_x.py").write_text(module)
    (library / "site-packages" / "y.py").write_text(module)
    monkeypatch.setattr(builtin.sysconfig, "get_paths", lambda: {"stdlib": str(library)})
    builtin_documents.cache_clear()
    yield library
    builtin_documents.cache_clear()


def test_builtin_reads_docstrings_and_topics(little_library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {d.name: d.text for d in builtin_documents()}
    names = [d.name for d in builtin_documents()]
    assert names == sorted(names)
    modules = [name for name in names if name.startswith("module:")]
    assert modules == ["module:copy", "module:json.decoder"]
    assert found["module:json.decoder"].index("Class A") < found["module:json.decoder"].index("Method A")
    assert "Class A" not in found["module:copy"]  # a paragraph stands once, in the longer document
    assert sum(name.startswith("topic:") for name in names) > 30

    builtin_documents.cache_clear()
    monkeypatch.setattr(builtin, "_docstrings", lambda library: pytest.fail("the text is in the cache"))
    assert {d.name: d.text for d in builtin_documents()} == found


def test_builtin_without_topics_or_library(little_library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtin, "_topics", lambda: iter(()))
    assert all(d.name.startswith("module:") for d in builtin_documents())
    builtin_documents.cache_clear()
    monkeypatch.setattr(builtin, "_docstrings", lambda library: iter(()))
    monkeypatch.setattr(builtin, "_load", lambda path: None)
    with pytest.raises(DataError, match="no built-in text"):
        builtin_documents()


@pytest.mark.slow
def test_builtin_of_this_python() -> None:
    builtin_documents.cache_clear()
    found = opened("builtin")
    total = found.train.n_bytes + found.validation.n_bytes
    assert 1_000_000 < total < 4_000_000
    assert 0.04 < found.validation.n_bytes / total < 0.2
    training = "\n\n".join(text_of(found.train))
    paragraphs = [p for text in text_of(found.validation) for p in text.split("\n\n") if len(p) > 100]
    assert not [p for p in paragraphs if p in training]
    builtin_documents.cache_clear()
