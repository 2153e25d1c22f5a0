"""Token stores: their layout, and what happens when two make one, one is damaged, or the disk is full."""

from __future__ import annotations

import errno
import itertools
import json
import multiprocessing
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from malgil.data import store as store_module
from malgil.data.cache import cache_limit, clear_cache
from malgil.data.corpus import Part
from malgil.data.store import TokenStore, token_store
from malgil.errors import InputError, StorageError

PartOf = Callable[[str], Part]
StoreOf = Callable[..., TokenStore]


def ids(text: str) -> list[int]:
    return [ord(c) + 3 for c in text]


def test_layout_with_one_token_for_begin_and_end(store_of: StoreOf) -> None:
    store = store_of("말길", "a", "셋 셋")
    assert store.tokens.tolist() == [0, *ids("말길"), 0, *ids("a"), 0, *ids("셋 셋"), 0]
    assert store.starts.tolist() == [0, 3, 5]
    assert store.tokens.dtype == np.uint16
    assert (store.n_characters, store.n_bytes, store.n_unknown) == (6, 14, 0)


def test_layout_with_two_tokens(store_of: StoreOf, code_points: Any) -> None:
    store = store_of("말길", "a", tokenizer=code_points(end_id=1))
    assert store.tokens.tolist() == [0, *ids("말길"), 1, 0, *ids("a"), 1]
    assert store.starts.tolist() == [0, 4]


def test_large_vocabularies_take_four_bytes(part_of: PartOf, code_points: Any) -> None:
    text = "말길 🙂"
    assert token_store(part_of(text), code_points(vocab_size=65_536)).tokens.dtype == np.uint16
    store = token_store(part_of(text), code_points(vocab_size=200_000))
    assert store.tokens.dtype == np.uint32
    assert store.tokens[1:-1].tolist() == ids(text)


def test_unknown_tokens_are_counted(part_of: PartOf, code_points: Any) -> None:
    assert token_store(part_of("말길 abc 🙂"), code_points(vocab_size=256)).n_unknown == 3
    assert token_store(part_of("말길 abc 🙂"), code_points(unknown_id=None, vocab_size=257)).n_unknown == 0


