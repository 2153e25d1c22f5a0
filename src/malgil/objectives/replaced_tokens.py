"""Replaced token detection: which tokens of a text are not its own? (Clark et al. 2020, ELECTRA)

    text             <|> 물 이 흐 른 다 . <|>
    generator reads  <|> 물 [] 흐 [] 다 . <|>        a small masked language model
    and draws               이     리                from its distribution, one of them right by chance
    body reads       <|> 물 이 흐 리 다 . <|>
    labels            0  0  0  0  1  0  0  0         asked at every token, and not at 15 % of them

    loss = generator's -log p(hidden token) + 50 x discriminator's -log p(label)

Nothing is learnt through the draws: the generator is trained as any masked language model and not to deceive. Both
share their embeddings (3.2), so the generator is narrow but for these. It is needed for pretraining alone and
stands among the parts; the body is the discriminator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from malgil.data.store import TokenStore
from malgil.layers.feedforward import gelu
from malgil.models.base import Encoder, Model, State
from malgil.objectives.base import Assembled, Batches, BatchPlan
from malgil.objectives.masked_lm import MaskedBatch, MaskedBatches, MaskedLanguageModelling, hidden_vectors, row_room
from malgil.objectives.masking import Masking
from malgil.objectives.texts import INITIAL, freeze_unread, token_vectors

#: the names of the parts
GENERATOR, DISCRIMINATOR = "generator", "discriminator"
#: how often the discriminator's loss counts (Clark et al. 2020, appendix A)
DISCRIMINATOR_WEIGHT = 50.0
#: scores of tokens that are computed at a time where tokens are drawn
_LOGITS = 1 << 20


class Replaced(NamedTuple):
    """What the discriminator reads, and is asked.

    Attributes:
        tokens: (B, T), with what was drawn at the hidden places.
        labels: (R,) bool, True where a token is not the text's own; a label for each place of `MaskedBatch.real`.
    """

    tokens: Tensor
    labels: Tensor


class DiscriminatorHead(nn.Module):
    """dense, GELU, dense: (..., D) -> (...), the score of 'replaced'."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.output = nn.Linear(width, 1)
        for layer in (self.dense, self.output):
            nn.init.normal_(layer.weight, std=INITIAL)
            nn.init.zeros_(layer.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.output(gelu(self.dense(hidden), "gelu")).squeeze(-1)  # type: ignore[no-any-return]


class ReplacedTokenDetection(MaskedLanguageModelling):
    """The generator's -log p(hidden token), and the discriminator's -log p(label) of all tokens, each summed.

    Args:
        generator: makes a new one, whose embeddings are as wide as the body's.
    """

    terms: ClassVar[dict[str, float]] = {"mlm": 1.0, "rtd": DISCRIMINATOR_WEIGHT}

    def __init__(self, masking: Masking, generator: Callable[[], Encoder]) -> None:
        super().__init__(masking)
        self.generator = generator

    def parts(self, body: Model) -> dict[str, nn.Module]:
        """The generator, which has the body's embeddings, and the discriminator's head."""
        generator = self.generator()
        for name, module in body.named_children():
            if isinstance(module, nn.Embedding):  # of tokens, positions and types
                setattr(generator, name, module)
        freeze_unread(generator, lambda generator, texts: generator.logits(token_vectors(generator, texts)))
        return {GENERATOR: generator, DISCRIMINATOR: DiscriminatorHead(body.d_model)}

    def begin(self, body: Model) -> None:
        freeze_unread(body, token_vectors)

    def training_batches(self, store: TokenStore, body: Model, length: int, plan: BatchPlan) -> Batches:
        """As those of masked language models, with noise for the draws."""
        readings = self.readings(store, length, plan.seed)
        return MaskedBatches(readings, self.masking, plan, row_room(body, length), noisy=True)

    def counts(self, batch: MaskedBatch) -> dict[str, int]:
        return {**super().counts(batch), "rtd": len(batch.real)}

    def loss(self, model: Assembled, batch: MaskedBatch, carry: State | None) -> tuple[dict[str, Tensor], State | None]:
        generator = generator_of(model)
        hidden = hidden_vectors(generator, batch).index_select(0, batch.positions)
        nll = generator.nll(hidden, batch.targets).sum()
        replaced = replace_tokens(generator, hidden, batch)
        logits = replaced_logits(model, replaced, batch)
        detection = F.binary_cross_entropy_with_logits(logits, replaced.labels.to(logits.dtype), reduction="sum")
        return {"mlm": nll, "rtd": detection}, None


def generator_of(model: Assembled) -> Encoder:
    """The generator among the parts."""
    generator = model.parts[GENERATOR]
    assert isinstance(generator, Encoder)
    return generator


def replace_tokens(generator: Encoder, hidden: Tensor, batch: MaskedBatch) -> Replaced:
    """Put tokens that the generator draws in the hidden places.

    Args:
        hidden: (N, D), what the generator makes of the hidden places.
    """
    assert batch.noise is not None
    drawn = draw_tokens(generator, hidden, batch.noise)
    flat = batch.tokens.flatten()
    labels = torch.zeros_like(flat, dtype=torch.bool).index_put((batch.positions,), drawn != batch.targets)
    tokens = flat.index_put((batch.positions,), drawn)
    return Replaced(tokens.view_as(batch.tokens), labels.index_select(0, batch.real))


def replaced_logits(model: Assembled, replaced: Replaced, batch: MaskedBatch) -> Tensor:
    """(R,) in fp32: scores of 'replaced' for all real tokens."""
    output = model.body(replaced.tokens, token_mask=batch.token_mask, segment_ids=batch.segment_ids)
    logits: Tensor = model.parts[DISCRIMINATOR](output.hidden.flatten(0, 1).index_select(0, batch.real))
    return logits.float()


@torch.no_grad()
def draw_tokens(model: Model, hidden: Tensor, noise: Tensor) -> Tensor:
    """(N,): a token for each hidden vector (N, D), drawn from the model's distribution by the noise (N,) in [0, 1).

    The first token at which the probabilities, added up in the order of ids, exceed the noise.
    """
    rows = max(1, _LOGITS // model.vocab_size)
    drawn = []
    for vectors, draws in zip(torch.split(hidden, rows), torch.split(noise, rows), strict=True):
        upto = model.logits(vectors).float().softmax(-1).cumsum(-1)
        wanted = draws.to(upto.dtype)[:, None] * upto[:, -1:]
        drawn.append(torch.searchsorted(upto, wanted, right=True).clamp(max=model.vocab_size - 1).squeeze(1))
    return torch.cat(drawn)
