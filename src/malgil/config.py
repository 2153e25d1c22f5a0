"""Settings: typed dataclasses, YAML, overrides, and errors that name the nearest setting.

A section of the settings is a frozen dataclass whose fields are made with `setting`, so that a
field carries its meaning, its range and its choices; `malgil recipes NAME` prints them and `parse`
enforces them. On disk and on the command line settings are plain nested mappings ("trees"); a value
may be `auto`, which a recipe replaces before the tree is parsed.

    >>> @dataclass(frozen=True)
    ... class Example:
    ...     width: int = setting(8, "units", low=1)
    >>> parse(Example, {"width": "16"}, "model")
    Example(width=16)
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, Union

from malgil.errors import ConfigError, DataError, InputError, NotFoundError

AUTO = "auto"
Tree = dict[str, Any]
T = TypeVar("T")


def setting(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: Sequence[str] | None = None,
) -> Any:
    """A dataclass field with its meaning and bounds (`low <= x <= high`, `x > above`)."""
    metadata = {"help": help, "low": low, "high": high, "above": above, "choices": choices}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class FieldInfo:
    """What `malgil recipes NAME` says about a setting."""

    name: str
    type: str
    default: Any
    help: str
    choices: Sequence[str] | None


def describe(section: type) -> list[FieldInfo]:
    """The settings of a section, in the order of their definition."""
    hints = _hints(section)
    return [
        FieldInfo(f.name, _type_name(hints[f.name]), _default(f), f.metadata.get("help", ""), f.metadata.get("choices"))
        for f in dataclasses.fields(section)
    ]


def nearest(name: str, options: Iterable[str], count: int = 3) -> tuple[str, ...]:
    """The options closest in spelling to `name`, best first; small and capital letters count as the same."""
    spelt: dict[str, list[str]] = {}
    for option in options:
        spelt.setdefault(option.casefold(), []).append(option)
    close = difflib.get_close_matches(name.casefold(), list(spelt), n=count, cutoff=0.5)
    return tuple(option for key in close for option in spelt[key])[:count]


def not_found(kind: str, name: str, options: Iterable[str], where: str = "") -> NotFoundError:
    """An error for an unknown name which offers the nearest ones, or all of them when few."""
    options = list(options)
    close = nearest(name, options)
    if close:
        fix = f"did you mean {' or '.join(close)}?"
    elif len(options) <= 30:
        fix = f"known: {', '.join(options)}"
    else:
        fix = ""
    return NotFoundError(f"unknown {kind} '{name}'", where, fix, nearest=close)


def parse(section: type[T], tree: Mapping[str, Any], path: str) -> T:
    """A section from a mapping of its settings, every value checked.

    Numbers and truth values may be given as text, as they come from a command line. A boolean is no
    integer; NaN and infinity are refused.

    Raises:
        NotFoundError: a setting that the section does not have.
        InputError: a value of the wrong type or out of its range.
        ConfigError: a value that is still `auto`.
    """
    values = check_values(section, tree, path)
    for name, value in values.items():
        if value == AUTO and _hints(section)[name] is not str:
            raise ConfigError(f"{path}.{name} is still 'auto'", "", "name a value, or use a recipe that chooses it")
    return section(**values)


def check_values(section: type, tree: Mapping[str, Any], path: str) -> Tree:
    """The values of a mapping, each checked by itself and converted; `auto` passes.

    Raises:
        NotFoundError, InputError: as `parse`.
    """
    fields = {f.name: f for f in dataclasses.fields(section)}
    hints = _hints(section)
    values: Tree = {}
    for name, value in tree.items():
        where = f"{path}.{name}"
        if name not in fields:
            raise not_found("setting", where, [f"{path}.{f}" for f in fields])
        values[name] = value if value == AUTO else _checked(value, hints[name], fields[name].metadata, where)
    return values


def to_tree(value: Any) -> Any:
    """A dataclass as plain mappings, lists and scalars."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_tree(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {k: to_tree(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_tree(v) for v in value]
    return value


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Tree:
    """`base` with the values of `over`; a mapping whose `name` changes replaces the base's."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            renamed = "name" in value and value["name"] != old.get("name")
            result[key] = dict(value) if renamed else merge(old, value)
        else:
            result[key] = value
    return result


def nested(dotted: Mapping[str, Any]) -> Tree:
    """`{"model.d-model": 64}` as `{"model": {"d_model": 64}}`."""
    tree: Tree = {}
    for key, value in dotted.items():
        *parents, leaf = key.replace("-", "_").split(".")
        node = tree
        for part in parents:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise InputError(f"'{key}' is given both as a value and as a section")
        node[leaf] = value
    return tree


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The inverse of `nested`: one dotted key a leaf."""
    result: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            result.update(flat(value, f"{name}."))
        else:
            result[name] = value
    return result


