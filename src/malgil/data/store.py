"""Text -> token ids on disk, made once and memory-mapped from then on.

A part of the corpus and a tokenizer give one folder in the cache, whatever the objective that reads it:

    tokens.bin   begin t1 .. tn  begin t1 .. tm  end     begin and end are one token: it closes and opens at once
                 begin t1 .. tn end  begin .. tm end     begin and end are two tokens
    starts.bin   where each document's `begin` stands
    meta.json    sizes and counts, with a checksum of itself; written last

It is built under another name and renamed when whole, so a store that has its name is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from malgil.data.cache import cache_folder, evict
from malgil.errors import DataError
from malgil.runtime.files import storage_errors, sync_folder

_LAYOUT = 1  # raise when the files change their meaning
_BATCH = 1 << 20  # characters tokenised together
Ids: TypeAlias = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]
Progress: TypeAlias = Callable[[int, int], None]


class Documents(Protocol):
    """What a store needs of a text: a `Part` of a corpus, or a side of pairs."""

    @property
    def n_characters(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    def documents(self) -> Iterator[Iterator[str]]: ...


class Encoder(Protocol):
    """What a store needs of a tokenizer."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def begin_id(self) -> int: ...
    @property
    def end_id(self) -> int: ...
    @property
    def unknown_id(self) -> int | None: ...
    @property
    def fingerprint(self) -> str: ...
    def encode_batch(self, texts: list[str]) -> list[list[int]]: ...


@dataclass(frozen=True)
class Meta:
    """What meta.json holds beside its checksum."""

    layout: int
    fingerprint: str
    dtype: str
    n_tokens: int
    n_documents: int
    n_characters: int
    n_bytes: int
    n_unknown: int


