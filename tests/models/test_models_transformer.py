"""What the Transformers alone promise: their wiring, their start, and what decoding does not compute again."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from case_tools import padded, random_tokens
from encoder_decoder_cases import encoded, shaken
from torch import Tensor, nn

from malgil.errors import ConfigError, ContextLengthError
from malgil.layers.attention import Attention
from malgil.layers.state import TransformerState
from malgil.models import build_model, family
from malgil.models.base import EncoderDecoder
from malgil.models.transformer import TransformerConfig
from malgil.models.transformer_modern import ModernTransformer, ModernTransformerConfig

both = pytest.mark.parametrize("name", ["transformer", "transformer_modern"])


def built(name: str, vocab_size: int = 23, source_vocab_size: int | None = None, **settings: Any) -> EncoderDecoder:
    model = build_model(name, family(name).config(**settings), vocab_size, source_vocab_size)
    assert isinstance(model, EncoderDecoder)
    return model.eval()


@both
@torch.no_grad()
def test_the_first_loss_of_a_model_of_real_size_is_that_of_guessing(name: str) -> None:
    model = built(name, 4001, d_model=192, d_ff=256, n_layers=2)
    tokens = torch.randint(0, 4001, (4, 13))
    hidden = model(tokens[:, :-1], memory=model.encode(torch.randint(0, 4001, (4, 9)))).hidden
    loss = model.nll(hidden.flatten(0, 1), tokens[:, 1:].flatten()).mean()
    assert abs(float(loss) - math.log(4001)) < 0.2


@both
def test_a_row_longer_than_the_context_is_refused(name: str) -> None:
    model = shaken(f"{name}-plain")
    assert (model.context, model.source_context) == (19, 19)
    memory = model.encode(random_tokens(1, 19))
    assert model(random_tokens(1, 19), memory=memory).hidden.shape[1] == 19
    with pytest.raises(ContextLengthError, match=r"20 tokens in a source.*19"):
        model.encode(random_tokens(1, 20))
    with pytest.raises(ContextLengthError, match=r"20 tokens in a target.*19"):
        model(random_tokens(1, 20), memory=memory)


@both
def test_padding_may_reach_beyond_the_context(name: str) -> None:
    model = shaken(f"{name}-plain")
    _, state = model(random_tokens(2, 18), state=model.init_state(encoded(model, [random_tokens(3)] * 2), 25))
    tokens, mask = padded([random_tokens(1), random_tokens(0)])
    tokens, mask = F.pad(tokens, (0, 3)), F.pad(mask, (0, 3))
    hidden, _ = model(tokens, token_mask=mask, state=state)
    assert hidden.isfinite().all()


@both
def test_which_embeddings_there_are(name: str) -> None:
    def embeddings(*sizes: int, **settings: Any) -> list[str]:
        model = built(name, *sizes, n_layers=1, d_model=8, n_heads=2, **settings)
        return [n for n, _ in model.named_parameters() if "embedding" in n or "head" in n]

    assert embeddings(23) == embeddings(23, 23, shared=True) == ["embedding.weight"]
    assert embeddings(23, 29) == embeddings(23, shared=False) == ["embedding.weight", "source_embedding.weight"]
    assert embeddings(23, tied=False) == ["embedding.weight", "head.weight"]
    with pytest.raises(ConfigError, match="29 source tokens and 23 target tokens"):
        built(name, 23, 29, shared=True)


def test_widths_that_heads_do_not_divide() -> None:
    with pytest.raises(ConfigError, match=r"d_model 14.*n_heads 4"):
        TransformerConfig(d_model=14)
    with pytest.raises(ConfigError, match=r"d_model 12.*even"):
        ModernTransformerConfig(d_model=12)


@both
@torch.no_grad()
def test_the_source_is_read_once_and_shared_by_beams(name: str) -> None:
    model = shaken(f"{name}-plain")
    calls = []
    for path, module in model.named_modules():
        if path.endswith(("cross_attention.key_value", "cross_attention.key")):
            module.register_forward_hook(lambda *_, path=path: calls.append(path))
    memory = encoded(model, [random_tokens(3), random_tokens(5)])
    state: Any = model.init_state(memory, 100)
    assert len(calls) == 2  # a layer each
    kept = state.sources.tensors
    for rows in ([0, 0, 0, 1, 1, 1], [2, 1, 1, 3, 5, 4], [0, 2, 0, 3, 3, 3]):
        state = state.select(torch.tensor(rows))
        _, state = model(random_tokens(6, 1), state=state)
        assert isinstance(state, TransformerState)
        assert all(now is before for now, before in zip(state.sources.tensors, kept, strict=True))
        assert state.cache.keys[0].shape[2] == 16  # and not the room for 100
    assert len(calls) == 2


@both
@torch.no_grad()
def test_every_attention_can_be_observed(name: str) -> None:
    model = shaken(f"{name}-plain")
    seen: dict[str, Tensor] = {}

    def watch(path: str, module: Attention) -> None:
        def hook(_: nn.Module, args: Any, kwargs: Any, output: Tensor) -> None:
            seen[path] = module.weights(*args, **kwargs)
            torch.testing.assert_close(seen[path] @ args[2], output, atol=1e-5, rtol=1e-5)

        module.register_forward_hook(hook, with_kwargs=True)

    for path, module in model.named_modules():
        if isinstance(module, Attention):
            watch(path, module)
    memory = encoded(model, [random_tokens(3), random_tokens(5)])
    model(random_tokens(2, 4), memory=memory)
    assert set(seen) == {
        f"{side}.{i}.{part}.attend"
        for side, parts in (("encoder", ["attention"]), ("decoder", ["attention", "cross_attention"]))
        for i in range(2)
        for part in parts
    }
    assert (seen["encoder.0.attention.attend"][1] > 0).all()  # both ways
    assert not seen["encoder.1.attention.attend"][0, :, :, 3:].any()  # padding
    assert not seen["decoder.1.cross_attention.attend"][0, :, :, 3:].any()
    assert not seen["decoder.0.attention.attend"].triu(1).any()


# --- the modern wiring, written down once more without any of its parts


def rms(x: Tensor, weight: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight


def turned(x: Tensor, theta: float) -> Tensor:
    """x (T, D_head) as complex numbers, each turned by its position."""
    half = x.shape[-1] // 2
    frequencies = theta ** (-torch.arange(half) / half)
    units = torch.polar(torch.ones(len(x), half), torch.outer(torch.arange(len(x)).float(), frequencies))
    product = torch.complex(x[:, :half], x[:, half:]) * units
    return torch.cat((product.real, product.imag), -1)


def attention(part: Any, x: Tensor, memory: Tensor, n_heads: int, theta: float, causal: bool) -> Tensor:
    heads = []
    rows = (part.query.weight.chunk(n_heads), part.key.weight.chunk(n_heads), part.value.weight.chunk(n_heads))
    for w_query, w_key, w_value in zip(*rows, strict=True):
        query, key = x @ w_query.T, memory @ w_key.T
        if part.query_norm is not None:
            query, key = rms(query, part.query_norm.weight), rms(key, part.key_norm.weight)
        query, key = turned(query, theta), turned(key, theta)
        scores = query @ key.T / math.sqrt(query.shape[1])
        if causal:
            scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf)
        heads.append(scores.softmax(-1) @ (memory @ w_value.T))
    out: Tensor = torch.cat(heads, -1) @ part.output.weight.T
    return out


def feed_forward(part: Any, x: Tensor) -> Tensor:
    out: Tensor = (F.silu(x @ part.gate.weight.T) * (x @ part.up.weight.T)) @ part.down.weight.T
    return out


@pytest.mark.parametrize("case", ["plain", "qk-norm"])
@torch.no_grad()
def test_modern_wiring(case: str) -> None:
    model: Any = shaken(f"transformer_modern-{case}")
    assert isinstance(model, ModernTransformer)
    source, tokens = random_tokens(7), random_tokens(5)
    n_heads, theta = model.config.n_heads, model.config.rope_theta
    x = model.embedding.weight[source] * math.sqrt(model.d_model)
    for block in model.encoder:
        normed = rms(x, block.norm1.weight)
        x = x + attention(block.attention, normed, normed, n_heads, theta, causal=False)
        x = x + feed_forward(block.feed_forward, rms(x, block.norm2.weight))
    memory = rms(x, model.encoder_norm.weight)
    x = model.embedding.weight[tokens] * math.sqrt(model.d_model)
    for block in model.decoder:
        normed = rms(x, block.norm1.weight)
        x = x + attention(block.attention, normed, normed, n_heads, theta, causal=True)
        x = x + attention(block.cross_attention, rms(x, block.norm2.weight), memory, n_heads, theta, causal=False)
        x = x + feed_forward(block.feed_forward, rms(x, block.norm3.weight))
    expected = rms(x, model.decoder_norm.weight)
    actual = model(tokens[None], memory=model.encode(source[None])).hidden[0]
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)
