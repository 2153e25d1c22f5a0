"""Texts that belong together: lines, tables with a second text, and with scores; and what is never guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from malgil.data.label_alike import Alike
from malgil.data.labels import ALIKE, LabelledData, open_all_labelled_data, open_labelled_data
from malgil.data.settings import DataSettings
from malgil.errors import DataError, InputError, NotFoundError

RAIN = ("비가 온다", "비가 내린다")
BOOK = ("책을 읽는다", "그가 글을 읽는다")


def write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def whole(path: Path | str, **settings: Any) -> tuple[Alike, ...]:
    part, _ = open_all_labelled_data(DataSettings(paths=[str(path)], **settings), ALIKE)
    return part.records


def opened(*paths: Path | str, **settings: Any) -> LabelledData[Alike]:
    return open_labelled_data(DataSettings(paths=[str(path) for path in paths], **settings), ALIKE)


def test_a_line_is_a_text(tmp_path: Path) -> None:
    path = write(tmp_path / "글.txt", "\ufeff비가 온다 \n\n \t\n비가 내린다\r\n각")
    assert whole(path) == (Alike("비가 온다"), Alike("비가 내린다"), Alike("각"))
    assert Alike("비가 온다").texts == ("비가 온다",)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("비가 온다\t비가 내린다\n책을 읽는다\t그가 글을 읽는다\n", [(*RAIN, None), (*BOOK, None)]),
        ("비가 온다\t비가 내린다\t4.5\n책을 읽는다\t그가 글을 읽는다\t2\n", [(*RAIN, 4.5), (*BOOK, 2.0)]),
        ("비가 온다\t비가 내린다\t출처\n책을 읽는다\t그가 글을 읽는다\t2\n", [(*RAIN, None), (*BOOK, None)]),
        (
            "id\tscore\tsentence1\tsentence2\n0\t4.5\t비가 온다\t비가 내린다\n1\t2\t책을 읽는다\t그가 글을 읽는다\n",
            [(*RAIN, 4.5), (*BOOK, 2.0)],
        ),
        ("질문\t답변\n비가 온다\t비가 내린다\n책을 읽는다\t그가 글을 읽는다\n", [(*RAIN, None), (*BOOK, None)]),
        ("id\tdocument\tlabel\n1\t비가 온다\t1\n2\t책을 읽는다\t0\n", [(RAIN[0], None, None), (BOOK[0], None, None)]),
    ],
)
def test_columns_of_a_table(tmp_path: Path, content: str, expected: list[tuple[Any, ...]]) -> None:
    assert whole(write(tmp_path / "a.tsv", content)) == tuple(Alike(*fields) for fields in expected)


def test_columns_that_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "ko,other,en,gold\n비가 온다,x,It rains,3\n책,y,a book,1\n")
    found = whole(path, text_field="ko", pair_field="en")
    assert found == (Alike("비가 온다", "It rains"), Alike("책", "a book"))
    assert whole(path, text_field="ko", pair_field="en", label_field="gold")[1] == Alike("책", "a book", 1.0)
    assert whole(path, text_field="en") == (Alike("It rains"), Alike("a book"))
    path = write(tmp_path / "b.tsv", "It rains\t비가 온다\t출처\na book\t책\t7\n")
    assert whole(path, text_field="2", pair_field="1")[1] == Alike("책", "a book")  # 7 is no score
    assert whole(path, text_field="2") == (Alike("비가 온다"), Alike("책"))
    with pytest.raises(NotFoundError, match="no column 'ok'"):
        whole(tmp_path / "a.csv", text_field="ok", pair_field="en")
    with pytest.raises(InputError, match="one column is given for two things"):
        whole(tmp_path / "a.csv", text_field="ko", pair_field="ko")
    with pytest.raises(DataError, match=r"a score of a single text: 'gold'.*--data.pair-field"):
        whole(tmp_path / "a.csv", text_field="ko", label_field="gold")


def test_two_columns_of_prose_are_a_pair(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl", '{"n": 1, "ko": "비가 온다", "en": "It rains"}\n{"n": 2, "ko": "책", "en": "book"}\n'
    )
    assert whole(path) == (Alike("비가 온다", "It rains"), Alike("책", "book"))
    path = write(tmp_path / "b.jsonl", '{"a": "비가", "b": "온다", "c": "책"}\n')
    with pytest.raises(DataError, match=r"cannot tell which column is the text.*columns: a, b, c"):
        whole(path)


def test_labels_beside_pairs_are_not_guessed_at(tmp_path: Path) -> None:
    """`contradiction` does not belong together."""
    rows = "premise\thypothesis\tgold_label\n비가 온다\t비가 내린다\tentailment\n비가 온다\t해가 난다\tcontradiction\n"
    path = write(tmp_path / "nli.tsv", rows)
    with pytest.raises(DataError, match=r"pairs with a label, 'gold_label'.*--data.label-field.*--data.text-field"):
        whole(path)
    assert len(whole(path, text_field="premise", pair_field="hypothesis")) == 2
    with pytest.raises(DataError, match=r"'gold_label' holds 'entailment', which is no finite number"):
        whole(path, label_field="gold_label")


def test_rows_that_cannot_be_used(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "비가 온다\t비가 내린다\t4\n\t책\t1\n책\t글\tnan\n책\t책\t2\n")
    with pytest.raises(DataError, match=r"'3' holds 'nan', which is no finite number; .*a.tsv:3"):
        whole(path)
    data = opened(path, skip_bad=1)
    assert len(data.train) + len(data.validation) == 2
    assert any("1 row without text was left out" in note for note in data.notes)


def test_forms_are_not_mixed(tmp_path: Path) -> None:
    pairs = write(tmp_path / "a.tsv", "비가 온다\t비가 내린다\n책을 읽는다\t글을 읽는다\n")
    texts = write(tmp_path / "b.txt", "비가 온다\n책\n")
    with pytest.raises(
        DataError, match=r"both pairs of texts and texts; .*a.tsv:2 and .*b.txt:2; give data of one form"
    ):
        opened(pairs, texts)
    assert any("2 pairs of texts" in note for note in opened(pairs).notes)
    same = write(tmp_path / "c.tsv", "비\t눈\t3\n책\t글\t3\n")
    with pytest.raises(DataError, match="every score is 3"):
        opened(same)
    # what is validated may be of another form: texts are learnt from, and scores say how well
    scored = write(tmp_path / "d.tsv", "비\t눈\t3\n책\t글\t4.5\n")
    data = opened(texts, validation=[str(scored)])
    assert data.validation.records == (Alike("비", "눈", 3.0), Alike("책", "글", 4.5))


def test_equal_first_texts_stay_in_one_part(tmp_path: Path) -> None:
    rows = "".join(f"글 {i % 20}\t짝 {i}\n" for i in range(100))
    data = opened(write(tmp_path / "a.tsv", rows), holdout=0.3)
    train, held = ({record.text for record in part.records} for part in (data.train, data.validation))
    assert not train & held
    assert len(train | held) == 20


def test_the_builtin_texts() -> None:
    data = opened("builtin")
    assert len(data.train) > 300
    assert all(record.pair is None and record.score is None for record in data.train.records)
