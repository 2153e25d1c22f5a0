"""The page of a run, read back with a parser: what a browser would see."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from malgil.errors import NotFoundError
from malgil.report import DataFacts, RunFacts, render_run
from malgil.report.page import embedded
from malgil.report.svg import Series, line_chart, ticks
from malgil.report.words import WORDS, josa
from malgil.runtime.energy import Energy

VOID = {"meta", "link", "br", "input", "img", "hr"}


class Page(HTMLParser):
    """Elements, their attributes and their text; complains about tags that do not match."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: dict[int, str] = {}
        self.open: list[int] = []
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.elements[self.open.pop()][0] == tag

    def handle_data(self, data):
        for i in self.open:
            self.text[i] = self.text.get(i, "") + data

    def all(self, tag: str, **attributes: str) -> list[tuple[dict[str, str], str]]:
        return [
            (found, self.text.get(i, ""))
            for i, (name, found) in enumerate(self.elements)
            if name == tag and all(found.get(key) == value for key, value in attributes.items())
        ]

    def one(self, tag: str, **attributes: str) -> tuple[dict[str, str], str]:
        (found,) = self.all(tag, **attributes)
        return found


def facts(**changes) -> RunFacts:
    metrics = []
    for step in range(1, 106, 5):
        line = {"step": step, "tokens": step * 21, "seconds": step / 5, "loss": 5 * math.exp(-step / 60)}
        line |= {"lr": 3e-4, "tokens_per_second": 105.0}
        if step % 25 == 1:
            loss = 5.1 * math.exp(-step / 60) + max(0, step - 60) / 50
            line |= {"val_loss": loss, "val_perplexity": math.exp(loss), "val_bits_per_byte": loss / 3}
        metrics.append(line)
    base = RunFacts(
        recipe="gpt",
        family="llama",
        parameters=804_096,
        data=DataFacts(vocab_size=147, tokenizer="bpe", train_tokens=1_003, epochs=2.5, sources=["옛이야기.txt"]),
        metrics=metrics,
        samples=[{"step": 5, "prompt": "옛날에", "text": " 한\n\n\t사람이  살았다"}],
        config={"model": {"d_model": 48, "dropout": 0.0}, "data": {"paths": ["가.txt", "나.txt"]}},
        hardware={"cpu": "AMD EPYC", "cores": 3, "memory": 7 * 2**30, "gpus": []},
        energy=Energy(720, 250, 1900, "estimate"),
        peak_memory=5 * 2**20,
    )
    return replace(base, **changes)


def test_the_page_reaches_for_no_network():
    source = render_run(facts())
    page = Page(source)
    for tag, attributes in page.elements:
        assert tag not in ("img", "iframe", "object", "embed", "base")
        for name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
            assert attributes.get(name, "data:").startswith("data:")
    style = page.one("style")[1]
    assert "url(" not in style
    assert "@import" not in style
    assert "@font-face" not in style
    script = page.all("script")[-1][1]
    for address in re.findall(r"https?://[^\s\"']+", source):
        assert address == "http://www.w3.org/2000/svg"
        assert address in script
    for call in ("fetch(", "XMLHttpRequest", "WebSocket", "import(", "innerHTML", "eval("):
        assert call not in script