class TokenStore:
    """Token ids of some documents, memory-mapped; cheap to hand to another process, which maps the same file.

    Attributes:
        tokens: (N,) uint16, or uint32 for 65,536 ids and more.
        starts: (documents,) int64, ascending: the index in `tokens` of each document's first token.
        n_characters, n_bytes: of the original text, in UTF-8.
        n_unknown: how many tokens stand for text that the tokenizer cannot spell.
        fingerprint: SHA-256 of the part's and the tokenizer's fingerprints.
    """

    def __init__(self, folder: Path) -> None:
        """Opens a store that is whole.

        Raises:
            DataError: a file is missing, altered or of the wrong size.
        """
        meta = _read_meta(folder)
        self.folder = folder
        self.n_characters, self.n_bytes, self.n_unknown = meta.n_characters, meta.n_bytes, meta.n_unknown
        self.fingerprint = meta.fingerprint
        self.tokens: Ids = np.memmap(folder / "tokens.bin", dtype=meta.dtype, mode="r", shape=(meta.n_tokens,))
        self.starts: npt.NDArray[np.int64] = np.memmap(
            folder / "starts.bin", dtype=np.int64, mode="r", shape=(meta.n_documents,)
        )

    def __len__(self) -> int:
        return len(self.tokens)

    def __reduce__(self) -> tuple[type[TokenStore], tuple[Path]]:
        return TokenStore, (self.folder,)

    def span(self, start: int, stop: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Tokens [start, stop) as int64, and True where one is the first of a document: two (stop - start,) arrays."""
        flags = np.zeros(stop - start, dtype=np.bool_)
        first, last = np.searchsorted(self.starts, (start, stop))
        flags[self.starts[first:last] - start] = True
        return self.tokens[start:stop].astype(np.int64), flags

    def characters_for(self, n_tokens: int) -> int:
        """About how many characters of this text make so many tokens."""
        return round(n_tokens * self.n_characters / max(len(self), 1))


def token_store(part: Documents, tokenizer: Encoder, progress: Progress | None = None) -> TokenStore:
    """The tokens of a part, from the cache or made now in constant memory.

    Several processes may ask for the same store at once: each makes it, the first to finish gives it its name, and all
    read that one. A store found damaged is made anew.

    Args:
        progress: called with (characters done, characters in all) while the store is made.

    Raises:
        DataError: the text cannot be read any more.
        StorageError: the cache is full or not writable; nothing half-made is left.
    """
    key = hashlib.sha256(f"{_LAYOUT} {part.fingerprint} {tokenizer.fingerprint}".encode()).hexdigest()
    stores = cache_folder() / "stores"
    folder = stores / key[:32]
    store = _opened(folder)
    if store is None:
        with storage_errors(stores):
            stores.mkdir(parents=True, exist_ok=True)
            _make(folder, key, part, tokenizer, progress)
            store = TokenStore(folder)
        evict(stores, folder)
    return store


# ---------------------------------------------------------------------------------------------


def _opened(folder: Path) -> TokenStore | None:
    """The store if it is there and whole; says to the cache that it was used."""
    try:
        store = TokenStore(folder)
        os.utime(folder)
    except (DataError, OSError):
        return None
    return store


def _read_meta(folder: Path) -> Meta:
    try:
        tree = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        checksum = tree.pop("checksum")
        meta = Meta(**tree)
        sizes = {"tokens.bin": meta.n_tokens * np.dtype(meta.dtype).itemsize, "starts.bin": meta.n_documents * 8}
        whole = all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        whole, checksum, meta = False, "", None
    if meta is None or not whole or checksum != _checksum(meta) or meta.layout != _LAYOUT:
        raise DataError("a damaged token store", str(folder), "remove the folder; it is made anew from the text")
    return meta


def _checksum(meta: Meta) -> str:
    return hashlib.sha256(json.dumps(asdict(meta), sort_keys=True).encode()).hexdigest()


def _make(folder: Path, key: str, part: Documents, tokenizer: Encoder, progress: Progress | None) -> None:
    temporary = folder.with_name(f".{folder.name}-{os.getpid()}-{secrets.token_hex(4)}")
    temporary.mkdir()
    try:
        meta = _write(temporary, key, part, tokenizer, progress)
        with (temporary / "meta.json").open("w", encoding="utf-8") as file:
            json.dump({**asdict(meta), "checksum": _checksum(meta)}, file)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(temporary)
        _publish(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _publish(temporary: Path, folder: Path) -> None:
    """Gives the store its name, unless a whole one has it by now. A damaged one is moved away first."""
    for _ in range(10):
        try:
            os.rename(temporary, folder)
        except OSError:
            if _opened(folder) is not None:
                return
            damaged = folder.with_name(f".{folder.name}-damaged-{secrets.token_hex(4)}")
            try:
                os.rename(folder, damaged)
            except FileNotFoundError:  # another process was faster
                continue
            shutil.rmtree(damaged, ignore_errors=True)
        else:
            sync_folder(folder.parent)
            return
    os.rename(temporary, folder)


def _write(folder: Path, key: str, part: Documents, tokenizer: Encoder, progress: Progress | None) -> Meta:
    dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32)
    shared = tokenizer.begin_id == tokenizer.end_id
    n_tokens = n_documents = n_characters = n_bytes = n_unknown = 0
    with (folder / "tokens.bin").open("wb") as tokens, (folder / "starts.bin").open("wb") as starts:
        for batch in _batches(part):
            line: list[int] = []
            opened: list[int] = []
            for (text, first, last), ids in zip(batch, tokenizer.encode_batch([t for t, _, _ in batch]), strict=True):
                if first:
                    opened.append(n_tokens + len(line))
                    line.append(tokenizer.begin_id)
                line += ids
                if last and not shared:
                    line.append(tokenizer.end_id)
                n_characters += len(text)
                n_bytes += len(text.encode("utf-8"))
            written = _append(tokens, line, dtype)
            _append(starts, opened, np.dtype(np.int64))
            n_tokens += len(line)
            n_documents += len(opened)
            if tokenizer.unknown_id is not None:
                n_unknown += int(np.count_nonzero(written == tokenizer.unknown_id))
            if progress is not None:
                progress(n_characters, part.n_characters)
        if shared:
            _append(tokens, [tokenizer.end_id], dtype)
            n_tokens += 1
        for file in (tokens, starts):
            file.flush()
            os.fsync(file.fileno())
    return Meta(_LAYOUT, key, dtype.name, n_tokens, n_documents, n_characters, n_bytes, n_unknown)


def _append(file: IO[bytes], values: list[int], dtype: np.dtype[np.generic]) -> npt.NDArray[np.generic]:
    array = np.asarray(values, dtype=dtype)
    file.write(array.tobytes())
    return array


def _batches(part: Documents) -> Iterator[list[tuple[str, bool, bool]]]:
    """(chunk, is the document's first, is its last), in batches of about `_BATCH` characters."""
    batch: list[tuple[str, bool, bool]] = []
    size = 0
    for document in part.documents():
        text = next(document, "")
        first = True
        last = False
        while not last:
            following = next(document, None)
            last = following is None
            batch.append((text, first, last))
            # Each text costs something of its own, so that a million empty rows are not one batch.
            size += len(text) + 64
            if size >= _BATCH:
                yield batch
                batch, size = [], 0
            text, first = following or "", False
    if batch:
        yield batch
