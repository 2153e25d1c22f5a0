"""The page of a comparison, its sentences and charts: read back with a parser, and in a browser where there is one."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from comparison_cases import plan, result

from malgil.comparison.table import summarise
from malgil.report.compare_charts import error_charts, quality_charts, span, speed_charts, static_chart
from malgil.report.compare_report import render_comparison
from malgil.report.compare_verdict import sentences
from malgil.report.compare_words import COMPARE_WORDS, CompareWords, figure_text, phrase, with_interval
from malgil.runs.compared_text import ComparedText

VOID = {"meta", "link", "br", "input", "img", "hr"}


class Matching(HTMLParser):
    """Complains about tags that do not match; keeps the text, and attributes by tag."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(source)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data


def made(bits: dict[str, list[float]], speeds: dict[str, float] | None = None, **changed: Any) -> dict[str, Any]:
    """compare.json of recipes with a run for each value, and seconds a token of each."""
    runs = []
    for name, values in bits.items():
        for i, value in enumerate(values):
            use = {"unit": "token", "latency": (speeds or {}).get(name, 0.001), "throughput": 2000.0}
            runs.append(result(name, 7 + i, value, use=use))
    seeds = max(map(len, bits.values()))
    own = plan({name: 1000 * (i + 1) for i, name in enumerate(bits)}, seeds=seeds, **changed)
    return summarise(own, ComparedText(), runs, {}, "finished")


FIVE = {"rnn": [3.2], "gru": [2.9], "lstm": [2.8], "gpt2": [2.6], "gpt": [2.3]}


def test_every_word_is_in_both_languages() -> None:
    for key, (english, korean) in COMPARE_WORDS.items():
        assert set(re.findall(r"{(\w+)}", english)) == set(re.findall(r"{(\w+)}", korean)), key
        assert not re.search("[가-힣]", english), key


