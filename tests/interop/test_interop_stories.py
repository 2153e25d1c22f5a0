"""A real checkpoint with published answers: stories260K and its SentencePiece tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from malgil.interop.huggingface import Imported, export_model, import_model


@pytest.fixture(scope="module")
def folder(data_dir: Path) -> Path:
    path = data_dir / "checkpoints" / "stories260K"
    if not path.is_dir():
        pytest.skip(f"no checkpoint at {path}")
    return path


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, Any]:
    answers: dict[str, Any] = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    return answers


@pytest.fixture(scope="module")
def stories(folder: Path) -> Imported:
    pytest.importorskip("sentencepiece")
    return import_model(folder)


def test_its_shape(stories: Imported) -> None:
    config = stories.config
    assert stories.family == "llama"
    assert (config.n_layers, config.n_heads, config.kv_heads, config.head_width) == (5, 8, 4, 8)
    assert (config.tied, config.qk_norm, stories.vocab_size) == (True, False, 512)


@torch.no_grad()
def test_greedy_ids_and_text(stories: Imported, expected: dict[str, Any]) -> None:
    model, tokenizer = stories.build(), stories.tokenizer
    assert tokenizer is not None
    wanted = expected["greedy_ids"]
    ids = [tokenizer.begin_id]
    new, state = torch.tensor([ids]), model.init_state(1, len(wanted))
    while len(ids) < len(wanted):
        hidden, state = model(new, state=state)
        new = model.logits(hidden[:, -1:]).argmax(-1)
        ids.append(int(new))
    assert ids == wanted
    assert tokenizer.decode(ids) == expected["greedy_text"]


@torch.no_grad()
def test_logits_of_prompts(stories: Imported, expected: dict[str, Any]) -> None:
    model, tokenizer = stories.build(), stories.tokenizer
    assert tokenizer is not None
    for case in expected["cases"]:  # one of them Korean, spelled in bytes
        ids = [tokenizer.begin_id, *tokenizer.encode(case["prompt"])]
        assert ids == case["ids"]
        logits: Tensor = model.logits(model(torch.tensor([ids])).hidden)[0, -1]
        torch.testing.assert_close(logits, torch.tensor(case["last_logits"]), atol=5e-5, rtol=1e-5)


@torch.no_grad()
def test_mean_loss(stories: Imported, expected: dict[str, Any]) -> None:
    model = stories.build()
    ids = torch.tensor(expected["greedy_ids"])
    loss = model.nll(model(ids[None, :-1]).hidden[0], ids[1:]).mean()
    assert float(loss) == pytest.approx(expected["mean_nll_of_greedy_ids"], abs=1e-5)


def test_it_can_leave_again(stories: Imported, tmp_path: Path) -> None:
    model = stories.build()
    done = export_model(model, stories.config, stories.tokenizer, tmp_path / "out").verifications
    assert any("bit for bit" in line for line in done)
    again = import_model(tmp_path / "out")
    assert again.tokenizer is not None
    assert stories.tokenizer is not None
    text = "Once upon a time, 말길 was a way."
    assert again.tokenizer.encode(text) == stories.tokenizer.encode(text)
