"""Pairs of texts: which columns, which lines, what is held out, and what is refused."""

from __future__ import annotations

import doctest
import gzip
import json
import tracemalloc
from pathlib import Path

import pytest

from malgil.data import cache, pair_columns, pair_rows, readers
from malgil.data.pairs import PairCorpus, PairPart, open_all_pairs, open_pairs
from malgil.data.settings import DataSettings
from malgil.errors import DataError, InputError, NotFoundError

TATOEBA = "Go.\t가.\tCC-BY\nHi.\t안녕.\tCC-BY\nRun!\t뛰어!\tCC-BY\n"


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def opened(*paths: Path | str, **settings: object) -> PairCorpus:
    return open_pairs(DataSettings(paths=[str(path) for path in paths], **settings))  # type: ignore[arg-type]


def whole(*paths: Path | str, **settings: object) -> list[tuple[str, str]]:
    part, _ = open_all_pairs(DataSettings(paths=[str(path) for path in paths], **settings))  # type: ignore[arg-type]
    return list(part.pairs())


def sides(part: PairPart) -> list[list[str]]:
    return [["".join(chunks) for chunks in part.side(name).documents()] for name in ("source", "target")]


def numbered(n: int) -> str:
    return "".join(f"{i} words\t{i}개의 낱말\n" for i in range(n))


# -- columns ----------------------------------------------------------------------------------------


def test_examples() -> None:
    assert doctest.testmod(pair_columns).failed == 0


def test_a_table_without_a_header(tmp_path: Path) -> None:
    path = write(tmp_path / "쌍.tsv", TATOEBA)
    assert whole(path) == [("Go.", "가."), ("Hi.", "안녕."), ("Run!", "뛰어!")]
    assert whole(path, source_field="3", target_field="2")[0] == ("CC-BY", "가.")
    assert whole(path, reverse=True)[1] == ("안녕.", "Hi.")
    assert whole(write(tmp_path / "a.txt", TATOEBA)) == whole(path)
    assert whole(write(tmp_path / "a.csv", 'Go.,가.\n"Hi, you.","안\n녕."\n')) == [
        ("Go.", "가."),
        ("Hi, you.", "안\n녕."),
    ]


@pytest.mark.parametrize("header", ["ko\ten\tfile", "Source\tTarget\tn", "q\tA\tlabel"])
def test_a_header_with_usual_names(tmp_path: Path, header: str) -> None:
    path = write(tmp_path / "a.tsv", f"{header}\n{TATOEBA}")
    assert whole(path) == whole(write(tmp_path / "b.tsv", TATOEBA))
    first, second = header.split("\t")[:2]
    assert whole(path, source_field="2", target_field=first)[0] == ("가.", "Go.")
    assert f"a.tsv ({first} -> {second})" in opened(path).train.describe()


def test_columns_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", f"영어\t한국어\t출처\n{TATOEBA}")
    assert whole(path, source_field="한국어", target_field="영어")[0] == ("가.", "Go.")
    assert whole(path, target_field="한국어")[0] == ("Go.", "가.")
    assert whole(path)[0] == ("Go.", "가.")
    path = write(tmp_path / "b.tsv", f"문장\t옮긴 글\t출처\n{TATOEBA}")
    assert whole(path)[0] == ("문장", "옮긴 글")  # nobody said that these are names
    assert whole(path, target_field="옮긴 글")[0] == ("Go.", "가.")