@pytest.mark.parametrize("language, heading", [("en", "5 language models"), ("ko", "언어 모델 5개")])
def test_the_page_is_whole_and_says_everything(language: str, heading: str) -> None:
    found = made(FIVE)
    page = Matching(render_comparison(found, language))
    assert heading in page.text
    for sentence in sentences(found, language):
        assert sentence in page.text
    ids = [attributes["id"] for _, attributes in page.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {"meaning", "overview", "quality", "speed", "errors", "samples", "fair", "settings"} <= set(ids)
    links = [attributes["href"] for tag, attributes in page.found if tag == "a"]
    assert links
    assert all(str(link)[1:] in ids for link in links if str(link).startswith("#"))
    assert {f"settings-{name}" for name in FIVE} <= set(ids)


def test_what_a_model_wrote_stays_text() -> None:
    page = render_comparison(made(FIVE))
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert "what gpt is &lt;b&gt;" in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page


def test_the_scripts_data_is_that_of_the_charts() -> None:
    found = made(FIVE)
    page = render_comparison(found)
    data = json.loads(re.search(r'id="page-data">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    assert [chart["id"] for chart in data["charts"]] == [
        *("seconds", "tokens", "parameters", "training", "reading", "writing", "rarity", "place"),
    ]
    gpt = next(s for s in data["charts"][0]["series"] if s["name"] == "gpt")
    assert gpt["points"][-1] == [30.0, pytest.approx(2.3)]


def test_a_comparison_that_has_only_begun_or_failed() -> None:
    own = plan({"a": 1, "b": 2})
    failed = {"name": "a-7", "recipe": "a", "seed": 7, "status": "failed", "error": "손실 <무한>"}
    page = Matching(render_comparison(summarise(own, ComparedText(), [], {}, "running")))
    assert "running" in page.text
    page = Matching(render_comparison(summarise(own, ComparedText(), [failed], {}, "running"), "ko"))
    assert "a 실패: 손실 <무한>" in page.text


def test_tuning_is_stated() -> None:
    tuning = {"gpt": {"factor": 2.0, "edge": True, "tried": [(0.5, 2.4), (1.0, 2.3), (2.0, 2.2)]}}
    page = Matching(render_comparison({**made(FIVE), "tuning": tuning}))
    assert "0.5, 1, 2 times the recipe's own" in page.text
    assert "For gpt the best factor was the smallest or the largest" in page.text


# -- sentences -----------------------------------------------------------------------------------


def test_the_best_is_named_with_its_distance() -> None:
    first, second, _ = sentences(made({"a": [2.0], "b": [2.5]}))
    assert first == (
        "After 30 s of training each, a is best: 2.000 bits per byte; the next, b, has 2.500, 25.0 % more."
    )
    # a reaches 2.5 where 2 (2 - i / 10) does, at i = 7.5 of 3 seconds
    assert second == "a learns soonest, reaching 2.500 bits per byte after 22 s of training, where b took 30 s."


def test_a_tie_is_called_a_tie() -> None:
    seeds = sentences(made({"a": [2.0, 2.1, 2.2], "b": [2.05, 2.15, 2.25], "c": [3.0, 3.0, 3.1]}))[0]
    assert "a and b are tied for the best" in seeds
    assert "no larger than chance makes it" in seeds
    assert "the next, c, has 3.033" in seeds
    one = sentences(made({"a": [2.0], "b": [2.01]}))[0]
    assert one.endswith(
        "a and b are tied for the best: 2.000, 2.010 bits per byte, too close to tell apart with one seed."
    )
    korean = sentences(made({"a": [2.0], "b": [2.01]}), "ko")[0]
    assert "비겼습니다" in korean


@pytest.mark.parametrize(
    "speeds, said",
    [
        (
            {"a": 0.004, "b": 0.001},
            "In use b is quickest, 1.00 ms for a token against 4.00 ms of a, so take b where speed",
        ),
        (
            {"a": 0.001, "b": 0.004},
            "In use a is quickest, 1.00 ms for a token against 4.00 ms of b, so that nothing has",
        ),
        (
            {"a": 0.001, "b": 0.00105},
            "In use they are about equally quick (1.00 ms for a token), so choose by quality.",
        ),
    ],
)
def test_speed_in_use(speeds: dict[str, float], said: str) -> None:
    assert sentences(made({"a": [2.0], "b": [3.0]}, speeds))[2].startswith(said)


def test_learning_equally_fast_is_said() -> None:
    assert "about equally fast" in sentences(made({"a": [2.0], "b": [2.01]}))[1]


def test_without_results_nothing_is_said() -> None:
    assert sentences(summarise(plan({"a": 1, "b": 2}), ComparedText(), [], {}, "running")) == []


def told(
    ends: dict[str, list[float]],
    curves: dict[str, list[tuple[float, float]]],
    quality: float | None = None,
    language: str = "en",
) -> list[str]:
    """The sentences of runs with these ends and these curves, of (seconds, bits per byte)."""
    found = made(ends)
    for model in found["models"]:
        for run in model["runs"]:
            points = curves[model["recipe"]]
            run["curve"] = [{"seconds": s, "tokens": s, "val_bits_per_byte": v} for s, v in points]
    results = [run for model in found["models"] for run in model["runs"]]
    asked = plan(dict.fromkeys(ends, 1), seeds=max(map(len, ends.values())))
    asked["request"]["quality"] = quality
    return sentences(summarise(asked, ComparedText(), results, {}, "finished"), language)


COARSE = {
    "fast": [(20.0, 2.5), (60.0, 2.0)],
    "slow": [(2.0, 5.0), (15.0, 3.0), (60.0, 2.1)],
    "worst": [(2.0, 5.0), (60.0, 3.0)],
}
STEADY = {"a": [(10.0, 5.0), (60.0, 2.0)], "b": [(10.0, 5.0), (60.0, 4.0)], "c": [(10.0, 5.0), (60.0, 2.1)]}


@pytest.mark.parametrize(
    ("curves", "quality", "english", "korean"),
    [
        (
            COARSE,  # "fast" may have been there before "slow", or not
            3.0,
            "slow and fast learn soonest, reaching 3.000 bits per byte within 20 s of training, where worst took",
            "slow, fast 모델이 가장 빨리 배워 20초 안에 바이트당 3.000비트에 이르렀고, worst 모델은 1분 걸렸습니다.",
        ),
        (
            COARSE,
            2.8,
            "fast learns soonest, reaching 2.800 bits per byte within 20 s of training, where slow took 25 s,",
            "fast 모델이 가장 빨리 배워 20초 안에 바이트당 2.800비트에 이르렀고, slow 모델은 25초 걸렸고, worst",
        ),
        (
            STEADY,
            2.2,
            "a and c learn soonest, reaching 2.200 bits per byte within 58 s of training, which b never reached.",
            "a, c 모델이 가장 빨리 배워 58초 안에 바이트당 2.200비트에 이르렀고, b 모델은 이르지 못했습니다.",
        ),
        (
            STEADY,
            2.05,
            "a learns soonest, reaching 2.050 bits per byte after 59 s of training, which c and b never reached.",
            "a 모델이 가장 빨리 배워 59초 만에",
        ),
        (STEADY, 1.0, "No model reached 1.000 bits per byte.", "바이트당 1.000비트에 이른 모델이 없습니다."),
        (
            {"a": [(60.0, 2.0)], "b": [(60.0, 3.0)]},
            None,
            "All reached 3.000 bits per byte within 1 min; evaluations were too rare to tell who was first.",
            "모두 1분 안에 바이트당 3.000비트에 이르렀고, 누가 먼저인지는",
        ),
    ],
)
def test_who_learns_soonest_is_said_as_far_as_it_is_known(
    curves: dict[str, list[tuple[float, float]]], quality: float | None, english: str, korean: str
) -> None:
    ends = {name: [points[-1][1]] for name, points in curves.items()}
    assert told(ends, curves, quality)[1].startswith(english)
    assert told(ends, curves, quality, "ko")[1].startswith(korean)


def test_equal_parameters_name_who_has_others() -> None:
    found = made({"a": [2.0], "b": [2.5]})
    found["equal_parameters"] = 1000  # a has 1,000 and b 2,000
    said = render_comparison(found)
    assert "every model has 1,000 parameters within 5 %" in said
    assert "But b 2,000: what stands beside the body is not in that number." in said
    found["rows"][1]["parameters"] = 1049
    assert "what stands beside the body" not in render_comparison(found)


def test_a_loss_is_that_of_a_token_or_of_a_text() -> None:
    words = CompareWords("ko")
    assert [words.figure("val_loss", kind) for kind in ("text", "pairs", "labels")] == [
        "손실, nat/토큰",
        "손실, nat/토큰",
        "손실, nat/글",
    ]


def test_seeds_that_are_not_all_there_are_not_called_so() -> None:
    said = render_comparison(made({"a": [2.0, 2.1], "b": [2.5]}))
    assert "2 seeds each or fewer" in said
    assert "2 seeds each or fewer" not in render_comparison(made({"a": [2.0, 2.1], "b": [2.5, 2.6]}))


def test_a_tie_says_what_it_rests_on() -> None:
    few = sentences(made({"a": [2.0, 2.001], "b": [2.015]}))[0]
    assert few.endswith("too close to tell apart with so few runs.")
    assert "이 횟수로는" in sentences(made({"a": [2.0, 2.001], "b": [2.015]}), "ko")[0]
    varied = {"a": [2.0, 2.002], "b": [2.1, 2.102], "c": [2.0, 2.4]}
    assert "a and c are tied" in sentences(made(varied))[0]
    assert sentences(made(varied))[0].endswith("; b has 2.101, 5.0 % more than a.")
    assert sentences(made(varied), "ko")[0].endswith(". b 모델은 2.101, a 모델보다 5.0 % 높습니다.")


def test_a_quick_model_is_not_called_good_for_being_as_quick_as_the_best() -> None:
    said = sentences(made({"a": [2.0], "b": [4.0], "c": [2.5]}, {"a": 1.0, "b": 1.0, "c": 5.0}), "ko")[2]
    assert said.endswith("가장 좋은 모델도 속도에서 뒤지지 않습니다.")


def test_korean_sentences_need_no_particle_of_a_name() -> None:
    said = " ".join(sentences(made(FIVE, {"rnn": 0.0003}), "ko"))
    assert not re.search(r"(rnn|gru|lstm|gpt2|gpt)[은는이가을를과와]", said)
    assert "gpt 모델이 가장 좋습니다" in said


# -- figures and charts --------------------------------------------------------------------------


def test_figures_in_words() -> None:
    assert figure_text("bits_per_byte", 2.34567) == "2.346"
    assert figure_text("perplexity", 1234.5) == "1234"
    assert figure_text("bleu", 31.26) == "31.3"
    assert with_interval("accuracy", 0.881, 0.004) == "88.1 ± 0.4 %"
    assert phrase("val_bits_per_byte", 2.0, "ko") == "바이트당 2.000비트"
    assert [span(0, 0), span(1, 9), span(100, 999), span(1000, None)] == ["0", "1–9", "100–999", "1k+"]
    assert span(1000, 9999) == "1k–10k"


def test_charts_show_what_was_measured() -> None:
    words, found = CompareWords("en"), made({"a": [2.0, 2.2], "b": [3.0, 3.2]})
    seconds, tokens, parameters = quality_charts(found, words)
    assert len(seconds["series"]) == 4  # a line a seed
    assert tokens["series"][0]["points"][-1] == [10_000, pytest.approx(2.0)]
    assert parameters["series"][1]["points"] == [[2000, pytest.approx(3.0)], [2000, pytest.approx(3.2)]]
    training = speed_charts(found, words)[0]
    assert training["series"][0]["points"][0] == [64, pytest.approx(1e6 / 64)]
    rarity = error_charts(found, words)[0]
    assert rarity["bands"] == ["0–9", "10+"]
    assert rarity["series"][0]["points"] == [[0, 5.0], [1, pytest.approx(2.1)]]


def test_static_charts_stay_inside() -> None:
    words, found = CompareWords("ko"), made(FIVE)
    for chart in [*quality_charts(found, words), *speed_charts(found, words), *error_charts(found, words)]:
        svg = static_chart(chart)
        Matching(svg)
        for points in re.findall(r'points="([^"]*)"', svg):
            pixels = [tuple(map(float, pair.split(","))) for pair in points.split()]
            assert all(0 <= x <= 720 and 0 <= y <= 340 for x, y in pixels)
        heights = [float(y) for y in re.findall(r'class="name m\d" x="[\d.]+" y="([\d.]+)"', svg)]
        assert len(heights) == 5
        assert all(b - a >= 14.9 for a, b in pairwise(heights))


# -- in a browser --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("language", ["en", "ko"])
def test_in_a_browser(tmp_path: Path, language: str, width: int, scheme: str) -> None:
    """No word in the console, nothing wider than the window, and what the script offers works."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install -e .[dev]")
    browser_path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser_path is None:
        pytest.skip("no Chromium on PATH: apt-get install chromium")
    path = tmp_path / "보고서.html"
    path.write_text(render_comparison(made(FIVE), language), encoding="utf-8")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if not request.url.startswith("file:") else None)
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        shown = "figure[data-chart]:not([hidden]) svg"
        assert page.locator(shown).count() == 6  # one of quality, three of speed, two of errors
        page.click("[data-axis=parameters]")
        assert page.locator("figure[data-chart=parameters]").is_visible()
        assert not page.locator("figure[data-chart=seconds]").is_visible()
        page.click("[data-axis=seconds]")
        page.check("input[name=log]")
        page.hover("figure[data-chart=seconds] svg")
        assert "gpt" in page.inner_text("figure[data-chart=seconds] .read")
        page.click(".model[data-model=gru]")
        assert page.locator(".card.faded").count() == 8
        assert page.locator("tr.faded").count() == 4
        page.click(".model[data-model=gru]")
        assert page.locator(".faded").count() == 0
        page.click("a[href='#settings-gpt2']")
        page.wait_for_selector("#settings-gpt2[open]")
        browser.close()
    assert said == []
