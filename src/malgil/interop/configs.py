"""config.json of other libraries, read by an allow-list and written whole; one `Spelling` a model type.

A key is read, or it is refused where it would change what the model computes, or it is left alone. Nothing in a
config can name code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from malgil.config import Tree, parse, setting
from malgil.errors import CheckpointError, ConfigError, InputError
from malgil.interop import keys
from malgil.models import family
from malgil.models.gpt2 import GPT2Config
from malgil.models.llama import LlamaConfig
from malgil.models.rnn_lm import RNNLMConfig

#: tables of positions are made for this many at most: a config alone must not be able to fill the memory
MAX_POSITIONS = 1 << 21


@dataclass(frozen=True)
class Spelling:
    """How one model type of another library is read and written.

    Args:
        model_type: as config.json says it.
        family: ours.
        table: the names of the tensors.
        prefix: before the names of the body's tensors; checkpoints of the body alone leave it out.
        leftovers: ends of the names of stored tensors that are no weights (masks and tables of older versions).
        fixed: keys that change the computation, and the values under which it is ours.
        read: their keys as the tree of our settings.
        write: our settings as their keys.
    """

    model_type: str
    family: str
    table: tuple[keys.Rule, ...]
    prefix: str
    leftovers: tuple[str, ...]
    fixed: Mapping[str, tuple[Any, ...]]
    read: Callable[[Tree], Tree]
    write: Callable[[Any], Tree]


_ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}
_NO = (None, False)
_ANYWHERE: dict[str, tuple[Any, ...]] = {
    "quantization_config": (None,),
    "auto_map": (None, {}),  # code that comes with a checkpoint computes what no table here describes
    "is_encoder_decoder": _NO,
    "add_cross_attention": _NO,
}


def _read_gpt2(theirs: Tree) -> Tree:
    rates = [theirs.get(key, 0.1) for key in ("resid_pdrop", "embd_pdrop", "attn_pdrop")]
    return {
        "n_layers": theirs["n_layer"],
        "n_heads": theirs["n_head"],
        "d_model": theirs["n_embd"],
        "d_ff": theirs.get("n_inner"),
        "max_len": theirs["n_positions"],
        "dropout": max(rates),
        "activation": _ACTIVATIONS[theirs.get("activation_function", "gelu_new")],
        "norm_eps": theirs.get("layer_norm_epsilon", 1e-5),
        "tied": theirs.get("tie_word_embeddings", True),
    }


def _write_gpt2(config: GPT2Config) -> Tree:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_embd": config.d_model,
        "n_inner": config.d_ff,
        "n_positions": config.max_len,
        "n_ctx": config.max_len,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "activation_function": "gelu_new" if config.activation == "gelu_tanh" else "gelu",
        "layer_norm_epsilon": config.norm_eps,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "reorder_and_upcast_attn": False,
        "tie_word_embeddings": config.tied,
    }


def _read_llama(theirs: Tree) -> Tree:
    return {
        "n_layers": theirs["num_hidden_layers"],
        "n_heads": theirs["num_attention_heads"],
        "n_kv_heads": theirs.get("num_key_value_heads"),
        "d_model": theirs["hidden_size"],
        "d_head": theirs.get("head_dim"),
        "d_ff": theirs["intermediate_size"],
        "max_len": theirs["max_position_embeddings"],
        "dropout": theirs.get("attention_dropout", 0.0),
        "tied": theirs.get("tie_word_embeddings", False),
        "rope_theta": _rope_theta(theirs),
        "norm_eps": theirs.get("rms_norm_eps", 1e-6),
    }


def _rope_theta(theirs: Tree) -> Any:
    """The base of the rotations, in the spellings of transformers 4 and 5; any scaling is refused."""
    settings: Tree = {}
    for key in ("rope_scaling", "rope_parameters"):
        settings.update(theirs.get(key) or {})
    kind = settings.pop("rope_type", settings.pop("type", "default"))
    theta = settings.pop("rope_theta", theirs.get("rope_theta", 10_000.0))
    if settings.pop("partial_rotary_factor", 1.0) != 1.0 or kind != "default":
        raise ConfigError(f"rotations of type '{kind}' with {settings} are not supported")
    return theta


def _read_qwen3(theirs: Tree) -> Tree:
    return {**_read_llama(theirs), "d_head": theirs.get("head_dim", 128), "qk_norm": True}


def _write_llama(config: LlamaConfig) -> Tree:
    return {
        "architectures": ["Qwen3ForCausalLM" if config.qk_norm else "LlamaForCausalLM"],
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.kv_heads,
        "hidden_size": config.d_model,
        "head_dim": config.head_width,
        "intermediate_size": config.ff_width,
        "max_position_embeddings": config.max_len,
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": config.dropout,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_scaling": None,
        "tie_word_embeddings": config.tied,
        **({"use_sliding_window": False, "sliding_window": None} if config.qk_norm else {"mlp_bias": False}),
    }


def _read_rnn(theirs: Tree) -> Tree:
    return {
        "cell": _CELLS[theirs["rnn_type"]],
        "n_layers": theirs["nlayers"],
        "d_model": theirs["ninp"],
        "d_hidden": theirs["nhid"],
        "dropout": theirs.get("dropout", 0.0),
        "tied": theirs.get("tie_weights", False),
        **({"max_len": theirs["bptt"]} if "bptt" in theirs else {}),
    }


_CELLS = {"RNN_TANH": "rnn", "GRU": "gru", "LSTM": "lstm"}


def _write_rnn(config: RNNLMConfig) -> Tree:
    return {
        "rnn_type": {ours: theirs for theirs, ours in _CELLS.items()}[config.cell],
        "nlayers": config.n_layers,
        "ninp": config.d_model,
        "nhid": config.hidden_width,
        "dropout": config.dropout,
        "tie_weights": config.tied,
        "bptt": config.max_len,
    }


_LLAMA_FIXED: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu", "swish"),
    "attention_bias": _NO,
    "mlp_bias": _NO,
    "pretraining_tp": (None, 1),
}
_TABLES_OF_ROTATIONS = ("rotary_emb.inv_freq",)

SPELLINGS: dict[str, Spelling] = {
    "gpt2": Spelling(
        "gpt2",
        "gpt2",
        keys.GPT2,
        "transformer.",
        (".attn.bias", ".attn.masked_bias"),
        {
            "activation_function": tuple(_ACTIVATIONS),
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": _NO,
        },
        _read_gpt2,
        _write_gpt2,
    ),
    "llama": Spelling(
        "llama", "llama", keys.LLAMA, "model.", _TABLES_OF_ROTATIONS, _LLAMA_FIXED, _read_llama, _write_llama
    ),
    "qwen3": Spelling(
        "qwen3",
        "llama",
        keys.LLAMA,
        "model.",
        _TABLES_OF_ROTATIONS,
        {**_LLAMA_FIXED, "use_sliding_window": _NO},
        _read_qwen3,
        _write_llama,
    ),
    # no Hugging Face class: the constructor's arguments and the names of PyTorch's own word language model
    "rnn_lm": Spelling("rnn_lm", "rnn_lm", keys.RNN, "", (), {"rnn_type": tuple(_CELLS)}, _read_rnn, _write_rnn),
}


def spelling_of(family_name: str, config: Any) -> Spelling:
    """The model type that computes what our model computes."""
    return SPELLINGS["qwen3" if getattr(config, "qk_norm", False) else family_name]


def read_config(theirs: Tree, source: Path) -> tuple[Spelling, Any, int]:
    """A config.json as (spelling, our configuration, vocabulary size).

    Raises:
        CheckpointError: a model type or a setting that our families do not compute, a missing or senseless value.
    """
    where = str(source)
    model_type = theirs.get("model_type")
    if not isinstance(model_type, str) or model_type not in SPELLINGS:
        known = ", ".join(SPELLINGS)
        raise CheckpointError(f"model_type {model_type!r} is not supported", where, f"what can be imported: {known}")
    spelling = SPELLINGS[model_type]
    for key, allowed in {**_ANYWHERE, **spelling.fixed}.items():
        if key in theirs and not any(theirs[key] == value and type(theirs[key]) is type(value) for value in allowed):
            fix = f"only {' or '.join(repr(value) for value in allowed if value is not None) or 'null'} can be imported"
            raise CheckpointError(f"{key} {theirs[key]!r} changes what the model computes", where, fix)
    if any(kind != "full_attention" for kind in theirs.get("layer_types") or ()):
        raise CheckpointError("layer_types other than full_attention", where, "sliding windows cannot be imported")
    try:
        tree = spelling.read(theirs)
        config = parse(family(spelling.family).config, tree, "")
        sizes = parse(_Sizes, {"vocab_size": theirs["ntoken" if spelling.family == "rnn_lm" else "vocab_size"]}, "")
    except KeyError as error:
        raise CheckpointError(f"'{error.args[0]}' is missing", where, "copy the file again") from None
    except (InputError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"this configuration cannot be imported: {error}", where) from None
    if config.max_len > MAX_POSITIONS:
        raise CheckpointError(f"{config.max_len} positions are more than {MAX_POSITIONS}", where, "lower them")
    return spelling, config, sizes.vocab_size


@dataclass(frozen=True)
class _Sizes:
    vocab_size: int = setting(1, "rows of the embedding", low=1)


def write_config(spelling: Spelling, config: Any, vocab_size: int, special: Mapping[str, int]) -> Tree:
    """A complete config.json.

    Args:
        special: `bos_token_id` and `eos_token_id`, where there is a tokenizer.
    """
    return {
        "model_type": spelling.model_type,
        **spelling.write(config),
        "ntoken" if spelling.family == "rnn_lm" else "vocab_size": vocab_size,
        **special,
        "torch_dtype": "float32",
    }
