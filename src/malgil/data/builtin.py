"""The corpus that needs no download: English prose that every CPython carries.

Two sources, read from the Python that runs: the language reference (`pydoc_data.topics`, a document a topic) and the
docstrings of the standard library (a document a module), found with `ast` so that nothing is imported or run. A
paragraph that stands in two places is kept once: topics contain one another, and what is held out must not be in
training too. The text differs a little between Python versions, and so does its fingerprint.

The same docstrings, one by one, are the labelled set: which module does a text belong to?
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import json
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterable, Iterator
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
_SHORTEST_LABELLED = 30  # characters of a text with a label; "Return the name." could stand anywhere
_MODULES, _OF_EACH = 16, 120  # of the labelled set: how many modules, and texts of each at most


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
    pairs = _kept("", lambda library: sorted(_distinct([*_topics(), *_docstrings(library)])))
    return tuple(BuiltinDocument(name, text) for name, text in pairs)


@cache
def builtin_labels() -> tuple[tuple[str, str], ...]:
    """(text, module) of the built-in labelled set: first paragraphs of docstrings, in the order of the texts.

    The modules are those with most of them, and of each there are so few that none outweighs the others; what stands
    in two modules is left out. Kept in the cache as `builtin_documents` are.

    Raises:
        DataError: this Python carries no source of its standard library.
    """
    return tuple(_kept("-labels", _labelled))


def held_out(name: str, share: float) -> bool:
    """Whether a document belongs to validation: by its name alone, so that the choice outlives a change of Python."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) < share * 2**32


def _kept(kind: str, make: Callable[[Path], list[tuple[str, str]]]) -> list[tuple[str, str]]:
    """What `make` finds in the standard library, from the cache if it was made for this Python before."""
    library = Path(sysconfig.get_paths()["stdlib"])
    identity = hashlib.sha256(f"{_LAYOUT} {sys.version} {library}".encode()).hexdigest()[:32]
    path = cache_folder() / "builtin" / f"{identity}{kind}.json"
    pairs = _load(path)
    if pairs is None:
        pairs = make(library)
        if pairs:
            keep(path, json.dumps(pairs))
    if not pairs:
        raise DataError(
            "this Python carries no built-in text", str(library), "give --data a file of your own, or use CPython"
        )
    return pairs


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
    for name, path in _modules(library):
        yield f"module:{name}", "\n\n".join(_module_docstrings(path))


def _labelled(library: Path) -> list[tuple[str, str]]:
    """(text, module) as `builtin_labels` has them; a package counts as one module, private ones do not count."""
    modules_of: dict[str, set[str]] = {}
    for name, path in _modules(library):
        for docstring in _module_docstrings(path):
            text = " ".join(docstring.split("\n\n")[0].split()).encode("utf-8", "replace").decode("utf-8")
            if len(text) >= _SHORTEST_LABELLED:
                modules_of.setdefault(text, set()).add(name.partition(".")[0])
    texts_of: dict[str, list[str]] = {}
    for text, (module, *others) in modules_of.items():
        if not others and not module.startswith("_"):
            texts_of.setdefault(module, []).append(text)
    largest = sorted(texts_of, key=lambda module: (-len(texts_of[module]), module))[:_MODULES]
    drawn = {module: sorted(texts_of[module], key=_lot)[:_OF_EACH] for module in largest}
    return sorted((text, module) for module, texts in drawn.items() for text in texts)


def _lot(text: str) -> str:
    """An order by chance, and another one than that by which `held_out` chooses."""
    return hashlib.sha256(f"drawn {text}".encode()).hexdigest()


def _modules(library: Path) -> Iterator[tuple[str, Path]]:
    """(name, file) of the modules that hold prose."""
    for path in library.rglob("*.py"):
        relative = path.relative_to(library)
        if _NO_PROSE.isdisjoint(relative.parts):
            yield ".".join(relative.with_suffix("").parts).removesuffix(".__init__"), path


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
