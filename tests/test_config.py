"""Settings: types, bounds, merging, YAML; every setting of every section refuses what is none of its values."""

from __future__ import annotations

import dataclasses
import math
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from malgil import config
from malgil.config import describe, flat, merge, nearest, nested, not_found, parse, read_yaml, setting, to_tree, to_yaml
from malgil.errors import ConfigError, DataError, InputError, NotFoundError
from malgil.models import FAMILIES
from malgil.runs.recipe import SECTIONS


@dataclass(frozen=True)
class Example:
    width: int = setting(8, "units", low=1, high=99)
    rate: float = setting(0.5, "share", above=0, high=1)
    limit: int | None = setting(None, "most", low=1)
    tied: bool = setting(True, "shared")
    kind: str = setting("길", "what", choices=["길", "글"])
    stop: list[str] = setting(["끝"], "ends")
    path: str | None = setting(None, "file")


def parsed(**values: Any) -> Example:
    return parse(Example, values, "model")


@pytest.mark.parametrize(
    "name, given, result",
    [
        ("width", "16", 16),
        ("width", 16.0, 16),
        ("width", "1e1", 10),
        ("rate", "1e-3", 0.001),
        ("rate", 1, 1.0),
        ("limit", "none", None),
        ("limit", None, None),
        ("limit", "Null", None),
        ("limit", "3", 3),
        ("limit", "9007199254740993", 2**53 + 1),
        ("tied", "false", False),
        ("tied", "Yes", True),
        ("kind", "글", "글"),
        ("stop", "가", ["가"]),
        ("stop", ("가", "나"), ["가", "나"]),
        ("stop", [], []),
        ("path", Path("말/글.txt"), "말/글.txt"),
        ("path", 5, "5"),
    ],
)
def test_values_are_converted(name: str, given: Any, result: Any) -> None:
    value = getattr(parsed(**{name: given}), name)
    assert value == result
    assert type(value) is type(result)


@pytest.mark.parametrize(
    "name, given",
    [
        *(
            ("width", v)
            for v in (True, "true", 1.5, "x", "", None, [], {}, math.nan, math.inf, "nan", 10**400, "9" * 400)
        ),
        *(("width", v) for v in (0, -1, 100, "1e300", 2**63)),
        *(("rate", v) for v in (0, 0.0, -0.1, 1.01, "inf", False, [0.5], {"a": 1})),
        *(("limit", v) for v in (0, True, "some")),
        *(("tied", v) for v in (1, 0, "1", "maybe", None, 0.0)),
        *(("kind", v) for v in ("말", "", 3, True, None, ["글"])),
        *(("stop", v) for v in (True, None, [True], [None], {"a": 1})),
    ],
)
def test_values_that_are_none_of_a_setting(name: str, given: Any) -> None:
    with pytest.raises(InputError, match=rf"model\.{name}") as caught:
        parsed(**{name: given})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_number_too_long_to_print() -> None:
    with pytest.raises(InputError, match="too long"):
        parsed(width=10**5000)


def test_unknown_settings_offer_the_nearest() -> None:
    with pytest.raises(NotFoundError, match=r"unknown setting 'model\.widht'; did you mean model\.width") as caught:
        parsed(widht=3)
    assert caught.value.nearest[0] == "model.width"


def test_auto_passes_where_values_are_checked_but_not_in_the_end() -> None:
    assert config.check_values(Example, {"width": "auto"}, "model") == {"width": "auto"}
    with pytest.raises(ConfigError, match="auto"):
        parsed(width="auto")


NUMBERS = [
    pytest.param(
        cls, section, f.name, hint, f, id=f"{section}.{f.name}" if section != "model" else f"{family}.{f.name}"
    )
    for family, section, cls in [
        *(("", name, cls) for name, cls in SECTIONS.items()),
        *((name, "model", row.config) for name, row in FAMILIES.items()),
    ]
    for f in dataclasses.fields(cls)
    for hint in [typing.get_type_hints(cls)[f.name]]
    if hint in (int, float, int | None, float | None)
]


