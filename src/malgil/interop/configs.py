"""config.json of other libraries, read by an allow-list and written whole; one `Spelling` a model type.

A key is read, or it is refused where it would change what the model computes, or it is left alone. Nothing in a
config can name code.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from malgil.config import Tree, parse, setting
from malgil.errors import CheckpointError, ConfigError, InputError
from malgil.interop import keys
from malgil.interop.encoders import ENCODERS, encoder_spelling
from malgil.interop.spelling import Spelling
from malgil.models import family
from malgil.models.gpt2 import GPT2Config
from malgil.models.llama import LlamaConfig
from malgil.models.rnn_lm import RNNLMConfig
from malgil.models.transformer import TransformerConfig

#: tables of positions are made for this many at most: a config alone must not be able to fill the memory
MAX_POSITIONS = 1 << 21


class Foreign(NamedTuple):
    """A config.json in our terms; `source_vocab_size` is None where the source has no embedding of its own."""

    spelling: Spelling
    config: Any
    vocab_size: int
    source_vocab_size: int | None


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
    if any(kind != "full_attention" for kind in theirs.get("layer_types") or ()):
        raise ConfigError("layer_types other than full_attention are not supported")
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


_MARIAN_ACTIVATIONS = {"relu": "relu", "swish": "silu", "silu": "silu", "gelu": "gelu"}
_MARIAN_EPS = 1e-5  # PyTorch's default, which Marian's class leaves as it is


def _read_marian(theirs: Tree) -> Tree:
    for key in ("attention_heads", "ffn_dim"):
        encoder, decoder = theirs[f"encoder_{key}"], theirs[f"decoder_{key}"]
        if encoder != decoder:
            raise ConfigError(f"{encoder} encoder_{key} and {decoder} decoder_{key} are not supported: make them equal")
    return {
        "n_layers": theirs["decoder_layers"],
        "n_encoder_layers": theirs["encoder_layers"],
        "n_heads": theirs["decoder_attention_heads"],
        "d_model": theirs["d_model"],
        "d_ff": theirs["decoder_ffn_dim"],
        "max_len": theirs["max_position_embeddings"],
        "dropout": max(theirs.get("dropout", 0.1), theirs.get("attention_dropout", 0.0)),
        "activation": _MARIAN_ACTIVATIONS[theirs.get("activation_function", "gelu")],
        "scale_embedding": theirs.get("scale_embedding", False),
        "shared": theirs.get("share_encoder_decoder_embeddings", True),
        "output_bias": True,
        "norm_eps": _MARIAN_EPS,
    }


def _write_marian(config: TransformerConfig) -> Tree:
    if not config.tied:
        raise ConfigError("Marian's output layer is the target's embedding", "model.tied", "train with tied: true")
    if config.norm_eps != _MARIAN_EPS:
        raise ConfigError(
            f"Marian's norms add {_MARIAN_EPS}, not {config.norm_eps}", "model.norm_eps", f"train with {_MARIAN_EPS}"
        )
    sizes = {
        f"{side}_{key}": value
        for side in ("encoder", "decoder")
        for key, value in (("attention_heads", config.n_heads), ("ffn_dim", config.ff_width), ("layerdrop", 0.0))
    }
    return {
        "architectures": ["MarianMTModel"],
        "is_encoder_decoder": True,
        "encoder_layers": config.encoder_layers,
        "decoder_layers": config.n_layers,
        **sizes,
        "d_model": config.d_model,
        "max_position_embeddings": config.max_len,
        "dropout": config.dropout,
        "attention_dropout": config.dropout,
        "activation_dropout": 0.0,
        "activation_function": config.activation,
        "scale_embedding": config.scale_embedding,
        "tie_word_embeddings": True,
        # Marian's defaults for these lie outside of a small vocabulary
        "decoder_start_token_id": 0,
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
        "forced_eos_token_id": None,
    }


_MARIAN_FIXED: dict[str, tuple[Any, ...]] = {
    "is_encoder_decoder": (True,),
    "activation_function": tuple(_MARIAN_ACTIVATIONS),
    "tie_word_embeddings": (True,),
    "normalize_before": _NO,
    "normalize_embedding": _NO,
    "add_final_layer_norm": _NO,
    "static_position_embeddings": (True,),
}
_MARIAN_SINES = ("embed_positions.weight",)

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
    "rnn_lm": Spelling(
        "rnn_lm",
        "rnn_lm",
        keys.RNN,
        "",
        (),
        {"rnn_type": tuple(_CELLS)},
        _read_rnn,
        _write_rnn,
        vocab_size="ntoken",
    ),
    "marian": Spelling(
        "marian",
        "transformer",
        keys.MARIAN,
        "model.",
        _MARIAN_SINES,
        {**_MARIAN_FIXED, "share_encoder_decoder_embeddings": (True,)},
        _read_marian,
        lambda config: {**_write_marian(config), "share_encoder_decoder_embeddings": True},
        copies={
            "model.encoder.embed_tokens.weight": "model.shared.weight",
            "model.decoder.embed_tokens.weight": "model.shared.weight",
            "lm_head.weight": "model.shared.weight",
        },
    ),
    "marian-separate": Spelling(
        "marian",
        "transformer",
        keys.MARIAN_SEPARATE,
        "model.",
        _MARIAN_SINES,
        {**_MARIAN_FIXED, "share_encoder_decoder_embeddings": (False,)},
        _read_marian,
        lambda config: {**_write_marian(config), "share_encoder_decoder_embeddings": False},
        copies={"lm_head.weight": "model.decoder.embed_tokens.weight"},
        vocab_size="decoder_vocab_size",
        source_vocab_size="vocab_size",
    ),
    **ENCODERS,
}


def spelling_of(family_name: str, config: Any, separate: bool = False, padding: int | None = None) -> Spelling:
    """The model type that computes what our model computes.

    Args:
        separate: the source has an embedding of its own.
        padding: the id of the tokenizer's padding token, by which RoBERTa counts positions.

    Raises:
        ConfigError: no other library computes it.
    """
    if family_name not in {spelling.family for spelling in SPELLINGS.values()}:
        raise ConfigError(f"no other library has a class for {family_name}", fix="only its run folder travels")
    if family_name == "transformer":
        return SPELLINGS["marian-separate" if separate else "marian"]
    if family_name in {spelling.family for spelling in ENCODERS.values()}:
        return encoder_spelling(family_name, config, padding)
    return SPELLINGS["qwen3" if getattr(config, "qk_norm", False) else family_name]


def read_config(theirs: Tree, source: Path) -> Foreign:
    """A config.json in our terms.

    Raises:
        CheckpointError: a model type or a setting that our families do not compute, a missing or senseless value.
    """
    where = str(source)
    model_type = theirs.get("model_type")
    known = {spelling.model_type for spelling in SPELLINGS.values()}
    if not isinstance(model_type, str) or model_type not in known:
        fix = f"what can be imported: {', '.join(sorted(known))}"
        raise CheckpointError(f"model_type {model_type!r} is not supported", where, fix)
    separate = model_type == "marian" and theirs.get("share_encoder_decoder_embeddings") is False
    spelling = SPELLINGS["marian-separate" if separate else model_type]
    for key, allowed in {**_ANYWHERE, **spelling.fixed}.items():
        if key in theirs and not any(theirs[key] == value and type(theirs[key]) is type(value) for value in allowed):
            fix = f"only {' or '.join(repr(value) for value in allowed if value is not None) or 'null'} can be imported"
            raise CheckpointError(f"{key} {theirs[key]!r} changes what the model computes", where, fix)
    try:
        tree = spelling.read(theirs)
        config = parse(family(spelling.family).config, tree, "")
        size = _size(theirs[spelling.vocab_size])
        source_size = None if spelling.source_vocab_size is None else _size(theirs[spelling.source_vocab_size])
    except KeyError as error:
        raise CheckpointError(f"'{error.args[0]}' is missing", where, "copy the file again") from None
    except (InputError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"this configuration cannot be imported: {error}", where) from None
    if config.max_len > MAX_POSITIONS:
        raise CheckpointError(f"{config.max_len} positions are more than {MAX_POSITIONS}", where, "lower them")
    return Foreign(spelling, config, size, source_size)


@dataclass(frozen=True)
class _Sizes:
    vocab_size: int = setting(1, "rows of the embedding", low=1)


def _size(value: Any) -> int:
    return parse(_Sizes, {"vocab_size": value}, "").vocab_size


def write_config(
    spelling: Spelling, config: Any, vocab_size: int, special: Tree, source_vocab_size: int | None = None
) -> Tree:
    """A complete config.json.

    Args:
        special: the ids of special tokens, where there is a tokenizer.
        source_vocab_size: where the source has an embedding of its own.

    Raises:
        ConfigError: a setting that the model type does not have.
    """
    sizes = {spelling.vocab_size: vocab_size}
    if spelling.source_vocab_size is not None:
        sizes[spelling.source_vocab_size] = source_vocab_size or vocab_size
    return {
        "model_type": spelling.model_type,
        **spelling.write(config),
        **sizes,
        **special,
        "torch_dtype": "float32",
    }
