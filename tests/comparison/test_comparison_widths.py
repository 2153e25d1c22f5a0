"""Equal totals on the meta device, for every family."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from malgil.comparison.widths import TOLERANCE, total, with_total
from malgil.config import parse
from malgil.errors import ConfigError
from malgil.models import FAMILIES, build_model

MODELS: dict[str, dict[str, Any]] = {
    "rnn_lm": {"cell": "gru", "n_layers": 2, "d_model": 64},
    "gpt2": {"n_layers": 3, "n_heads": 4, "d_model": 64, "max_len": 40},
    "llama": {"n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "d_head": 16, "d_model": 64, "d_ff": 192, "tied": False},
    "seq2seq": {"d_model": 48, "attention": "general"},
    "transformer": {"n_layers": 2, "n_heads": 3, "d_model": 48, "d_ff": 96},
    "bert": {"n_layers": 2, "n_heads": 2, "d_model": 32},
    "birnn": {"n_layers": 2, "d_model": 40},
}


@pytest.mark.parametrize("name", MODELS)
def test_totals_come_within_the_tolerance(name: str) -> None:
    model = {"name": name, **MODELS[name]}
    for wanted in (150_000, 700_000):
        found = with_total(model, wanted, (601, None))
        # counted another way: a real model's parameters
        chosen = {k: v for k, v in found.items() if k != "name"}
        built = build_model(name, parse(FAMILIES[name].config, chosen, "model"), 601, None)
        count = sum(p.numel() for p in {id(p): p for p in built.parameters()}.values())
        assert abs(count / wanted - 1) <= TOLERANCE
        kept = {"n_layers", "n_heads", "cell", "max_len", "d_head", "tied", "attention"}
        assert {k: v for k, v in found.items() if k in kept} == {k: v for k, v in model.items() if k in kept}


def test_what_follows_the_width_keeps_its_proportion() -> None:
    found = with_total({"name": "llama", **MODELS["llama"]}, 900_000, (601, None))
    assert found["d_ff"] == pytest.approx(3 * found["d_model"], abs=2)


def test_total_allocates_nothing() -> None:
    huge = {"name": "gpt2", "n_layers": 60, "n_heads": 64, "d_model": 8192, "max_len": 1024}
    assert total(huge, (50_000, None)) > 40e9
    assert torch.get_default_device().type == "cpu"


def test_a_source_vocabulary_of_its_own_counts() -> None:
    model = {"name": "transformer", **MODELS["transformer"]}
    assert total(model, (601, 401)) > total(model, (601, None))


def test_a_total_that_no_width_has_is_refused() -> None:
    with pytest.raises(ConfigError, match="no width gives gpt2 about 5 parameters"):
        with_total({"name": "gpt2", **MODELS["gpt2"]}, 5, (601, None))
