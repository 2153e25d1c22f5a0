"""Settings of every section by their dotted names, taken out before the command line's parser sees the rest.

What was typed is remembered, so that a message can name a setting as the person wrote it: inside Malgil it is
`model.d_model`, on the command line `--model.d-model`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from malgil.errors import InputError, MalgilError, NotFoundError

_SETTING = re.compile(r"--([A-Za-z_-]+\.[A-Za-z0-9_.-]*)(?:=(.*))?", re.DOTALL)
#: their values are text, also where it begins with a dash
_TEXT = ("--prompt", "--stop")


@dataclass
class Given:
    """The `--section.name VALUE` arguments of a call.

    Attributes:
        values: by dotted name, as `malgil.config.nested` takes them.
        spelled: dotted name -> what was typed.
        bare: the names that came without a value.
    """

    values: dict[str, Any] = field(default_factory=dict)
    spelled: dict[str, str] = field(default_factory=dict)
    bare: set[str] = field(default_factory=set)

    def add(self, flag: str, value: str | None) -> None:
        """One more argument; a name without a value is true, one that comes again makes a list."""
        name = flag.removeprefix("--").replace("-", "_")
        self.spelled[name] = flag
        if value is None:
            self.bare.add(name)
        if name in self.values:
            before = self.values[name]
            self.values[name] = [*(before if isinstance(before, list) else [before]), True if value is None else value]
        else:
            self.values[name] = True if value is None else value

    def clear(self) -> None:
        """Forget everything, before another call."""
        self.values.clear()
        self.spelled.clear()
        self.bare.clear()

    def section(self, name: str) -> dict[str, Any]:
        """The settings of one section, by their names in it."""
        return {key.partition(".")[2]: value for key, value in self.values.items() if key.partition(".")[0] == name}

    def options(self, options: dict[str, tuple[str, Any]]) -> dict[str, Any]:
        """The short options that were given, by the names of their settings; messages name the others so, too.

        Args:
            options: setting -> (the short option, its value or None).

        Raises:
            InputError: one was also given by its long name.
        """
        chosen = {}
        for name, (flag, value) in options.items():
            if value is not None:
                if name in self.values:
                    raise InputError(
                        f"{flag} and {self.spelled[name]} are the same setting", fix="leave one of them out"
                    )
                chosen[name] = value
            self.spelled.setdefault(name, flag)
        return chosen

    def only(self, *sections: str) -> None:
        """Refuse settings of other sections, which the command does not read.

        Raises:
            InputError
        """
        for key, flag in self.spelled.items():
            if key in self.values and key.partition(".")[0] not in sections:
                raise InputError(f"{flag} is not used by this command", fix=f"it reads {', '.join(sections)} settings")

    def message(self, error: MalgilError) -> str:
        """The text of an error, with the settings in it as they were typed."""
        if isinstance(error, NotFoundError) and (typed := self._unknown(error)):
            flag, wrong, rest = typed
            close = " or ".join(f"--{name.replace('_', '-')}{rest}" for name in error.nearest)
            return f"unknown setting {flag}; {f'did you mean {close}?' if close else error.fix.replace(wrong, flag)}"
        text = str(error)
        for key in sorted(self.spelled, key=len, reverse=True):
            if key in self.bare and text.startswith(f"{key} must be"):
                return f"{self.spelled[key]} needs a value"
            text = re.sub(rf"(?<![\w.-]){re.escape(key)}(?![\w-]|\.\w)", lambda _, key=key: self.spelled[key], text)  # type: ignore[misc]
        return text

    def _unknown(self, error: NotFoundError) -> tuple[str, str, str] | None:
        """(what was typed, the unknown name, what follows it) of an unknown setting that stands among the arguments."""
        match = re.fullmatch(r"unknown setting '(.*)'", error.what)
        wrong = match[1] if match else None
        for key, flag in self.spelled.items():
            if wrong is not None and (key == wrong or key.startswith(f"{wrong}.")):
                return flag, wrong, flag[len("--") + len(wrong) :]
        return None


def take_settings(arguments: list[str], given: Given) -> list[str]:
    """Move `--section.name VALUE` and `--section.name=VALUE` to `given`; returns the other arguments.

    >>> given = Given()
    >>> take_settings(["train", "gpt", "--model.d-model", "64", "--model.tied", "--data", "a.txt"], given)
    ['train', 'gpt', '--data', 'a.txt']
    >>> given.values
    {'model.d_model': '64', 'model.tied': True}
    """
    rest: list[str] = []
    queue = list(arguments)
    while queue:
        argument = queue.pop(0)
        match = _SETTING.fullmatch(argument)
        if argument == "--":
            return [*rest, argument, *queue]
        if argument in _TEXT and queue:
            rest.append(f"{argument}={queue.pop(0)}")
        elif match is None:
            rest.append(argument)
        else:
            value = match[2]
            if value is None and queue and not queue[0].startswith("--"):
                value = queue.pop(0)
            given.add(f"--{match[1]}", value)
    return rest


def settings_like(flag: str, sections: Mapping[str, Iterable[str]]) -> list[str]:
    """The settings that a person may have meant by an unknown option: `--batch-size` is `--training.batch-size`."""
    name = flag.lstrip("-").partition("=")[0].replace("-", "_")
    return [f"--{section}.{name.replace('_', '-')}" for section, names in sections.items() if name in set(names)]
