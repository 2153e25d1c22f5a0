"""What `--data` names -> the files behind it: files, folders, globs and the word `builtin`."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from malgil.config import nearest
from malgil.errors import DataError

BUILTIN = "builtin"
FORMATS = {
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
_REFUSED = {
    ".zip": "unpack it and name the folder",
    ".tar": "unpack it and name the folder",
    ".tgz": "unpack it and name the folder",
    ".bz2": "unpack it, or pack it with gzip",
    ".xz": "unpack it, or pack it with gzip",
    ".zst": "unpack it, or pack it with gzip",
    ".pdf": "save its text as .txt",
    ".docx": "save its text as .txt",
    ".xlsx": "save it as .csv",
}


def find_files(names: Sequence[str], where: str, *, json: bool = False) -> tuple[list[Path], list[str]]:
    """The files behind `names` in the order given (folders and globs sorted), and notes on what was named twice.

    Folders are searched recursively for known extensions, without hidden files. `builtin` is the caller's.

    Args:
        where: the setting that holds the names, for messages.
        json: whether a file may be one JSON value, as sets of questions are; folders are never searched for those.

    Raises:
        DataError: a path that is missing, no regular file, of a format that is not read, or matches nothing.
    """
    files: dict[Path, Path] = {}
    notes = []
    for name in names:
        if name == BUILTIN:
            continue
        if not name.strip():
            raise DataError("an empty path was given", where, "is a variable of the shell unset?")
        for path in _expand(name, where):
            real = path.resolve()
            if real in files:
                notes.append(f"{path} is named more than once and read once")
            else:
                files[real] = path
            if format_of(path)[0] == "json" and not json:
                fix = "write one object a line and name it .jsonl"
                raise DataError(".json is not a format that is read here", str(path), fix)
    return list(files.values()), notes


def format_of(path: Path) -> tuple[str, bool]:
    """(format, gzipped) from the name; an unknown extension is read as plain text.

    Raises:
        DataError: a format that is known not to be text or rows.
    """
    name = path.name.lower()
    gzipped = name.endswith(".gz")
    suffix = os.path.splitext(name.removesuffix(".gz"))[1]
    if suffix == ".json":  # not among those that folders are searched for: most hold settings
        return "json", gzipped
    if suffix in _REFUSED:
        raise DataError(f"{suffix} is not a format that is read here", str(path), _REFUSED[suffix])
    return FORMATS.get(suffix, "text"), gzipped


def _expand(name: str, where: str) -> list[Path]:
    path = Path(name).expanduser()
    try:
        if path.is_dir():
            return _in_folder(path)
        if path.exists() or not glob.has_magic(name):
            return [_checked(path, where)]
    except OSError as error:  # a name too long, a folder that may not be searched
        raise DataError(f"cannot read: {error.strerror}", name, "check the path and its permissions") from None
    matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
    found = [file for match in matches for file in (_in_folder(match, strict=False) if match.is_dir() else [match])]
    if not found:
        raise DataError("no file matches", name, "check the pattern, and quote it for the shell")
    return list(dict.fromkeys(_checked(file, where) for file in found))


def _checked(path: Path, where: str) -> Path:
    if not path.exists():
        siblings = os.listdir(path.parent) if path.parent.is_dir() else []
        close = nearest(path.name, siblings)
        fix = f"did you mean {' or '.join(close)}?" if close else f"check {where}"
        raise DataError("no such file or folder", str(path), fix)
    if not path.is_file():
        raise DataError("not a regular file", str(path), "save the text to a file first")
    format_of(path)
    return path


def _in_folder(folder: Path, *, strict: bool = True) -> list[Path]:
    found = sorted(path for path in _walk(folder) if _known(path))
    if strict and not found:
        raise DataError("no text in the folder", str(folder), f"known extensions: {', '.join(FORMATS)}, each also .gz")
    return found


def _walk(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise DataError(f"cannot read: {error.strerror}", str(error.filename), "check its permissions")

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if not name.startswith("."):
                yield Path(parent, name)


def _known(path: Path) -> bool:
    return os.path.splitext(path.name.lower().removesuffix(".gz"))[1] in FORMATS and path.is_file()
