"""How others name our tensors: one table a family, read from left to right by export and from right to left by import.

A row names a tensor of ours and the tensors of theirs that hold the same numbers; `{i}` is the layer. Several
of theirs are the rows of ours, one below the other. GPT-2's checkpoints store linear maps as (in, out), the
transpose of PyTorch's (out, in). A tensor that a configuration does not have (a tied output layer, the
norms of queries and keys) has no counterpart either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from malgil.errors import CheckpointError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Rule:
    """A row of a key table.

    Args:
        ours: name in our model.
        theirs: their name, or the names of the tensors that are stacked into ours.
        transposed: theirs is (in, out).
        as_row: theirs is a matrix of one row, ours a vector.
        rows: how many rows of ours each of theirs has, from our configuration; equal parts when left out.
        unused: rows at the beginning of theirs that their model never reads and ours does not have.
    """

    ours: str
    theirs: str | tuple[str, ...]
    transposed: bool = False
    as_row: bool = False
    rows: Callable[[Any], tuple[int, ...]] | None = None
    unused: int = 0


GPT2 = (
    Rule("embedding.weight", "transformer.wte.weight"),
    Rule("position_embedding.weight", "transformer.wpe.weight"),
    Rule("layers.{i}.norm1.weight", "transformer.h.{i}.ln_1.weight"),
    Rule("layers.{i}.norm1.bias", "transformer.h.{i}.ln_1.bias"),
    Rule("layers.{i}.attention.qkv.weight", "transformer.h.{i}.attn.c_attn.weight", transposed=True),
    Rule("layers.{i}.attention.qkv.bias", "transformer.h.{i}.attn.c_attn.bias"),
    Rule("layers.{i}.attention.output.weight", "transformer.h.{i}.attn.c_proj.weight", transposed=True),
    Rule("layers.{i}.attention.output.bias", "transformer.h.{i}.attn.c_proj.bias"),
    Rule("layers.{i}.norm2.weight", "transformer.h.{i}.ln_2.weight"),
    Rule("layers.{i}.norm2.bias", "transformer.h.{i}.ln_2.bias"),
    Rule("layers.{i}.feed_forward.up.weight", "transformer.h.{i}.mlp.c_fc.weight", transposed=True),
    Rule("layers.{i}.feed_forward.up.bias", "transformer.h.{i}.mlp.c_fc.bias"),
    Rule("layers.{i}.feed_forward.down.weight", "transformer.h.{i}.mlp.c_proj.weight", transposed=True),
    Rule("layers.{i}.feed_forward.down.bias", "transformer.h.{i}.mlp.c_proj.bias"),
    Rule("norm.weight", "transformer.ln_f.weight"),
    Rule("norm.bias", "transformer.ln_f.bias"),
    Rule("head.weight", "lm_head.weight"),
)

LLAMA = (
    Rule("embedding.weight", "model.embed_tokens.weight"),
    Rule("layers.{i}.norm1.weight", "model.layers.{i}.input_layernorm.weight"),
    Rule("layers.{i}.attention.query.weight", "model.layers.{i}.self_attn.q_proj.weight"),
    Rule("layers.{i}.attention.key.weight", "model.layers.{i}.self_attn.k_proj.weight"),
    Rule("layers.{i}.attention.value.weight", "model.layers.{i}.self_attn.v_proj.weight"),
    Rule("layers.{i}.attention.output.weight", "model.layers.{i}.self_attn.o_proj.weight"),
    Rule("layers.{i}.attention.query_norm.weight", "model.layers.{i}.self_attn.q_norm.weight"),
    Rule("layers.{i}.attention.key_norm.weight", "model.layers.{i}.self_attn.k_norm.weight"),
    Rule("layers.{i}.norm2.weight", "model.layers.{i}.post_attention_layernorm.weight"),
    Rule("layers.{i}.feed_forward.gate.weight", "model.layers.{i}.mlp.gate_proj.weight"),
    Rule("layers.{i}.feed_forward.up.weight", "model.layers.{i}.mlp.up_proj.weight"),
    Rule("layers.{i}.feed_forward.down.weight", "model.layers.{i}.mlp.down_proj.weight"),
    Rule("norm.weight", "model.norm.weight"),
    Rule("head.weight", "lm_head.weight"),
)

# the names of PyTorch's own word language model
RNN = (
    Rule("embedding.weight", "encoder.weight"),
    Rule("recurrent.weight_ih_l{i}", "rnn.weight_ih_l{i}"),
    Rule("recurrent.weight_hh_l{i}", "rnn.weight_hh_l{i}"),
    Rule("recurrent.bias_ih_l{i}", "rnn.bias_ih_l{i}"),
    Rule("recurrent.bias_hh_l{i}", "rnn.bias_hh_l{i}"),
    Rule("head.weight", "decoder.weight"),
)


def _both(layers: Mapping[str, str | list[str]], prefix: str = "") -> tuple[Rule, ...]:
    """Weight and bias of layers: ours, and theirs or those that are stacked into it."""
    names = {ours: [theirs] if isinstance(theirs, str) else theirs for ours, theirs in layers.items()}
    return tuple(
        Rule(f"{ours}.{kind}", tuple(f"{prefix}{name}.{kind}" for name in theirs))
        for ours, theirs in names.items()
        for kind in ("weight", "bias")
    )


_MARIAN_PARTS: dict[str, str | list[str]] = {
    "encoder.{i}.attention.qkv": [f"encoder.layers.{{i}}.self_attn.{part}_proj" for part in "qkv"],
    "encoder.{i}.attention.output": "encoder.layers.{i}.self_attn.out_proj",
    "encoder.{i}.norm1": "encoder.layers.{i}.self_attn_layer_norm",
    "encoder.{i}.feed_forward.up": "encoder.layers.{i}.fc1",
    "encoder.{i}.feed_forward.down": "encoder.layers.{i}.fc2",
    "encoder.{i}.norm2": "encoder.layers.{i}.final_layer_norm",
    "decoder.{i}.attention.qkv": [f"decoder.layers.{{i}}.self_attn.{part}_proj" for part in "qkv"],
    "decoder.{i}.attention.output": "decoder.layers.{i}.self_attn.out_proj",
    "decoder.{i}.norm1": "decoder.layers.{i}.self_attn_layer_norm",
    "decoder.{i}.cross_attention.query": "decoder.layers.{i}.encoder_attn.q_proj",
    "decoder.{i}.cross_attention.key_value": [f"decoder.layers.{{i}}.encoder_attn.{part}_proj" for part in "kv"],
    "decoder.{i}.cross_attention.output": "decoder.layers.{i}.encoder_attn.out_proj",
    "decoder.{i}.norm2": "decoder.layers.{i}.encoder_attn_layer_norm",
    "decoder.{i}.feed_forward.up": "decoder.layers.{i}.fc1",
    "decoder.{i}.feed_forward.down": "decoder.layers.{i}.fc2",
    "decoder.{i}.norm3": "decoder.layers.{i}.final_layer_norm",
}
_MARIAN = (Rule("output_bias", "final_logits_bias", as_row=True), *_both(_MARIAN_PARTS, "model."))
MARIAN = (Rule("embedding.weight", "model.shared.weight"), *_MARIAN)
MARIAN_SEPARATE = (
    Rule("embedding.weight", "model.decoder.embed_tokens.weight"),
    Rule("source_embedding.weight", "model.encoder.embed_tokens.weight"),
    *_MARIAN,
)


def _bert(body: str, head: Mapping[str, str | list[str]], bias: str, unused: int = 0) -> tuple[Rule, ...]:
    """BERT's layers under a body's prefix; the masked-language-model head has another name in each class."""
    embeddings, layer = f"{body}.embeddings", f"{body}.encoder.layer.{{i}}"
    return (
        Rule("embedding.weight", f"{embeddings}.word_embeddings.weight"),
        Rule("position_embedding.weight", f"{embeddings}.position_embeddings.weight", unused=unused),
        Rule("type_embedding.weight", f"{embeddings}.token_type_embeddings.weight"),
        Rule("output_bias", bias),
        *_both(
            {
                "norm": f"{embeddings}.LayerNorm",
                "projection": f"{body}.embeddings_project",
                "layers.{i}.attention.qkv": [f"{layer}.attention.self.{part}" for part in ("query", "key", "value")],
                "layers.{i}.attention.output": f"{layer}.attention.output.dense",
                "layers.{i}.norm1": f"{layer}.attention.output.LayerNorm",
                "layers.{i}.feed_forward.up": f"{layer}.intermediate.dense",
                "layers.{i}.feed_forward.down": f"{layer}.output.dense",
                "layers.{i}.norm2": f"{layer}.output.LayerNorm",
                "pooler": f"{body}.pooler.dense",
                **head,
            }
        ),
    )


BERT = _bert(
    "bert",
    {"head.dense": "cls.predictions.transform.dense", "head.norm": "cls.predictions.transform.LayerNorm"},
    "cls.predictions.bias",
)
# RoBERTa counts positions from its padding token's id 1 on: the first two are never read
ROBERTA = _bert("roberta", {"head.dense": "lm_head.dense", "head.norm": "lm_head.layer_norm"}, "lm_head.bias", unused=2)
ELECTRA = _bert(
    "electra",
    {"head.dense": "generator_predictions.dense", "head.norm": "generator_predictions.LayerNorm"},
    "generator_lm_head.bias",
)
_DISTILBERT_LAYER = "distilbert.transformer.layer.{i}"
DISTILBERT = (
    Rule("embedding.weight", "distilbert.embeddings.word_embeddings.weight"),
    Rule("position_embedding.weight", "distilbert.embeddings.position_embeddings.weight"),
    Rule("output_bias", "vocab_projector.bias"),
    *_both(
        {
            "norm": "distilbert.embeddings.LayerNorm",
            "layers.{i}.attention.qkv": [f"{_DISTILBERT_LAYER}.attention.{part}_lin" for part in "qkv"],
            "layers.{i}.attention.output": f"{_DISTILBERT_LAYER}.attention.out_lin",
            "layers.{i}.norm1": f"{_DISTILBERT_LAYER}.sa_layer_norm",
            "layers.{i}.feed_forward.up": f"{_DISTILBERT_LAYER}.ffn.lin1",
            "layers.{i}.feed_forward.down": f"{_DISTILBERT_LAYER}.ffn.lin2",
            "layers.{i}.norm2": f"{_DISTILBERT_LAYER}.output_layer_norm",
            "head.dense": "vocab_transform",
            "head.norm": "vocab_layer_norm",
        }
    ),
)


_ALBERT_LAYER = "albert.encoder.albert_layer_groups.0.albert_layers.0"
ALBERT = (
    Rule("embedding.weight", "albert.embeddings.word_embeddings.weight"),
    Rule("position_embedding.weight", "albert.embeddings.position_embeddings.weight"),
    Rule("type_embedding.weight", "albert.embeddings.token_type_embeddings.weight"),
    Rule("output_bias", "predictions.bias"),
    *_both(
        {
            "norm": "albert.embeddings.LayerNorm",
            "projection": "albert.encoder.embedding_hidden_mapping_in",
            "block.attention.qkv": [f"{_ALBERT_LAYER}.attention.{part}" for part in ("query", "key", "value")],
            "block.attention.output": f"{_ALBERT_LAYER}.attention.dense",
            "block.norm1": f"{_ALBERT_LAYER}.attention.LayerNorm",
            "block.feed_forward.up": f"{_ALBERT_LAYER}.ffn",
            "block.feed_forward.down": f"{_ALBERT_LAYER}.ffn_output",
            "block.norm2": f"{_ALBERT_LAYER}.full_layer_layer_norm",
            "pooler": "albert.pooler",
            "head.dense": "predictions.dense",
            "head.norm": "predictions.LayerNorm",
        }
    ),
)

MODERNBERT = (
    Rule("embedding.weight", "model.embeddings.tok_embeddings.weight"),
    Rule("embedding_norm.weight", "model.embeddings.norm.weight"),
    Rule("layers.{i}.norm1.weight", "model.layers.{i}.attn_norm.weight"),
    Rule("layers.{i}.attention.qkv.weight", "model.layers.{i}.attn.Wqkv.weight"),
    Rule("layers.{i}.attention.output.weight", "model.layers.{i}.attn.Wo.weight"),
    Rule("layers.{i}.norm2.weight", "model.layers.{i}.mlp_norm.weight"),
    Rule("layers.{i}.feed_forward.up.weight", "model.layers.{i}.mlp.Wi.weight"),
    Rule("layers.{i}.feed_forward.down.weight", "model.layers.{i}.mlp.Wo.weight"),
    Rule("norm.weight", "model.final_norm.weight"),
    Rule("head.dense.weight", "head.dense.weight"),
    Rule("head.norm.weight", "head.norm.weight"),
    Rule("output_bias", "decoder.bias"),
)


@dataclass(frozen=True)
class Part:
    """One tensor of theirs: rows `start` to `stop` of `ours`, behind `unused` rows."""

    ours: str
    theirs: str
    start: int
    stop: int
    transposed: bool
    as_row: bool
    unused: int
    shape: Shape


def parts(table: Iterable[Rule], shapes: Mapping[str, Shape], config: Any) -> list[Part]:
    """The table written out for a model with tensors of these shapes; every one of them is named by a row."""
    result = []
    for ours, shape in shapes.items():
        rule, layer = _rule(table, ours)
        names = (rule.theirs,) if isinstance(rule.theirs, str) else rule.theirs
        rows = rule.rows(config) if rule.rows else (shape[0] // len(names),) * len(names)
        start = 0
        for name, count in zip(names, rows, strict=True):
            theirs = (1, count) if rule.as_row else (count + rule.unused, *shape[1:])
            theirs = theirs[::-1] if rule.transposed else theirs
            stop, theirs_name = start + count, name.replace("{i}", layer)
            result.append(Part(ours, theirs_name, start, stop, rule.transposed, rule.as_row, rule.unused, theirs))
            start += count
    return result


def _rule(table: Iterable[Rule], name: str) -> tuple[Rule, str]:
    """The row for one of our tensors, and its layer."""
    for rule in table:
        before, numbered, after = rule.ours.partition("{i}")
        layer = name[len(before) : len(name) - len(after)] if numbered else ""
        if before + layer + after == name and (layer.isdecimal() if numbered else True):
            return rule, layer
    raise CheckpointError(f"no other library has a tensor like '{name}'", fix="only the families' own tensors travel")


def to_theirs(table: Iterable[Rule], state: Mapping[str, Tensor], config: Any) -> dict[str, Tensor]:
    """Our tensors under their names, each with memory of its own."""
    result = {}
    for part in parts(table, {name: tuple(t.shape) for name, t in state.items()}, config):
        rows = state[part.ours].detach()[part.start : part.stop]
        rows = rows.t() if part.transposed else rows
        if part.unused:
            rows = torch.cat((rows.new_zeros(part.unused, *rows.shape[1:]), rows))
        result[part.theirs] = rows.reshape(part.shape).cpu().clone(memory_format=torch.contiguous_format)
    return result


def to_ours(wanted: Iterable[Part], read: Callable[[str], Tensor]) -> dict[str, Tensor]:
    """Their tensors under our names in fp32; `read` gives one by its name, in the shape of its part."""
    pieces: dict[str, list[Tensor]] = {}
    for part in wanted:
        tensor = read(part.theirs).float()
        tensor = tensor.squeeze(0) if part.as_row else tensor[part.unused :]
        pieces.setdefault(part.ours, []).append(tensor.t() if part.transposed else tensor)
    return {name: (rows[0] if len(rows) == 1 else torch.cat(rows)).contiguous() for name, rows in pieces.items()}
