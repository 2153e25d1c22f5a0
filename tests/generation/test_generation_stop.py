"""Stop texts: the result is that of searching the whole text, however it was cut into pieces."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from malgil.generation.stop import StopFinder


def cut(text: str, places: list[int]) -> list[str]:
    ends = [*sorted(p % (len(text) + 1) for p in places), len(text)]
    return [text[a:b] for a, b in zip([0, *ends], ends, strict=False)]


def whole(text: str, stops: list[str]) -> tuple[str, bool]:
    """The text before the stop text that is complete first, looked for prefix by prefix."""
    for end in range(1, len(text) + 1):
        starts = [end - len(s) for s in stops if text[:end].endswith(s)]
        if starts:
            return text[: min(starts)], True
    return text, False


letters = st.text(alphabet="가나다a", max_size=14)


@given(letters, st.lists(st.text(alphabet="가나다a", min_size=1, max_size=4), max_size=3), st.lists(st.integers(0, 14)))
def test_pieces_give_the_same_as_the_whole(text: str, stops: list[str], places: list[int]) -> None:
    finder = StopFinder(stops)
    released = "".join([*map(finder.push, cut(text, places)), finder.finish()])
    assert (released, finder.found) == whole(text, stops)


def test_what_may_become_a_stop_text_is_held_back() -> None:
    finder = StopFinder(["그만하자"])
    assert [finder.push(piece) for piece in ("이제 그", "만", "큼 그만", "하자 더")] == ["이제 ", "", "그만큼 ", ""]
    assert finder.found
    assert finder.push("무엇이든") == finder.finish() == ""


def test_nothing_is_held_back_without_need() -> None:
    finder = StopFinder([])
    assert finder.push("말") == "말"
    finder = StopFinder(["끝."])
    assert [finder.push(p) for p in ("말", "끝", "말")] == ["말", "", "끝말"]


def test_an_unfinished_stop_text_is_text_in_the_end() -> None:
    finder = StopFinder(["\n\n"])
    assert finder.push("안녕\n") == "안녕"
    assert finder.finish() == "\n"
    assert not finder.found


def test_a_stop_text_in_parts_of_syllables_is_found() -> None:
    finder = StopFinder([unicodedata.normalize("NFD", "끝")])
    assert finder.push("여기가 끝이다") == "여기가 "
    assert finder.found
