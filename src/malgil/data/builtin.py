"""The corpus that needs no download: English prose that every CPython carries.

Two sources, read from the Python that runs: the language reference (`pydoc_data.topics`, a document a topic) and the
docstrings of the standard library (a document a module), found with `ast` so that nothing is imported or run. A
paragraph that stands in two places is kept once: topics contain one another, and what is held out must not be in
training too. The text differs a little between Python versions, and so does its fingerprint.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import json
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from malgil.data.cache import cache_folder, keep
from malgil.errors import DataError

_LAYOUT = 1  # raise when the extraction changes, so that cached text is made anew
_NO_PROSE = frozenset(
    {"test", "tests", "idle_test", "idlelib", "lib2to3", "site-packages", "dist-packages", "pydoc_data", "__pycache__"}
)
_SHORTEST = 300  # characters; below it a document says little, and codecs repeat one sentence a hundred times
_REPEATED = 60  # characters; shorter paragraphs ("See also:") may stand in many places


@dataclass(frozen=True)
class BuiltinDocument:
    """A topic (`topic:assert`) or a module's docstrings (`module:json.decoder`)."""

    name: str
    text: str


@cache
def builtin_documents() -> tuple[BuiltinDocument, ...]:
    """All documents, in the order of their names. Parsing takes seconds, so the text is kept in the cache.

    Raises:
        DataError: this Python carries neither the topics nor the source of its standard library.
    """
    library = Path(sysconfig.get_paths()["stdlib"])
    identity = hashlib.sha256(f"{_LAYOUT} {sys.version} {library}".encode()).hexdigest()[:32]
    path = cache_folder() / "builtin" / f"{identity}.json"
    pairs = _load(path)
    if pairs is None:
        pairs = sorted(_distinct([*_topics(), *_docstrings(library)]))
        if pairs:
            keep(path, json.dumps(pairs))
    if not pairs:
        raise DataError(
            "this Python carries no built-in text", str(library), "give --data a file of your own, or use CPython"
        )
    return tuple(BuiltinDocument(name, text) for name, text in pairs)


def held_out(name: str, share: float) -> bool:
    """Whether a document belongs to validation: by its name alone, so that the choice outlives a change of Python."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) < share * 2**32


def _load(path: Path) -> list[tuple[str, str]] | None:
    try:
        pairs = [(str(name), str(text)) for name, text in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return None
    return pairs or None


def _topics() -> Iterator[tuple[str, str]]:
    try:
        topics = importlib.import_module("pydoc_data.topics").topics
    except (ImportError, AttributeError):  # some distributions leave the documentation out
        return
    for name, text in topics.items():
        yield f"topic:{name}", text.strip()


def _docstrings(library: Path) -> Iterator[tuple[str, str]]:
    for path in library.rglob("*.py"):
        relative = path.relative_to(library)
        if _NO_PROSE.isdisjoint(relative.parts):
            name = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
            yield f"module:{name}", "\n\n".join(_module_docstrings(path))


def _module_docstrings(path: Path) -> list[str]:
    """The docstrings of a module, its classes and functions, in the order of the source."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in the library are not the reader's concern
            tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return []
    owners = [
        n for n in ast.walk(tree) if isinstance(n, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    owners.sort(key=lambda node: 0 if isinstance(node, ast.Module) else node.lineno)
    return [text.strip() for text in map(ast.get_docstring, owners) if text]


def _distinct(documents: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Each longer paragraph once, kept in the longest document that has it; documents left too short are dropped."""
    seen: set[str] = set()
    for name, text in sorted(documents, key=lambda d: (-len(d[1]), d[0])):
        kept = []
        for paragraph in text.split("\n\n"):
            words = " ".join(paragraph.split())
            if len(words) < _REPEATED or words not in seen:
                kept.append(paragraph)
                seen.add(words)
        remaining = "\n\n".join(kept).strip()
        if len(remaining) >= _SHORTEST:
            # Source files may spell lone surrogates as escapes, which UTF-8 cannot hold.
            yield name, remaining.encode("utf-8", "replace").decode("utf-8") + "\n"
