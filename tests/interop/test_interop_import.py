"""Foreign folders: what is read, and that everything doubtful is refused with its name."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from foreign import VOCAB, edit_config, read_weights, small_tokenizer, write_folder, write_weights

from malgil.errors import CheckpointError
from malgil.interop.huggingface import import_model
from malgil.models.base import Model

TOKENS = torch.arange(2 * 11).remainder(VOCAB).view(2, 11)


def same(folder: Path, model: Model, **options: Any) -> None:
    """The imported model computes what the original does."""
    again = import_model(folder, **options).build()
    with torch.no_grad():
        assert torch.equal(again.logits(again(TOKENS).hidden), model.logits(model(TOKENS).hidden))


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3", "rnn_lm"])
def test_reads_what_is_supported(name: str, tmp_path: Path) -> None:
    model = write_folder(tmp_path, name)
    imported = import_model(tmp_path)
    assert imported.vocab_size == VOCAB
    assert imported.tokenizer is None
    assert any("no tokenizer" in note for note in imported.notes)
    assert set(imported.state) == set(model.state_dict())
    same(tmp_path, model)


def test_building_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    write_folder(tmp_path, "gpt2")
    before = torch.get_rng_state()
    import_model(tmp_path).build()
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_becomes_fp32(dtype: torch.dtype, tmp_path: Path) -> None:
    write_folder(tmp_path, "llama")
    rounded = {name: t.to(dtype) for name, t in read_weights(tmp_path).items()}
    write_weights(tmp_path, rounded)
    state = import_model(tmp_path).state
    assert all(t.dtype == torch.float32 for t in state.values())
    assert torch.equal(state["embedding.weight"], rounded["model.embed_tokens.weight"].float())


# --- config.json


@pytest.mark.parametrize(
    "values",
    [
        {"rope_scaling": None, "rope_theta": 700.0},
        {"rope_theta": ..., "rope_scaling": ..., "rope_parameters": {"rope_type": "default", "rope_theta": 700.0}},
        {"rope_theta": 700.0, "rope_scaling": {"type": "default"}},
    ],
)
def test_spellings_of_the_rotations(values: dict[str, Any], tmp_path: Path) -> None:
    model = write_folder(tmp_path, "llama", rope_theta=700.0)
    edit_config(tmp_path, **values)
    same(tmp_path, model)


@pytest.mark.parametrize(
    "name, values, word",
    [
        ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "linear"),
        ("llama", {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0}}, "llama3"),
        ("llama", {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "rotations"),
        ("llama", {"attention_bias": True}, "attention_bias"),
        ("llama", {"mlp_bias": True}, "mlp_bias"),
        ("llama", {"hidden_act": "gelu"}, "hidden_act"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantization_config"),
        ("llama", {"auto_map": {"AutoModel": "code.Model"}}, "auto_map"),
        ("qwen3", {"use_sliding_window": True}, "use_sliding_window"),
        ("qwen3", {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "inverse_layer"),
        ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights"),
        ("gpt2", {"scale_attn_weights": 1}, "scale_attn_weights"),
        ("gpt2", {"activation_function": "relu"}, "relu"),
        ("gpt2", {"model_type": "t5"}, "t5"),
        ("gpt2", {"model_type": ["gpt2"]}, "model_type"),
        ("gpt2", {"n_layer": ...}, "n_layer"),
        ("gpt2", {"n_layer": True}, "n_layers"),
        ("gpt2", {"n_layer": 2.5}, "n_layers"),
        ("gpt2", {"n_head": 4}, "divisible"),
        ("gpt2", {"resid_pdrop": "much"}, "configuration"),
        ("gpt2", {"n_layer": 10**9}, "layers"),
        ("gpt2", {"n_positions": 10**12}, "positions"),
        ("llama", {"vocab_size": 10**15}, "sizes|shaped"),
        ("llama", {"vocab_size": -1}, "vocab_size"),
        ("llama", {"vocab_size": 2**70}, "integer"),
        ("llama", {"hidden_size": 48}, "shaped"),
        ("llama", {"rope_parameters": 7}, "configuration"),
        ("rnn_lm", {"rnn_type": "RNN_RELU"}, "rnn_type"),
    ],
)
def test_refused_configurations(name: str, values: dict[str, Any], word: str, tmp_path: Path) -> None:
    write_folder(tmp_path, name)
    edit_config(tmp_path, **values)
    with pytest.raises(CheckpointError, match=word):
        import_model(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_broken_configurations(content: bytes, tmp_path: Path) -> None:
    write_folder(tmp_path, "gpt2")
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        import_model(tmp_path)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere"):
        import_model(tmp_path / "nowhere")


def test_harmless_keys_are_left_alone(tmp_path: Path) -> None:
    model = write_folder(tmp_path, "llama")
    edit_config(
        tmp_path, use_cache=False, transformers_version="4.1", _name_or_path="/x", pretraining_tp=1, 이름="말길"
    )
    same(tmp_path, model)


# --- tensors


def test_missing_unexpected_and_misshapen_tensors_are_named(tmp_path: Path) -> None:
    write_folder(tmp_path, "llama")
    whole = read_weights(tmp_path)
    name = "model.layers.1.mlp.up_proj.weight"
    write_weights(tmp_path, {key: t for key, t in whole.items() if key != name})
    with pytest.raises(CheckpointError, match=f"missing tensors: {name}"):
        import_model(tmp_path)
    write_weights(tmp_path, {**whole, "model.layers.2.mlp.up_proj.weight": whole[name]})
    with pytest.raises(CheckpointError, match=r"unexpected tensors: model\.layers\.2"):
        import_model(tmp_path)
    write_weights(tmp_path, {**whole, name: whole[name].t()})
    with pytest.raises(CheckpointError, match=r"up_proj.weight \(24, 19\), expected \(19, 24\)"):
        import_model(tmp_path)
    write_weights(tmp_path, {**whole, name: whole[name].to(torch.int8)})
    with pytest.raises(CheckpointError, match="quantised"):
        import_model(tmp_path)


def test_query_norms_of_a_llama_are_unexpected(tmp_path: Path) -> None:
    write_folder(tmp_path, "qwen3")
    edit_config(tmp_path, model_type="llama")
    with pytest.raises(CheckpointError, match=r"unexpected tensors.*q_norm"):
        import_model(tmp_path)


@pytest.mark.parametrize("name", ["gpt2", "qwen3"])
def test_a_tied_head_may_be_stored_but_must_be_the_embedding(name: str, tmp_path: Path) -> None:
    model = write_folder(tmp_path, name)
    whole = read_weights(tmp_path)
    write_weights(tmp_path, {**whole, "lm_head.weight": model.embedding.weight.detach()})
    same(tmp_path, model)
    assert "head.weight" not in import_model(tmp_path).state
    write_weights(tmp_path, {**whole, "lm_head.weight": model.embedding.weight.detach() + 1})
    with pytest.raises(CheckpointError, match="tied"):
        import_model(tmp_path)


def test_gpt2_as_it_was_first_published(tmp_path: Path) -> None:
    """The body alone, without its prefix, and with the masks that were stored then."""
    model = write_folder(tmp_path, "gpt2")
    bare = {name.removeprefix("transformer."): t for name, t in read_weights(tmp_path).items()}
    masks = {f"h.{i}.attn.bias": torch.ones(1, 1, 21, 21).tril() for i in range(2)}
    write_weights(tmp_path, {**bare, **masks})
    same(tmp_path, model)


# --- files


def shard(folder: Path) -> dict[str, str]:
    """Splits the weights into two files; the map from names to files."""
    whole = read_weights(folder)
    (folder / "model.safetensors").unlink()
    placed = {name: f"model-0000{i % 2 + 1}-of-00002.safetensors" for i, name in enumerate(whole)}
    for file in set(placed.values()):
        write_weights(folder, {name: whole[name] for name, where in placed.items() if where == file}, file)
    write_index(folder, placed)
    return placed


def write_index(folder: Path, placed: Any) -> None:
    text = json.dumps({"metadata": {"total_size": 1}, "weight_map": placed})
    (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")


def test_shards(tmp_path: Path) -> None:
    model = write_folder(tmp_path, "llama")
    shard(tmp_path)
    same(tmp_path, model)


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "sub/x.safetensors", "config.json", "..", ""])
def test_shard_names_stay_inside_the_folder(name: str, tmp_path: Path) -> None:
    write_folder(tmp_path / "model", "llama")
    placed = shard(tmp_path / "model")
    first = next(iter(placed))
    (tmp_path / "other.safetensors").write_bytes((tmp_path / "model" / placed[first]).read_bytes())
    write_index(tmp_path / "model", {**placed, first: name})
    with pytest.raises(CheckpointError, match="plain file name"):
        import_model(tmp_path / "model")


def test_shards_that_are_links_or_missing_or_mixed_up(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_folder(folder, "llama")
    placed = shard(folder)
    names = sorted(set(placed.values()))
    write_index(folder, {**placed, next(iter(placed)): names[1]})
    with pytest.raises(CheckpointError, match="what the index says"):
        import_model(folder)
    write_index(folder, placed)
    (folder / names[0]).rename(tmp_path / "elsewhere.safetensors")
    with pytest.raises(CheckpointError, match="missing"):
        import_model(folder)
    (folder / names[0]).symlink_to(tmp_path / "elsewhere.safetensors")
    with pytest.raises(CheckpointError, match="plain file name"):
        import_model(folder)
    write_index(folder, [1, 2])
    with pytest.raises(CheckpointError, match="weight_map"):
        import_model(folder)


def test_headers_are_checked_against_the_bytes(tmp_path: Path) -> None:
    write_folder(tmp_path, "gpt2")
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    huge = b'{"x":{"dtype":"F32","shape":[1000000000,1000000],"data_offsets":[0,4000000000000000]}}'
    for content in (
        b"",
        whole[:100],
        whole[:-8],
        whole + b"12345678",
        (2**63).to_bytes(8, "little") + whole[8:],
        len(huge).to_bytes(8, "little") + huge,
    ):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="corrupt"):
            import_model(tmp_path)


def test_no_weights(tmp_path: Path) -> None:
    write_folder(tmp_path, "gpt2")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no weights"):
        import_model(tmp_path)


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


def test_pickles_are_refused_without_leave(tmp_path: Path) -> None:
    model = write_folder(tmp_path, "gpt2")
    weights = read_weights(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(weights, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="can run code"):
        import_model(tmp_path)
    same(tmp_path, model, allow_pickle=True)


def test_code_in_a_pickle_never_runs(tmp_path: Path) -> None:
    write_folder(tmp_path, "gpt2")
    (tmp_path / "model.safetensors").unlink()
    for write in (lambda bomb, path: path.write_bytes(pickle.dumps(bomb)), torch.save):
        write({"x": Bomb(tmp_path / "ran")}, tmp_path / "pytorch_model.bin")
        with pytest.raises(CheckpointError, match="cannot read"):
            import_model(tmp_path, allow_pickle=True)
        assert not (tmp_path / "ran").exists()
    torch.save([1, 2], tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="state_dict"):
        import_model(tmp_path, allow_pickle=True)


# --- tokenizers


def byte_level_file(path: Path) -> None:
    """A tokenizer.json as others write it: 256 bytes and two special tokens, roles unsaid."""
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    backend = tokenizers.Tokenizer(tokenizers.models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.add_special_tokens(["<s>", "</s>"])
    backend.save(str(path))


def with_tokenizer(folder: Path, **config: Any) -> None:
    write_folder(folder, "gpt2")
    weights = read_weights(folder)
    weights["transformer.wte.weight"] = torch.randn(301, 15)
    write_weights(folder, weights)
    edit_config(folder, vocab_size=301, **config)
    byte_level_file(folder / "tokenizer.json")


def put(folder: Path, name: str, tree: dict[str, Any]) -> None:
    (folder / name).write_text(json.dumps(tree), encoding="utf-8")


@pytest.mark.parametrize(
    "config, files, begin, end",
    [
        ({"bos_token_id": 256, "eos_token_id": 257}, {}, 256, 257),
        ({"bos_token_id": 256, "eos_token_id": [257, 256]}, {}, 256, 257),
        ({"eos_token_id": 257}, {}, 257, 257),
        ({"bos_token_id": 256}, {}, 256, 256),
        ({}, {"generation_config.json": {"bos_token_id": 256, "eos_token_id": 257}}, 256, 257),
        ({}, {"tokenizer_config.json": {"bos_token": "<s>", "eos_token": {"content": "</s>"}}}, 256, 257),
        ({"eos_token_id": 99_999}, {"special_tokens_map.json": {"eos_token": "</s>"}}, 257, 257),
    ],
)
def test_special_tokens_are_found(config: Any, files: Any, begin: int, end: int, tmp_path: Path) -> None:
    with_tokenizer(tmp_path, **config)
    for name, tree in files.items():
        put(tmp_path, name, tree)
    imported = import_model(tmp_path)
    assert imported.tokenizer is not None
    assert (imported.tokenizer.begin_id, imported.tokenizer.end_id) == (begin, end)
    assert imported.tokenizer.unknown_id is None
    text = "말길 </s> a way"
    assert imported.tokenizer.decode(imported.tokenizer.encode(text)) == text
    assert any("43 rows" in note for note in imported.notes)


def test_a_tokenizer_without_an_end(tmp_path: Path) -> None:
    with_tokenizer(tmp_path)
    with pytest.raises(CheckpointError, match="eos_token_id"):
        import_model(tmp_path)


def test_a_tokenizer_of_another_model(tmp_path: Path) -> None:
    write_folder(tmp_path, "gpt2")
    byte_level_file(tmp_path / "tokenizer.json")
    edit_config(tmp_path, eos_token_id=257)
    with pytest.raises(CheckpointError, match="258 tokens, the model 29"):
        import_model(tmp_path)


def test_a_broken_tokenizer(tmp_path: Path) -> None:
    write_folder(tmp_path, "gpt2")
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        import_model(tmp_path)


def test_a_tokenizer_of_our_own_keeps_its_kind(tmp_path: Path) -> None:
    tokenizer = small_tokenizer("char", 60)
    write_folder(tmp_path, "gpt2")
    weights = read_weights(tmp_path)
    weights["transformer.wte.weight"] = torch.randn(tokenizer.vocab_size, 15)
    write_weights(tmp_path, weights)
    edit_config(tmp_path, vocab_size=tokenizer.vocab_size)
    tokenizer.save(tmp_path / "tokenizer.json")
    again = import_model(tmp_path).tokenizer
    assert again is not None
    assert (again.kind, again.fingerprint) == ("char", tokenizer.fingerprint)
