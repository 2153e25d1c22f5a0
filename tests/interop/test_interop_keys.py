"""Key tables: both directions undo each other, also where several of their tensors are one of ours."""

from __future__ import annotations

import pytest
import torch

from malgil.errors import CheckpointError
from malgil.interop import keys
from malgil.interop.keys import Rule

TABLE = (
    Rule("layers.{i}.qkv.weight", ("h{i}.q", "h{i}.k", "h{i}.v"), rows=lambda heads: (heads, 2, 2)),
    Rule("layers.{i}.pair.weight", ("h{i}.a", "h{i}.b")),
    Rule("layers.{i}.turned.weight", "h{i}.t", transposed=True),
    Rule("norm.weight", "n"),
)


def test_stacked_and_transposed_tensors() -> None:
    state = {
        "norm.weight": torch.randn(5),
        "layers.11.qkv.weight": torch.randn(10, 5),
        "layers.11.pair.weight": torch.randn(6, 5),
        "layers.0.turned.weight": torch.randn(3, 7),
    }
    theirs = keys.to_theirs(TABLE, state, 6)
    assert {name: tuple(t.shape) for name, t in theirs.items()} == {
        "n": (5,),
        "h11.q": (6, 5),
        "h11.k": (2, 5),
        "h11.v": (2, 5),
        "h11.a": (3, 5),
        "h11.b": (3, 5),
        "h0.t": (7, 3),
    }
    assert torch.equal(theirs["h11.k"], state["layers.11.qkv.weight"][6:8])
    assert torch.equal(theirs["h0.t"], state["layers.0.turned.weight"].t())
    assert all(t.is_contiguous() for t in theirs.values())
    parts = keys.parts(TABLE, {name: tuple(t.shape) for name, t in state.items()}, 6)
    assert all(part.shape == theirs[part.theirs].shape for part in parts)
    again = keys.to_ours(parts, theirs.__getitem__)
    assert set(again) == set(state)
    assert all(torch.equal(again[name], state[name]) for name in state)


def test_exported_tensors_share_no_memory() -> None:
    state = {"norm.weight": torch.zeros(5)}
    keys.to_theirs(TABLE, state, 6)["n"].fill_(1)
    assert not state["norm.weight"].any()


@pytest.mark.parametrize("name", ["layers.x.qkv.weight", "layers..qkv.weight", "extra.weight", "layers.1.2.qkv.weight"])
def test_a_tensor_without_a_row(name: str) -> None:
    with pytest.raises(CheckpointError, match=name):
        keys.parts(TABLE, {name: (10, 5)}, 6)