@pytest.mark.parametrize("numbers", [{}, {"source_field": "1", "target_field": "2"}])
@pytest.mark.parametrize(
    "first, second, is_header",
    [
        ("German\tEnglish", "Hund\tdog", True),
        ("독일어\t한국어", "Hund\t개", True),
        ("source\ttarget", "he\tel", True),
        ("no\tno", "dog\tperro", False),
        ("English\t영어", "German\t독일어", False),  # one language: a word and its translation
        ("English\tKorean", "German\tKorean", False),  # what language each row is in
        ("it\tes", "he\tel", False),
        ("it\tes", "dog\tperro", "unless by number"),
        ("ko\ten", "가다\tgo", "unless by number"),
        ("q\ta", "Go.\t가.", "unless by number"),
    ],
)
def test_words_that_might_be_names(
    tmp_path: Path, first: str, second: str, is_header: bool | str, numbers: dict[str, str]
) -> None:
    path = write(tmp_path / "a.tsv", f"{first}\n{second}\n끝\tend\n")
    rows = [tuple(row.split("\t")) for row in (first, second, "끝\tend")]
    expected = not numbers if is_header == "unless by number" else is_header
    assert whole(path, **numbers) == (rows[1:] if expected else rows)


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "parquet", "csv.gz"])
def test_every_format(tmp_path: Path, suffix: str) -> None:
    rows = [{"file": "f", "en": f"{i} words", "ko": f"{i}개의 낱말"} for i in range(3)]
    path = tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(arrow.Table.from_pylist(rows), path)
    else:
        lines = ["file,en,ko", *(",".join(row.values()) for row in rows)] if "csv" in suffix else map(json.dumps, rows)
        content = "".join(f"{line}\n" for line in lines).encode()
        write(path, gzip.compress(content) if suffix.endswith("gz") else content)
    assert whole(path, source_field="ko", target_field="en") == [(row["ko"], row["en"]) for row in rows]
    assert whole(path, source_field="3", target_field="2") == [(row["ko"], row["en"]) for row in rows]
    with pytest.raises(NotFoundError, match=r"no column 'kor'.*did you mean ko"):
        whole(path, source_field="kor", target_field="en")


def test_columns_called_source_and_target_come_before_the_first_two(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"id": "7", "target": "가.", "source": "Go."}\n')
    assert whole(path) == [("Go.", "가.")]
    assert whole(write(tmp_path / "b.jsonl", '{"q": "Go.", "a": "가."}\n')) == [("Go.", "가.")]
    assert whole(write(tmp_path / "c.jsonl", '{"tgt": "가.", "note": "", "src": "Go."}\n')) == [("Go.", "가.")]


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.jsonl", '{"id": 1, "en": "Go.", "ko": "가."}\n'),
        ("a.csv", "id,en,ko\n1,Go.,가.\n"),
        ("a.csv", "no,english,korean\n1,Go.,가.\n"),
        ("a.jsonl", '{"id": 1, "first": "Go.", "tags": ["a"], "second": "가."}\n'),
        ("a.jsonl", '{"id": "1", "first": "Go.", "second": "가."}\n'),
        ("a.tsv", "Go.\t가.\tCC-BY\n"),
    ],
)
def test_columns_of_numbers_are_no_texts(tmp_path: Path, name: str, content: str) -> None:
    assert whole(write(tmp_path / name, content)) == [("Go.", "가.")]


