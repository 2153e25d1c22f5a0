"""Generation from text to text: prompts are encoded, tokens become whole characters, stop texts end a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from malgil.errors import InputError
from malgil.generation.decode import END, STOP, Decoder
from malgil.generation.settings import GenerationSettings
from malgil.generation.stop import StopFinder
from malgil.models.base import CausalLM
from malgil.text.streaming import TextStream
from malgil.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Completion:
    """What a model wrote after a prompt.

    Attributes:
        text: without the prompt, the end token and the stop text.
        ids: the tokens that were written, without the end token; those of a stop text are among them.
        finish_reason: `end` (the model ended the text), `length` (max_tokens were written) or `stop` (a stop text).
        logprob: log of the probability that the model, without any of the settings, gives to all of it (nats).
    """

    text: str
    ids: list[int]
    finish_reason: str
    prompt: str
    logprob: float


def generate_text(
    model: CausalLM,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    settings: GenerationSettings,
) -> list[Completion]:
    """Continue texts, all at once; the samples of a prompt stand next to one another.

    A prompt is read behind the token that begins every document, so the empty prompt asks for a new one.
    Errors as in `generate`.
    """
    decoder = _decoder(model, tokenizer, prompts, settings)
    texts = [""] * (len(prompts) * settings.samples)
    for row, piece in _pieces(decoder, tokenizer, settings.stop, [p for p in prompts for _ in range(settings.samples)]):
        texts[row] += piece
    return [
        Completion(text, made.ids, made.finish_reason, prompts[row // settings.samples], made.logprob)
        for row, (text, made) in enumerate(zip(texts, decoder.continuations(), strict=True))
    ]


def stream_text(
    model: CausalLM,
    tokenizer: Tokenizer,
    prompt: str,
    settings: GenerationSettings,
) -> Iterator[str]:
    """Continue one text and hand out its pieces as they come: whole characters, and no part of a stop text.

    Joined they are the text of `generate_text`. Whoever has enough just stops asking.

    Raises:
        InputError: more than one sample; the others as in `generate`, all before the first piece.
    """
    if settings.samples != 1:
        raise InputError(
            f"{settings.samples} samples cannot be streamed", "generation.samples", "use generate_text, or ask for one"
        )
    decoder = _decoder(model, tokenizer, [prompt], settings)
    return (piece for _, piece in _pieces(decoder, tokenizer, settings.stop, [prompt]))


def _decoder(
    model: CausalLM,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    settings: GenerationSettings,
) -> Decoder:
    ids = [[tokenizer.begin_id, *tail] for tail in tokenizer.encode_batch(prompts)]
    size = tokenizer.vocab_size
    return Decoder(model, ids, settings, end_ids=[tokenizer.end_id], vocab_size=size)


def _pieces(
    decoder: Decoder, tokenizer: Tokenizer, stops: Sequence[str], prompts: Sequence[str]
) -> Iterator[tuple[int, str]]:
    """(row, text) as rows go on, until all have finished; the row is told when it wrote a stop text."""
    streams = [_stream_behind(tokenizer, prompt) for prompt in prompts]
    finders = [StopFinder(stops) for _ in prompts]
    while not decoder.done:
        for row, token, finish_reason in decoder.step():
            stream, finder = streams[row], finders[row]
            piece = "" if finish_reason == END else finder.push(stream.push(token))
            if finish_reason is not None and not finder.found:
                # the bytes of a character that was not completed are no text
                piece += finder.push(stream.finish().rstrip("\ufffd")) + finder.finish()
            if finder.found:
                decoder.finish(row, STOP)
            if piece:
                yield row, piece


def _stream_behind(tokenizer: Tokenizer, prompt: str) -> TextStream:
    """A stream that has read the prompt: where a tokenizer keeps spaces in its words, the first of a text is dropped,
    and what a model writes is not the first."""
    stream = tokenizer.stream()
    for token in tokenizer.encode(prompt):
        stream.push(token)
    return stream
