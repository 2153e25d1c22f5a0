"""Out and in again: every family, every wiring, by our own importer and by the libraries the folder is for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign import SETTINGS, TEXT, random_model, read_weights, small_tokenizer
from safetensors import safe_open

from malgil.errors import ConfigError, InputError, RunError, StorageError
from malgil.interop import contents, huggingface, verify
from malgil.interop.huggingface import export_model, import_model
from malgil.models import FAMILIES
from malgil.models.base import CausalLM
from malgil.text.tokenizer import Tokenizer

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", {}),
    "gpt2-no-bias": ("gpt2", {"bias": False}),
    "gpt2-exact-gelu-untied": ("gpt2", {"activation": "gelu", "tied": False, "d_ff": 17}),
    "llama": ("llama", {}),
    "llama-tied": ("llama", {"tied": True, "n_kv_heads": None, "norm_eps": 1e-4}),
    "llama-wide-heads": ("llama", {"d_head": 10, "rope_theta": 300.0}),
    "qwen3": ("qwen3", {}),
    "qwen3-untied": ("qwen3", {"tied": False, "dropout": 0.1}),
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return small_tokenizer()


def test_every_language_model_can_leave() -> None:
    language_models = {name for name, row in FAMILIES.items() if issubclass(row.model, CausalLM)}
    assert {SETTINGS[name][0] for name in SETTINGS} == language_models


@pytest.mark.parametrize("case", CASES)
def test_there_and_back(case: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    name, changed = CASES[case]
    model = random_model(name, tokenizer.vocab_size, **changed).train()
    done = export_model(model, model.config, tokenizer, tmp_path / "out").verifications
    again = import_model(tmp_path / "out")
    assert again.family == SETTINGS[name][0]
    for key, tensor in model.state_dict().items():
        assert torch.equal(again.state[key], tensor)
    assert again.tokenizer is not None
    assert again.tokenizer.fingerprint == tokenizer.fingerprint
    built, model = again.build(), model.eval()
    tokens = torch.tensor([tokenizer.encode(TEXT)[:20]])
    with torch.no_grad():
        ours, theirs = model.logits(model(tokens).hidden), built.logits(built(tokens).hidden)
    torch.testing.assert_close(theirs, ours, atol=1e-6, rtol=1e-6)
    for said in ("tensors equal bit for bit", "malgil: logits equal", "malgil: ids of a sample text equal"):
        assert any(said in line for line in done)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


@pytest.mark.parametrize("case", CASES)
def test_transformers_computes_the_same(case: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    transformers = pytest.importorskip("transformers")
    name, changed = CASES[case]
    model = random_model(name, tokenizer.vocab_size, **changed)
    exported = export_model(model, model.config, tokenizer, tmp_path / "out")
    assert sum(line.startswith(f"transformers {transformers.__version__}") for line in exported.verifications) == 2
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    reader = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    expected = {"gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM"}[name]
    assert type(theirs).__name__ == expected
    assert theirs.dtype == torch.float32
    ids = reader(TEXT[:40], add_special_tokens=False)["input_ids"]
    assert ids == tokenizer.encode(TEXT[:40])
    assert reader.decode(ids) == TEXT[:40]
    assert (reader.bos_token_id, reader.eos_token_id) == (tokenizer.begin_id, tokenizer.end_id)
    assert theirs.generation_config.eos_token_id == tokenizer.end_id
    tokens = torch.tensor([ids[:13]])
    with torch.no_grad():
        logits = model.logits(model(tokens).hidden)
        torch.testing.assert_close(theirs(tokens).logits, logits, atol=1e-5, rtol=1e-5)


def test_the_files_are_complete(tmp_path: Path, tokenizer: Tokenizer) -> None:
    model = random_model("qwen3", tokenizer.vocab_size)
    export_model(model, model.config, tokenizer, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
    }
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["Qwen3ForCausalLM"]
    assert config["max_position_embeddings"] == 21
    assert config["torch_dtype"] == "float32"
    assert config["eos_token_id"] == tokenizer.end_id
    assert (config["head_dim"], config["num_key_value_heads"], config["tie_word_embeddings"]) == (6, 2, True)
    with safe_open(tmp_path / "out" / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118 - no mapping
    settings = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert settings["model_max_length"] == 21


def test_gpt2_without_biases_gets_zeros(tmp_path: Path) -> None:
    model = random_model("gpt2", bias=False)
    export_model(model, model.config, None, tmp_path / "out")
    stored = read_weights(tmp_path / "out")
    biases = [tensor for name, tensor in stored.items() if name.endswith(".bias")]
    assert len(biases) == 2 * 6 + 1
    assert not any(bias.any() for bias in biases)
    assert torch.equal(stored["transformer.h.0.mlp.c_fc.weight"], model.layers[0].feed_forward.up.weight.t())


def test_without_a_tokenizer(tmp_path: Path) -> None:
    model = random_model("llama")
    export_model(model, model.config, None, tmp_path / "out")
    assert import_model(tmp_path / "out").tokenizer is None


@pytest.mark.parametrize("kind", ["char", "byte", "wordpiece", "unigram", "word"])
def test_every_kind_of_tokenizer_travels(kind: str, tmp_path: Path) -> None:
    tokenizer = small_tokenizer(kind)
    model = random_model("llama", tokenizer.vocab_size)
    export_model(model, model.config, tokenizer, tmp_path / "out")
    again = import_model(tmp_path / "out").tokenizer
    assert again is not None
    assert (again.kind, again.unknown_id) == (kind, tokenizer.unknown_id)
    assert again.encode(TEXT) == tokenizer.encode(TEXT)


def test_bf16_weights_are_exported_as_they_are_in_fp32(tmp_path: Path) -> None:
    model = random_model("gpt2").bfloat16()
    export_model(model, model.config, None, tmp_path / "out")
    state = import_model(tmp_path / "out").state
    assert torch.equal(state["embedding.weight"], model.embedding.weight.float())


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("tied", [True, False])
def test_recurrent_models_travel_under_pytorchs_names(
    cell: str, tied: bool, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    model = random_model("rnn_lm", tokenizer.vocab_size, cell=cell, tied=tied, d_hidden=13 if tied else 11)
    done = export_model(model, model.config, tokenizer, tmp_path / "out", format="torch").verifications
    assert any(line.startswith("torch.nn: logits equal") for line in done)
    stored = read_weights(tmp_path / "out")
    assert {"encoder.weight", "rnn.weight_ih_l0", "rnn.bias_hh_l2"} < set(stored)
    assert ("decoder.weight" in stored) != tied
    again = import_model(tmp_path / "out")
    assert again.config == model.config or not tied
    assert all(torch.equal(again.state[name], tensor) for name, tensor in model.state_dict().items())


def test_formats_that_a_family_does_not_have(tmp_path: Path) -> None:
    recurrent, attention = random_model("rnn_lm"), random_model("gpt2")
    with pytest.raises(ConfigError, match="export rnn_lm with the format 'torch'; 'hf' is for gpt2, llama"):
        export_model(recurrent, recurrent.config, None, tmp_path / "out")
    with pytest.raises(ConfigError, match="export gpt2 with the format 'hf'"):
        export_model(attention, attention.config, None, tmp_path / "out", format="torch")
    with pytest.raises(ConfigError, match="unknown export format 'onnx'"):
        export_model(attention, attention.config, None, tmp_path / "out", format="onnx")
    assert not list(tmp_path.iterdir())


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    model = random_model("gpt2")
    (tmp_path / "out").mkdir()
    export_model(model, model.config, None, tmp_path / "out")  # empty: taken
    before = (tmp_path / "out" / "config.json").stat().st_mtime_ns
    with pytest.raises(InputError, match="not empty"):
        export_model(model, model.config, None, tmp_path / "out")
    assert (tmp_path / "out" / "config.json").stat().st_mtime_ns == before
    (tmp_path / "file").write_text("말길", encoding="utf-8")
    with pytest.raises(InputError, match="not empty"):
        export_model(model, model.config, None, tmp_path / "file")


def test_nothing_is_left_where_the_check_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(table: Any, state: Any, config: Any) -> dict[str, torch.Tensor]:
        tensors = right(table, state, config)
        tensors["transformer.h.1.mlp.c_proj.bias"] += 1e-3
        return tensors

    right = huggingface.keys.to_theirs
    monkeypatch.setattr(huggingface.keys, "to_theirs", broken)
    model = random_model("gpt2")
    with pytest.raises(RunError, match=r"layers\.1\.feed_forward\.down\.bias"):
        export_model(model, model.config, None, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_wrong_logits_ids_and_settings_are_seen(tokenizer: Tokenizer) -> None:
    model, other = random_model("llama"), random_model("llama")
    with pytest.raises(RunError, match="logits differ"):
        verify.same_logits("other", model, verify.own(other))
    with pytest.raises(RunError, match="logits differ"):
        verify.same_logits("other", model, lambda tokens: torch.full((*tokens.shape, 29), torch.nan))
    with pytest.raises(RunError, match="splits"):
        verify.same_ids("other", tokenizer, lambda text: tokenizer.encode(text)[1:])
    with pytest.raises(RunError, match="rope_theta"):
        verify.same_config(random_model("llama", rope_theta=7.0).config, model.config)


def test_a_disk_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(contents, "save_file", full)
    model = random_model("gpt2")
    with pytest.raises(StorageError, match="No space left"):
        export_model(model, model.config, None, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_without_transformers_the_result_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "has_transformers", lambda: False)
    model = random_model("llama")
    done = export_model(model, model.config, None, tmp_path / "out").verifications
    assert any("not installed" in line for line in done)
