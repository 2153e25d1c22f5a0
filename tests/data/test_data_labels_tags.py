"""Tagged words: CoNLL's lines and JSON rows, notations, comments, and what is malformed."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from malgil.data.label_records import Tagged
from malgil.data.labels import TAGGED, LabelledData, open_all_labelled_data, open_labelled_data
from malgil.data.settings import DataSettings
from malgil.errors import DataError, NotFoundError

EXPECTED = (
    Tagged(("서울", "특별시", "에", "간다"), ("B-장소", "I-장소", "O", "O")),
    Tagged(("철수", "영희"), ("B-인물", "B-인물")),
)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def whole(path: Path, **settings: Any) -> tuple[Tagged, ...]:
    return open_all_labelled_data(DataSettings(paths=[str(path)], **settings), TAGGED)[0].records


def opened(path: Path, **settings: Any) -> LabelledData[Tagged]:
    return open_labelled_data(DataSettings(paths=[str(path)], **settings), TAGGED)


TABS = "서울\tB-장소\n특별시\tI-장소\n에\tO\n간다\tO\n\n철수\tB-인물\n영희\tB-인물\n"
CONLL2003 = (
    "-DOCSTART- -X- O O\n\n서울 NNP I-NP B-장소\n특별시 NNP I-NP I-장소\n에 JKB O O\n간다 VV O O\n\n"
    "-DOCSTART- -X- O O\n철수 NNP X B-인물\n영희 NNP X B-인물"
)
FORMS = {
    "tabs": ("a.conll", TABS),
    "spaces, four columns, documents": ("a.txt", CONLL2003),
    "windows": ("a.tsv", "\ufeff" + TABS.replace("\n", "\r\n")),
    "many empty lines": ("a.bio", "\n\n" + TABS.replace("\n\n", "\n \n\t\n\n") + "\n\n"),
    "comments": (
        "a.conll",
        "# id = 1\n# text = 서울특별시에 간다\n" + TABS.replace("\n\n", "\n\n## klue-1\t<철수:인물>\n"),
    ),
    "packed": ("a.conll.gz", gzip.compress(TABS.encode())),
    "decomposed": ("a.conll", TABS.replace("간다", "\u1100\u1161\u11ab\u1103\u1161")),
}


@pytest.mark.parametrize("name, content", FORMS.values(), ids=FORMS.keys())
def test_forms_of_lines(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert whole(write(tmp_path / name, content)) == EXPECTED


def test_rows(tmp_path: Path) -> None:
    rows = [{"words": r.tokens, "ner_tags": r.tags, "id": 1} for r in EXPECTED]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    assert whole(path) == EXPECTED
    assert "a.jsonl (words -> ner_tags)" in opened(path).train.describe()
    path = write(tmp_path / "b.jsonl", path.read_text().replace("words", "낱말").replace("ner_tags", "표지"))
    assert whole(path, text_field="낱말", label_field="표지") == EXPECTED
    with pytest.raises(NotFoundError, match=r"no column 'tokens'; .*--data\.text-field; columns: 낱말, 표지, id"):
        whole(path)
    with pytest.raises(NotFoundError, match=r"no column '태그'; .*columns: 낱말, 표지, id"):
        whole(path, text_field="낱말", label_field="태그")


def test_hashtags_and_spaces_are_words(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conll", "#말길\tO\n \tO\n#\tB-장소\n\n# O\n서울 B-장소\n")
    assert [record.tokens for record in whole(path)] == [("#말길", " ", "#"), ("#", "서울")]


@pytest.mark.parametrize("tags", ["I-장소 I-장소 O O", "B-장소 E-장소 O O", "B-장소 L-장소 O O"])
def test_other_notations_become_iob2_and_it_is_said(tmp_path: Path, tags: str) -> None:
    lines = "\n".join(f"{word} {tag}" for word, tag in zip(EXPECTED[0].tokens, tags.split(), strict=True))
    path = write(tmp_path / "a.conll", f"{lines}\n\n" + TABS.partition("\n\n")[2])
    assert whole(path) == EXPECTED
    said = opened(path).notes
    expected = f"1 sentence whose entities do not begin with B (IOB1, BIOES) was brought to IOB2 (first: {path}:1)"
    assert expected in said
    assert not any("IOB2" in note for note in opened(write(tmp_path / "b.conll", TABS)).notes)


def test_names_are_o_and_both_tags_of_each_type(tmp_path: Path) -> None:
    found = opened(write(tmp_path / "a.conll", TABS))
    assert found.names == ("O", "B-인물", "I-인물", "B-장소", "I-장소")
    assert "entities: 인물 (2), 장소 (1)" in found.notes
    assert opened(write(tmp_path / "b.conll", "서울 B\n시 I\n\n에 O\n")).names == ("O", "B", "I")


MALFORMED = {
    "one column": ("a.conll", "부산\n", "no word and tag in the line", 3),
    "no tag": ("a.conll", "부산\t\n", "no word and tag in the line", 3),
    "no word": ("a.conll", "\tO\n", "no word and tag in the line", 3),
    "a part of speech": ("a.conll", "부산\tNNP\n", "'NNP' is no tag of an entity", 2),
    "the prefix alone": ("a.conll", "부산\tB-\n", "'B-' is no tag of an entity", 2),
}


@pytest.mark.parametrize("name, line, message, number", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_line_takes_its_sentence_along(
    tmp_path: Path, name: str, line: str, message: str, number: int
) -> None:
    path = write(tmp_path / name, f"\n에서\tO\n{line}온다\tO\n\n{TABS}")
    with pytest.raises(DataError, match=rf"{message}; .*{name}:{number}; .*skip-bad"):
        whole(path)
    assert whole(path, skip_bad=1) == EXPECTED


@pytest.mark.parametrize(
    "row, message",
    [
        ('{"tokens": ["가", "나"], "tags": ["O"]}', "2 tokens but 1 tags"),
        ('{"tokens": "가 나", "tags": ["O", "O"]}', "are not two lists of words"),
        ('{"tokens": ["가"], "tags": [0]}', "are not two lists of words"),
        ('{"tokens": ["\\ud800"], "tags": ["O"]}', "are not two lists of words"),
        ('{"tokens": ["가"]}', "are not two lists of words"),
        ('{"tokens": ["가"], "tags": ["장소"]}', "'장소' is no tag of an entity"),
    ],
)
def test_malformed_rows(tmp_path: Path, row: str, message: str) -> None:
    rows = [json.dumps({"tokens": r.tokens, "tags": r.tags}) for r in EXPECTED]
    path = write(tmp_path / "a.jsonl", "\n".join([rows[0], row, rows[1]]))
    with pytest.raises(DataError, match=rf"{message}; .*a\.jsonl:2; "):
        whole(path)
    assert whole(path, skip_bad=1) == EXPECTED


def test_nothing_to_learn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"every tag is O; .*a\.conll:1 to .*a\.conll:3"):
        opened(write(tmp_path / "a.conll", "가 O\n\n나 O\n"))
    with pytest.raises(DataError, match=r"no sentences that can be used; .*b\.conll"):
        opened(write(tmp_path / "b.conll", "\n-DOCSTART- O\n\n"))


def test_the_real_file(data_dir: Path) -> None:
    found = opened(
        data_dir / "tagging" / "wnut17.train.conll", validation=[str(data_dir / "tagging" / "wnut17.dev.conll")]
    )
    assert (len(found.train), len(found.validation)) == (3394, 1009)
    assert len(found.names) == 13
    tags = [tag for record in found.train.records for tag in record.tags]
    assert (tags.count("B-person"), tags.count("I-person"), len(tags)) == (660, 335, 62730)
