"""Labelled texts: which columns, which labels, what is left out and said, and what is held out."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from malgil.data import labels as module
from malgil.data.label_records import Labelled, Scored
from malgil.data.labels import (
    LABELLED,
    QUESTIONS,
    SCORED,
    TAGGED,
    LabelledData,
    open_all_labelled_data,
    open_labelled_data,
)
from malgil.data.settings import DataSettings
from malgil.errors import DataError, InputError, NotFoundError

NSMC = 'id\tdocument\tlabel\n1\t참 좋다\t1\n2\t별로다\t0\n3\t"또 보고" 싶다\t1\n'


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def opened(*paths: Path | str, kind: Any = LABELLED, **settings: Any) -> LabelledData[Any]:
    return open_labelled_data(DataSettings(paths=[str(path) for path in paths], **settings), kind)


def whole(*paths: Path | str, kind: Any = LABELLED, **settings: Any) -> tuple[Any, ...]:
    part, _ = open_all_labelled_data(DataSettings(paths=[str(path) for path in paths], **settings), kind)
    return part.records


def notes(*paths: Path | str, kind: Any = LABELLED, **settings: Any) -> str:
    return "\n".join(opened(*paths, kind=kind, **settings).notes)


def plain(records: tuple[Labelled, ...]) -> list[tuple[str, ...]]:
    return [(*record.texts, *record.labels) for record in records]


def numbered(n: int) -> str:
    return "text\tlabel\n" + "".join(f"글 {i}\t{'높음' if i % 3 else '낮음'}\n" for i in range(n))


# -- columns ----------------------------------------------------------------------------------------


def test_a_header_with_usual_names(tmp_path: Path) -> None:
    expected = [("참 좋다", "1"), ("별로다", "0"), ('"또 보고" 싶다', "1")]
    path = write(tmp_path / "a.tsv", NSMC)
    assert plain(whole(path)) == expected
    assert plain(whole(write(tmp_path / "b.tsv.gz", gzip.compress(NSMC.encode())))) == expected
    assert "a.tsv (document -> label)" in opened(path).train.describe()
    for header in ("n\tReview\tClass", "번호\t리뷰\t라벨"):
        assert plain(whole(write(tmp_path / "c.tsv", NSMC.replace("id\tdocument\tlabel", header)))) == expected


def test_columns_by_name_and_number(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'n,내 글,기분\n1,"아, 좋다",기쁨\n2,"싫\n다",슬픔\n')
    expected = [("아, 좋다", "기쁨"), ("싫\n다", "슬픔")]
    assert plain(whole(path, text_field="내 글", label_field="기분")) == expected
    assert plain(whole(path, text_field="내 글", label_field="3")) == expected
    path = write(tmp_path / "b.csv", '1,"아, 좋다",기쁨\n2,"싫\n다",슬픔\n')
    assert plain(whole(path, text_field="2", label_field="3")) == expected


def test_without_a_header_the_first_two(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "좋다\t기쁨\t출처\n싫다\t슬픔\t출처\n")
    assert plain(whole(path)) == [("좋다", "기쁨"), ("싫다", "슬픔")]
    assert plain(whole(path, pair_field="3")) == [("좋다", "출처", "기쁨"), ("싫다", "출처", "슬픔")]
    assert plain(whole(path, text_field="3")) == [("출처", "좋다"), ("출처", "싫다")]


def test_json_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"q": "좋다", "intent": "칭찬"}\n{"q": "싫다", "intent": "불평"}\n')
    assert plain(whole(path)) == [("좋다", "칭찬"), ("싫다", "불평")]
    path = write(
        tmp_path / "b.jsonl", '{"q": "좋다", "kind": "칭찬", "id": "1"}\n{"q": "싫다", "kind": "불평", "id": "2"}\n'
    )
    with pytest.raises(DataError, match=r"which column is the text and which the label; .*columns: q, kind, id"):
        whole(path)
    with pytest.raises(DataError, match=r"which column is the label; .*--data\.label-field; columns: q, kind, id"):
        whole(path, text_field="q")
    assert plain(whole(path, text_field="q", label_field="2")) == [("좋다", "칭찬"), ("싫다", "불평")]


def test_two_texts(tmp_path: Path) -> None:
    nli = "premise\thypothesis\tgold_label\n비가 온다.\t땅이 젖는다.\t함의\n비가 온다.\t해가 난다.\t모순\n"
    path = write(tmp_path / "a.tsv", nli)
    expected = [("비가 온다.", "땅이 젖는다.", "함의"), ("비가 온다.", "해가 난다.", "모순")]
    assert plain(whole(path)) == expected
    assert plain(whole(path, text_field="premise")) == [("비가 온다.", "함의"), ("비가 온다.", "모순")]
    swapped = whole(path, text_field="hypothesis", pair_field="premise")
    assert [record.pair for record in swapped] == ["비가 온다."] * 2
    assert (
        "(premise + hypothesis -> gold_label)"
        in open_all_labelled_data(DataSettings(paths=[str(path)]), LABELLED)[0].describe()
    )


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", NSMC)
    with pytest.raises(NotFoundError, match=r"no column 'labels'; .*did you mean label"):
        whole(path, label_field="labels")
    with pytest.raises(NotFoundError, match=r"no column '평점'; .*columns: id, document, label"):
        whole(path, label_field="평점")
    with pytest.raises(NotFoundError, match=r"no column 4; .*from 1 to 3"):
        whole(path, pair_field="4")
    with pytest.raises(InputError, match=r"one column is given for two things; .*document, document"):
        whole(path, text_field="document", label_field="2")
    with pytest.raises(DataError, match=r"cannot tell which column is the text and which the label; .*columns: 1"):
        whole(write(tmp_path / "b.txt", "말길\n둘\n"))


# -- labels -----------------------------------------------------------------------------------------


def test_names_of_labels_and_their_order(tmp_path: Path) -> None:
    rows = [("하나", 10), ("둘", 2.0), ("셋", "9"), ("넷", " 10 ")]
    path = write(tmp_path / "a.jsonl", "".join(json.dumps({"text": t, "label": x}) + "\n" for t, x in rows))
    assert opened(path).names == ("2", "9", "10")
    assert [record.labels for record in whole(path)] == [("10",), ("2",), ("9",), ("10",)]
    path = write(tmp_path / "b.jsonl", '{"text": "하나", "label": true}\n{"text": "둘", "label": false}\n')
    assert opened(path).names == ("false", "true")
    path = write(tmp_path / "c.tsv", "하나\t하\n둘\t나\n셋\t10\n넷\t9\n")
    assert opened(path).names == ("10", "9", "나", "하")


def test_several_labels(tmp_path: Path) -> None:
    rows = (
        '{"text": "하나", "label": ["욕", "성별", "욕"]}\n{"text": "둘", "label": []}\n{"text": "셋", "label": "욕"}\n'
    )
    expected = [("하나", "욕", "성별"), ("둘",), ("셋", "욕")]
    path = write(tmp_path / "a.jsonl", rows)
    assert plain(whole(path)) == expected
    assert opened(path).names == ("성별", "욕")
    path = write(tmp_path / "a.tsv", "text\tlabel\n하나\t욕; 성별\n둘\t;\n셋\t욕\n넷\t \n")
    assert plain(whole(path, label_separator=";")) == [*expected, ("넷",)]
    assert len(whole(path)) == 3  # an empty cell is then a missing label
    assert plain(whole(path))[0] == ("하나", "욕; 성별")  # nobody said that a label ends there
    with pytest.raises(InputError, match=r"empty separator of labels; data\.label_separator"):
        whole(path, label_separator="")


@pytest.mark.parametrize("value, shown", [("0.5", "0.5"), ('{"a": 1}', "{'a': 1}"), ('["욕", null]', "None")])
def test_what_is_no_label(tmp_path: Path, value: str, shown: str) -> None:
    rows = f'{{"text": "하나", "label": 1}}\n{{"text": "둘", "label": {value}}}\n{{"text": "셋", "label": 2}}\n'
    path = write(tmp_path / "a.jsonl", rows)
    with pytest.raises(DataError, match=r"'label' holds .*; .*a\.jsonl:2; a label is text.*skip-bad") as error:
        whole(path)
    assert shown in str(error.value)
    assert plain(whole(path, skip_bad=1)) == [("하나", "1"), ("셋", "2")]


def test_text_is_composed_and_otherwise_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "text\tlabel\n \u1112\u1161\u11ab국 \u2028\t\u1112\u1161\u11ab\n나\t둘\n")
    assert plain(whole(path))[0] == (" 한국 \u2028", "한")
    path = write(tmp_path / "a.jsonl", '{"text": "\\ud800가", "label": "\\ud800"}\n{"text": "나", "label": "둘"}\n')
    found = opened(path)
    assert {record.text for record in (*found.train.records, *found.validation.records)} == {"\ufffd가", "나"}
    assert "1 lone surrogate was replaced by U+FFFD" in found.notes
    json.dumps(found.names, ensure_ascii=False).encode()


# -- what is said -----------------------------------------------------------------------------------


def test_what_is_left_out_is_counted_with_its_first_place(tmp_path: Path) -> None:
    rows = ["하나\t가", "\t가", "둘\t나", " \t나", "셋\t", "넷\t가"]
    path = write(tmp_path / "a.tsv", "text\tlabel\n" + "\n".join(rows) + "\n")
    assert [record.text for record in whole(path)] == ["하나", "둘", "넷"]
    said = notes(path)
    assert f"2 rows without text were left out (first: {path}:3)" in said
    assert f"1 row without a label was left out (first: {path}:6)" in said
    rows = ['{"text": "하나", "label": 1}', '{"label": 1}', '{"text": "둘"}', '{"text": "셋", "label": null}']
    path = write(tmp_path / "b.jsonl", "\n".join([*rows, '{"text": "넷", "label": 2}']))
    assert [record.text for record in whole(path)] == ["하나", "넷"]
    assert f"2 rows without a label were left out (first: {path}:3)" in notes(path)
    nothing = write(tmp_path / "c.tsv", "text\tlabel\n\t1\n")
    with pytest.raises(DataError, match=r"no texts that can be used; .*c\.tsv; 1 row without text was left out"):
        opened(nothing)


def test_labels_and_faults_are_reported(tmp_path: Path) -> None:
    rows = [(f"글 {i}", "많음") for i in range(96)] + [
        ("글 3", "적음"),
        ("글 3", "적음"),
        ("글 4", "적음"),
        ("새 글", "드묾"),
    ]
    path = write(tmp_path / "a.tsv", "text\tlabel\n" + "".join(f"{t}\t{x}\n" for t, x in rows))
    said = notes(path)
    assert "labels: 많음 (96.0 %), 적음 (3.0 %), 드묾 (1.0 %)" in said
    assert f"1 label that occurs once: 드묾 (first: {path}:101)" in said
    assert "if this line names the columns" not in said
    assert "96.0 % of the texts are '많음': accuracy says little" in said
    assert f"2 texts with contradicting labels: '글 3', 많음 and 적음, at {path}:5 and {path}:98" in said
    calm = notes(write(tmp_path / "b.tsv", numbered(30)))
    assert calm == "labels: 높음 (66.7 %), 낮음 (33.3 %)"


def test_the_same_labels_in_another_order_contradict_nothing(tmp_path: Path) -> None:
    rows = (
        '{"text": "하나", "label": ["가", "나"]}\n{"text": "하나", "label": ["나", "가"]}\n{"text": "둘", "label": 1}\n'
    )
    assert "contradicting" not in notes(write(tmp_path / "a.jsonl", rows))
    rows = rows.replace('["나", "가"]', '["나"]')
    assert "1 text with contradicting labels: '하나', 가 + 나 and 나" in notes(write(tmp_path / "b.jsonl", rows))


def test_a_header_that_was_not_known_is_suspected(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "내 글\t기분\n" + numbered(20).partition("\n")[2])
    assert f"occurs once: 기분 (first: {path}:1); if this line names the columns" in notes(path)


def test_nothing_to_learn_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "text\tlabel\n하나\t가\n둘\t가\n")
    with pytest.raises(DataError, match=r"only one class: '가'; .*a\.tsv:2 to .*a\.tsv:3; .*two classes"):
        opened(path)
    assert len(whole(path)) == 2  # but it can be scored
    rows = "".join(f"글 {i}\t제목 {i}\n" for i in range(60))
    with pytest.raises(DataError, match=r"60 different labels of 60 texts, as '제목 0'; .*--data\.label-field"):
        opened(write(tmp_path / "b.tsv", rows))


@pytest.mark.parametrize("name, content", [("a.tsv", ""), ("a.jsonl", "\n"), ("a.csv.gz", gzip.compress(b""))])
def test_no_rows(tmp_path: Path, name: str, content: str | bytes) -> None:
    with pytest.raises(DataError, match=f"no row of data; .*{name}"):
        opened(write(tmp_path / name, content))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "text\tlabel\n가\t1\n".encode("cp949"))
    with pytest.raises(DataError, match=r"not UTF-8; .*a\.tsv at byte 11; .*iconv -f CP949"):
        opened(path)
    with pytest.raises(DataError, match=r"1 fields where the header has 2; .*b\.tsv:3; .*skip-bad"):
        opened(write(tmp_path / "b.tsv", "text\tlabel\n가\t1\n나\n다\t2\n"))
    with pytest.raises(DataError, match="no data was named; --data; "):
        opened()
    with pytest.raises(DataError, match=r"\.json is not a format that is read here; .*\.jsonl"):
        opened(write(tmp_path / "c.json", "[]"))


# -- what is held out -------------------------------------------------------------------------------


def test_equal_texts_stay_together(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", numbered(300) + numbered(300).partition("\n")[2])
    found = opened(path)
    train, held = Counter(r.text for r in found.train.records), Counter(r.text for r in found.validation.records)
    assert not set(train) & set(held)
    assert set((train | held).values()) == {2}
    assert 0.05 < len(held) / 300 < 0.16
    assert len(opened(path, holdout=0.4).validation) > 2 * len(found.validation)


def test_more_data_moves_no_text(tmp_path: Path) -> None:
    few = opened(write(tmp_path / "a.tsv", numbered(100)))
    many = opened(write(tmp_path / "b.tsv", numbered(200)))
    assert {r.text for r in few.train.records} <= {r.text for r in many.train.records}
    assert {r.text for r in few.validation.records} <= {r.text for r in many.validation.records}


def test_pairs_with_one_first_text_stay_together(tmp_path: Path) -> None:
    rows = "".join(f"전제 {i}\t가설 {j}\t{'참' if j else '거짓'}\n" for i in range(60) for j in range(3))
    found = opened(write(tmp_path / "a.tsv", f"premise\thypothesis\tlabel\n{rows}"))
    assert len(found.validation) % 3 == 0 < len(found.validation) < 30


def test_no_part_is_empty(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "text\tlabel\n하나\t가\n둘\t나\n")
    for share in (0.001, 0.5):
        found = opened(path, holdout=share)
        assert (len(found.train), len(found.validation)) == (1, 1)
        assert found.names == ("가", "나")
        assert f"2 labels that occur once: 가, 나 (first: {path}:2)" in found.notes
    with pytest.raises(DataError, match=r"1 of at least 2 different texts; .*name a validation part"):
        opened(write(tmp_path / "b.tsv", "text\tlabel\n하나\t가\n하나\t나\n"))


def test_validation_that_is_given(tmp_path: Path) -> None:
    train, given = (
        write(tmp_path / "a.tsv", numbered(9)),
        write(tmp_path / "v.tsv", "text\tlabel\n글 1\t높음\n새 글\t중간\n"),
    )
    found = opened(train, validation=[str(given)])
    assert (len(found.train), len(found.validation)) == (9, 2)
    assert found.names == ("낮음", "높음", "중간")
    assert "the validation part has labels that training never shows: 중간" in found.notes
    assert "1 of the texts for validation (50 %) are in the training part too" in found.notes
    with pytest.raises(InputError, match=r"also in the training data; .*a\.tsv"):
        opened(train, validation=[str(train)])


def test_a_label_that_is_held_out_alone_is_said(tmp_path: Path) -> None:
    """Of labels that come once, some are in the part that is held out."""
    rows = "".join(f"글 {i}\t{'높음' if i % 2 else f'드묾 {i}' if i < 20 else '낮음'}\n" for i in range(60))
    path = write(tmp_path / "a.tsv", "text\tlabel\n" + rows)
    found = opened(path, holdout=0.3)
    shown = {name for record in found.train.records for name in record.labels}
    held = {name for record in found.validation.records for name in record.labels} - shown
    assert held
    (note,) = [note for note in found.notes if "training never shows" in note]
    assert all(name in note for name in held)


def test_a_share_is_written_out(tmp_path: Path) -> None:
    path, copy = (write(tmp_path / name, NSMC) for name in ("a.tsv", "b.tsv"))
    assert "3 of the texts for validation (100 %) are in the training part too" in notes(path, validation=[str(copy)])


def test_a_part_is_what_tokenizers_and_reports_need(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "text\tlabel\n하나\t가\nabc\t나\n하나\t가\n")
    part, _ = open_all_labelled_data(DataSettings(paths=[str(path)]), LABELLED)
    assert ["".join(chunks) for chunks in part.documents()] == ["하나", "abc"]
    assert (len(part), part.n_documents, part.n_characters, part.n_bytes) == (3, 2, 5, 9)
    assert part.describe() == "a.tsv (text -> label): 3 texts, 5 characters, 9 bytes"


def test_fingerprints_follow_what_is_read(tmp_path: Path) -> None:
    def of(name: str, content: str, **settings: str) -> str:
        part, _ = open_all_labelled_data(
            DataSettings(paths=[str(write(tmp_path / name, content))], **settings), LABELLED
        )
        return part.fingerprint

    one = of("a.tsv", NSMC)
    assert of("b.csv", 'review,class\n참 좋다,1\n별로다,0\n"""또 보고"" 싶다",1\n') == one
    others = {
        of("c.tsv", NSMC.replace("1\n", "2\n")),
        of("d.tsv", NSMC.replace("별", "벌")),
        of("e.tsv", NSMC, label_field="id"),
    }
    assert len(others | {one}) == 4


