"""The command `malgil`: arguments in, an exit status out, and every error as one line.

0 done · 1 the run failed · 2 the user's fault · 128 + n stopped by signal n, after saving
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import warnings

from cyclopts import CycloptsError
from cyclopts.exceptions import MissingArgumentError, UnknownOptionError

from malgil.cli.arguments import settings_like, take_settings
from malgil.cli.commands import app, given
from malgil.errors import MalgilError
from malgil.runs.failures import failures


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit status.

    Args:
        argv: the arguments; those of the process when None.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    _speak_any_text()
    given.clear()
    try:
        arguments = take_settings([a for a in arguments if a != "--debug"], given)
        with failures(), warnings.catch_warnings():
            warnings.showwarning = _warn
            app(arguments or ["--help"], exit_on_error=False, print_error=False, result_action="return_value")
            sys.stdout.flush()
    except BrokenPipeError:  # the reader has gone, as in `malgil ... | head`
        _forget_output()
        return 0
    except KeyboardInterrupt:
        return _fail("interrupted", "stopped by the keyboard", 130)
    except (Exception, SystemExit) as error:
        if debug:
            raise
        return _report(error)
    return 0


def _report(error: BaseException) -> int:
    """Say what went wrong in one line."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 0
    if isinstance(error, MalgilError):
        return _fail(error.code, given.message(error), error.exit_status)
    if isinstance(error, CycloptsError):
        return _fail("usage", _usage(error), 2)
    text = f"{type(error).__name__}: {error}"
    return _fail("bug", f"{text}; this is a fault of Malgil; run it again with --debug and report what it prints", 1)


def _fail(code: str, message: str, status: int) -> int:
    with contextlib.suppress(BrokenPipeError):
        print(f"error[{code}]: {' '.join(message.split())}", file=sys.stderr)
    return status


def _warn(message: Warning | str, *details: object, **more: object) -> None:
    """Warnings as a line for people, without the place in the code."""
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)


def _usage(error: CycloptsError) -> str:
    """The parser's sentences as parts of one line, with the settings that an unknown option may stand for."""
    sentences = re.split(r"(?<=[.?]) (?=[A-Z])", " ".join(str(error).split()))
    if isinstance(error, UnknownOptionError) and (match := re.search(r"--[\w-]+", sentences[0])):
        meant = settings_like(match[0], _setting_names())
        if meant:
            return f"unknown option {match[0]}; did you mean {' or '.join(meant)}?"
    if isinstance(error, MissingArgumentError):
        sentences[0] = _missing(error)
    parts = [s[0].lower() + s[1:] for s in sentences if s]
    return "; ".join([part.rstrip(". ,") for part in parts[:2]] + ["--help shows what there is"])


def _missing(error: MissingArgumentError) -> str:
    """An option that stands without its value, or what a command cannot do without."""
    if error.keyword is not None:
        return f"{error.keyword} needs a value"
    name = "" if error.argument is None else error.argument.name
    return f"{' '.join(error.command_chain or ())} needs {name}, which is not given"


def _setting_names() -> dict[str, list[str]]:
    from malgil.config import describe
    from malgil.models import FAMILIES
    from malgil.runs.recipe import SECTIONS

    model = [info.name for family in FAMILIES.values() for info in describe(family.config)]
    return {"model": model, **{name: [info.name for info in describe(cls)] for name, cls in SECTIONS.items()}}


def _speak_any_text() -> None:
    """A character that the terminal cannot show is written as its code and never an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _forget_output() -> None:
    """What is still to be flushed at exit goes nowhere, without a complaint."""
    with contextlib.suppress(OSError, ValueError, io.UnsupportedOperation):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
