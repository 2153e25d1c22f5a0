"""The skeleton of every page that Malgil writes: one file, no network, safe to send to others.

Style and script travel inside the page. A Content-Security-Policy allows no address at all and only
that one script, by its hash: what a model wrote can neither load nor run anything.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from malgil.runtime.numbers import finite
from malgil.version import __version__

_CONTROLS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {0x7F: 0x2421}


def page(
    title: str,
    body: str,
    *,
    kicker: str,
    footer: str,
    language: str = "en",
    style: str = "",
    script: str = "",
    data: Any = None,
) -> str:
    """A whole HTML document.

    Args:
        title: plain text.
        body: HTML, already escaped.
        kicker: plain text beside the seal at the top.
        footer: plain text at the end.
        language: of the words on the page (`en`, `ko`).
        style: CSS that this page has beside page.css.
        script: the source of the one script, or nothing.
        data: what the script reads, as JSON, from the element `page-data`.
    """
    code = f"\n{script}\n"
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    scripts = f'<script type="application/json" id="page-data">{embedded(data)}</script>\n<script>{code}</script>'
    return Template(resource("page.html")).substitute(
        language=escape(language),
        version=escape(__version__),
        title=text(title),
        css=resource("page.css") + style,
        kicker=text(kicker),
        body=body,
        footer=text(footer),
        script_source=f"'sha256-{digest}'" if script else "'none'",
        scripts=scripts if script else "",
    )


def resource(name: str) -> str:
    """A file that lies beside this one."""
    return (files("malgil.report") / name).read_text(encoding="utf-8")


def text(value: str) -> str:
    """Plain text as HTML. Control characters become visible and lone surrogates U+FFFD: neither can stand in a page."""
    clean = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return escape(clean.translate(_CONTROLS))


def embedded(data: Any) -> str:
    """JSON that can stand inside a `<script>`: no `<`, and null for numbers that are not finite."""
    return json.dumps(finite(data), ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def table(rows: Iterable[tuple[str, str]], caption: str) -> str:
    """A table of names and values (plain text), for facts."""
    body = "".join(f'<tr><th scope="row">{text(name)}</th><td>{text(value)}</td></tr>' for name, value in rows)
    return f'<table class="facts"><caption>{text(caption)}</caption><tbody>{body}</tbody></table>'


def grid(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str) -> str:
    """A table of figures with a heading for each column (plain text)."""
    top = "".join(f'<th scope="col">{text(cell)}</th>' for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table class="grid-table"><caption>{text(caption)}</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def section(heading: str, content: str, identifier: str) -> str:
    """A part of the page with its heading (plain text)."""
    return f'<section id="{identifier}"><h2>{text(heading)}</h2>\n{content}\n</section>'
