"""Answering: -log p(where an answer begins) - log p(where it ends), over a window on a text (Devlin et al. 2019, 4.2).

    tokens      <|> 어디서 왔니 ? <|> 말길 은 서울 에서 왔다 . <|>
    type_ids     0    0    0   0  0    1   1   1    1    1   1  1
    choices      *                     *   *   *    *    *   *         what may be chosen: the text, or the begin token
    starts                                     7
    ends                                       7

The begin token is chosen where the window does not hold the answer, or where there is none (Devlin et al. 2019, 4.3).
Windows: see `data.answer_store`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from malgil.data.answer_store import AnswerRows, AnswerStore
from malgil.layers.heads import IGNORED
from malgil.models.base import Encoder, Model, State
from malgil.objectives.base import Assembled, Batches, BatchPlan, Objective
from malgil.objectives.rows import RowBatches, padded
from malgil.objectives.texts import TextHead, Texts, collate_texts, freeze_unread, token_vectors

#: the name of the head among the parts
HEAD = "answers"


@dataclass(frozen=True)
class AnswerBatch:
    """Windows on texts, each behind a question.

    Attributes:
        texts: the rows (B, T).
        choices: (B, T) bool, True where an answer may begin or end, and at the begin token.
        targets: (B, 2) int64, where the answer begins and ends; 0, the begin token, where there is none; -100: does not
            count.
        count: how many windows count: all, or none.
    """

    texts: Texts
    choices: Tensor
    targets: Tensor
    count: int

    def to(self, device: torch.device) -> AnswerBatch:
        choices, targets = self.choices.to(device), self.targets.to(device)
        return replace(self, texts=self.texts.to(device), choices=choices, targets=targets)


def collate_answers(rows: AnswerRows, numbers: Sequence[int], *, counted: bool = True) -> AnswerBatch:
    """Some rows as one batch.

    Args:
        counted: False: nothing counts in it.
    """
    choices, _ = padded([rows.visible(row) for row in numbers], fill=False)
    choices[:, 0] = True
    targets = torch.tensor([rows.places(row) for row in numbers])
    if not counted:
        targets = torch.full_like(targets, IGNORED)
    return AnswerBatch(collate_texts(rows, numbers), choices, targets, len(numbers) if counted else 0)


class Answering(Objective[AnswerBatch]):
    """The mean of -log p(start) and -log p(end), summed over windows.

    Args:
        dropout: on the vectors that the head reads.
    """

    requires = Encoder
    terms: ClassVar[dict[str, float]] = {"start": 0.5, "end": 0.5}

    def __init__(self, dropout: float = 0.0) -> None:
        self.dropout = dropout

    def parts(self, body: Model) -> dict[str, nn.Module]:
        return {HEAD: TextHead(body.d_model, 2, self.dropout)}

    def begin(self, body: Model) -> None:
        freeze_unread(body, token_vectors)

    def training_batches(self, store: AnswerStore, body: Model, length: int, plan: BatchPlan) -> Batches:
        """Batches of the store's rows, those of similar length together.

        Raises:
            ConfigError: no room for a question and a text.
        """
        return RowBatches(store.rows, store.rows.lengths, collate_answers, plan)

    def counts(self, batch: AnswerBatch) -> dict[str, int]:
        return {"start": batch.count, "end": batch.count}

    def loss(self, model: Assembled, batch: AnswerBatch, carry: State | None) -> tuple[dict[str, Tensor], State | None]:
        start, end = place_nll(place_log_probs(model, batch), batch)
        return {"start": start, "end": end}, None


def place_log_probs(model: Assembled, batch: AnswerBatch) -> Tensor:
    """(B, T, 2) in fp32: log p of each place as the answer's start and as its end; -inf where there is no choice."""
    logits = model.parts[HEAD](token_vectors(model.body, batch.texts)).float()
    return torch.log_softmax(logits.masked_fill(~batch.choices[..., None], float("-inf")), 1)


def place_nll(log_probs: Tensor, batch: AnswerBatch) -> tuple[Tensor, Tensor]:
    """-log p of the starts and of the ends, each summed over the windows that count."""
    start, end = (
        F.nll_loss(log_probs[..., side], batch.targets[:, side], ignore_index=IGNORED, reduction="sum")
        for side in (0, 1)
    )
    return start, end
