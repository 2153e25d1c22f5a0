"""From a model and a text to what a page shows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from malgil.errors import ConfigError, ContextLengthError, InputError
from malgil.explain.capture import capture
from malgil.explain.view import view_language, view_translation
from malgil.generation.settings import GenerationSettings
from malgil.generation.translation import translate_text
from malgil.models import build_model, family
from malgil.models.base import Model
from malgil.text.tokenizer import Tokenizer

SOURCE, TARGET = "옛날 호랑이", "once tigers"
RECURRENT = {"d_model": 9, "d_hidden": 8, "n_layers": 1, "bidirectional": True}
TRANSLATORS = {
    "transformer": ("transformer", {"n_layers": 2, "n_encoder_layers": 3, "n_heads": 3, "d_model": 12, "max_len": 40}),
    "bahdanau": ("seq2seq", {**RECURRENT, "attention": "additive", "wiring": "bahdanau"}),
    "luong": ("seq2seq", {**RECURRENT, "attention": "general"}),
    "feeding": ("seq2seq", {**RECURRENT, "attention": "concat", "input_feeding": True}),
}


def built(name: str, settings: dict[str, object], target: Tokenizer, source: Tokenizer | None = None) -> Model:
    source_size = None if source is None else source.vocab_size
    return build_model(name, family(name).config(**settings), target.vocab_size, source_size).eval()


def test_a_language_model(make) -> None:
    tokenizer = make("bpe")
    model = built("gpt2", {"n_layers": 2, "n_heads": 3, "d_model": 15, "max_len": 30}, tokenizer)
    view = view_language(model, tokenizer, "호랑이가 담배")
    (group,) = view.groups
    assert view.title == "호랑이가 담배"
    assert view.model == "GPT2"
    assert view.parameters == sum(p.numel() for p in model.parameters())
    assert group.kind == "self"
    assert group.rows == group.columns
    assert group.rows[0] == "<s>"
    ids = torch.tensor([[tokenizer.begin_id, *tokenizer.encode("호랑이가 담배")]])
    for layer, one in zip(group.layers, capture(model, ids).maps, strict=True):
        assert np.array_equal(layer, one.weights[0].numpy())


@pytest.mark.parametrize("case", TRANSLATORS)
def test_a_translator(make, case: str) -> None:
    """Two tokenizers; the target is given."""
    source, target = make("char"), make("bpe")
    model = built(*TRANSLATORS[case], target, source)
    view = view_translation(model, source, target, SOURCE, TARGET)
    n_source, n_target = len(source.encode(SOURCE)) + 1, len(target.encode(TARGET)) + 1
    kinds = ["cross", "encoder self", "decoder self"] if case == "transformer" else ["cross"]
    assert [group.kind for group in view.groups] == kinds
    assert view.title == f"{SOURCE} → {TARGET}"
    cross = view.groups[0]
    assert cross.columns == [*SOURCE.replace(" ", "·"), "</s>"]
    assert cross.rows[-1] == "</s>"
    assert [len(group.layers) for group in view.groups] == ([2, 3, 2] if case == "transformer" else [1])
    for group in view.groups:
        edges = {"c": (n_target, n_source), "e": (n_source, n_source), "d": (n_target, n_target)}[group.kind[0]]
        for layer in group.layers:
            assert layer.shape == (3 if case == "transformer" else 1, *edges)
            np.testing.assert_allclose(layer.sum(-1), 1, atol=1e-5)
    if case == "transformer":
        assert view.groups[2].rows == ["<s>", *cross.rows[:-1]]
        assert not np.triu(view.groups[2].layers[0], 1).any()
        assert view.groups[1].layers[0].all()


@pytest.mark.parametrize("case", TRANSLATORS)
def test_texts_of_equal_length_are_told_apart(make, case: str) -> None:
    """As many keys as queries, also where both contexts are full."""
    tokenizer = make("char")
    name, settings = TRANSLATORS[case]
    model = built(name, settings | ({"max_len": 7} if name == "transformer" else {}), tokenizer)
    view = view_translation(model, tokenizer, tokenizer, "호랑이 시절", "tigers")
    n_groups = 3 if case == "transformer" else 1
    assert [group.layers[0].shape[1:] for group in view.groups] == [(7, 7)] * n_groups
    assert view.groups[0].columns == ["호", "랑", "이", "·", "시", "절", "</s>"]
    assert view.groups[0].layers[0].all()  # no causal mask
    np.testing.assert_allclose(view.groups[0].layers[0].sum(-1), 1, atol=1e-5)


def test_an_alignment_by_hand(make) -> None:
    """Luong's weights are those that its context was mixed with."""
    tokenizer = make("char")
    model = built(*TRANSLATORS["luong"], tokenizer)
    contexts = []
    operator = next(m for m in model.modules() if hasattr(m, "project_keys"))
    operator.register_forward_hook(lambda module, args, output: contexts.append((args, output)))
    view = view_translation(model, tokenizer, tokenizer, SOURCE, TARGET)
    (args, context), n_source = contexts[-1], len(SOURCE) + 1
    mixed = torch.from_numpy(view.groups[0].layers[0])[0] @ args[2][0, :n_source]
    torch.testing.assert_close(mixed, context[0])


def test_without_a_target_the_model_translates(make) -> None:
    tokenizer = make("char")
    model = built(*TRANSLATORS["transformer"], tokenizer)
    how = GenerationSettings(temperature=0.0, max_tokens=5)
    written = translate_text(model, tokenizer, tokenizer, [SOURCE], how)[0].text
    view = view_translation(model, tokenizer, tokenizer, SOURCE, settings=how)
    assert view.title == f"{SOURCE} → {written}"
    assert len(view.groups[0].rows) == len(tokenizer.encode(written)) + 1


def test_a_model_without_attention_names_those_that_have(make) -> None:
    tokenizer = make("char")
    with pytest.raises(ConfigError, match=r"RNNLM has no attention.*gpt.*transformer"):
        view_language(built("rnn_lm", {"d_model": 8}, tokenizer), tokenizer, "호랑이")
    with pytest.raises(ConfigError, match="Seq2Seq has no attention"):
        view_translation(built("seq2seq", {"d_model": 8}, tokenizer), tokenizer, tokenizer, SOURCE, TARGET)


def test_what_cannot_be_looked_at(make) -> None:
    tokenizer = make("char")
    model = built("transformer", TRANSLATORS["transformer"][1] | {"max_len": 7}, tokenizer)
    with pytest.raises(InputError, match="empty source"):
        view_translation(model, tokenizer, tokenizer, " \n", TARGET)
    with pytest.raises(ContextLengthError, match=r"source has 8 tokens.*holds 7"):
        view_translation(model, tokenizer, tokenizer, "호랑이 시절에", "a")
    with pytest.raises(ContextLengthError, match="target has 12 tokens"):
        view_translation(model, tokenizer, tokenizer, "호", TARGET)
    gpt = built("gpt2", {"n_layers": 1, "n_heads": 1, "d_model": 8, "max_len": 3}, tokenizer)
    with pytest.raises(ContextLengthError, match="text has 4 tokens"):
        view_language(gpt, tokenizer, "호랑이")
    with pytest.raises(InputError, match="empty text"):
        view_language(gpt, tokenizer, "")