@pytest.mark.parametrize("batch", [1, 50, 1 << 20])
def test_batches_and_chunks_do_not_show(
    part_of: PartOf, code_points: Any, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(store_module, "_BATCH", batch)
    monkeypatch.setattr("malgil.data.readers.CHUNK", 11)
    text = "말길이 열린다, 둘\n" * 9
    heard: list[tuple[int, int]] = []
    store = token_store(part_of(text), code_points(end_id=1), lambda done, total: heard.append((done, total)))
    assert store.tokens.tolist() == [0, *ids(text), 1]
    assert heard[-1] == (len(text), len(text))
    assert heard == sorted(heard)


def test_flags_where_documents_start(store_of: StoreOf) -> None:
    store = store_of("가나", "다", "라마바")
    for start, stop in itertools.combinations(range(len(store) + 1), 2):
        tokens, flags = store.span(start, stop)
        assert tokens.dtype == np.int64
        assert tokens.tolist() == store.tokens[start:stop].tolist()
        assert flags.tolist() == [i in store.starts for i in range(start, stop)]


def test_made_once_and_mapped(part_of: PartOf, code_points: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    part = part_of("말길 " * 50)
    first = token_store(part, code_points())
    monkeypatch.setattr(code_points, "encode_batch", lambda *a: pytest.fail("tokenised again"))
    second = token_store(part, code_points())
    assert isinstance(second.tokens, np.memmap)
    assert second.tokens.tolist() == first.tokens.tolist()
    assert second.fingerprint == first.fingerprint


def test_another_tokenizer_or_text_is_another_store(part_of: PartOf, code_points: Any) -> None:
    prints = {
        token_store(part_of(text), tokenizer).fingerprint
        for text in ("하나 하나", "둘 둘")
        for tokenizer in (code_points(), code_points(end_id=1))
    }
    assert len(prints) == 4


def test_another_process_gets_the_file_not_a_copy(part_of: PartOf, code_points: Any) -> None:
    store = token_store(part_of("말길 " * 5000), code_points())
    packed = pickle.dumps(store)
    assert len(packed) < 1000
    assert pickle.loads(packed).tokens.tolist() == store.tokens.tolist()


def damage_tokens(folder: Path) -> None:
    os.truncate(folder / "tokens.bin", 10)


def damage_starts(folder: Path) -> None:
    (folder / "starts.bin").unlink()


def damage_meta(folder: Path) -> None:
    path = folder / "meta.json"
    path.write_text(path.read_text().replace('"n_unknown": 0', '"n_unknown": 5'))


def lose_meta(folder: Path) -> None:
    (folder / "meta.json").write_text("[]")


@pytest.mark.parametrize("damage", [damage_tokens, damage_starts, damage_meta, lose_meta])
def test_a_damaged_store_is_made_anew(
    part_of: PartOf, code_points: Any, cache: Path, damage: Callable[[Path], None]
) -> None:
    part = part_of("말길 " * 50)
    tokens = token_store(part, code_points()).tokens.tolist()
    (folder,) = (cache / "stores").iterdir()
    damage(folder)
    again = token_store(part, code_points())
    assert again.tokens.tolist() == tokens
    assert again.n_unknown == 0
    assert list((cache / "stores").iterdir()) == [folder]


def _race(part: Part, tokenizer: Any, barrier: Any, queue: Any) -> None:
    slow = tokenizer.encode_batch

    class Waiting:
        vocab_size, begin_id, end_id, unknown_id = 60_000, 0, 0, None
        fingerprint = tokenizer.fingerprint

        def encode_batch(self, texts: list[str]) -> list[list[int]]:
            barrier.wait(20)  # both are making it now
            return slow(texts)  # type: ignore[no-any-return]

    queue.put(token_store(part, Waiting()).tokens.tolist())


def test_two_processes_may_make_one_store(part_of: PartOf, code_points: Any, cache: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(2), context.Queue()
    part = part_of("말길 " * 50)
    both = [context.Process(target=_race, args=(part, code_points(), barrier, queue)) for _ in range(2)]
    for process in both:
        process.start()
    found = [queue.get(timeout=20) for _ in both]
    for process in both:
        process.join(20)
    assert found[0] == found[1] == [0, *ids("말길 " * 50), 0]
    assert [process.exitcode for process in both] == [0, 0]
    assert len(list((cache / "stores").iterdir())) == 1


def test_a_full_disk_leaves_nothing_half_made(
    part_of: PartOf, code_points: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_module, "_append", full)
    with pytest.raises(StorageError, match="malgil cache clear"):
        token_store(part_of("말길"), code_points())
    assert list((cache / "stores").iterdir()) == []


def test_the_least_recently_used_go_first(
    part_of: PartOf, code_points: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [part_of(f"{i}" * 1000) for i in range(3)]
    for age, part in zip((300, 200, 100), parts, strict=True):
        folder = token_store(part, code_points()).folder
        os.utime(folder, (time.time() - age,) * 2)
    token_store(parts[0], code_points())  # used just now
    monkeypatch.setenv("MALGIL_CACHE_LIMIT", "7kb")  # room for two of somewhat more than 2 kB, and a third
    newest = token_store(part_of("넷" * 1000), code_points())
    kept = {path.name for path in (cache / "stores").iterdir()}
    assert newest.folder.name in kept
    assert token_store(parts[0], code_points()).folder.name in kept
    assert len(kept) in (2, 3)
    monkeypatch.setenv("MALGIL_CACHE_LIMIT", "1")
    last = token_store(part_of("다섯" * 1000), code_points())  # larger than the limit, and kept all the same
    assert list((cache / "stores").iterdir()) == [last.folder]


def test_what_a_dead_process_left_is_removed_and_a_living_one_kept(
    part_of: PartOf, code_points: Any, cache: Path
) -> None:
    for name in (".old", ".new"):
        (cache / "stores" / name).mkdir(parents=True)
    os.utime(cache / "stores" / ".old", (0, 0))
    token_store(part_of("말길"), code_points())
    assert {path.name for path in (cache / "stores").iterdir()} > {".new"}
    assert not (cache / "stores" / ".old").exists()


def test_clearing_says_what_it_removed(part_of: PartOf, code_points: Any, cache: Path) -> None:
    assert clear_cache() == (0, 0)
    token_store(part_of("말길 " * 100), code_points())
    (cache / "mine.txt").write_text("not ours")
    files, size = clear_cache()
    assert files >= 3
    assert size > 600
    assert [path.name for path in cache.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("text, size", [("20GB", 20 * 10**9), ("1.5 mb", 1_500_000), ("77", 77)])
def test_the_limit(monkeypatch: pytest.MonkeyPatch, text: str, size: int) -> None:
    monkeypatch.setenv("MALGIL_CACHE_LIMIT", text)
    assert cache_limit() == size


@pytest.mark.parametrize("text", ["", "much", "-1", "nan", "1XB"])
def test_a_limit_that_is_no_size(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("MALGIL_CACHE_LIMIT", text)
    with pytest.raises(InputError, match="MALGIL_CACHE_LIMIT"):
        cache_limit()


def test_the_meta_file_is_plain(part_of: PartOf, code_points: Any) -> None:
    store = token_store(part_of("말길"), code_points())
    tree = json.loads((store.folder / "meta.json").read_text())
    assert tree["n_tokens"] == 4
    assert store.characters_for(8) == 4