def test_only_the_pages_own_script_may_run():
    page = Page(render_run(facts()))
    policy = page.one("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    code = page.all("script")[-1][1]
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


def test_a_sample_cannot_leave_its_place():
    attack = "</div></script><script>alert('말')</script><!-- <img src=x onerror=alert(1)> &amp; ]]>"
    evil = facts(
        samples=[{"step": 1, "prompt": attack, "text": attack}],
        warnings=[attack],
        recipe=attack,
        name=attack,
        config={"a": attack},
        hardware={attack: attack},
        status=f"stopped early: {attack}",
        data=DataFacts(vocab_size=147, tokenizer=attack, sources=[attack]),
    )
    page = Page(render_run(evil))
    assert len(page.all("script")) == 2
    assert not page.all("img")
    assert page.one("div", **{"class": "text"})[1] == attack + attack
    assert page.one("h1")[1] == attack


def test_json_in_a_script_is_inert_and_whole():
    source = embedded({"말": "</script><!--", "loss": [1.5, math.nan, math.inf]})
    assert "<" not in source
    assert json.loads(source) == {"말": "</script><!--", "loss": [1.5, None, None]}


def test_samples_keep_whitespace_and_hangul_and_never_half_a_character():
    written = " 가\n\n  나\t다 \U0001f469\u200d\U0001f680\r\n\x00\x1b끝\ufffd 말\ufffd\ufffd"
    source = render_run(facts(samples=[{"step": 3, "prompt": "\n옛날", "text": written}]))
    shown = Page(source).one("div", **{"class": "text"})[1]
    assert shown == "\n옛날 가\n\n  나\t다 \U0001f469\u200d\U0001f680␍\n␀␛끝\ufffd 말"
    source.encode("utf-8")


def test_a_lone_surrogate_does_not_break_the_file():
    source = render_run(facts(samples=[{"step": 3, "prompt": "", "text": "가\ud800나"}]))
    assert "가\ufffd나" in source.encode("utf-8").decode("utf-8")


def test_of_many_samples_the_first_and_last_are_open_and_none_is_lost():
    samples = [{"step": step, "prompt": "", "text": f"글{step}."} for step in range(1, 14)]
    source = render_run(facts(samples=samples))
    before, _, after = source.partition("The other 8 samples")
    assert "글1." in before
    assert "글13." in before
    assert all((f"글{step}." in before) != (f"글{step}." in after) for step in range(1, 14))


def test_headlines_are_those_of_the_best_evaluation():
    page = Page(render_run(facts()))
    shown = [text for _, text in page.all("b")]
    best = 5.1 * math.exp(-76 / 60) + 16 / 50
    assert shown[:5] == [f"{best:.3f}", f"{math.exp(best):.4g}", f"{best / 3:.3f}", "105", "20 s"]
    assert "best of 5, at step 76" in page.one("dl")[1]


def test_unknown_tokens_make_bits_not_comparable():
    source = render_run(facts(data=DataFacts(vocab_size=147, tokenizer="word", unknown=31)))
    page = Page(source)
    assert page.one("b", **{"class": "words"})[1] == "not comparable"
    assert "31 validation tokens are unknown" in page.one("dl")[1]


def test_the_picture_is_there_without_a_script():
    page = Page(render_run(facts()))
    pictures = page.all("svg", role="img")
    assert len(pictures) == 3 == len(page.all("title")) - 1
    assert "best: " in pictures[0][0]["aria-label"]
    points = {
        style: page.one("polyline", **{"class": style})[0]["points"].split() for style in ("smooth", "validation")
    }
    assert len(points["smooth"]) == 21
    assert len(points["validation"]) == 5
    heights = [float(point.split(",")[1]) for point in points["smooth"]]
    assert heights == sorted(heights)  # pixels grow downwards, the loss fell all the way
    data = json.loads(page.one("script", id="page-data")[1])
    assert data["train"]["step"] == list(range(1, 106, 5))
    assert data["best"] == 3
    assert data["even"] == pytest.approx(math.log(147))


def test_every_identifier_stands_once():
    page = Page(render_run(facts()))
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names)) > 5


def test_settings_machine_and_energy_are_in_tables():
    page = Page(render_run(facts()))
    rows = {page.text[i] for i, (tag, _) in enumerate(page.elements) if tag == "tr"}
    assert {"model.d_model48", "model.dropout0", "data.paths가.txt, 나.txt"} <= rows
    assert {"ProcessorAMD EPYC", "Usable memory7.0 GiB", "Peak memory5.0 MiB"} <= rows
    assert "Energy0.20 Wh, estimate (0.07 Wh – 0.53 Wh)" in rows
    assert not any(row.startswith("GPU") for row in rows)
    measured = Page(render_run(facts(energy=Energy(7200, 7200, 7200, "measured (RAPL)"))))
    assert any(text == "2.00 Wh, measured (RAPL)" for _, text in measured.all("td"))


