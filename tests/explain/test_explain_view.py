"""From a model and a text to what a page shows."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from malgil.errors import ConfigError, ContextLengthError, InputError
from malgil.explain.capture import capture
from malgil.explain.view import view_encoder, view_language, view_translation
from malgil.generation.settings import GenerationSettings
from malgil.generation.translation import translate_text
from malgil.models import build_model, family
from malgil.models.base import CausalLM, Encoder, EncoderDecoder, Model
from malgil.runs.recipe import recipe, recipe_names
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


ENCODERS: dict[str, dict[str, object]] = {
    "bert": {"n_layers": 2, "n_heads": 3, "d_model": 12, "max_len": 30},
    "albert": {"n_layers": 4, "n_heads": 3, "d_model": 12, "d_embedding": 5, "max_len": 30},
    "modernbert": {"n_layers": 4, "n_heads": 3, "d_model": 12, "max_len": 30, "global_every": 3, "window": 2},
}
every_encoder = pytest.mark.parametrize("name", ENCODERS)


def encoder(name: str, tokenizer: Tokenizer) -> Encoder:
    """With weights that are far from even ones."""
    model = built(name, ENCODERS[name], tokenizer)
    assert isinstance(model, Encoder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@every_encoder
def test_an_encoder_looks_both_ways(make, name: str) -> None:
    """Every layer and head, also of one block that is passed several times."""
    tokenizer = make("char")
    model = encoder(name, tokenizer)
    view = view_encoder(model, tokenizer, "호랑이 시절")
    (group,) = view.groups
    assert group.kind == "bidirectional self"
    assert view.title == "호랑이 시절"
    assert view.describe() == f"bidirectional self: {ENCODERS[name]['n_layers']} layers x 3 heads, 8 x 8 tokens"
    assert group.rows == group.columns == ["<s>", "호", "랑", "이", "·", "시", "절", "</s>"]
    for number, layer in enumerate(group.layers):
        assert layer.shape == (3, 8, 8)
        np.testing.assert_allclose(layer.sum(-1), 1, atol=1e-5)
        near = np.abs(np.arange(8)[:, None] - np.arange(8)) <= 1
        local = name == "modernbert" and number % 3  # a window of 2: a token to each side
        assert np.array_equal(layer[0] > 0, near if local else np.ones((8, 8), dtype=bool))
    assert not np.allclose(group.layers[0], group.layers[3 if name == "modernbert" else 1])


@every_encoder
def test_an_encoders_maps_are_those_of_the_fused_kernel(make, name: str) -> None:
    """Weights x values is what the kernel gave, also where padding stands behind the text."""
    tokenizer = make("char")
    model, text = encoder(name, tokenizer), "호랑이 시절"
    ids = torch.tensor([[tokenizer.begin_id, *tokenizer.encode(text), tokenizer.end_id]])
    padded = torch.cat([torch.cat([ids, torch.zeros(1, 3, dtype=torch.long)], 1), torch.ones(1, 11, dtype=torch.long)])
    mask = torch.arange(11) < torch.tensor([[8], [11]])
    seen = capture(model, padded, token_mask=mask, verify=True)
    assert seen.comparison is not None
    assert seen.comparison.calls == ENCODERS[name]["n_layers"]
    assert seen.comparison.largest <= 1e-5
    for layer, one in zip(view_encoder(model, tokenizer, text).groups[0].layers, seen.maps, strict=True):
        np.testing.assert_allclose(layer, one.weights[0, :, :8, :8].numpy(), atol=1e-5)
        assert not one.weights[0, :, :8, 8:].any()


def test_two_texts_are_read_at_once(make) -> None:
    tokenizer = make("char")
    model = encoder("bert", tokenizer)
    view = view_encoder(model, tokenizer, "호랑이", "시절")
    assert view.title == "호랑이 | 시절"
    assert view.groups[0].rows == ["<s>", "호", "랑", "이", "</s>", "시", "절", "</s>"]
    second = tokenizer.encode("시절")
    ids = torch.tensor([[tokenizer.begin_id, *tokenizer.encode("호랑이"), tokenizer.end_id, *second, tokenizer.end_id]])
    types = torch.tensor([[0, 0, 0, 0, 0, 1, 1, 1]])
    expected = capture(model, ids, type_ids=types).maps
    assert np.array_equal(view.groups[0].layers[1], expected[1].weights[0].numpy())
    assert not np.allclose(view.groups[0].layers[0], capture(model, ids).maps[0].weights[0].numpy(), atol=1e-4)


def test_what_an_encoder_cannot_show(make) -> None:
    tokenizer = make("char")
    model = encoder("bert", tokenizer)
    with pytest.raises(InputError, match="empty text has nothing"):
        view_encoder(model, tokenizer, " ")
    with pytest.raises(InputError, match="empty second text"):
        view_encoder(model, tokenizer, "호랑이", "")
    with pytest.raises(ContextLengthError, match=r"the text has 33 tokens.*holds 30"):
        view_encoder(model, tokenizer, "호" * 31)
    with pytest.raises(ContextLengthError, match=r"the pair of texts has 31 tokens"):
        view_encoder(model, tokenizer, "호" * 14, "랑" * 14)
    recurrent = built("birnn", {"d_model": 8}, tokenizer)
    assert isinstance(recurrent, Encoder)
    with pytest.raises(ConfigError, match=r"BiRNN has no attention.*bert"):
        view_encoder(recurrent, tokenizer, "호랑이")


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


def biased(tokenizer: Tokenizer, token: int, by: float) -> EncoderDecoder:
    """A small Transformer that writes a token always, or never."""
    name, settings = TRANSLATORS["transformer"]
    model = built(name, {**settings, "max_len": 8, "output_bias": True}, tokenizer)
    assert isinstance(model, EncoderDecoder)
    with torch.no_grad():
        model.output_bias[token] = by
    return model


@pytest.mark.parametrize("how", [None, GenerationSettings(beam=3), GenerationSettings(temperature=0.0, max_tokens=5)])
def test_a_translation_that_fills_its_room_has_no_end(make, how: GenerationSettings | None) -> None:
    tokenizer = make("char")
    model = biased(tokenizer, tokenizer.end_id, -100)
    view = view_translation(model, tokenizer, tokenizer, "옛날", settings=how)
    n_written = 5 if how and how.max_tokens == 5 else 8  # the context
    written = view.group("cross").rows
    assert len(written) == n_written
    assert "</s>" not in written
    assert view.title == f"옛날 → {''.join(written).replace('·', ' ')}"
    assert view.group("decoder self").rows == ["<s>", *written[:-1]]


def test_a_translation_that_ends_has_an_end(make) -> None:
    tokenizer = make("char")
    model = biased(tokenizer, tokenizer.end_id, 100)
    view = view_translation(model, tokenizer, tokenizer, "호랑이")
    assert view.title == "호랑이 → "
    assert view.group("cross").rows == ["</s>"]
    assert view.group("decoder self").rows == ["<s>"]


@pytest.mark.parametrize("beam", [1, 3])
def test_rows_are_the_tokens_that_were_written(make, beam: int) -> None:
    """First bytes of syllables, which stand for other tokens once they are text."""
    tokenizer = make("bpe")
    first = next(i for i in range(tokenizer.vocab_size) if tokenizer.piece(i) == "옛".encode()[:1])
    model = biased(tokenizer, first, 100)
    how = GenerationSettings(temperature=0.0, beam=beam, max_tokens=4)
    (made,) = translate_text(model, tokenizer, tokenizer, ["on"], how)
    assert made.ids == (first,) * 4
    assert tokenizer.encode(made.text) != [first] * 4
    view = view_translation(model, tokenizer, tokenizer, "on", settings=how)
    assert view.title == f"on → {made.text}"
    assert len(view.group("cross").rows) == 4


def test_a_model_without_attention_names_those_that_have(make) -> None:
    tokenizer = make("char")
    with pytest.raises(ConfigError, match=r"RNNLM has no attention.*gpt.*transformer"):
        view_language(built("rnn_lm", {"d_model": 8}, tokenizer), tokenizer, "호랑이")
    with pytest.raises(ConfigError, match="Seq2Seq has no attention"):
        view_translation(built("seq2seq", {"d_model": 8}, tokenizer), tokenizer, tokenizer, SOURCE, TARGET)


def test_the_recipes_that_are_named_are_those_with_attention(make) -> None:
    tokenizer = make("char")
    with pytest.raises(ConfigError) as caught:
        view_language(built("rnn_lm", {"d_model": 8}, tokenizer), tokenizer, "호랑이")
    named = set(re.findall(r"[\w-]+", caught.value.fix.partition(": ")[2])) - {"or"}
    wired = {name: family for name in recipe_names() if (family := _looked_at(name, tokenizer)) is not None}
    assert named <= wired.keys()
    # tasks and other objectives are recipes, too, whose models are those of the recipes that are named
    assert {wired[name] for name in named} == set(wired.values())


def _looked_at(recipe_name: str, tokenizer: Tokenizer) -> str | None:
    """The family of a recipe, where its model has attention."""
    tree = recipe(recipe_name)["model"]
    shape = {key: value for key, value in tree.items() if value != "auto" and key != "name"}
    with torch.device("meta"):
        model = built(tree["name"], shape, tokenizer)
    watched = any(callable(getattr(module, "weights", None)) for module in model.modules())
    return tree["name"] if watched and isinstance(model, CausalLM | Encoder | EncoderDecoder) else None


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