# -- scores -----------------------------------------------------------------------------------------

KORSTS = "genre\tscore\tsentence1\tsentence2\nx\t4.80\t비가 온다.\t비가 내린다.\nx\t0\t개가 난다.\t고양이가 잔다.\n"


def test_scores_of_two_texts(tmp_path: Path) -> None:
    expected = (Scored("비가 온다.", "비가 내린다.", 4.8), Scored("개가 난다.", "고양이가 잔다.", 0.0))
    assert whole(write(tmp_path / "a.tsv", KORSTS), kind=SCORED) == expected
    bare = write(tmp_path / "b.tsv", "비가 온다.\t비가 내린다.\t4.8\n개가 난다.\t고양이가 잔다.\t0\n")
    assert whole(bare, kind=SCORED) == expected
    rows = [{"text1": r.text, "text2": r.pair, "label": r.score} for r in expected]
    assert whole(write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows))), kind=SCORED) == expected
    assert "scores: 0 to 4.8, 2.4 on average" in notes(bare, kind=SCORED)


def test_scores_of_one_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "좋다\t9\n싫다\t-1.5\n")
    assert whole(path, kind=SCORED) == (Scored("좋다", None, 9.0), Scored("싫다", None, -1.5))
    path = write(tmp_path / "b.csv", "리뷰,점수\n좋다,9\n싫다,1e1\n")
    assert [record.score for record in whole(path, kind=SCORED)] == [9.0, 10.0]