def test_warnings_and_the_reason_of_the_end_are_shown():
    page = Page(render_run(facts(warnings=["the data was repeated"], status="stopped early: no gain in 5 evaluations")))
    assert page.one("p", **{"class": "status stopped-early"})[1] == "stopped early: no gain in 5 evaluations"
    assert page.one("ul", **{"class": "warnings"})[1] == "the data was repeated"


def test_korean_headings():
    page = Page(render_run(facts(), language="ko"))
    assert page.one("html")[0]["lang"] == "ko"
    headings = [text for _, text in page.all("h2")]
    assert headings == ["이 수치는 정상인가?", "학습 곡선", "학습하며 쓴 글", "설정"]
    with pytest.raises(NotFoundError):
        render_run(facts(), language="fr")


def test_every_word_is_in_both_languages_with_the_same_places():
    for english, korean in WORDS.values():
        assert set(re.findall(r"{\w+}", english)) == set(re.findall(r"{\w+}", korean))
        assert english
        assert korean


@pytest.mark.parametrize(
    "metrics",
    [
        [],
        [{"step": 1, "loss": math.nan, "seconds": 0.5, "tokens": 3}],
        [{"step": 1, "loss": 4.0, "seconds": 0.0, "tokens": 3, "lr": 0.1, "tokens_per_second": None}],
        [{"step": 0, "val_loss": 5.0}],
        [{"step": 3, "loss": 800.0, "val_loss": 800.0, "val_perplexity": math.inf, "tokens": 5, "seconds": 2}],
    ],
)
def test_a_run_that_has_hardly_begun_has_a_page_too(metrics):
    page = Page(render_run(RunFacts("lstm", "rnn_lm", 5, DataFacts(vocab_size=147), "running", metrics)))
    assert page.one("p", **{"class": "status running"})


def test_a_line_maps_straight_and_leaves_out_what_is_missing():
    svg = line_chart(
        [Series("smooth", [0, 1, 2, 4, 8], [3.0, None, 2.0, 1.5, 1.0])],
        title="손실",
        description="",
        x_label="단계",
        height=300,
    )
    points = [tuple(map(float, p.split(","))) for p in re.search(r'points="([^"]+)"', svg)[1].split()]
    assert len(points) == 4
    x, y = zip(*points, strict=True)
    assert (x[1] - x[0]) * 4 == pytest.approx(x[3] - x[0], abs=0.5)
    assert (y[1] - y[0]) * 2 == pytest.approx(y[3] - y[0], abs=0.5)
    assert "<title>손실</title>" in svg


@pytest.mark.parametrize("low, high", [(0, 7), (1.43, 5.91), (-3e-5, 2e-4), (13, 1_900_000)])
def test_ticks_are_round_and_inside(low, high):
    found = ticks(low, high, 6)
    assert 3 <= len(found) <= 8
    assert low <= found[0] + 1e-12
    assert found[-1] <= high * (1 + 1e-12)
    mantissa = f"{found[1] - found[0]:.3e}"[:5]
    assert mantissa in ("1.000", "2.000", "5.000")


@pytest.mark.parametrize(
    "number, subject, direction",
    [
        ("1.80", "1.80이", "1.80으로"),
        ("2.31", "2.31이", "2.31로"),
        ("1.72", "1.72가", "1.72로"),
        ("6.03", "6.03이", "6.03으로"),
    ],
)
def test_particles_follow_the_sound_of_the_last_digit(number, subject, direction):
    assert josa(number, "이/가") == subject
    assert josa(number, "으로/로") == direction
