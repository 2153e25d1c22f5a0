"""Tagged words and questions on the command line: train, evaluate as a table, lines in, JSON lines out."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from cli_cases import TINY, Malgil

TAGGED = "민수\tB-PER\n가\tO\n한강\tB-LOC\n공원\tI-LOC\n에\tO\n간다\tO\n\n{}\tB-PER\n는\tO\n온다\tO\n\n"
WIDER = [word if word != "9" else "24" for word in TINY]


def question(number: int) -> str:
    context = f"말길은 서울에서 {number}번 왔다."
    answers = [{"text": "서울", "answer_start": 4}] if number % 3 else []
    return json.dumps({"question": "어디?", "context": context, "answers": answers}, ensure_ascii=False) + "\n"


def predicted(malgil: Malgil, run: str, lines: str, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    Path("lines").write_text(lines, encoding="utf-8")
    with Path("lines").open("rb") as file, io.TextIOWrapper(file) as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        said = malgil("predict", run)
    assert said.status == 0, said.err
    return [json.loads(line) for line in said.out.splitlines()]


def test_tags(malgil: Malgil, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("words.conll").write_text("".join(TAGGED.format(f"지영{i}") for i in range(20)), encoding="utf-8")
    said = malgil("train", "tag", "--data", "words.conll", "--steps", 2, "--out", "run", *WIDER)
    assert said.status == 0
    for words in ("entities: PER (40), LOC (20)", "tags: O, and B and I of LOC, PER", "F1 ", "predict run < FILE"):
        assert words in said.err
    assert "perplexity" not in said.err
    lines = malgil("evaluate", "run", "--data", "words.conll").out.splitlines()
    assert [line.split("  ")[0] for line in lines[:7]] == [
        "loss (a word)",
        "F1 of entities",
        "precision",
        "recall",
        "tags right",
        "sentences",
        "words",
    ]
    head, *rows = lines[8:10] + lines[10:]
    assert head.split() == ["type", "precision", "recall", "F1", "entities"]
    assert [(row.split()[0], row.split()[-1]) for row in rows] == [("LOC", "20"), ("PER", "40")]
    assert json.loads(malgil("evaluate", "run", "--data", "words.conll", "--json").out)["words"] == 180
    found = predicted(malgil, "run", '민수 가 온다\n{"tokens": ["한강", "공원"], "번호": 3}\n', monkeypatch)
    assert found[0].keys() == {"text", "entities"}
    assert found[1]["번호"] == 3
    assert len(found[1]["tags"]) == 2  # type: ignore[arg-type]


def test_answers(malgil: Malgil, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("rows.jsonl").write_text("".join(map(question, range(40))), encoding="utf-8")
    said = malgil("train", "answer", "--data", "rows.jsonl", "--steps", 2, "--out", "run", *WIDER)
    assert said.status == 0
    for words in ("14 of 40 questions have no answer", "character F1", "predict run < QUESTIONS.jsonl"):
        assert words in said.err
    shown = malgil("evaluate", "run", "--data", "rows.jsonl").out
    for words in ("loss (a window)", "F1 of characters, Korean", "rightly given none", "questions                  40"):
        assert words in shown
    (found,) = predicted(malgil, "run", question(1), monkeypatch)
    assert found.keys() == {"question", "context", "answers", "answer", "start", "end", "score"}
