"""The page of attention maps, read back with a parser, and the limits of what it shows."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from attention_cases import SOURCE, TARGET, maps, view
from test_report_run import Page

from malgil.errors import InputError, NotFoundError
from malgil.report.attention import AttentionGroup, AttentionView
from malgil.report.attention_page import attention_page


def embedded_data(source: str) -> dict:
    return json.loads(Page(source).one("script", id="page-data")[1])


def unpacked(layer: dict, rows: int, columns: int) -> np.ndarray:
    packed = np.frombuffer(base64.b64decode(layer["weights"]), "<u2")
    return packed.reshape(layer["heads"], rows, columns) / 65535


def test_the_page_reaches_for_no_network() -> None:
    source = attention_page(view())
    page = Page(source)
    for tag, attributes in page.elements:
        assert tag not in ("img", "iframe", "object", "embed", "base")
        for name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
            assert attributes.get(name, "data:").startswith("data:")
    style, script = page.one("style")[1], page.all("script")[-1][1]
    assert "url(" not in style
    assert "@import" not in style
    assert set(re.findall(r"https?://[^\s\"']+", source)) == {"http://www.w3.org/2000/svg"}
    for call in ("fetch(", "XMLHttpRequest", "WebSocket", "import(", "innerHTML", "eval("):
        assert call not in script
    policy = page.one("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


def test_every_weight_is_in_the_page() -> None:
    shown = view()
    groups = embedded_data(attention_page(shown))["groups"]
    for group, data in zip(shown.groups, groups, strict=True):
        assert data["rows"] == group.rows
        assert data["columns"] == group.columns
        for layer, packed in zip(group.layers, data["layers"], strict=True):
            found = unpacked(packed, len(group.rows), len(group.columns))
            np.testing.assert_allclose(found, layer, rtol=0, atol=0.5 / 65535 + 1e-7)


def test_without_a_script_the_first_map_is_drawn() -> None:
    page = Page(attention_page(view()))
    drawn = [content for attributes, content in page.all("text") if attributes]
    assert drawn == [*TARGET, *SOURCE]
    mean = view().groups[0].layers[0].mean(axis=0)
    shades = {}
    for attributes, _ in page.all("path"):
        for x, y in re.findall(r"M(\d+) (\d+)h\.94", attributes["d"]):
            shades[int(y), int(x)] = float(attributes["fill-opacity"])
    for at, weight in np.ndenumerate(mean):
        assert shades.get(at, 0.0) == pytest.approx(weight**0.5, abs=0.5 / 24 + 0.005)


def test_the_future_stays_empty() -> None:
    causal = AttentionView("글", "GPT2", 1, [AttentionGroup("self", SOURCE, SOURCE, maps(1, 2, 6, 6, causal=True))])
    places = re.findall(r"M(\d+) (\d+)h\.94", attention_page(causal))
    assert places
    assert all(int(x) <= int(y) for x, y in places)


def test_names_and_notes_in_both_languages() -> None:
    english, korean = Page(attention_page(view())), Page(attention_page(view(), "ko"))
    assert english.one("html")[0]["lang"] == "en"
    assert korean.one("html")[0]["lang"] == "ko"
    assert english.one("h1")[1] == korean.one("h1")[1] == "옛날에 → once upon a time"
    kinds = ["번역문 → 원문", "원문 안", "번역문 안"]
    assert [content for _, content in korean.all("button")] == kinds
    assert "매개변수 3.21 M개" in korean.one("div", **{"class": "title reading"})[1]
    assert "3.21 M parameters" in english.one("div", **{"class": "title reading"})[1]
    with pytest.raises(NotFoundError, match="'fr'"):
        attention_page(view(), "fr")


def test_hangul_is_composed() -> None:
    loose = AttentionView(
        "글", "GPT2", 1, [AttentionGroup("self", ["\u1112\u1161\u11ab"], ["가"], [np.ones((1, 1, 1))])]
    )
    assert embedded_data(attention_page(loose))["groups"][0]["rows"] == ["한"]


def test_a_label_cannot_leave_its_place() -> None:
    attack = "</text></script><script>alert('말')</script>"
    evil = AttentionView(attack, attack, 1, [AttentionGroup("self", [attack], ["\x00"], [np.ones((1, 1, 1))])])
    page = Page(attention_page(evil))
    assert len(page.all("script")) == 2
    assert page.one("h1")[1] == attack
    assert [content for _, content in page.all("text")] == [attack[:15] + "…", "␀"]


def test_of_long_texts_the_beginning_is_shown_and_said() -> None:
    n = 150
    long = AttentionView("긴 글", "GPT2", 1, [AttentionGroup("self", ["말"] * n, ["말"] * n, maps(1, 1, n, n))])
    source = attention_page(long)
    (group,) = embedded_data(source)["groups"]
    assert len(group["rows"]) == len(group["columns"]) == 128
    found = unpacked(group["layers"][0], 128, 128)
    np.testing.assert_allclose(found[0], long.groups[0].layers[0][0, :128, :128], atol=1e-5)
    assert "first 128 of up to 150 tokens" in source
    assert "first 128" not in attention_page(view())


def test_a_long_title_is_cut() -> None:
    long = AttentionView("가" * 5000, "GPT2", 1, view().groups)
    assert Page(attention_page(long)).one("h1")[1] == "가" * 239 + "…"


def test_many_heads_are_shown_over_fewer_tokens() -> None:
    shown = view().fitting(most_weights=200)
    sizes = [len(group.rows) * len(group.columns) * 3 * len(group.layers) for group in shown.groups]
    assert sum(sizes) <= 200
    assert [group.columns for group in shown.groups[:2]] == [SOURCE[: shown.longest]] * 2
    assert view().fitting(most_weights=10**6).longest == 6


@pytest.mark.parametrize(
    "arguments, fault",
    [
        (("sideways", ["가"], ["나"], [np.ones((1, 1, 1))]), "'sideways'"),
        (("self", ["가"], ["나"], []), "no map"),
        (("self", [], [], [np.ones((1, 0, 0))]), "no map"),
        (("self", ["가"], ["나", "다"], [np.ones((1, 2, 1))]), r"\(1, 2, 1\) for 1 rows and 2 columns.*layer 1"),
    ],
)
def test_a_group_is_whole(arguments, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        AttentionGroup(*arguments)


def test_a_view_is_asked_for_what_it_has() -> None:
    shown = view()
    assert shown.group() is shown.groups[0]
    assert shown.group("decoder self") is shown.groups[2]
    assert shown.describe().startswith("cross: 2 layers x 3 heads, 5 x 6 tokens; encoder self: 1 layer x 3 heads")
    assert {kind: array.shape for kind, array in shown.maps.items()} == {
        "cross": (2, 3, 5, 6),
        "encoder self": (1, 3, 6, 6),
        "decoder self": (1, 3, 5, 5),
    }
    np.testing.assert_array_equal(shown.group().map(2, 3), shown.maps["cross"][1, 2])
    np.testing.assert_allclose(shown.group().map(2), shown.maps["cross"][1].mean(0))
    with pytest.raises(NotFoundError, match="'self'"):
        shown.group("self")
    for layer, head in ((0, None), (3, None), (1, 0), (1, 4)):
        with pytest.raises(InputError, match="there is no"):
            shown.group().map(layer, head)
    with pytest.raises(InputError, match="without attention"):
        AttentionView("글", "GPT2", 1, [])


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_script_is_javascript() -> None:
    script = Page(attention_page(view())).all("script")[-1][1]
    subprocess.run(["node", "--check", "-"], input=script, text=True, check=True, capture_output=True)
