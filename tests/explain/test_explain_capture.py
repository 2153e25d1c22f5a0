"""Attention seen from outside: the right weights, of every operator, and a model that notices nothing."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from malgil.errors import ConfigError, RunError
from malgil.explain.capture import TOLERANCE, capture, watching
from malgil.layers.alignment import AdditiveAlignment
from malgil.layers.attention import Attention
from malgil.models import build_model, family
from malgil.models.base import Model

B, T, VOCAB = 3, 7, 23
GPT2 = ("gpt2", {"n_layers": 2, "n_heads": 3, "d_model": 15, "max_len": 19, "dropout": 0.5})
LLAMA = ("llama", {"n_layers": 2, "n_heads": 6, "n_kv_heads": 2, "d_model": 24, "d_ff": 17, "max_len": 19})


def sharpened(name: str, settings: dict[str, object], factor: float = 15.0) -> Model:
    """A model whose attention is far from even."""
    model = build_model(name, family(name).config(**settings), VOCAB)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(factor if parameter.dim() > 1 else 1.0)
    return model


def tokens() -> Tensor:
    return torch.randint(0, VOCAB, (B, T))


class Aligned(nn.Module):
    """A decoder that attends to its source by an alignment, a step at a time or all steps at once."""

    def __init__(self, stepwise: bool) -> None:
        super().__init__()
        self.attention = AdditiveAlignment(5, 4)
        self.stepwise = stepwise

    def forward(self, query: Tensor, source: Tensor, mask: Tensor) -> Tensor:
        keys = self.attention.project_keys(source)
        steps = query.split(1, dim=1) if self.stepwise else [query]
        return torch.cat([self.attention(step, keys, source, mask) for step in steps], dim=1)


@pytest.mark.parametrize("case", [GPT2, LLAMA], ids=["gpt2", "llama-grouped"])
@torch.no_grad()
def test_maps_of_a_language_model(case) -> None:
    model, ids = sharpened(*case), tokens()
    captured = capture(model, ids, verify=True)
    heads, layers = case[1]["n_heads"], case[1]["n_layers"]
    assert [m.name for m in captured.maps] == [f"layers.{i}.attention.attend" for i in range(layers)]
    for one in captured.maps:
        assert one.weights.shape == (B, heads, T, T)
        torch.testing.assert_close(one.weights.sum(-1), torch.ones(B, heads, T))
        assert bool((one.weights.triu(1) == 0).all())
        assert float(one.weights.max(dim=-1).values.mean()) > 1.5 / T  # not the same everywhere
    assert captured.comparison is not None
    assert captured.comparison.calls == layers
    assert captured.comparison.largest <= TOLERANCE


@torch.no_grad()
def test_the_first_map_is_the_softmax_of_its_scores() -> None:
    """Against the equation, from the model's own weights: softmax(q k^T / sqrt(d_head)), causal."""
    model, ids = sharpened(*GPT2).eval(), tokens()
    block = model.layers[0]
    x = block.norm1(model.embedding(ids) + model.position_embedding(torch.arange(T)))
    query, key, _ = block.attention.qkv(x).unflatten(-1, (3, 3, 5)).permute(2, 0, 3, 1, 4)
    scores = (query @ key.transpose(2, 3) / 5**0.5).masked_fill(torch.ones(T, T).triu(1).bool(), -torch.inf)
    torch.testing.assert_close(capture(model, ids).maps[0].weights, scores.softmax(-1))


@torch.no_grad()
def test_the_model_notices_nothing() -> None:
    model, ids = sharpened(*GPT2), tokens()
    model.train()
    model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    output = capture(model, ids).output.hidden
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks for module in model.modules())
    assert not output.requires_grad
    assert torch.equal(output, copy.deepcopy(model).eval()(ids).hidden)


def test_the_model_is_as_it_was_after_an_error() -> None:
    model = sharpened(*GPT2).train()
    with pytest.raises(IndexError), watching(model) as watch:
        watch.model(torch.full((1, 2), VOCAB))
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())


@torch.no_grad()
def test_padding_is_not_looked_at() -> None:
    model, ids = sharpened(*GPT2), tokens()
    model.eval()
    lengths = [7, 4, 2]
    mask = torch.arange(T) < torch.tensor(lengths)[:, None]
    state = model.init_state(B, 12)
    after = model(ids, token_mask=mask, state=state).state
    maps = capture(model, ids[:, :2], state=after, verify=True).maps
    for row, length in enumerate(lengths):
        alone = model(ids[row : row + 1, :length], state=model.init_state(1, 12)).state
        for one, other in zip(maps, capture(model, ids[row : row + 1, :2], state=alone).maps, strict=True):
            seen = one.weights[row, :, :, : length + 2]
            torch.testing.assert_close(seen, other.weights[0])
            torch.testing.assert_close(seen.sum(-1), torch.ones(3, 2))