def test_numbers_are_texts_where_nothing_else_is(tmp_path: Path) -> None:
    assert whole(write(tmp_path / "a.jsonl", '{"digits": "12", "reading": "십이"}\n')) == [("12", "십이")]
    assert whole(write(tmp_path / "a.csv", "12,십이\n7,칠\n"))[0] == ("12", "십이")


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.jsonl", '{"translation": {"en": "Go.", "ko": "가."}}\n', r'one column .*such as \{"source": "\.\.\."'),
        ("a.jsonl", '{"id": 1, "translation": {"ko": "가."}}\n', r"no two columns hold text.*such as.*: id, tr"),
        ("a.csv", "말길\n", "separate source and target by a comma"),
    ],
)
def test_a_file_that_holds_no_two_texts(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        whole(write(tmp_path / name, content))


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", TATOEBA)
    with pytest.raises(NotFoundError, match=r"no column 4; .*a\.tsv; columns are counted from 1 to 3"):
        whole(path, source_field="4")
    with pytest.raises(NotFoundError, match="no column 0"):
        whole(path, source_field="0")
    with pytest.raises(NotFoundError, match="no column 'english'"):
        whole(path, source_field="english")
    with pytest.raises(InputError, match="source and target are both column '2'"):
        whole(path, source_field="2")
    with pytest.raises(DataError, match=r"one column where a pair needs two; .*--source and --target"):
        whole(write(tmp_path / "b.txt", "말길\n둘\n"))


@pytest.mark.parametrize("name, content", [("a.tsv", ""), ("a.jsonl", "\n"), ("a.csv", "\n\n"), ("a.tsv.gz", b"")])
def test_no_rows(tmp_path: Path, name: str, content: str | bytes) -> None:
    path = write(tmp_path / name, gzip.compress(b"") if name.endswith("gz") else content)
    with pytest.raises(DataError, match=f"no row of data; .*{name}"):
        opened(path)


@pytest.mark.parametrize("content", ["en\tko\n", "en\tko\nGo.\t\n \t가.\n"])
def test_no_pair_with_text(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match=r"no pair with text on both sides; a\.tsv \(en -> ko\)"):
        opened(write(tmp_path / "a.tsv", content))


BAD_ROWS = {
    "a tab too many": ("a.tsv", "Go.\t가.\nHi.\t안\t녕.\nRun!\t뛰어!\n", 2, "3 fields where the first row has 2"),
    "no target": ("a.tsv", "en\tko\nGo.\t가.\nHi.\nRun!\t뛰어!\n", 3, "1 fields where the header has 2"),
    "null": (
        "a.jsonl",
        '{"s": "Go.", "t": "가."}\n{"s": "Hi.", "t": null}\n{"s": "Run!", "t": "뛰어!"}\n',
        2,
        "'t' holds",
    ),
    "no source": ("a.jsonl", '{"s": "Go.", "t": "가."}\n{"t": "둘"}\n{"s": "Run!", "t": "뛰어!"}\n', 2, "no 's'"),
    "no json": ("a.jsonl", '{"s": "Go.", "t": "가."}\n{"s": \n{"s": "Run!", "t": "뛰어!"}\n', 2, "not JSON"),
    "neither": ("a.jsonl", '{"s": "Go.", "t": "가."}\n{"s": 1, "t": 2}\n{"s": "Run!", "t": "뛰어!"}\n', 2, "'s' holds"),
}


@pytest.mark.parametrize("name, content, line, message", BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_a_malformed_row_is_named_or_tolerated(
    tmp_path: Path, name: str, content: str, line: int, message: str
) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(DataError, match=rf"{message}.*{name}:{line}; .*skip-bad"):
        opened(path)
    part, notes = open_all_pairs(DataSettings(paths=[str(path)], skip_bad=1))
    assert list(part.pairs()) == [("Go.", "가."), ("Run!", "뛰어!")]
    assert notes == ("1 malformed row was skipped",)


def test_text_is_kept_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "\ufeffa\u2028b\x85\t 한\u0000국 \u1112\u1161\u11ab\r\nc \"q\"\t'ㅋㅋ'\r\n")
    assert whole(path) == [("a\u2028b\x85", " 한\u0000국 \u1112\u1161\u11ab"), ('c "q"', "'ㅋㅋ'")]
    path = write(tmp_path / "a.jsonl", '{"s": "\\ud800가", "t": "a\\nb"}\n')
    part, notes = open_all_pairs(DataSettings(paths=[str(path)]))
    assert list(part.pairs()) == [("\ufffd가", "a\nb")]
    assert notes == ("1 lone surrogate was replaced by U+FFFD",)
    with pytest.raises(DataError, match=r"not UTF-8.* at byte 3"):
        whole(write(tmp_path / "b.tsv", b"Go\t" + "가".encode("cp949")))


# -- aligned files ----------------------------------------------------------------------------------


def aligned(folder: Path, sources: str, targets: str) -> DataSettings:
    write(folder / "train.en", sources)
    write(folder / "train.ko.gz", gzip.compress(targets.encode()))
    return DataSettings(source=[str(folder / "train.en")], target=[str(folder / "train.ko.gz")])


def test_lines_belong_together(tmp_path: Path) -> None:
    settings = aligned(tmp_path, "a\u2028b\r\n\nGo\t.\n", " 가\n비었다\n나\x0b다")
    part, _ = open_all_pairs(settings)
    assert list(part.pairs()) == [("a\u2028b", " 가"), ("Go\t.", "나\x0b다")]
    assert part.counts.empty == 1
    assert part.describe() == "train.en -> train.ko.gz: 2 pairs, 7 -> 5 characters, 20 bytes"


@pytest.mark.parametrize("sources, targets, counts", [(5, 3, "5 and 3"), (1, 1200, "1 and 1,200"), (0, 2, "0 and 2")])
def test_files_of_different_length(tmp_path: Path, sources: int, targets: int, counts: str) -> None:
    settings = aligned(tmp_path, "a\n" * sources, "가\n" * targets)
    with pytest.raises(DataError, match=rf"different length: {counts} lines; .*train\.en, .*train\.ko\.gz"):
        open_pairs(settings)


def test_a_source_needs_a_target(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.en", "a\nb\n"))
    with pytest.raises(InputError, match=r"1 source and 0 target files; --source, --target"):
        open_pairs(DataSettings(source=[path]))
    with pytest.raises(InputError, match=r"0 source and 1 target files; --validation-source, --validation-target"):
        open_pairs(DataSettings(paths=["builtin"], validation_target=[path]))
    with pytest.raises(DataError, match=r"no data was named; .*--source FILE --target FILE"):
        open_pairs(DataSettings())


# -- what is held out -------------------------------------------------------------------------------


def test_one_file_gives_its_last_tenth(tmp_path: Path) -> None:
    table = numbered(20) + " \t빈 쪽\n" + numbered(40)[len(numbered(20)) :]
    found = opened(write(tmp_path / "a.tsv", table))
    pairs = [(f"{i} words", f"{i}개의 낱말") for i in range(40)]
    assert (list(found.train.pairs()), list(found.validation.pairs())) == (pairs[:36], pairs[36:])
    assert (found.train.counts.empty, found.validation.counts.empty) == (1, 0)
    for part, expected in ((found.train, pairs[:36]), (found.validation, pairs[36:])):
        sources, targets = map(list, zip(*expected, strict=True))
        assert sides(part) == [sources, targets]
        for side, texts in zip((part.side("source"), part.side("target")), (sources, targets), strict=True):
            assert side.n_characters == sum(map(len, texts))
            assert side.n_bytes == sum(len(text.encode()) for text in texts)
            assert side.n_documents == part.n_pairs == len(texts)
    source, target = tmp_path / "a.en", tmp_path / "a.ko"
    write(source, "".join(f"{s}\n" for s, _ in pairs))
    write(target, "".join(f"{t}\n" for _, t in pairs))
    lines = open_pairs(DataSettings(source=[str(source)], target=[str(target)], holdout=0.25))
    assert list(lines.validation.pairs()) == pairs[30:]


def test_several_files_give_whole_files(tmp_path: Path) -> None:
    for i in range(11):
        write(tmp_path / f"{i}.tsv", "".join(f"{i} {j}\t{i}의 {j}\n" for j in range(20 + i)))
    found = opened(tmp_path)
    held, kept = list(found.validation.pairs()), list(found.train.pairs())
    assert sorted(held + kept) == sorted(whole(tmp_path))
    assert not {source.split()[0] for source, _ in held} & {source.split()[0] for source, _ in kept}
    assert 0.05 < len(held) / len(held + kept) < 0.15
    again = opened(*sorted(tmp_path.glob("*.tsv"), reverse=True))
    assert sorted(again.validation.pairs()) == sorted(held)


def test_validation_that_is_given(tmp_path: Path) -> None:
    train = write(tmp_path / "a.tsv", numbered(3))
    source, target = write(tmp_path / "v.en", "Go.\n"), write(tmp_path / "v.ko", "가.\n")
    found = opened(train, validation_source=[str(source)], validation_target=[str(target)], reverse=True)
    assert found.train.n_pairs == 3
    assert list(found.validation.pairs()) == [("가.", "Go.")]
    table = write(tmp_path / "v.tsv", TATOEBA)
    assert list(opened(train, validation=[str(table)]).validation.pairs()) == whole(table)
    with pytest.raises(InputError, match=r"also in the training data; .*a\.tsv"):
        opened(train, validation=[str(train)])
    settings = DataSettings(source=[str(source)], target=[str(target)], validation_source=[str(source)])
    with pytest.raises(InputError, match="1 source and 0 target"):
        open_pairs(settings)
    with pytest.raises(DataError, match=r"1 of at least 2 pairs; v\.en -> v\.ko"):
        open_pairs(DataSettings(source=[str(source)], target=[str(target)]))


def test_builtin_holds_out_numbers(tmp_path: Path) -> None:
    found = opened("builtin")
    train, held = list(found.train.pairs()), list(found.validation.pairs())
    assert ("ko 1000", "천") in train + held
    assert 6000 < len(train) + len(held) == found.train.n_pairs + found.validation.n_pairs < 9000
    assert 0.07 < len(held) / len(train + held) < 0.13
    assert not {source[3:] for source, _ in train} & {source[3:] for source, _ in held}
    assert found.train.describe().startswith("builtin: ")
    given = opened(write(tmp_path / "a.tsv", TATOEBA), validation=["builtin"])
    assert given.validation.n_pairs == len(train + held)
    with pytest.raises(InputError, match="also in the training data; builtin"):
        opened("builtin", validation=["builtin"])


# -- fingerprints, and reading once -----------------------------------------------------------------


def test_fingerprints_follow_content_columns_and_direction(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    path = write(tmp_path / "a.tsv", TATOEBA)
    one, moved = opened(path).train, opened(write(tmp_path / "deeper" / "b.tsv", TATOEBA)).train
    other, back = opened(path, target_field="3").train, opened(path, reverse=True).train
    changed = opened(write(tmp_path / "c.tsv", TATOEBA.replace("가", "카"))).train
    assert one.fingerprint == moved.fingerprint
    assert len({part.fingerprint for part in (one, other, back, changed, opened(path).validation)}) == 5
    assert one.side("source").fingerprint == back.side("target").fingerprint  # one store serves both directions
    assert one.side("source").fingerprint != one.side("target").fingerprint


def test_known_files_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = aligned(tmp_path, "a\nb\nc\n", "가\n나\n다\n")
    passes: list[Path] = []
    read = pair_rows.read_lines
    monkeypatch.setattr(pair_rows, "read_lines", lambda path: passes.append(path) or read(path))
    monkeypatch.setattr(cache, "_SETTLED", 0)
    first = open_pairs(settings)
    assert len(passes) == 4  # two files to count, and to find the numbers before the cut
    assert open_pairs(settings) == first
    assert len(passes) == 4
    write(tmp_path / "train.ko.gz", gzip.compress("가\n나\n라\n".encode()))
    assert open_pairs(settings).validation.fingerprint != first.validation.fingerprint
    with pytest.raises(DataError, match=r"changed since it was opened; .*train\.ko\.gz"):
        list(first.train.pairs())


def test_skipped_rows_are_counted_over_all_files(tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path / f"{name}.jsonl", '{"s": "하나", "t": "one"}\n{"s": "둘"}\n')
    with pytest.raises(DataError, match=r"c\.jsonl:2"):
        opened(tmp_path, skip_bad=2)
    found = opened(tmp_path, skip_bad=3)
    assert found.notes == ("3 malformed rows were skipped",)
    assert found.train.n_pairs + found.validation.n_pairs == 3


def test_reading_does_not_hold_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "_BLOCK", 1 << 13)
    settings = aligned(tmp_path, "a line of some length\n" * 30_000, "어떤 길이의 줄\n" * 30_000)
    tracemalloc.start()
    try:
        part, _ = open_all_pairs(settings)
        assert sum(1 for _ in part.pairs()) == 30_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert part.n_bytes > 1 << 20
    assert peak < 1 << 19


def test_the_real_files(data_dir: Path) -> None:
    found = opened(data_dir / "translation" / "tatoeba.en-ko.tsv")
    assert (found.train.n_pairs, found.validation.n_pairs) == (2986, 332)
    assert next(found.train.pairs()) == ("Go.", "가.")
