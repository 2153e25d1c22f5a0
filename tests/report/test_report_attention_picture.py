"""Attention maps as a PNG: the right cells, Hangul that is drawn, the same bytes again."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from attention_cases import view

from malgil.errors import ConfigError, InputError, NotFoundError
from malgil.report import attention_picture as pictures
from malgil.report.attention import AttentionGroup, AttentionView
from malgil.report.attention_picture import attention_picture

pytest.importorskip("matplotlib")


def pixels(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return imread(path)[..., :3]


def drawn(path: Path, label: str) -> np.ndarray:
    """A picture with one cell of no weight, whose row has this label."""
    attention_picture(
        AttentionView("글", "GPT2", 1, [AttentionGroup("self", [label], ["."], [np.zeros((1, 1, 1))])]), path
    )
    return pixels(path)


def test_the_same_view_gives_the_same_bytes(tmp_path: Path) -> None:
    one, other = tmp_path / "하나.png", tmp_path / "둘.png"
    attention_picture(view(), one)
    attention_picture(view(), other)
    assert one.read_bytes() == other.read_bytes()
    assert one.read_bytes().startswith(b"\x89PNG")
    assert b"matplotlib" not in one.read_bytes()  # no version, no time


def test_cells_are_as_dark_as_their_weights(tmp_path: Path) -> None:
    weights = np.array([[0.0, 1.0, 0.25]], dtype=np.float32)[None]
    group = AttentionGroup("self", ["가"], ["나", "다", "라"], [weights])
    attention_picture(AttentionView("글", "GPT2", 1, [group]), tmp_path / "a.png")
    image = pixels(tmp_path / "a.png")
    step = round(pictures.CELL * pictures.DPI)
    left = np.argmax((np.abs(image - np.array([11, 122, 111]) / 255).max(-1) < 0.01).any(0)) - step  # of the first cell
    row = len(image) - round(0.15 * pictures.DPI) - step // 2
    red = [float(image[row, left + step * i + step // 2, 0]) for i in range(3)]
    assert red == pytest.approx([0xF6 / 255, 0x0B / 255, (0xF6 + 0x0B) / 2 / 255], abs=0.01)


def test_a_panel_for_each_layer_or_one(tmp_path: Path) -> None:
    attention_picture(view(), tmp_path / "all.png")
    attention_picture(view(), tmp_path / "one.png", layer=2)
    attention_picture(view(), tmp_path / "head.png", layer=2, head=3)
    attention_picture(view(), tmp_path / "self.png", kind="decoder self")
    wide, narrow, head = (pixels(tmp_path / f"{name}.png") for name in ("all", "one", "head"))
    assert wide.shape[1] > 1.7 * narrow.shape[1]
    assert narrow.shape == head.shape
    assert not np.array_equal(narrow, head)
    assert pixels(tmp_path / "self.png").shape != narrow.shape


def test_hangul_is_drawn(tmp_path: Path) -> None:
    """Syllables differ from one another and from the box of a missing letter."""
    pictures_of = [drawn(tmp_path / "a.png", label) for label in ("갸", "뷁", "힣", "ㅋ", "□")]
    for i, one in enumerate(pictures_of):
        for other in pictures_of[:i]:
            assert one.shape != other.shape or not np.array_equal(one, other)


def test_the_font_has_all_of_hangul() -> None:
    have = pictures._characters(str(Path(pictures.__file__).with_name("fonts") / "MalgilHangul.ttf"))
    assert have.issuperset(range(0xAC00, 0xAC00 + 11_172))  # syllables
    assert have.issuperset(range(0x3131, 0x318F))  # letters
    assert have.issuperset(range(0x20, 0x7F))
    assert "SIL OPEN FONT LICENSE" in Path(pictures.__file__).with_name("fonts").joinpath("OFL.txt").read_text()


def test_what_no_font_has_is_a_box_and_nothing_is_a_formula(tmp_path: Path) -> None:
    fonts = pictures._fonts(frozenset("가\U0010fffd"))
    assert pictures._drawable("가\U0010fffd$x$", fonts) == r"가□\$x\$"
    drawn(tmp_path / "a.png", "$\\frac$ \U0010fffd")  # neither an error nor a warning


def test_long_texts_are_cut(tmp_path: Path) -> None:
    n = 70
    long = AttentionView("글", "GPT2", 1, [AttentionGroup("self", ["가"] * n, ["나"] * n, [np.full((1, n, n), 1 / n)])])
    attention_picture(long, tmp_path / "a.png")
    assert pixels(tmp_path / "a.png").shape[0] < (pictures.MOST_TOKENS + 6) * pictures.CELL * pictures.DPI


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="'self'"):
        attention_picture(view(), tmp_path / "a.png", kind="self")
    with pytest.raises(InputError, match="no layer 3"):
        attention_picture(view(), tmp_path / "a.png", layer=3)
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"pip install 'malgil\[plots\]'"):
        attention_picture(view(), tmp_path / "a.png")
