"""The cache folder: things that can be made again from the data, kept within a limit.

`MALGIL_CACHE` names the folder (default ~/.cache/malgil) and `MALGIL_CACHE_LIMIT` its size (default 20GB). Inside:

    stores/<fingerprint>/   token stores, the large ones; least recently used go first
    facts/<key>.json        what a pass over a file found (hash, characters, rows), valid while size and times stay
    builtin/<key>.json      the text of the built-in corpus
    texts/<key>-*.jsonl     labelled texts without their labels, which a run is pretrained on
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from malgil.errors import InputError, StorageError
from malgil.runtime.files import atomic_write

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_ABANDONED = 86_400  # seconds after which an unfinished store belongs to a process that died
_SETTLED = 2_000_000_000  # nanoseconds; a file younger than this may change again within one tick of its clock


def cache_folder() -> Path:
    """The folder that MALGIL_CACHE names, or ~/.cache/malgil; not made here."""
    named = os.environ.get("MALGIL_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "malgil"


def cache_limit() -> int:
    """The size in bytes that the token stores may take together.

    Raises:
        InputError: MALGIL_CACHE_LIMIT is no size.
    """
    text = os.environ.get("MALGIL_CACHE_LIMIT", "20GB")
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]B)?\s*", text, re.IGNORECASE)
    if not match:
        raise InputError(f"'{text}' is no size", "MALGIL_CACHE_LIMIT", "write it like 20GB or 500MB")
    return int(float(match[1]) * _UNITS[(match[2] or "").upper()])


def clear_cache() -> tuple[int, int]:
    """Removes everything that Malgil has cached: (files, bytes) removed. Other files in the folder stay."""
    files = size = 0
    for name in ("stores", "facts", "builtin", "texts"):
        folder = cache_folder() / name
        for path in folder.rglob("*"):
            if path.is_file():
                files, size = files + 1, size + path.stat().st_size
        shutil.rmtree(folder, ignore_errors=True)
    return files, size


def evict(stores: Path, spare: Path) -> None:
    """Removes the least recently used stores until the limit holds; `spare`, just made or used, stays."""
    now = time.time()
    sizes: dict[Path, int] = {}
    used: dict[Path, float] = {}
    for folder in stores.iterdir():
        try:
            sizes[folder] = sum(path.stat().st_size for path in folder.iterdir())
            used[folder] = folder.stat().st_mtime
        except OSError:  # removed by another process meanwhile
            continue
        if folder.name.startswith(".") and now - used[folder] > _ABANDONED:
            used[folder] = 0.0
    excess = sum(sizes.values()) - cache_limit()
    for folder in sorted(used, key=lambda f: used[f]):
        unfinished = folder.name.startswith(".") and used[folder] > 0.0
        if (excess > 0 or used[folder] == 0.0) and folder != spare and not unfinished:
            shutil.rmtree(folder, ignore_errors=True)
            excess -= sizes[folder]


def remembered(path: Path, question: str, find: Callable[[], dict[str, Any]], *beside: Path) -> dict[str, Any]:
    """What `find` says about the file, from the cache while the file's size and times are the same.

    Args:
        question: what is asked, with every setting that changes the answer.
        find: reads the file; its answer must be plain JSON.
        beside: other files that the answer depends on.
    """
    stats = [file.stat() for file in (path, *beside)]
    stamp = [number for stat in stats for number in (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)]
    names = [str(file.resolve()) for file in (path, *beside)]
    key = hashlib.sha256(json.dumps([*names, question]).encode()).hexdigest()
    memo = cache_folder() / "facts" / f"{key[:32]}.json"
    try:
        known = json.loads(memo.read_text(encoding="utf-8"))
        if known["stamp"] == stamp:
            return dict(known["answer"])
    except (OSError, ValueError, TypeError, KeyError):
        pass
    answer = find()
    if time.time_ns() - max(max(stat.st_mtime_ns, stat.st_ctime_ns) for stat in stats) > _SETTLED:
        keep(memo, json.dumps({"stamp": stamp, "answer": answer}))
    return answer


def keep(path: Path, text: str) -> None:
    """Writes a small file of the cache if it can: without it only time is lost."""
    with contextlib.suppress(OSError, StorageError):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, text)