def read_yaml(path: Path) -> Tree:
    """A mapping from a YAML file.

    Raises:
        DataError: the file is missing, is not YAML, or holds something other than a mapping.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError("not UTF-8", f"{path} at byte {error.start}", "save the file as UTF-8") from None
    except OSError as error:
        raise DataError(f"cannot read the settings: {error.strerror}", str(path), "check the path") from None
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise DataError("not valid YAML", where, getattr(error, "problem", "") or "check the file") from None
    except (ValueError, RecursionError) as error:  # a date that is none, a number too long, a thousand brackets
        raise DataError(f"not valid YAML: {error}", str(path), "check the file") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict) or not all(isinstance(k, str) for k in tree):
        raise DataError(
            "settings must be a mapping of names to values", str(path), "write 'section:' and 'name: value'"
        )
    return tree


def to_yaml(tree: Mapping[str, Any]) -> str:
    """A tree as YAML, keys in their order, Hangul as it is."""
    import yaml

    return yaml.safe_dump(to_tree(tree), sort_keys=False, allow_unicode=True, default_flow_style=False)


# ---------------------------------------------------------------------------------------------


def _hints(section: type) -> dict[str, Any]:
    return typing.get_type_hints(section)


def _default(f: dataclasses.Field[Any]) -> Any:
    if f.default is not dataclasses.MISSING:
        return f.default
    if f.default_factory is not dataclasses.MISSING:
        return f.default_factory()
    return dataclasses.MISSING


def _type_name(hint: Any) -> str:
    if isinstance(hint, type) and not typing.get_args(hint):
        return hint.__name__
    return str(hint).replace("typing.", "").replace("NoneType", "none").replace("None", "none")


def _checked(value: Any, hint: Any, metadata: Mapping[str, Any], where: str) -> Any:
    """`value` as the type `hint`, inside the bounds of `metadata`."""
    if typing.get_origin(hint) in (Union, types.UnionType):
        options = [h for h in typing.get_args(hint) if h is not type(None)]
        if value is None or (isinstance(value, str) and value.lower() in ("none", "null")):
            return None
        return _checked(value, options[0], metadata, where)
    if typing.get_origin(hint) is list:
        items = value if isinstance(value, (list, tuple)) else [value]
        (item_hint,) = typing.get_args(hint)
        return [_checked(item, item_hint, metadata, f"{where}[{i}]") for i, item in enumerate(items)]
    converted = _CONVERT[hint](value)
    if converted is None:
        raise InputError(f"{where} must be {_ARTICLE[hint]}, not {_shown(value)}")
    low, high, above, choices = (metadata.get(k) for k in ("low", "high", "above", "choices"))
    if choices is not None and converted not in choices:
        raise not_found(where, str(converted), choices)
    if low is not None and converted < low:
        raise InputError(f"{where} must be at least {low:g}, not {converted!r}")
    if above is not None and converted <= above:
        raise InputError(f"{where} must be above {above:g}, not {converted!r}")
    if high is not None and converted > high:
        raise InputError(f"{where} must be at most {high:g}, not {converted!r}")
    return converted


def _shown(value: Any) -> str:
    """A value in a message: what was given and its type, not too long."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        text = "a number too long to write"
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


def _as_bool(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}.get(value.lower())
    return None


def _as_int(value: Any) -> int | None:
    """Exact for integers, also above 2^53 where floating-point numbers have gaps; nothing beyond 64 bits."""
    number = _as_float(value)
    if number is None or number != int(number) or abs(number) >= 2**63:
        return None
    try:
        return int(value)
    except ValueError:  # text such as 1e3
        return int(number)


def _as_float(value: Any) -> float | None:
    """Also from text: YAML 1.1 reads `1e-3` as a string."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _as_str(value: Any) -> str | None:
    if isinstance(value, bool) or value is None:
        return None
    return str(value) if isinstance(value, (str, int, float, Path)) else None


_CONVERT: dict[Any, typing.Callable[[Any], Any]] = {bool: _as_bool, int: _as_int, float: _as_float, str: _as_str}
_ARTICLE = {bool: "true or false", int: "an integer", float: "a finite number", str: "text"}
