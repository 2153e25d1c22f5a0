"""Whole files and one writer, also when the disk is full or the holder of a lock has been killed."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from malgil.errors import InputError, StorageError
from malgil.runtime import files
from malgil.runtime.files import FolderLock, atomic_write, sha256, storage_errors


def test_bytes_and_text(tmp_path: Path) -> None:
    path = tmp_path / "말길.txt"
    atomic_write(path, "하나\r\n")
    assert path.read_bytes() == "하나\r\n".encode()
    atomic_write(path, b"\x00two")
    assert path.read_bytes() == b"\x00two"
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o600 == 0o600


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, call: str
) -> None:
    path = tmp_path / "a.txt"
    atomic_write(path, "옛것")

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(files.os, call, fail)
        with pytest.raises(StorageError, match=r"cannot write.*; .*a\.txt; .*folder") as caught:
            atomic_write(path, "새것")
    assert caught.value.exit_status == 1
    assert path.read_text() == "옛것"
    assert list(tmp_path.iterdir()) == [path]


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        atomic_write(tmp_path / "missing" / "a.txt", "x")
    with pytest.raises(ZeroDivisionError), storage_errors(tmp_path):
        raise ZeroDivisionError


def test_sha256(tmp_path: Path) -> None:
    data = "말길".encode() * 300_000
    (tmp_path / "a").write_bytes(data)
    assert sha256(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def _hold(folder: Path, ready: int) -> None:
    """Holds the folder for ever, with a child beside it, like a loader's worker, that may outlive it."""
    with FolderLock(folder):
        child = os.fork()
        if child:
            os.write(ready, f"{child}\n".encode())
        signal.pause()


def test_a_second_process_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    holder = os.fork()
    if holder == 0:
        try:
            _hold(tmp_path, writing)
        finally:
            os._exit(1)
    child = int(os.read(reading, 32))
    try:
        with pytest.raises(InputError, match=rf"in use by process {holder}; .*; wait"):
            FolderLock(tmp_path).acquire()
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        os.kill(child, 0)  # the child is alive and does not hold the folder
        with FolderLock(tmp_path):
            assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"
    finally:
        os.kill(child, signal.SIGKILL)
        os.close(reading)
        os.close(writing)


def test_one_process_holds_a_folder_once(tmp_path: Path) -> None:
    with FolderLock(tmp_path), pytest.raises(InputError, match=f"process {os.getpid()}"):
        FolderLock(tmp_path).acquire()
    lock = FolderLock(tmp_path)
    lock.acquire()
    lock.release()
    lock.release()
    with FolderLock(tmp_path):
        pass


def test_a_folder_that_cannot_be_locked(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="part of the path is a file"):
        FolderLock(tmp_path / "file").acquire()