@pytest.mark.parametrize("value", ["true", '"높음"', "NaN", '"inf"', "[1]", "1" + "0" * 400])
def test_what_is_no_score(tmp_path: Path, value: str) -> None:
    path = write(tmp_path / "a.jsonl", f'{{"text": "가", "score": 1}}\n{{"text": "나", "score": {value}}}\n')
    with pytest.raises(DataError, match=r"'score' holds .*, which is no finite number; .*a\.jsonl:2; .*label-field"):
        whole(path, kind=SCORED)
    assert whole(path, kind=SCORED, skip_bad=1) == (Scored("가", None, 1.0),)


def test_scores_that_are_all_the_same(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="every score is 3; "):
        opened(write(tmp_path / "a.tsv", "좋다\t3\n싫다\t3.0\n"), kind=SCORED)


# -- the built-in set -------------------------------------------------------------------------------


def test_builtin_has_labels_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tuple((f"문서 {i}: reads a file.", "json" if i % 2 else "email") for i in range(40))
    monkeypatch.setattr(module, "builtin_labels", lambda: rows)
    found = opened("builtin")
    assert found.names == ("email", "json")
    assert len(found.train) + len(found.validation) == 40
    assert found.train.describe().startswith("builtin: ")
    both = opened("builtin", write(tmp_path / "a.tsv", numbered(9)))
    assert both.names == ("email", "json", "낮음", "높음")
    with pytest.raises(InputError, match="also in the training data; builtin"):
        opened("builtin", validation=["builtin"])
    for kind in (SCORED, TAGGED, QUESTIONS):
        with pytest.raises(DataError, match=f"no built-in {kind.noun}; --data; "):
            opened("builtin", kind=kind)


def test_the_real_files(data_dir: Path) -> None:
    found = opened(
        data_dir / "similarity" / "korsts.train.tsv",
        kind=SCORED,
        validation=[str(data_dir / "similarity" / "korsts.dev.tsv")],
    )
    assert (len(found.train), len(found.validation)) == (5749, 1500)
    assert found.train.records[0] == Scored("비행기가 이륙하고 있다.", "비행기가 이륙하고 있다.", 5.0)
    names = opened(data_dir / "similarity" / "kornli.dev.tsv").names
    assert names == ("contradiction", "entailment", "neutral")


@pytest.mark.slow
def test_the_real_reviews(data_dir: Path) -> None:
    found = opened(data_dir / "sentiment" / "nsmc.train.tsv.gz")
    assert len(found.train) + len(found.validation) == 150_000
    assert 0.09 < len(found.validation) / 150_000 < 0.11
    assert found.names == ("0", "1")
