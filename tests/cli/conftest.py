"""A small text, the command line in process, and one trained run which tests copy before they spoil it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cli_cases import TEXT, TINY, Malgil, Said

from malgil.cli.main import main


@pytest.fixture
def malgil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Malgil:
    """Runs the command line in an empty folder that holds text.txt."""
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(TEXT, encoding="utf-8")
    capsys.readouterr()

    def call(*arguments: object) -> Said:
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Said(status, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of four steps."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    arguments = [
        "train",
        "gpt2",
        "--data",
        str(folder / "text.txt"),
        "--out",
        str(folder / "run"),
        "--steps",
        "4",
        *TINY,
    ]
    assert main(arguments) == 0
    return folder / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained run."""
    return Path(shutil.copytree(trained, tmp_path / "run"))
