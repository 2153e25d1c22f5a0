"""config.json of the encoder-only models of other libraries: BERT, RoBERTa, DistilBERT, ELECTRA, ALBERT, ModernBERT.

Their classes for masked language models are what is written. What a checkpoint holds beside (the layers of other tasks)
is left out, and a body without its head gets a new one; both are said.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from malgil.config import Tree
from malgil.errors import ConfigError
from malgil.interop import keys
from malgil.interop.heads import MASKED
from malgil.interop.spelling import Spelling
from malgil.models.albert import AlbertConfig
from malgil.models.bert import BertConfig
from malgil.models.modernbert import ModernBertConfig

#: the padding token of RoBERTa, behind which its positions begin
ROBERTA_PADDING = 1
_DISTILBERT_EPS = 1e-12  # a constant of its class


def _read_bert(theirs: Tree) -> Tree:
    return {
        "n_layers": theirs["num_hidden_layers"],
        "n_heads": theirs["num_attention_heads"],
        "d_model": theirs["hidden_size"],
        "d_ff": theirs["intermediate_size"],
        "max_len": theirs["max_position_embeddings"],
        "n_types": theirs.get("type_vocab_size", 2),
        "dropout": max(theirs.get("hidden_dropout_prob", 0.1), theirs.get("attention_probs_dropout_prob", 0.1)),
        "norm_eps": theirs.get("layer_norm_eps", 1e-12),
    }


def _write_bert(config: BertConfig | AlbertConfig, name: str = "Bert") -> Tree:
    return {
        "architectures": [f"{name}ForMaskedLM"],
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff or 4 * config.d_model,
        "max_position_embeddings": config.max_len,
        "type_vocab_size": config.n_types,
        "hidden_act": "gelu",
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.dropout,
        "layer_norm_eps": config.norm_eps,
        "position_embedding_type": "absolute",
        "tie_word_embeddings": True,
        "pad_token_id": None,  # their default may be a token of a text
    }


def _read_roberta(theirs: Tree) -> Tree:
    return {**_read_bert(theirs), "max_len": theirs["max_position_embeddings"] - ROBERTA_PADDING - 1}


def _write_roberta(config: BertConfig) -> Tree:
    positions = config.max_len + ROBERTA_PADDING + 1
    return {
        **_write_bert(config, "Roberta"),
        "max_position_embeddings": positions,
        "pad_token_id": ROBERTA_PADDING,
    }


def _read_electra(theirs: Tree) -> Tree:
    return {**_read_bert(theirs), "d_embedding": theirs["embedding_size"]}


def _write_electra(config: BertConfig) -> Tree:
    return {**_write_bert(config, "Electra"), "embedding_size": config.embedding_width}


def _read_distilbert(theirs: Tree) -> Tree:
    return {
        "n_layers": theirs["n_layers"],
        "n_heads": theirs["n_heads"],
        "d_model": theirs["dim"],
        "d_ff": theirs["hidden_dim"],
        "max_len": theirs["max_position_embeddings"],
        "n_types": 0,
        "dropout": max(theirs.get("dropout", 0.1), theirs.get("attention_dropout", 0.1)),
        "norm_eps": _DISTILBERT_EPS,
    }


def _write_distilbert(config: BertConfig) -> Tree:
    for name, theirs in (("norm_eps", _DISTILBERT_EPS), ("d_embedding", None), ("pooler", False)):
        if getattr(config, name) != theirs:
            raise ConfigError(
                f"DistilBERT, the class without types, has no {name} {getattr(config, name)}",
                f"model.{name}",
                f"train with {theirs}, or with types",
            )
    return {
        "architectures": ["DistilBertForMaskedLM"],
        "n_layers": config.n_layers,
        "n_heads": config.n_heads,
        "dim": config.d_model,
        "hidden_dim": config.d_ff or 4 * config.d_model,
        "max_position_embeddings": config.max_len,
        "activation": "gelu",
        "dropout": config.dropout,
        "attention_dropout": config.dropout,
        "tie_word_embeddings": True,
        "pad_token_id": None,
    }


_ALBERT_ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}


def _read_albert(theirs: Tree) -> Tree:
    rates = [theirs.get(key, 0.0) for key in ("hidden_dropout_prob", "attention_probs_dropout_prob")]
    return {
        **_read_bert(theirs),
        "d_embedding": theirs["embedding_size"],
        "activation": _ALBERT_ACTIVATIONS[theirs.get("hidden_act", "gelu_new")],
        "dropout": max(rates),
    }


def _write_albert(config: AlbertConfig) -> Tree:
    return {
        **_write_bert(config, "Albert"),
        "embedding_size": config.d_embedding,
        "hidden_act": "gelu_new" if config.activation == "gelu_tanh" else "gelu",
        "num_hidden_groups": 1,
        "inner_group_num": 1,
    }


_GLOBAL, _LOCAL = "full_attention", "sliding_attention"


def _layer_types(n_layers: int, global_every: int) -> list[str]:
    return [_LOCAL if layer % global_every else _GLOBAL for layer in range(n_layers)]


def _global_every(theirs: Tree) -> int:
    """Which layers are global, in the spellings of transformers 4 and 5."""
    n_layers, every = theirs["num_hidden_layers"], theirs.get("global_attn_every_n_layers", 3)
    types = theirs.get("layer_types")
    for candidate in (every, *range(1, len(types or ()) + 1)):
        if types is None or types == _layer_types(n_layers, candidate):
            return int(candidate)
    raise ConfigError(f"layer_types {types} do not come back every few layers")


def _rope_theta(theirs: Tree, kind: str, old: str, otherwise: float) -> float:
    """The base of the rotations in layers of a kind, in the spellings of transformers 5 and 4; scaling is refused."""
    settings = (theirs.get("rope_parameters") or {}).get(kind) or {}
    if theirs.get("rope_scaling") or settings.get("rope_type", "default") != "default":
        raise ConfigError("scaled rotations are not supported")
    theta = settings.get("rope_theta", theirs.get(old))
    return otherwise if theta is None else float(theta)


def _read_modernbert(theirs: Tree) -> Tree:
    theta = _rope_theta(theirs, _GLOBAL, "global_rope_theta", 160_000.0)
    return {
        "n_layers": theirs["num_hidden_layers"],
        "n_heads": theirs["num_attention_heads"],
        "d_model": theirs["hidden_size"],
        "d_ff": theirs["intermediate_size"],
        "max_len": theirs["max_position_embeddings"],
        "dropout": max(theirs.get(f"{part}_dropout", 0.0) for part in ("attention", "embedding", "mlp")),
        "global_every": _global_every(theirs),
        "window": theirs.get("local_attention", 128),
        "rope_theta": theta,
        "local_rope_theta": _rope_theta(theirs, _LOCAL, "local_rope_theta", 10_000.0),
        "norm_eps": theirs.get("norm_eps", 1e-5),
    }


def _write_modernbert(config: ModernBertConfig) -> Tree:
    thetas = {_GLOBAL: config.rope_theta, _LOCAL: config.local_rope_theta}
    roles = ("pad", "bos", "eos", "cls", "sep")
    return {
        "architectures": ["ModernBertForMaskedLM"],
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "hidden_size": config.d_model,
        "intermediate_size": config.ff_width,
        "max_position_embeddings": config.max_len,
        "hidden_activation": "gelu",
        **{f"{part}_dropout": config.dropout for part in ("attention", "embedding", "mlp")},
        "layer_types": _layer_types(config.n_layers, config.global_every),
        "global_attn_every_n_layers": config.global_every,
        "local_attention": config.window,
        "rope_parameters": {kind: {"rope_type": "default", "rope_theta": theta} for kind, theta in thetas.items()},
        "global_rope_theta": config.rope_theta,
        "local_rope_theta": config.local_rope_theta,
        "norm_eps": config.norm_eps,
        "norm_bias": False,
        "attention_bias": False,
        "mlp_bias": False,
        "classifier_bias": False,
        "decoder_bias": True,
        "tie_word_embeddings": True,
        **{f"{role}_token_id": None for role in roles},  # their defaults lie outside of a small vocabulary
    }


_NO = (None, False)
_BERT_FIXED: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("gelu",),
    "position_embedding_type": (None, "absolute"),
    "is_decoder": _NO,
    "tie_word_embeddings": (True,),
}
_POSITIONS = ("embeddings.position_ids",)
_OLD_NORMS = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
_TASKS = ("classifier.", "qa_outputs.")


def _spelling(
    model_type: str,
    family: str,
    table: tuple[keys.Rule, ...],
    prefix: str,
    decoder: str,
    fixed: dict[str, tuple[Any, ...]],
    read: Callable[[Tree], Tree],
    write: Callable[[Any], Tree],
    *,
    bias: str | None = None,
    spare: tuple[str, ...] = (),
    pooler: str | None = None,
) -> Spelling:
    """A row of `ENCODERS`.

    Args:
        decoder: their tied output layer, which older files repeat, and with it the `bias`.
        pooler: their pooler's matrix, in classes that have one.
    """
    copies = {f"{decoder}.weight": next(str(rule.theirs) for rule in table if rule.ours == "embedding.weight")}
    return Spelling(
        model_type,
        family,
        table,
        prefix,
        _POSITIONS,
        fixed,
        read,
        write,
        copies=copies | ({} if bias is None else {f"{decoder}.bias": bias}),
        renamed=_OLD_NORMS,
        spare=(*_TASKS, *spare),
        optional={} if pooler is None else {"pooler": pooler},
        head=MASKED,
    )


ENCODERS: dict[str, Spelling] = {
    "bert": _spelling(
        "bert",
        "bert",
        keys.BERT,
        "bert.",
        "cls.predictions.decoder",
        _BERT_FIXED,
        _read_bert,
        _write_bert,
        bias="cls.predictions.bias",
        spare=("cls.seq_relationship.",),
        pooler="bert.pooler.dense.weight",
    ),
    "roberta": _spelling(
        "roberta",
        "bert",
        keys.ROBERTA,
        "roberta.",
        "lm_head.decoder",
        {**_BERT_FIXED, "pad_token_id": (ROBERTA_PADDING,)},
        _read_roberta,
        _write_roberta,
        bias="lm_head.bias",
        pooler="roberta.pooler.dense.weight",
    ),
    "electra": _spelling(
        "electra",
        "bert",
        keys.ELECTRA,
        "electra.",
        "generator_lm_head",
        _BERT_FIXED,
        _read_electra,
        _write_electra,
        spare=("discriminator_predictions.",),
    ),
    "distilbert": _spelling(
        "distilbert",
        "bert",
        keys.DISTILBERT,
        "distilbert.",
        "vocab_projector",
        {"activation": ("gelu",), "tie_word_embeddings": (True,)},
        _read_distilbert,
        _write_distilbert,
        spare=("pre_classifier.",),
    ),
    "albert": _spelling(
        "albert",
        "albert",
        keys.ALBERT,
        "albert.",
        "predictions.decoder",
        {
            **_BERT_FIXED,
            "hidden_act": tuple(_ALBERT_ACTIVATIONS),
            "num_hidden_groups": (1,),
            "inner_group_num": (1,),
        },
        _read_albert,
        _write_albert,
        bias="predictions.bias",
        spare=("sop_classifier.",),
        pooler="albert.pooler.weight",
    ),
    "modernbert": _spelling(
        "modernbert",
        "modernbert",
        keys.MODERNBERT,
        "model.",
        "decoder",
        {
            "hidden_activation": ("gelu",),
            "classifier_activation": ("gelu",),
            **dict.fromkeys(("norm_bias", "attention_bias", "mlp_bias", "classifier_bias"), _NO),
            "decoder_bias": (True,),
            "tie_word_embeddings": (True,),
        },
        _read_modernbert,
        _write_modernbert,
    ),
}


def encoder_spelling(family_name: str, config: Any, padding: int | None) -> Spelling:
    """The model type of an encoder of ours; arguments as of `configs.spelling_of`."""
    if family_name != "bert":
        return ENCODERS[family_name]
    if config.n_types == 0:
        return ENCODERS["distilbert"]
    if config.d_embedding is not None:
        return ENCODERS["electra"]
    # without a padding token where RoBERTa needs it, BERT with one type computes the same
    return ENCODERS["roberta" if config.n_types == 1 and padding == ROBERTA_PADDING else "bert"]
