"""Checkpoints: whole or absent, checked by content, and never lost to a full disk or a kill."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from malgil.errors import CheckpointError, StorageError
from malgil.training import checkpoint
from malgil.training.checkpoint import (
    CheckpointWarning,
    Snapshot,
    checkpoint_place,
    load_checkpoint,
    load_weights,
    newest_checkpoint,
    save_checkpoint,
)


def snapshot(step: int, *, carry: bool = True) -> Snapshot:
    torch.manual_seed(step)
    return Snapshot(
        model={"body.weight": torch.randn(5, 3), "body.half": torch.randn(7).bfloat16()},
        optimizer={"body.weight.exp_avg": torch.randn(5, 3), "body.weight.step": torch.tensor(float(step))},
        carry={"0": torch.randn(2, 4, 3)} if carry else {},
        state={"step": step, "note": "말길"},
    )


def save(folder: Path, *steps: int, best: int | None = None) -> None:
    for step in steps:
        save_checkpoint(folder, step, snapshot(step), best)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def assert_is(place: Path, step: int) -> None:
    found, expected = load_checkpoint(place), snapshot(step)
    for part in ("model", "optimizer", "carry"):
        a, b = getattr(found, part), getattr(expected, part)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)
    assert found.state == expected.state


def test_round_trip(tmp_path: Path) -> None:
    place = save_checkpoint(tmp_path, 500, snapshot(500), None)
    assert place == tmp_path / "step-000500"
    assert names(place) == [
        "carry.safetensors", "manifest.json", "model.safetensors", "optimizer.safetensors", "state.json",
    ]  # fmt: skip
    assert_is(place, 500)
    assert newest_checkpoint(tmp_path) == place


def test_what_is_empty_has_no_file(tmp_path: Path) -> None:
    place = save_checkpoint(tmp_path, 1, snapshot(1, carry=False), None)
    assert "carry.safetensors" not in names(place)
    assert load_checkpoint(place).carry == {}


def test_an_empty_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    assert newest_checkpoint(tmp_path / "nowhere") is None


def test_the_newest_two_and_the_best_are_kept(tmp_path: Path) -> None:
    save(tmp_path, 10, 20, 30, best=10)
    assert names(tmp_path) == ["step-000010", "step-000020", "step-000030"]
    save(tmp_path, 40, best=10)
    assert names(tmp_path) == ["step-000010", "step-000030", "step-000040"]
    save(tmp_path, 50, best=50)
    assert names(tmp_path) == ["step-000040", "step-000050"]


def test_steps_beyond_six_digits_are_in_order(tmp_path: Path) -> None:
    save(tmp_path, 999_998, 999_999, 1_000_000)
    assert names(tmp_path) == ["step-1000000", "step-999999"]
    save(tmp_path, 10_000_001)
    assert newest_checkpoint(tmp_path) == tmp_path / "step-10000001"
    assert sorted(names(tmp_path), key=len) == ["step-1000000", "step-10000001"]


def test_the_manifest_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    plain = checkpoint.atomic_write

    def noting(path: Path, content: str) -> None:
        written.append((path.name, names(path.parent)))
        plain(path, content)

    monkeypatch.setattr(checkpoint, "atomic_write", noting)
    place = save_checkpoint(tmp_path, 3, snapshot(3), None)
    last, already = written[-1]
    assert last == "manifest.json"
    assert already == [n for n in names(place) if n != "manifest.json"]
    listed = json.loads((place / "manifest.json").read_text(encoding="utf-8"))["files"]
    assert sorted(listed) == already


# -- torn, altered, missing -------------------------------------------------------------------------


def cut_short(place: Path) -> None:
    path = place / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-7])


def flip_a_bit(place: Path) -> None:
    path = place / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 4
    path.write_bytes(content)


def remove_a_file(place: Path) -> None:
    (place / "carry.safetensors").unlink()


def remove_the_manifest(place: Path) -> None:
    (place / "manifest.json").unlink()


def break_the_manifest(place: Path) -> None:
    (place / "manifest.json").write_text('{"files": ', encoding="utf-8")


def empty_the_manifest(place: Path) -> None:
    (place / "manifest.json").write_text("[]", encoding="utf-8")


def edit_the_state(place: Path) -> None:
    path = place / "state.json"
    path.write_text(path.read_text(encoding="utf-8").replace("말길", "길말"), encoding="utf-8")


DAMAGE: list[tuple[Callable[[Path], None], str]] = [
    (cut_short, r"optimizer\.safetensors was altered or cut short"),
    (flip_a_bit, r"model\.safetensors was altered or cut short"),
    (remove_a_file, r"carry\.safetensors is missing"),
    (remove_the_manifest, r"manifest\.json is missing, it was not finished"),
    (break_the_manifest, r"manifest\.json is unreadable"),
    (empty_the_manifest, r"manifest\.json is unreadable"),
    (edit_the_state, r"state\.json was altered or cut short"),
]


@pytest.mark.parametrize(("damage", "fault"), DAMAGE, ids=[d.__name__ for d, _ in DAMAGE])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    tmp_path: Path, damage: Callable[[Path], None], fault: str
) -> None:
    save(tmp_path, 10, 20)
    damage(tmp_path / "step-000020")
    with pytest.warns(CheckpointWarning, match=rf"step-000020 is not used: {fault}"):
        place = newest_checkpoint(tmp_path)
    assert place == tmp_path / "step-000010"
    assert_is(place, 10)
    with pytest.raises(CheckpointError, match=rf"the checkpoint is corrupt: {fault}.*step-000020"):
        load_checkpoint(tmp_path / "step-000020")


def test_with_all_damaged_there_is_none(tmp_path: Path) -> None:
    save(tmp_path, 10, 20)
    for step in (10, 20):
        flip_a_bit(tmp_path / f"step-{step:06d}")
    with pytest.warns(CheckpointWarning) as warned:
        assert newest_checkpoint(tmp_path) is None
    assert [str(w.message).split(" is not")[0][-11:] for w in warned] == ["step-000020", "step-000010"]


def test_damaged_checkpoints_do_not_crowd_out_good_ones(tmp_path: Path) -> None:
    """Two torn ones at later steps, a run that went on before them and was stopped early."""
    save(tmp_path, 10, best=10)
    for step in (20, 30):
        shutil.copytree(tmp_path / "step-000010", tmp_path / f"step-{step:06d}")
        cut_short(tmp_path / f"step-{step:06d}")
    save(tmp_path, 12)
    assert names(tmp_path) == ["step-000010", "step-000012"]
    assert newest_checkpoint(tmp_path) == tmp_path / "step-000012"


def test_a_torn_checkpoint_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    save(tmp_path, 10, 20)
    cut_short(tmp_path / "step-000020")
    save(tmp_path, 20)
    assert_is(tmp_path / "step-000020", 20)


def test_what_a_kill_left_half_written_is_swept_away(tmp_path: Path) -> None:
    save(tmp_path, 10)
    (tmp_path / ".step-000015.partial").mkdir()
    (tmp_path / ".step-000015.partial" / "model.safetensors").write_bytes(b"half")
    assert newest_checkpoint(tmp_path) == tmp_path / "step-000010"
    save(tmp_path, 20)
    assert names(tmp_path) == ["step-000010", "step-000020"]


def test_other_names_are_no_checkpoints(tmp_path: Path) -> None:
    save(tmp_path, 10)
    (tmp_path / "step-latest").mkdir()
    assert newest_checkpoint(tmp_path) == tmp_path / "step-000010"
    assert checkpoint_place(tmp_path, 10) == tmp_path / "step-000010"


# -- a full disk ------------------------------------------------------------------------------------


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "where", ["malgil.training.checkpoint.save_file", "os.fsync", "os.replace", "pathlib.Path.mkdir"]
)
def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    save(tmp_path, 10)
    with monkeypatch.context() as patched:
        patched.setattr(where, full)
        with pytest.raises(StorageError, match=r"No space left.*step-000020.*free some space"):
            save_checkpoint(tmp_path, 20, snapshot(20), None)
    assert names(tmp_path) == ["step-000010"]
    assert_is(tmp_path / "step-000010", 10)


def test_a_full_disk_at_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 10)
    plain = checkpoint.atomic_write

    def late(path: Path, content: str) -> None:
        if path.name == "manifest.json":
            raise StorageError("cannot write: No space left on device", str(path), "free some space")
        plain(path, content)

    monkeypatch.setattr(checkpoint, "atomic_write", late)
    with pytest.raises(StorageError):
        save_checkpoint(tmp_path, 20, snapshot(20), None)
    assert names(tmp_path) == ["step-000010"]


# -- weight files -----------------------------------------------------------------------------------


def test_weights_that_are_missing_or_no_weights(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"the weights are missing; .*model\.safetensors"):
        load_weights(tmp_path / "model.safetensors")
    (tmp_path / "pickle.safetensors").write_bytes(b"\x80\x04\x95not weights, \xeb\xa7\x90")
    with pytest.raises(CheckpointError, match=r"not a whole safetensors file .*pickle\.safetensors"):
        load_weights(tmp_path / "pickle.safetensors")
