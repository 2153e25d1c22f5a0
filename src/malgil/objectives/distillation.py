"""Distillation: a small model learns what a large one holds likely (Hinton et al. 2015; Sanh et al. 2019, DistilBERT).

    teacher  <|> 물 이 [] 른 다 <|>      흐 0.81  거 0.06  부 0.02 ...      -- soft targets, at the hidden places
    student  <|> 물 이 [] 른 다 <|>      흐 0.42  가 0.11  거 0.03 ...      -- 흐: what stood there

    loss = 5 x T^2 KL(teacher || student), both softened by the temperature T, a hidden token
         + 2 x -log p(hidden token)
         + 1 x 1 - cos(teacher's vector, student's vector), a token

The student is as wide as its teacher and begins with every second of its layers. The teacher is frozen, learns nothing
and is no part of what is saved.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from malgil.errors import ConfigError
from malgil.models.base import Encoder, Model, State
from malgil.objectives.base import Assembled
from malgil.objectives.masked_lm import MaskedBatch, MaskedLanguageModelling, hidden_vectors
from malgil.objectives.masking import Masking


class Distillation(MaskedLanguageModelling):
    """Soft targets, hidden tokens and directions of hidden vectors; each summed.

    Args:
        teacher: loads it; called when it is needed first.
        temperature: by which scores are divided before they become soft targets; 1 leaves them.
    """

    terms: ClassVar[dict[str, float]] = {"soft": 5.0, "mlm": 2.0, "cosine": 1.0}

    def __init__(self, masking: Masking, teacher: Callable[[], Encoder], temperature: float = 2.0) -> None:
        super().__init__(masking)
        self._load, self.temperature = teacher, temperature

    @cached_property
    def teacher(self) -> Encoder:
        """Frozen, and outside of what is trained."""
        return self._load().eval().requires_grad_(False)

    def begin(self, body: Model) -> None:
        start_from(body, self.teacher)
        super().begin(body)

    def counts(self, batch: MaskedBatch) -> dict[str, int]:
        return {"soft": len(batch.positions), **super().counts(batch), "cosine": len(batch.real)}

    def loss(self, model: Assembled, batch: MaskedBatch, carry: State | None) -> tuple[dict[str, Tensor], State | None]:
        body, real = model.body, batch.real
        with torch.no_grad():
            teacher = self.teacher.to(batch.tokens.device)
            taught = hidden_vectors(teacher, batch)
            soft = teacher.logits(taught.index_select(0, batch.positions)).float()
        hidden = hidden_vectors(body, batch)
        scores = body.logits(hidden.index_select(0, batch.positions)).float()
        cosine = F.cosine_similarity(hidden.index_select(0, real).float(), taught.index_select(0, real).float(), dim=-1)
        return {
            "soft": soft_loss(scores, soft[:, : scores.shape[1]], self.temperature),
            "mlm": F.cross_entropy(scores, batch.targets, reduction="sum"),
            "cosine": (1 - cosine).sum(),
        }, None


def soft_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)), summed over scores (N, V).

    T^2 keeps the size of the gradient, which falls with the temperature as 1 / T^2 (Hinton et al. 2015, section 2).
    """
    log_p, log_q = (scores.div(temperature).log_softmax(-1) for scores in (teacher, student))
    return F.kl_div(log_q, log_p, reduction="sum", log_target=True) * temperature**2


@torch.no_grad()
def start_from(student: Model, teacher: Model) -> None:
    """Give a student of n layers the weights of the teacher, of whose N layers it takes number floor(i N / n).

    A student without types has those of a first text in its positions. Of a teacher with more rows in its embedding
    than there are tokens, the first ones are taken.

    Raises:
        ConfigError: the student is not the teacher with fewer layers.
    """
    known = {name: tensor.to(next(student.parameters()).device) for name, tensor in teacher.state_dict().items()}
    if "type_embedding.weight" in known and "type_embedding.weight" not in student.state_dict():
        known["position_embedding.weight"] = known["position_embedding.weight"] + known["type_embedding.weight"][0]
    n_student, n_teacher = (_depth(model) for model in (student, teacher))
    for name, tensor in student.state_dict().items():
        taken = known.get(re.sub(r"(?<=^layers\.)\d+", lambda layer: str(int(layer[0]) * n_teacher // n_student), name))
        if taken is not None and len(taken) == teacher.vocab_size and len(tensor) == student.vocab_size:
            taken = taken[: student.vocab_size]
        if taken is None or taken.shape != tensor.shape:
            raise ConfigError(
                f"the student's tensor '{name}' is {tuple(tensor.shape)}, its teacher has "
                + ("none" if taken is None else f"{tuple(taken.shape)}"),
                "model",
                "leave the model's settings out, but for n_layers and dropout",
            )
        tensor.copy_(taken)


def _depth(model: Model) -> int:
    """The number of layers that have names of their own."""
    return 1 + max((int(n[1]) for name in model.state_dict() if (n := re.match(r"layers\.(\d+)\.", name))), default=0)
