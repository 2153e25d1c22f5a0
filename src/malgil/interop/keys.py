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
    """

    ours: str
    theirs: str | tuple[str, ...]
    transposed: bool = False
    as_row: bool = False
    rows: Callable[[Any], tuple[int, ...]] | None = None


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


# Marian's layers: ours, and theirs that are stacked into it; each has a weight and a bias
_MARIAN_PARTS = {
    "encoder.{i}.attention.qkv": [f"encoder.layers.{{i}}.self_attn.{part}_proj" for part in "qkv"],
    "encoder.{i}.attention.output": ["encoder.layers.{i}.self_attn.out_proj"],
    "encoder.{i}.norm1": ["encoder.layers.{i}.self_attn_layer_norm"],
    "encoder.{i}.feed_forward.up": ["encoder.layers.{i}.fc1"],
    "encoder.{i}.feed_forward.down": ["encoder.layers.{i}.fc2"],
    "encoder.{i}.norm2": ["encoder.layers.{i}.final_layer_norm"],
    "decoder.{i}.attention.qkv": [f"decoder.layers.{{i}}.self_attn.{part}_proj" for part in "qkv"],
    "decoder.{i}.attention.output": ["decoder.layers.{i}.self_attn.out_proj"],
    "decoder.{i}.norm1": ["decoder.layers.{i}.self_attn_layer_norm"],
    "decoder.{i}.cross_attention.query": ["decoder.layers.{i}.encoder_attn.q_proj"],
    "decoder.{i}.cross_attention.key_value": [f"decoder.layers.{{i}}.encoder_attn.{part}_proj" for part in "kv"],
    "decoder.{i}.cross_attention.output": ["decoder.layers.{i}.encoder_attn.out_proj"],
    "decoder.{i}.norm2": ["decoder.layers.{i}.encoder_attn_layer_norm"],
    "decoder.{i}.feed_forward.up": ["decoder.layers.{i}.fc1"],
    "decoder.{i}.feed_forward.down": ["decoder.layers.{i}.fc2"],
    "decoder.{i}.norm3": ["decoder.layers.{i}.final_layer_norm"],
}
_MARIAN = (
    Rule("output_bias", "final_logits_bias", as_row=True),
    *(
        Rule(f"{ours}.{kind}", tuple(f"model.{name}.{kind}" for name in theirs))
        for ours, theirs in _MARIAN_PARTS.items()
        for kind in ("weight", "bias")
    ),
)
MARIAN = (Rule("embedding.weight", "model.shared.weight"), *_MARIAN)
MARIAN_SEPARATE = (
    Rule("embedding.weight", "model.decoder.embed_tokens.weight"),
    Rule("source_embedding.weight", "model.encoder.embed_tokens.weight"),
    *_MARIAN,
)


@dataclass(frozen=True)
class Part:
    """One tensor of theirs: rows `start` to `stop` of `ours`."""

    ours: str
    theirs: str
    start: int
    stop: int
    transposed: bool
    as_row: bool
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
            theirs = (1, count) if rule.as_row else (count, *shape[1:])
            theirs = theirs[::-1] if rule.transposed else theirs
            stop = start + count
            result.append(Part(ours, name.replace("{i}", layer), start, stop, rule.transposed, rule.as_row, theirs))
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
        result[part.theirs] = rows.reshape(part.shape).cpu().clone(memory_format=torch.contiguous_format)
    return result


def to_ours(wanted: Iterable[Part], read: Callable[[str], Tensor]) -> dict[str, Tensor]:
    """Their tensors under our names in fp32; `read` gives one by its name, in the shape of its part."""
    pieces: dict[str, list[Tensor]] = {}
    for part in wanted:
        tensor = read(part.theirs).float()
        tensor = tensor.squeeze(0) if part.as_row else tensor
        pieces.setdefault(part.ours, []).append(tensor.t() if part.transposed else tensor)
    return {name: (rows[0] if len(rows) == 1 else torch.cat(rows)).contiguous() for name, rows in pieces.items()}
