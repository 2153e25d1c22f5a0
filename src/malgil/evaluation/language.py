"""How well a left-to-right model predicts a text: loss, perplexity and bits per byte over all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from malgil.data.lanes import Lanes
from malgil.data.store import TokenStore
from malgil.data.windows import EvaluationWindows
from malgil.metrics.language import LanguageScore
from malgil.models.base import CausalLM, State, parameter_device
from malgil.objectives.base import BatchPlan, Specials
from malgil.objectives.causal_lm import StreamBatches, TokenBatch, collate
from malgil.runtime.device import Precision

#: tokens of a batch in evaluation: enough to keep two cores busy, little enough for a laptop
TOKENS_PER_BATCH = {"cpu": 4096, "cuda": 65536}
LOGITS_PER_BATCH = {"cpu": 1 << 25, "cuda": 1 << 29}
#: side-by-side streams when a recurrent model's state is carried; PyTorch's own example takes ten
CARRIED_LANES = 10


@dataclass(frozen=True)
class LanguageEvaluator:
    """Scores a model on one token store.

    Attributes:
        length: tokens of a window; each window is read from an empty state and every token is scored once.
        respect: documents in a window do not see one another.
    """

    store: TokenStore
    specials: Specials
    length: int
    respect: bool
    precision: Precision

    def __call__(self, model: CausalLM, check: Callable[[], None] = lambda: None) -> LanguageScore:
        """The score; `check` is called between batches and may raise to stop."""
        return self._score(model, self.windows(model), check)

    def carried(self, model: CausalLM, check: Callable[[], None] = lambda: None) -> float | None:
        """The loss of a recurrent model whose state is carried through the text, in ten streams side by side.

        None for models with a fixed context, and where the text is shorter than a window. What is left over
        where streams are cut to whole windows is not read.
        """
        lanes = min(CARRIED_LANES, (len(self.store.tokens) - 1) // self.length)
        if model.context is not None or lanes < 1:
            return None
        plan = BatchPlan(lanes)
        streams = StreamBatches(Lanes(self.store, lanes, self.length, seed=0), self.specials, plan)
        batches = (streams(step)[0] for step in range(int(streams.steps_per_epoch)))
        return self._score(model, batches, check).loss

    def windows(self, model: CausalLM) -> Iterator[TokenBatch]:
        """The batches that are scored, as many rows in each as memory allows."""
        windows = EvaluationWindows(self.store, self.length)
        device = parameter_device(model).type
        tokens = min(TOKENS_PER_BATCH.get(device, 4096), LOGITS_PER_BATCH.get(device, 1 << 25) // model.vocab_size)
        rows = max(1, tokens // self.length)
        for first in range(0, len(windows), rows):
            group = [windows.window(i) for i in range(first, min(first + rows, len(windows)))]
            yield collate(group, self.specials, respect=self.respect and model.context is not None)

    def _score(self, model: CausalLM, batches: Iterator[TokenBatch], check: Callable[[], None]) -> LanguageScore:
        device = parameter_device(model)
        training = model.training
        model.eval()
        total, count = torch.zeros((), dtype=torch.float64), 0
        state: State | None = None
        try:
            with torch.no_grad(), self.precision.autocast(device):
                for batch in batches:
                    check()
                    nll, state = _batch_nll(model, batch.to(device), state)
                    total += nll.cpu().double().sum()
                    count += batch.n_targets
        finally:
            model.train(training)
        store = self.store
        return LanguageScore.from_sums(float(total), tokens=count, n_bytes=store.n_bytes, unknown=store.n_unknown)


def _batch_nll(model: CausalLM, batch: TokenBatch, state: State | None) -> tuple[Tensor, State | None]:
    if batch.stream:
        state = model.init_state(*batch.tokens.shape) if batch.fresh else state
        output = model(batch.tokens, state=state)
    else:
        mask = batch.token_mask if model.context is None else None
        output = model(batch.tokens, token_mask=mask, segment_ids=batch.segment_ids)
    return model.nll(output.hidden.flatten(0, 1), batch.targets.flatten()), output.state
