"""What `malgil attention` refuses, in a line each."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_cases import Malgil


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["말", "--out", "x.html", "--target", "the"], "error[config]: a gpt2 model reads one text, and has no target"),
        (["말", "--out", "folder"], "a folder stands where a file is to be written; folder; name a file in it"),
        (["말", "--out", "x.html", "--png", "folder"], "a folder stands where a file is to be written; folder"),
        (["말"], "error[usage]: attention needs --out, which is not given"),
        (["말", "--out"], "error[usage]: --out needs a value"),
        (["말", "--uot", "x.html"], "attention needs --out, which is not given; did you mean --out instead of --uot?"),
        ([], "error[usage]: attention needs TEXT, which is not given"),
    ],
)
def test_what_is_refused(malgil: Malgil, run: Path, words: list[str], says: str) -> None:
    Path("folder").mkdir()
    said = malgil("attention", run, *words)
    assert said.status == 2
    assert says in said.error
    assert ".part" not in said.error
    assert not list(Path("folder").iterdir())
    assert not Path("x.html").exists()
