"""One decoding loop for recurrent and attention models, with and without a source: it sees only `State`.

    prompts, padded right -> one pass -> state of every prompt -> a copy of the row for each sample
    then, a token at a time:  last tokens (B, 1) + state -> logits (B, V) -> choice -> finished rows leave

A model with a fixed context goes on beyond it: when a row's context is full, the row reads its newest
half again from position 0 and continues, so that it always sees between half and all of its context. A model that
reads a source does not: its context bounds what it writes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from malgil.errors import ConfigError, ContextLengthError, InputError, NonFiniteError
from malgil.generation.sampling import choose, logprobs_of, uniforms
from malgil.generation.settings import GenerationSettings
from malgil.models.base import CausalLM, EncoderDecoder, Memory, Model, Output, State, parameter_device
from malgil.runtime.device import resolve_precision

END, LENGTH, STOP = "end", "length", "stop"
M = TypeVar("M", bound=nn.Module)


class Token(NamedTuple):
    """What a row wrote in a step; `finish_reason` is None while the row goes on."""

    row: int
    id: int
    finish_reason: str | None


@dataclass(frozen=True)
class Continuation:
    """What follows a prompt.

    Attributes:
        ids: the new tokens, without the end token.
        finish_reason: `end` (an end token came), `length` (max_tokens were written, or with a source as many as the
            context holds) or `stop` (a stop text came).
        logprob: log of the probability that the model, without any of the settings, gives to all of it (nats).
    """

    ids: list[int]
    finish_reason: str
    logprob: float


def generate(
    model: CausalLM | EncoderDecoder,
    prompts: Sequence[Sequence[int]],
    settings: GenerationSettings,
    *,
    memory: Memory | None = None,
    end_ids: Iterable[int] = (),
    vocab_size: int | None = None,
) -> list[Continuation]:
    """Continue prompts of any lengths, all at once; the samples of a prompt stand next to one another.

    Args:
        memory: for an `EncoderDecoder`, its encoded sources, a row a prompt, in the type in which is computed. A
            prompt is then the token that begins a target, and is written only where it is an end as well.
        end_ids: tokens that finish a row.
        vocab_size: only ids below are written; None: all that the model has.

    Raises:
        ContextLengthError: a prompt with more tokens than the model's context.
        ConfigError: stop texts, which need a tokenizer (`generate_text`); a beam, which is `beam_search`'s.
        InputError: an empty prompt, an id outside the vocabulary, or a memory that does not fit model and prompts.
        NonFiniteError: the model's scores are NaN or infinite.
    """
    if settings.stop:
        raise ConfigError("stop texts need a tokenizer", "generation.stop", "use generate_text, or leave them out")
    decoder = Decoder(model, prompts, settings, memory=memory, end_ids=end_ids, vocab_size=vocab_size)
    while not decoder.done:
        decoder.step()
    return decoder.continuations()


class Decoder:
    """The loop's state: rows, what they have read and written. `step` until `done`; see `generate`.

    Between steps the model is in the mode in which it was found. Row r continues prompt r // samples.
    """

    def __init__(
        self,
        model: CausalLM | EncoderDecoder,
        prompts: Sequence[Sequence[int]],
        settings: GenerationSettings,
        *,
        memory: Memory | None = None,
        end_ids: Iterable[int] = (),
        vocab_size: int | None = None,
    ) -> None:
        _check_prompts(prompts, model)
        _check_memory(memory, model, len(prompts))
        if settings.beam > 1:
            raise ConfigError(
                f"a beam of {settings.beam} is for models that translate", "generation.beam", "leave it out here"
            )
        self._model, self._memory = in_precision(model, settings.precision), memory
        self._settings, self._end_ids = settings, frozenset(end_ids)
        # a model may have more rows than its tokenizer has tokens, up to a round number
        self._vocab_size = min(model.vocab_size, vocab_size or model.vocab_size)
        self._device = parameter_device(model)
        self._prompts = [list(prompt) for prompt in prompts]
        begins = set() if memory is None else {prompt[0] for prompt in prompts} - self._end_ids
        self._never = [i for i in begins if i < self._vocab_size]
        n_rows = len(prompts) * settings.samples
        self._written: list[list[int]] = [[] for _ in range(n_rows)]
        self._logprobs = [0.0] * n_rows
        self._reasons: list[str | None] = [None] * n_rows
        self._live = list(range(n_rows))  # the rows of the state, in its order
        self._filled = [len(self._prompt(row)) for row in self._live]  # tokens that the state holds of each
        self._state: State | None = None
        self._max_len = max(map(len, prompts), default=0) + settings.max_tokens - 1  # the last one is not read
        if model.context is not None:
            self._max_len = min(self._max_len, model.context)
        self._limits = [self._limit(row) for row in self._live]  # tokens that each may write
        self._last = torch.empty(0, dtype=torch.long)  # (B,), the newest token of each live row
        self._uniforms: Tensor | None = None  # (max_tokens, B)
        if settings.temperature > 0 and n_rows:
            streams = [uniforms(settings.seed, s, settings.max_tokens) for s in range(settings.samples)]
            self._uniforms = torch.stack(streams, dim=1).repeat(1, len(prompts)).to(self._device)
        self._seen = self._seen_in_prompts() if settings.repetition_penalty != 1 else None

    @property
    def done(self) -> bool:
        """Whether every row has finished."""
        return all(reason is not None for reason in self._reasons)

    def finish(self, row: int, reason: str) -> None:
        """End a row from outside, for instance because a stop text was found."""
        self._reasons[row] = reason

    def continuations(self) -> list[Continuation]:
        """What every row has written so far."""
        rows = zip(self._written, self._reasons, self._logprobs, strict=True)
        return [Continuation(list(ids), reason or LENGTH, logprob) for ids, reason, logprob in rows]

    @torch.inference_mode()
    def step(self) -> list[Token]:
        """One more token for every row that goes on."""
        with evaluating(self._model):
            hidden = self._read_prompts() if self._state is None else self._read_last()
            logits = self._model.logits(hidden).float()[:, : self._vocab_size]  # (B, V)
            if self._never:
                logits[:, self._never] = -torch.inf
        step = len(self._written[self._live[0]])
        uniform = None if self._uniforms is None else self._uniforms[step]
        self._last = choose(logits, self._settings, uniform, self._seen)
        if self._seen is not None:
            self._mark_seen(torch.arange(len(self._live), device=self._device), self._last)
        logprob = logprobs_of(self._last[:, None], logits)[:, 0]
        return [self._record(*chosen) for chosen in zip(self._live, self._last.tolist(), logprob.tolist(), strict=True)]

    def _record(self, row: int, token: int, logprob: float) -> Token:
        written = self._written[row]
        if not math.isfinite(logprob):
            raise damaged(len(written) + 1)
        self._logprobs[row] += logprob
        if token in self._end_ids:
            self._reasons[row] = END
        else:
            written.append(token)
            if len(written) == self._limits[row]:
                self._reasons[row] = LENGTH
        return Token(row, token, self._reasons[row])

    # -- reading: tokens and state -> hidden vector of each row's last token (B, D) ------------------

    def _read_prompts(self) -> Tensor:
        """All prompts in one pass; the state's rows are then copied for the samples."""
        lengths = torch.tensor([len(p) for p in self._prompts], device=self._device)
        longest = int(lengths.max())
        # what stands in the padding is seen by nobody; 0 is an id in every vocabulary
        tokens = torch.tensor([p + [0] * (longest - len(p)) for p in self._prompts], device=self._device)
        mask = None
        if int(lengths.min()) < longest:
            mask = torch.arange(longest, device=self._device) < lengths[:, None]
        state = self._first_state()
        read: Output = self._model(tokens, token_mask=mask, state=state)
        hidden = read.hidden[torch.arange(len(tokens), device=self._device), lengths - 1]  # (B, D)
        self._state = read.state
        if self._state is not None and self._settings.samples > 1:
            rows = torch.arange(len(tokens), device=self._device).repeat_interleave(self._settings.samples)
            hidden, self._state = hidden[rows], self._state.select(rows)
        return hidden

    def _first_state(self) -> State:
        """A row a prompt, before any token."""
        if isinstance(self._model, CausalLM):
            return self._model.init_state(len(self._prompts), self._max_len)
        assert self._memory is not None
        return self._model.init_state(self._memory, self._max_len)

    def _read_last(self) -> Tensor:
        """The newest token of every row, after finished rows have left and full rows have made room."""
        places = [i for i, row in enumerate(self._live) if self._reasons[row] is None]
        if len(places) < len(self._live):
            self._keep(places)
        full = [i for i, n in enumerate(self._filled) if n == self._model.context]
        if full:
            self._slide(full)
        read: Output = self._model(self._last[:, None], state=self._state)
        self._state = read.state
        self._filled = [n + 1 for n in self._filled]
        return read.hidden[:, 0]

    def _keep(self, places: list[int]) -> None:
        """Only the rows at these places of the batch go on."""
        assert self._state is not None
        self._live = [self._live[i] for i in places]
        self._filled = [self._filled[i] for i in places]
        kept = torch.tensor(places, device=self._device)
        self._last, self._state = self._last[kept], self._state.select(kept)
        if self._uniforms is not None:
            self._uniforms = self._uniforms[:, kept]
        if self._seen is not None:
            self._seen = self._seen[kept]

    def _slide(self, places: list[int]) -> None:
        """Rows whose context is full read its newer half again, from position 0.

        The newest token is left out: it is read next, together with those of all other rows.
        """
        assert self._state is not None
        assert isinstance(self._model, CausalLM)  # others end a row that is full
        n_kept = (self._model.context or 0) // 2
        fresh = self._model.init_state(len(places), self._max_len)
        if n_kept > 1:
            texts = [self._prompt(self._live[i]) + self._written[self._live[i]] for i in places]
            tail = torch.tensor([text[-n_kept:-1] for text in texts], device=self._device)
            fresh = self._model(tail, state=fresh).state
        rows = torch.tensor(places, device=self._device)
        tensors = self._state.tensors()
        for tensor, part in zip(tensors, fresh.tensors(), strict=True):
            old, new = (t.transpose(0, self._state.row_dim) for t in (tensor, part))
            where: tuple[Tensor | slice, ...] = (rows, *(slice(size) for size in new.shape[1:]))
            old[where] = new  # which may have less room for what comes
        self._state = self._state.with_tensors(tensors)
        for i in places:
            self._filled[i] = max(0, n_kept - 1)

    # -- what was read and written --------------------------------------------------------------------

    def _prompt(self, row: int) -> list[int]:
        return self._prompts[row // self._settings.samples]

    def _limit(self, row: int) -> int:
        """How many tokens a row may write."""
        if isinstance(self._model, CausalLM) or self._model.context is None:
            return self._settings.max_tokens
        return min(self._settings.max_tokens, self._model.context + 1 - len(self._prompt(row)))

    def _seen_in_prompts(self) -> Tensor:
        """(B, V), True where a row's prompt has the token."""
        self._seen = torch.zeros(len(self._live), self._vocab_size, dtype=torch.bool, device=self._device)
        for row in self._live:
            ids = torch.tensor(self._prompt(row), device=self._device)
            self._mark_seen(torch.full_like(ids, row), ids)
        return self._seen

    def _mark_seen(self, rows: Tensor, ids: Tensor) -> None:
        """Ends are never penalised: the token that ends a text often begins it, too."""
        assert self._seen is not None
        self._seen[rows, ids] = True
        if self._end_ids:
            self._seen[:, list(self._end_ids)] = False


def in_precision(model: M, precision: str) -> M:
    """The model itself, or where its weights have another type a copy of it in that one."""
    dtype = resolve_precision(precision, parameter_device(model)).dtype
    return model if dtype == next(model.parameters()).dtype else copy.deepcopy(model).to(dtype)


def damaged(token: int) -> NonFiniteError:
    """What is raised when the scores of a row's so many-th new token are no numbers."""
    return NonFiniteError("the model's scores are not finite", f"token {token}", "its weights are damaged; load others")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Dropout off inside; every module's mode as before afterwards."""
    training = [module for module in model.modules() if module.training] if model.training else []
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _check_memory(memory: Memory | None, model: Model, n_prompts: int) -> None:
    if isinstance(model, EncoderDecoder) != (memory is not None):
        raise InputError(
            "there is no encoded source" if memory is None else "this model reads no source",
            type(model).__name__,
            "give the memory that encode returns" if memory is None else "leave memory out",
        )
    if memory is not None and len(memory.mask) != n_prompts:
        raise InputError(f"{len(memory.mask)} sources and {n_prompts} prompts", "memory", "give a source a prompt")


def _check_prompts(prompts: Sequence[Sequence[int]], model: Model) -> None:
    for i, prompt in enumerate(prompts):
        if not len(prompt):
            raise InputError("a prompt has no tokens", f"prompt {i}", "begin it with the tokenizer's begin_id")
        if not 0 <= min(prompt) <= max(prompt) < model.vocab_size:
            raise InputError(
                f"a prompt's ids run from {min(prompt)} to {max(prompt)}",
                f"prompt {i}",
                f"ids of this model are 0 to {model.vocab_size - 1}: use the run's own tokenizer",
            )
        if model.context is not None and len(prompt) > model.context:
            raise ContextLengthError(
                f"the prompt has {len(prompt)} tokens, the model's context holds {model.context}",
                f"prompt {i}",
                f"shorten it by {len(prompt) - model.context} tokens",
            )
