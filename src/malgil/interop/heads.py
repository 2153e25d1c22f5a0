"""Heads of pretraining beside the one for hidden tokens: what stands in `parts` here, and in a class of its own there.

BertForPreTraining      hidden tokens, and whether the second text follows the first
AlbertForPreTraining    hidden tokens, and whether two texts are in their order
ElectraForPreTraining   which tokens were replaced; no head for hidden tokens (its generator is another model)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from malgil.errors import CheckpointError
from malgil.interop import keys
from malgil.interop.weights import Stored
from malgil.layers.feedforward import gelu
from malgil.models.base import Encoder, Model

Logits = Callable[..., Tensor]
Heads = Mapping[str, Tensor]
#: beginnings of our names of a body's head for hidden tokens
MASKED = ("head.", "output_bias")


@dataclass(frozen=True)
class PretrainingHead:
    """A head and the class of theirs that has it.

    Args:
        name: ours, among the parts.
        architecture: their class.
        layers: our linear layers, theirs, and how many scores each gives; None: as many as the model is wide.
        output: what their class calls its scores.
        score: ours, from the tensors of `layers`, a model and its hidden vectors (B, T, D).
        objective: our settings of what it is trained by.
        masked: what their class calls the scores of hidden tokens; None: it has no head for them.
    """

    name: str
    architecture: str
    layers: Mapping[str, tuple[str, int | None]]
    output: str
    score: Callable[[Heads, Encoder, Tensor], Tensor]
    objective: Mapping[str, str]
    masked: str | None = "prediction_logits"

    @property
    def table(self) -> tuple[keys.Rule, ...]:
        """Names of the tensors."""
        return tuple(
            keys.Rule(f"{self.name}.{ours}.{kind}", f"{theirs}.{kind}")
            for ours, (theirs, _) in self.layers.items()
            for kind in ("weight", "bias")
        )

    def of(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The head's own among the tensors of parts; none where it is not there."""
        names = [rule.ours for rule in self.table]
        return {name: state[name] for name in names} if all(name in state for name in names) else {}

    def take(self, stored: dict[str, Stored], config: Any) -> dict[str, Tensor]:
        """The head out of what is stored, where all of it is there.

        Raises:
            CheckpointError: a tensor that does not fit the model.
        """
        shapes: dict[str, tuple[int, ...]] = {}
        for ours, (_, n) in self.layers.items():
            rows = n or config.d_model
            shapes |= {f"{self.name}.{ours}.weight": (rows, config.d_model), f"{self.name}.{ours}.bias": (rows,)}
        wanted = keys.parts(self.table, shapes, config)
        if not all(part.theirs in stored for part in wanted):
            return {}
        for part in wanted:
            found = stored[part.theirs]
            if found.shape != part.shape or not found.floating:
                what = f"wrongly shaped or quantised tensor: {part.theirs} {found.shape}, expected {part.shape}"
                raise CheckpointError(what, fix="the weights do not belong to this config.json")
        return keys.to_ours(wanted, lambda name: stored.pop(name).read())

    def keeps(self, name: str) -> bool:
        """Whether their class has a tensor of the body's of that name."""
        return self.masked is not None or not name.startswith(MASKED)

    def outputs(self, model: Model, state: Heads) -> dict[str, Logits]:
        """Scores from tokens (B, T), by what their class calls them."""
        assert isinstance(model, Encoder)
        masked = {} if self.masked is None else {self.masked: lambda ids: model.logits(model(ids).hidden)}
        return {**masked, self.output: lambda ids: self.score(state, model, model(ids).hidden)}


def _of_pairs(state: Heads, model: Encoder, hidden: Tensor) -> Tensor:
    return F.linear(model.pooled(hidden[:, 0]), state["sentence.linear.weight"], state["sentence.linear.bias"])


def _of_tokens(state: Heads, model: Encoder, hidden: Tensor) -> Tensor:
    dense, output = (
        {kind: state[f"discriminator.{layer}.{kind}"] for kind in ("weight", "bias")} for layer in ("dense", "output")
    )
    return F.linear(gelu(F.linear(hidden, **dense), "gelu"), **output).squeeze(-1)


#: by their model type
HEADS: dict[str, PretrainingHead] = {
    "bert": PretrainingHead(
        "sentence",
        "BertForPreTraining",
        {"linear": ("cls.seq_relationship", 2)},
        "seq_relationship_logits",
        _of_pairs,
        {"name": "masked_lm", "also": "next_sentence"},
    ),
    "albert": PretrainingHead(
        "sentence",
        "AlbertForPreTraining",
        {"linear": ("sop_classifier.classifier", 2)},
        "sop_logits",
        _of_pairs,
        {"name": "masked_lm", "also": "sentence_order"},
    ),
    "electra": PretrainingHead(
        "discriminator",
        "ElectraForPreTraining",
        {
            "dense": ("discriminator_predictions.dense", None),
            "output": ("discriminator_predictions.dense_prediction", 1),
        },
        "logits",
        _of_tokens,
        {"name": "replaced_tokens"},
        masked=None,
    ),
}
