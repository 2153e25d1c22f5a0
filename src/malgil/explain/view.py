"""A trained model and a text -> what its attention page shows.

Padding is taken off again, so every map holds real tokens alone. Rows are tokens that look, columns tokens that are
looked at. In the decoder's attention to the source a row is named after the token that it *writes*, as in the pictures
of Bahdanau et al. (2015); in self-attention after the token that it *reads*.

    reads    <s>  나   는   집        the decoder's input
    writes   나   는   집   </s>      what it is asked for; without </s> where a translation was cut at max_tokens or
                                     at the end of the context
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from malgil.errors import ConfigError, ContextLengthError, InputError
from malgil.explain.capture import AttentionMap, watching
from malgil.explain.labels import token_labels
from malgil.generation.decode import END
from malgil.generation.settings import GenerationSettings
from malgil.generation.translation import translate_text
from malgil.models.base import CausalLM, Encoder, EncoderDecoder, Memory, Model, count_parameters, parameter_device
from malgil.report.attention import AttentionGroup, AttentionView
from malgil.text.tokenizer import Tokenizer

#: whose attention can be looked at
_RECIPES = (
    "gpt, gpt2, nanogpt-char, bert, roberta, albert, modernbert, transformer, transformer-modern, seq2seq-bahdanau or "
    "seq2seq-luong"
)


def view_language(model: CausalLM, tokenizer: Tokenizer, text: str) -> AttentionView:
    """What a language model looks at while it reads a text behind the token that begins documents.

    Raises:
        ConfigError: the model has no attention.
        ContextLengthError: the text does not fit into its context.
        InputError: an empty text.
    """
    ids = [tokenizer.begin_id, *_encoded(tokenizer, text, "text")]
    _check_room(ids, model.context, "text")
    with watching(model) as watch:
        watch.model(_row(ids, model))
    labels = token_labels(tokenizer, ids)
    return _view(text, model, [_group("self", watch.maps(), labels, labels)])


def view_encoder(model: Encoder, tokenizer: Tokenizer, text: str, pair: str | None = None) -> AttentionView:
    """What an encoder looks at while it reads a text, or two: every token at all of them, before it and behind it.

    Raises:
        ConfigError: the model has no attention.
        ContextLengthError: the text does not fit into its context.
        InputError: an empty text.
    """
    ids = [tokenizer.begin_id, *_encoded(tokenizer, text, "text"), tokenizer.end_id]
    second = [] if pair is None else [*_encoded(tokenizer, pair, "second text"), tokenizer.end_id]
    types, ids = [0] * len(ids) + [1] * len(second), ids + second
    _check_room(ids, model.context, "text" if pair is None else "pair of texts")
    with watching(model) as watch:
        watch.model(_row(ids, model), type_ids=_row(types, model))
    labels = token_labels(tokenizer, ids)
    title = text if pair is None else f"{text} | {pair}"
    return _view(title, model, [_group("bidirectional self", watch.maps(), labels, labels)])


def view_translation(
    model: EncoderDecoder,
    source_tokenizer: Tokenizer,
    tokenizer: Tokenizer,
    source: str,
    target: str | None = None,
    settings: GenerationSettings | None = None,
) -> AttentionView:
    """What an encoder-decoder looks at while it reads a source and writes a target.

    Args:
        source_tokenizer: the same as `tokenizer` where both sides share one.
        target: the text to write; None: the model's own translation, by the tokens that it wrote.
        settings: how it translates; None: the likeliest token each time.

    Raises:
        ConfigError: the model has no attention.
        ContextLengthError: a text does not fit into its context.
        InputError: an empty source.
    """
    read = [*_encoded(source_tokenizer, source, "source"), source_tokenizer.end_id]
    _check_room(read, model.source_context, "source")
    if target is None:
        how = settings or GenerationSettings(temperature=0.0)
        (made,) = translate_text(model, source_tokenizer, tokenizer, [source], how)
        target, ids, ended = made.text, list(made.ids), made.finish_reason == END
    else:
        ids, ended = tokenizer.encode(target), True
    writes = [*ids, tokenizer.end_id] if ended else ids
    _check_room(writes, model.context, "target")
    reads = [tokenizer.begin_id, *writes[:-1]]

    with watching(model) as watch:
        memory = _told_apart(watch.model.encode(_row(read, model)), len(reads))
        of_encoder = watch.maps()
        watch.model(_row(reads, model), memory=memory)
    of_decoder = watch.maps()[len(of_encoder) :]
    n_keys = memory.mask.shape[1]
    across = [one for one in of_decoder if one.weights.shape[3] == n_keys]
    within = [one for one in of_decoder if one.weights.shape[3] != n_keys]

    from_source = token_labels(source_tokenizer, read)
    from_target = token_labels(tokenizer, [tokenizer.begin_id, *writes])
    groups = [
        _group("cross", across, from_target[1:], from_source),
        _group("encoder self", of_encoder, from_source, from_source),
        _group("decoder self", within, from_target[:-1], from_target[:-1]),
    ]
    return _view(f"{source} → {target}", model, groups)


def _view(title: str, model: Model, groups: Sequence[AttentionGroup | None]) -> AttentionView:
    present = [group for group in groups if group is not None]
    name = type(model).__name__
    if not present:
        raise ConfigError(f"a {name} has no attention to look at", "", f"train a recipe that has: {_RECIPES}")
    return AttentionView(title, name, count_parameters(model), present)


def _group(
    kind: str, maps: Sequence[AttentionMap], rows: Sequence[str], columns: Sequence[str]
) -> AttentionGroup | None:
    """The maps of a kind without their padding; None where there are none."""
    layers = [one.weights[0, :, : len(rows), : len(columns)].numpy() for one in maps]
    return AttentionGroup(kind, rows, columns, layers) if layers else None


def _told_apart(memory: Memory, n_queries: int) -> Memory:
    """A memory whose length is not that of the target, so that a map's number of keys says which text it looks at."""
    if memory.mask.shape[1] != n_queries:
        return memory
    return Memory(F.pad(memory.hidden, (0, 0, 0, 1)), F.pad(memory.mask, (0, 1)), memory.final)


def _encoded(tokenizer: Tokenizer, text: str, name: str) -> list[int]:
    ids = tokenizer.encode(text) if text.strip() else []
    if not ids:
        raise InputError(f"an empty {name} has nothing to look at", "", "give a few words")
    return ids


def _check_room(ids: Sequence[int], context: int | None, name: str) -> None:
    if context is not None and len(ids) > context:
        raise ContextLengthError(
            f"the {name} has {len(ids)} tokens, the model's context holds {context}", "", "give a shorter one"
        )


def _row(ids: Sequence[int], model: Model) -> Tensor:
    return torch.tensor([ids], device=parameter_device(model))
