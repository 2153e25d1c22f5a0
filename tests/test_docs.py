"""Every `malgil ...` command that the pages show is one that the command line takes: commands, options, settings."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path

import pytest
from cyclopts import CycloptsError

from malgil.cli.arguments import Given, take_settings
from malgil.cli.commands import app
from malgil.cli.tables import OF_QUESTIONS, OF_TEXTS, OF_WORDS, SCORES, SIGNATURES, score_lines
from malgil.models import FAMILIES
from malgil.runs.recipe import SECTIONS, recipe_names

PROJECT = Path(__file__).resolve().parent.parent
PAGES = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md"), PROJECT / "Makefile"])
KNOWN = {f"{section}.{f.name}" for section, cls in SECTIONS.items() for f in dataclasses.fields(cls)}
KNOWN |= {f"model.{f.name}" for row in FAMILIES.values() for f in dataclasses.fields(row.config)} | {"model.name"}
#: what stands for a number or a name on a page
PLACEHOLDERS = {"N": "3", "K": "3", "P": "0.5", "T": "1", "D": "cpu", "S": "1", "NAME": "gpt2", "RECIPE": "gpt2"}
#: a line of its own, also behind a prompt; a text in double quotes may go over several lines
_COMMAND = r"""^[ \t]*(?:\$ |> )?(?:\.venv/bin/|\$\(BIN\)/)?(malgil(?: (?:"[^"]*"|[^"\n])*)?)$"""


def commands(page: Path) -> list[str]:
    """Lines of code blocks, and code in the text, that begin with `malgil`; continued lines are joined."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"[ \t]*\\\n\s*", " ", text).replace(r"\|", "|")
    found = re.findall(_COMMAND, text, re.MULTILINE)
    return found + re.findall(r"`(?:\.venv/bin/)?(malgil [^`]+)`", text)


def words(command: str) -> list[str]:
    """The arguments of a command as it is shown: without its explanation, placeholders filled in."""
    command = re.split(r"\s{2,}(?=\S)|\s+#\s|\s+[|<>&;]+\s?", command)[0]
    command = re.sub(r"\s*\.\.\.(?=\s|$)", "", command).replace("[--SECTION.KEY VALUE]", "")
    command = re.sub(r"[\[\]]", "", command)  # optional parts are taken
    arguments = shlex.split(command)[1:]
    return [PLACEHOLDERS.get(argument.split("|")[0], argument) for argument in arguments]


def check(arguments: list[str]) -> str | None:
    """What is wrong with an argument list, without running it."""
    given = Given()
    rest = take_settings(arguments, given)
    if unknown := set(given.values) - KNOWN:
        return f"unknown settings {sorted(unknown)}"
    if {"--help", "-h", "--version"} & set(rest) or not rest:
        return None
    if _is_name(rest):
        return None
    try:
        command, bound, _ = app.parse_args([a for a in rest if a != "--debug"], exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return str(error)
    if command.__name__ == "train" and bound.args and bound.args[0] not in recipe_names():
        return f"unknown recipe {bound.args[0]}"
    return None


def _is_name(rest: list[str]) -> bool:
    """A command that the text only names, such as `malgil tokenizer compare`."""
    *groups, last = rest
    group = app if not groups else app[groups[0]] if len(groups) == 1 and groups[0] in app else None
    return group is not None and not last.startswith("-") and last in group


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_commands_on_pages_are_commands(page: Path) -> None:
    wrong = {command: fault for command in commands(page) if (fault := check(words(command)))}
    assert not wrong


@pytest.mark.parametrize(
    "command, fault",
    [
        ("malgil train gpt2 --data my.txt --time 2m  # two minutes", None),
        ("malgil train [RECIPE] --data PATH...", None),
        ('malgil generate --prompt "말길" | head', None),
        ("malgil translate runs/a < in.txt > out.txt", None),
        ("malgil generate DIR --prompt TEXT [--max-tokens N] [--temperature T]", None),
        ("malgil recipes lstm      what it is", None),
        ("malgil tokenizer", None),
        ("malgil", None),
        ("malgil trian gpt2", "trian"),
        ("malgil train gtp2 --data a", "gtp2"),
        ("malgil train --stepz 3", "stepz"),
        ("malgil train --model.d-modle 3", "d_modle"),
        ("malgil export a", "OUT"),
    ],
)
def test_the_check_itself(command: str, fault: str | None) -> None:
    found = check(words(command))
    assert (found is None) == (fault is None), found
    assert fault is None or fault in str(found)


def test_commands_are_found_wherever_they_stand(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Try `malgil runs`, or\n```\n$ malgil train gpt --data a.txt \\\n    --time 1m\nmalgil recipes\n```\nmalgil\n",
        encoding="utf-8",
    )
    assert [words(command) for command in commands(page)] == [
        ["train", "gpt", "--data", "a.txt", "--time", "1m"],
        ["recipes"],
        [],
        ["runs"],
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_scores_on_pages_are_printed_so(page: Path) -> None:
    """Every line behind `$ malgil evaluate` has a label of the command's, as wide as there."""
    kinds = ((*SCORES, *SIGNATURES), ("loss", "replaced_loss"))
    labels = {line[:-1] for kind in kinds for line in score_lines(dict.fromkeys(kind, 7)).splitlines()}
    labels |= {f"{label:<26} " for names in (OF_TEXTS, OF_WORDS, OF_QUESTIONS) for label in names.values()}
    shown = re.findall(r"^\$ malgil evaluate.*\n((?:.+\n)*?)(?=\n|```|\$|note:|BLEU by)", page.read_text("utf-8"), re.M)
    figures = [line for block in shown for line in block.splitlines() if line != "..."]
    assert [line for line in figures if not line.startswith(tuple(labels))] == []


@pytest.mark.parametrize(
    "page", [p for p in PAGES if p.suffix == ".md"], ids=lambda page: str(page.relative_to(PROJECT))
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    missing = [t for t in targets if "://" not in t and not t.startswith("mailto:") and not (page.parent / t).exists()]
    assert not missing