@torch.no_grad()
def test_steps_are_joined_to_one_map() -> None:
    """A cached continuation, token by token, looks where the whole text looks."""
    model, ids = sharpened(*LLAMA), tokens()
    whole = capture(model, ids).maps
    with watching(model, verify=True) as watch:
        state = watch.model.init_state(B, T)
        for t in range(T):
            state = watch.model(ids[:, t : t + 1], state=state).state
    steps = watch.maps()
    assert [m.name for m in steps] == [m.name for m in whole]
    for one, other in zip(steps, whole, strict=True):
        torch.testing.assert_close(one.weights, other.weights)
    assert watch.comparison is not None
    assert watch.comparison.calls == 2 * T


def test_a_second_text_is_a_map_of_its_own() -> None:
    model = sharpened(*GPT2)
    with watching(model) as watch:
        watch.model(tokens()[:, :4])
        watch.model(tokens()[:, :5])
    assert [m.weights.shape[2] for m in watch.maps()] == [4, 4, 5, 5]


@pytest.mark.parametrize("stepwise", [False, True])
@torch.no_grad()
def test_an_alignment_has_one_head(stepwise: bool) -> None:
    model = Aligned(stepwise)
    query, source = torch.randn(B, T, 5), torch.randn(B, 6, 4)
    mask = torch.arange(6) < torch.tensor([6, 3, 1])[:, None]
    captured = capture(model, query, source, mask, verify=True)
    (one,) = captured.maps
    assert one.name == "attention"
    assert one.weights.shape == (B, 1, T, 6)
    assert bool((one.weights[~mask[:, None, None].expand_as(one.weights)] == 0).all())
    torch.testing.assert_close(one.weights[:, 0] @ source, captured.output)


@torch.no_grad()
def test_low_precision_is_captured_in_fp32() -> None:
    model, ids = sharpened(*GPT2).bfloat16(), tokens()
    captured = capture(model, ids, verify=True)
    torch.testing.assert_close(captured.maps[0].weights, capture(copy.deepcopy(model).float(), ids).maps[0].weights)
    assert next(model.parameters()).dtype is torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        inside = capture(copy.deepcopy(model).float(), ids, verify=True)
    torch.testing.assert_close(inside.maps[0].weights, captured.maps[0].weights, rtol=0, atol=0)


@pytest.mark.slow
@torch.no_grad()
def test_compiled_models_are_captured_too() -> None:
    model, ids = sharpened(*GPT2), tokens()
    plain = capture(model, ids)
    whole = torch.compile(model, backend="eager")
    for block in model.blocks():
        block.compile(backend="eager")
    model.eval()(ids)
    for compiled in (model, whole):
        captured = capture(compiled, ids)
        assert [m.name for m in captured.maps] == [m.name for m in plain.maps]
        torch.testing.assert_close(captured.maps[1].weights, plain.maps[1].weights)


class Wrong(Attention):
    """Shows other weights than those it uses."""

    def weights(self, *args: Tensor, **kwargs: object) -> Tensor:
        return super().weights(*args, **kwargs).roll(1, dims=2)


def test_weights_that_are_not_the_used_ones_are_refused() -> None:
    model = sharpened(*GPT2)
    model.layers[1].attention.attend = Wrong()
    assert len(capture(model, tokens()).maps) == 2
    with pytest.raises(RunError, match=r"layers\.1\.attention\.attend"):
        capture(model, tokens(), verify=True)


def test_rows_that_leave_are_refused() -> None:
    model = sharpened(*GPT2)
    with watching(model) as watch:
        state = watch.model(tokens()[:, :1], state=model.init_state(B, T)).state
        watch.model(tokens()[:2, :1], state=state.select(torch.tensor([0, 2])))
    with pytest.raises(ConfigError, match=r"\[2, 3\] rows"):
        watch.maps()


def test_a_model_without_attention_has_no_maps() -> None:
    model = build_model("rnn_lm", family("rnn_lm").config(d_model=8), VOCAB)
    captured = capture(model, tokens(), verify=True)
    assert captured.maps == []
    assert captured.comparison is not None
    assert captured.comparison.calls == 0
