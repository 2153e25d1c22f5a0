"""Translation from text to text: sources of any lengths and number, a line for a line.

Sources are sorted by length, so that little of a batch is padding, and each is encoded once for all its hypotheses:

    text -> ids + [end], cut to the context -> batches -> encode -> greedy choice, samples or beam search -> text
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import torch

from malgil.errors import ConfigError
from malgil.generation.beam import Hypothesis, beam_search, penalty
from malgil.generation.decode import END, evaluating, generate, in_precision
from malgil.generation.settings import GenerationSettings
from malgil.models.base import EncoderDecoder, Memory, parameter_device
from malgil.text.tokenizer import Tokenizer

#: source tokens x hypotheses of a batch; measured on a CPU: an eighth of it takes up to twice as long
TOKENS_PER_BATCH = 16384
#: source tokens of a batch; with more of them a single hypothesis takes longer
SOURCE_TOKENS = 8192


class Scored(NamedTuple):
    """A text and its score: log p over the length penalty (`beam.Hypothesis`)."""

    text: str
    score: float


@dataclass(frozen=True)
class Translation:
    """What a model made of a source.

    Attributes:
        text: the best translation, one line; with samples the first of them.
        source: as it was given.
        hypotheses: the `n_best` translations, best first, or the samples.
        finish_reason: of `text`: `end` (the model ended it) or `length` (max_tokens or the context was full).
        cut: how many tokens of the source were left out, since the model's context held no more.
        ids: the tokens that were written, of `text`, without the end token.
    """

    text: str
    source: str
    hypotheses: list[Scored]
    finish_reason: str
    cut: int = 0
    ids: tuple[int, ...] = ()


def translate_text(
    model: EncoderDecoder,
    source_tokenizer: Tokenizer,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    settings: GenerationSettings,
    *,
    tokens_per_batch: int = TOKENS_PER_BATCH,
) -> list[Translation]:
    """Translate texts; the results stand in the order given.

    A beam above 1 searches; else temperature 0 takes the likeliest token each time, and a temperature above 0 draws
    `samples` translations. A text without anything but white space is translated by an empty line.

    Args:
        source_tokenizer: of the sources; the same as `tokenizer` where both sides share one.
        tokens_per_batch: source tokens x hypotheses, padding included, that are computed at a time.

    Raises:
        ConfigError: stop texts.
        NonFiniteError: the model's scores are NaN or infinite.
    """
    if settings.stop:
        raise ConfigError("stop texts cannot end a translation", "generation.stop", "leave them out")
    model = in_precision(model, settings.precision)
    encoded = _encoded(model, source_tokenizer, texts)
    width = max(settings.beam, settings.samples)
    made = [_empty(text, max(settings.n_best, settings.samples)) for text in texts]
    tokens = min(tokens_per_batch // width, SOURCE_TOKENS)
    for places in batches_of_similar_length([len(source.ids) for source in encoded], tokens):
        memory = encode(model, [encoded[i].ids for i in places])
        for i, found in zip(places, _decode(model, memory, tokenizer, settings), strict=True):
            hypotheses = [Scored(line(tokenizer, h.ids), h.score) for h in found]
            best, source = found[0], encoded[i]
            made[i] = Translation(
                hypotheses[0].text, texts[i], hypotheses, best.finish_reason, source.cut, tuple(best.ids)
            )
    return made


def stream_translations(
    model: EncoderDecoder,
    source_tokenizer: Tokenizer,
    tokenizer: Tokenizer,
    lines: Iterable[str],
    settings: GenerationSettings,
    *,
    batch: int = 1,
) -> Iterator[Translation]:
    """Translate lines as they come, `batch` of them at a time: with 1 each is answered before the next is asked for.

    Arguments and errors as in `translate_text`.
    """
    model = in_precision(model, settings.precision)
    coming = iter(lines)
    while chunk := list(islice(coming, batch)):
        yield from translate_text(model, source_tokenizer, tokenizer, chunk, settings)


def batches_of_similar_length(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """The places of all lengths above 0, the longest first, in batches of at most so many tokens, padding included.

    >>> list(batches_of_similar_length([2, 5, 0, 3, 4], 8))
    [[1], [4, 3], [0]]
    """
    order = sorted((i for i, n in enumerate(lengths) if n), key=lambda i: (-lengths[i], i))
    while order:
        n_rows = max(1, tokens // lengths[order[0]])
        yield order[:n_rows]
        order = order[n_rows:]


@torch.inference_mode()
def encode(model: EncoderDecoder, sources: Sequence[Sequence[int]]) -> Memory:
    """Read sources of any lengths, dropout off."""
    device = parameter_device(model)
    lengths = torch.tensor([len(ids) for ids in sources], device=device)
    longest = int(lengths.max())
    padded = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in sources], device=device)
    mask = torch.arange(longest, device=device) < lengths[:, None]
    with evaluating(model):
        return model.encode(padded, source_mask=None if bool(mask.all()) else mask)


def line(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """The text of a translation as one line: its line breaks become spaces, and a character cut in two is left out."""
    stream = tokenizer.stream()
    text = "".join(stream.push(i) for i in ids) + stream.finish().rstrip("\ufffd")
    return " ".join(text.splitlines())


class _Source(NamedTuple):
    """`ids` with the end token, none where there is nothing to translate; how many were left out."""

    ids: list[int]
    cut: int


def _encoded(model: EncoderDecoder, tokenizer: Tokenizer, texts: Sequence[str]) -> list[_Source]:
    if tokenizer.vocab_size > model.source_vocab_size:
        raise ConfigError(
            f"the source tokenizer has {tokenizer.vocab_size} tokens, the model {model.source_vocab_size}",
            "translate_text",
            "use the run's own tokenizers, the source's first",
        )
    room = None if model.source_context is None else model.source_context - 1  # the end needs a place
    sources = []
    for text, ids in zip(texts, tokenizer.encode_batch(texts), strict=True):
        empty = not ids or not text.strip()
        kept = ids[:room]
        sources.append(_Source([] if empty else [*kept, tokenizer.end_id], 0 if empty else len(ids) - len(kept)))
    return sources


def _decode(
    model: EncoderDecoder, memory: Memory, tokenizer: Tokenizer, settings: GenerationSettings
) -> list[list[Hypothesis]]:
    """The hypotheses of each source of the memory."""
    begin, ends, size = tokenizer.begin_id, [tokenizer.end_id], tokenizer.vocab_size
    if settings.beam > 1:
        return beam_search(model, memory, settings, begin_id=begin, end_ids=ends, vocab_size=size)
    prompts = [[begin]] * len(memory.mask)
    made = generate(model, prompts, settings, memory=memory, end_ids=ends, vocab_size=size)
    hypotheses = []
    for c in made:
        n_tokens = len(c.ids) + (c.finish_reason == END)
        score = c.logprob / penalty(n_tokens, settings.length_penalty)
        hypotheses.append(Hypothesis(c.ids, score, c.logprob, c.finish_reason))
    return [hypotheses[i : i + settings.samples] for i in range(0, len(hypotheses), settings.samples)]


def _empty(text: str, count: int) -> Translation:
    return Translation("", text, [Scored("", 0.0)] * count, END)
