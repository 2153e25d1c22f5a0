"""What a training shows of its samples on the way."""

from __future__ import annotations

import pytest

from malgil.cli.display import SAMPLE_CHARACTERS, LiveDisplay
from malgil.runs.task import Preview


def test_of_long_texts_the_beginning_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    long = "말길이 참 좋다. " * 100
    LiveDisplay().sample(3, [Preview(long, "좋음"), Preview("짧다", "나쁨"), Preview("", long)])
    _, first, answer, *rest = capsys.readouterr().err.splitlines()
    assert first == long[:SAMPLE_CHARACTERS].rstrip() + " …"
    assert answer == "    -> 좋음"
    assert rest[:2] == ["짧다", "    -> 나쁨"]
    assert len(rest[2]) <= SAMPLE_CHARACTERS
