"""The command compare as a person types it: what is refused, what it prints, and that it comes back the same."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from cli_cases import Malgil

from malgil.models import FAMILIES
from malgil.runs.recipe import recipe_names

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "malgil"
FILES = [
    *sorted((PACKAGE / "comparison").glob("*.py")),
    *sorted((PACKAGE / "report").glob("compare*.py")),
    PACKAGE / "runs" / "compared.py",
    PACKAGE / "cli" / "compare_display.py",
    PACKAGE / "cli" / "commands" / "compare.py",
]
TINY = (
    *("--tokens", "1500", "--model.d-model", "16", "--model.n-layers", "1", "--model.max-len", "16"),
    *("--tokenizer.kind", "char", "--threads", "1", "--device", "cpu", "--training.precision", "fp32"),
)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--seeds", "none"], "--seeds must be an integer"),
        (["--seeds", "0"], "--seeds must be at least 1"),
        (["--tune", "1"], "--tune 1 leaves nothing to choose"),
        (["--time", "10s", "--tokens", "5"], "--time and --tokens are two budgets"),
        (["--time", "soon"], "duration above zero"),
        (["--recipes", "lstm,lstn"], "did you mean lstm"),
        (["--recipes", "lstm"], "two recipes at least"),
        (["--recipes", "lstm,transformer"], "learn different things"),
        (["--kind", "그림"], "unknown kind of comparison"),
        (["--lang", "fr"], "known: en, ko"),
        (["--equal-parameters", "--parameters", "9"], "leave --equal-parameters out"),
        (["--training.keep", "best"], "--training.keep is the comparison's own"),
        (["--model.d-modle", "3"], "unknown setting --model.d-modle"),
        (["--resume"], "no comparison was named"),
    ],
)
def test_mistakes_are_named(malgil: Malgil, arguments: list[str], said: str) -> None:
    found = malgil("compare", "--data", "text.txt", *arguments)
    assert found.status == 2
    assert found.err.count("\n") == 1
    assert said in found.err
    assert not Path("runs").exists()


def test_no_data(malgil: Malgil) -> None:
    assert "no data was named" in malgil("compare").err


@pytest.mark.slow
def test_a_comparison_and_its_rows(malgil: Malgil) -> None:
    found = malgil("compare", "--data", "text.txt", "--recipes", "rnn,gru", "--out", "비교", "--json", *TINY)
    assert found.status == 0, found.err
    rows = [json.loads(line) for line in found.out.splitlines()]
    assert {row["recipe"] for row in rows} == {"rnn", "gru"}
    assert rows[0]["bits_per_byte"] <= rows[1]["bits_per_byte"]
    assert "1 of 2: rnn-1337" in found.err
    assert "The report: " in found.err
    assert Path("비교/report.html").is_file()
    again = malgil("compare", "--resume", "--out", "비교", "--json")
    assert again.out == found.out
    assert "exists already" in malgil("compare", "--data", "text.txt", "--out", "비교").err
    assert "this would be another comparison" in malgil("compare", "--resume", "--out", "비교", "--time", "5s").err
    assert "rnn-1337" in malgil("runs", "비교/runs").out


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_of_compare_names_a_family(path: Path) -> None:
    """A recipe comes into a comparison by its name alone: nothing branches on one."""
    names = {*FAMILIES, *recipe_names()}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    strings = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in docs]
    assert not names & {one for one in strings if isinstance(one, str)}
    imported = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert not {f"malgil.models.{name}" for name in FAMILIES} & imported