@pytest.mark.parametrize("cls, section, name, hint, field", NUMBERS)
def test_every_number_has_bounds_and_refuses_what_is_none(
    cls: type, section: str, name: str, hint: Any, field: dataclasses.Field[Any]
) -> None:
    low, above, high = (field.metadata[key] for key in ("low", "above", "high"))
    assert low is not None or above is not None, "a number without a lower bound"
    bad: list[Any] = [math.nan, math.inf, -math.inf, "nan", "inf", "-inf", "x", "", True, False, [1, 2], {"a": 1}]
    if hint in (int, int | None):
        bad += [1.5, "1.5"]
    bad += [low - 1, -1e30] if low is not None else [above, above - 1, str(above)]
    bad += [high + 1] if high is not None else []
    if hint in (int, float):
        bad.append(None)
    for value in bad:
        with pytest.raises(InputError, match=rf"{section}\.{name}"):
            config.check_values(cls, {name: value}, section)


def test_every_setting_says_what_it_means() -> None:
    for cls in [*SECTIONS.values(), *(row.config for row in FAMILIES.values())]:
        for info in describe(cls):
            assert info.help, f"{cls.__name__}.{info.name}"
            if info.choices and info.default is not None:
                assert info.default in info.choices


def test_merging_replaces_what_changes_its_name() -> None:
    base = {"model": {"name": "gpt2", "d_model": 3}, "training": {"steps": 5}}
    assert merge(base, {"model": {"d_model": 4}})["model"] == {"name": "gpt2", "d_model": 4}
    assert merge(base, {"model": {"name": "rnn_lm", "cell": "gru"}})["model"] == {"name": "rnn_lm", "cell": "gru"}
    assert merge(base, {"model": {"name": "gpt2", "d_ff": 7}})["model"] == {"name": "gpt2", "d_model": 3, "d_ff": 7}
    assert base == {"model": {"name": "gpt2", "d_model": 3}, "training": {"steps": 5}}


def test_dotted_names() -> None:
    tree = nested({"model.d-model": 64, "data.paths": ["글.txt"]})
    assert tree == {"model": {"d_model": 64}, "data": {"paths": ["글.txt"]}}
    assert flat(tree) == {"model.d_model": 64, "data.paths": ["글.txt"]}
    with pytest.raises(InputError, match="section"):
        nested({"model": 3, "model.d_model": 4})


def test_nearest_names() -> None:
    assert nearest("lstn", ["lstm", "gru", "rnn"])[0] == "lstm"
    assert nearest("zzz", ["lstm", "gru"]) == ()
    assert "known: gru, lstm" in str(not_found("recipe", "말", ["gru", "lstm"]))


def test_yaml_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "설정.yaml"
    tree = {"section": to_tree(parsed(stop=["끝", "ㅋㅋ"], width=3)), "empty": {}}
    path.write_text(to_yaml(tree), encoding="utf-8")
    assert "ㅋㅋ" in path.read_text(encoding="utf-8")
    assert read_yaml(path) == tree
    assert parse(Example, read_yaml(path)["section"], "section") == parsed(stop=["끝", "ㅋㅋ"], width=3)
    path.write_text("", encoding="utf-8")
    assert read_yaml(path) == {}


@pytest.mark.parametrize(
    "content, says",
    [
        (b"a: [1\nb: 2\n", r"not valid YAML; .*bad\.yaml:2"),
        (b"\xff", r"not UTF-8; .*bad\.yaml at byte 0"),
        (b"- 1", "mapping"),
        (b"1: 2", "mapping"),
        (b"a: 2001-99-99", "not valid YAML"),
        (b"[" * 600, "not valid YAML"),
    ],
)
def test_files_that_are_no_settings(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(DataError, match=says):
        read_yaml(path)
