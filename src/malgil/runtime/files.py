"""Files that are whole or absent, and folders with one writer.

A reader of a file written by `atomic_write` sees the old content or the new one, never a part, also when the
machine loses power between the two.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from malgil.errors import InputError, StorageError

_FIXES = {
    errno.ENOSPC: "free some space (`malgil cache clear` empties the cache) or name another folder",
    errno.EDQUOT: "your disk quota is used up: free some space or name another folder",
    errno.EROFS: "the file system is read-only: name another folder",
    errno.EACCES: "you may not write there: name another folder",
    errno.ENOTDIR: "a part of the path is a file: name another folder",
    errno.EPERM: "you may not write there: name another folder",
}


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns an operating system's refusal to write into a `StorageError` that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FIXES:
            raise
        raise StorageError(f"cannot write: {error.strerror}", str(path), _FIXES[error.errno]) from error


def atomic_write(path: Path, content: bytes | str) -> None:
    """Writes a file whole: a temporary file beside it, fsync, then one rename. Text is written as UTF-8.

    Raises:
        StorageError: the disk is full, read-only or not ours to write; an older file stays as it was.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    with storage_errors(path):
        temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes renames inside a folder survive a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal; constant memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class FolderLock:
    """One writer a folder: an exclusive `flock` on DIR/.lock, which the kernel drops when its process ends.

    The file stays after the release, since removing it would let two processes each hold "the" lock.

        with FolderLock(run_folder):
            ...

    Raises (on entering):
        InputError: another process holds the folder; the message names its process id.
        StorageError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".lock"
        self._handle: int | None = None

    def __enter__(self) -> FolderLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Takes the lock at once or refuses."""
        with storage_errors(self.path):
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(handle, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(handle)
            raise InputError(
                f"the folder is in use by process {owner}",
                str(self.path.parent),
                "wait until it has finished or stop it, or name another folder",
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode("ascii"), 0)
        self._handle = handle
        _held.add(handle)

    def release(self) -> None:
        """Gives the lock back; without effect when it is not held."""
        if self._handle is not None:
            _held.discard(self._handle)
            os.close(self._handle)
            self._handle = None


# A forked child shares the parent's lock and would hold the folder beyond the parent's death, so it lets go at birth.
_held: set[int] = set()


def _let_go() -> None:
    for handle in _held:
        os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)
