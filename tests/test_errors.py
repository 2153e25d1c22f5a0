"""The tree of errors: codes, exit statuses, one line; and that the page about them knows every one."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from malgil import errors
from malgil.errors import InputError, Interrupted, MalgilError, NotFoundError, RunError

ALL = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, MalgilError)]
PAGE = Path(__file__).resolve().parent.parent / "docs" / "errors.md"


def test_a_message_is_one_line_of_its_parts() -> None:
    assert str(InputError("무엇이", "어디서", "어떻게")) == "무엇이; 어디서; 어떻게"
    assert str(InputError("what", fix="how")) == "what; how"
    assert str(MalgilError("what")) == "what"


@pytest.mark.parametrize("cls", ALL)
def test_who_is_at_fault(cls: type[MalgilError]) -> None:
    assert issubclass(cls, ValueError) == issubclass(cls, InputError)
    if cls is not MalgilError:
        assert issubclass(cls, InputError) != issubclass(cls, RunError)
    assert cls.exit_status == (2 if issubclass(cls, InputError) else 1)
    assert cls.__name__ in (errors.__doc__ or ""), "the tree in the docstring is complete"


def test_codes_tell_errors_apart() -> None:
    codes = [cls.code for cls in ALL]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("cls", [cls for cls in ALL if cls is not MalgilError])
def test_the_page_explains_every_code(cls: type[MalgilError]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert f"`{cls.code}`" in text
    assert f"`{cls.__name__}`" in text


@pytest.mark.parametrize("signal, status", [(2, 130), (15, 143)])
def test_signals(signal: int, status: int) -> None:
    assert Interrupted(signal, "stopped").exit_status == status


def test_names_not_found_carry_the_nearest() -> None:
    assert NotFoundError("unknown 'gtp'", nearest=("gpt",)).nearest == ("gpt",)
