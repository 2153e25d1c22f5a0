"""What every encoder-only family promises: all tokens are seen, padding and other documents never."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from case_tools import VOCAB, padded, random_tokens
from encoder_cases import (
    ATTENTION_CASES,
    BAG_CASES,
    CASES,
    READING_CASES,
    RECURRENT_CASES,
    alone,
    fresh,
    packed,
    shaken,
)
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from malgil.errors import ConfigError, ContextLengthError, InputError
from malgil.layers import masks
from malgil.layers.attention import Attention
from malgil.models import FAMILIES, build_model, family
from malgil.models.base import Encoder
from malgil.models.birnn import BiRNNConfig

every_case = pytest.mark.parametrize("case", CASES)
every_reader = pytest.mark.parametrize("case", READING_CASES)
with_attention = pytest.mark.parametrize("case", ATTENTION_CASES)


def close(actual: Tensor, expected: Tensor, tolerance: float = 2e-5) -> None:
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=tolerance)


def test_every_family_has_cases() -> None:
    assert {name for name, _ in CASES.values()} == {n for n, f in FAMILIES.items() if issubclass(f.model, Encoder)}


@every_case
def test_shapes(case: str) -> None:
    model = shaken(case)
    output = model(random_tokens(3, 7))
    assert output.hidden.shape == (3, 7, model.d_model)
    assert output.state is None
    assert model.logits(output.hidden).shape == (3, 7, VOCAB)
    assert model.pooled(output.hidden[:, 0]).shape == (3, model.d_model)
    inside = set(model.modules())
    assert all(block in inside for block in model.blocks())


@every_reader
@torch.no_grad()
def test_every_token_sees_every_other(case: str) -> None:
    model = shaken(case)
    tokens = random_tokens(3, 7)
    changed = tokens.clone()
    changed[:, 4] = (changed[:, 4] + 1) % VOCAB
    moved = (model(tokens).hidden - model(changed).hidden).abs().amax(-1)
    assert (moved > 1e-5).all()


@every_reader
@torch.no_grad()
def test_order_matters(case: str) -> None:
    model = shaken(case)
    tokens = torch.tensor([[1, 2, 3, 4, 5]])
    there, back = model(tokens).hidden[0], model(tokens.flip(1)).hidden[0]
    assert (there - back.flip(0)).abs().amax(-1).min() > 1e-3


@every_case
@pytest.mark.parametrize("lengths", [(3, 7, 1, 5), (4, 4), (2, 0, 3)])
@torch.no_grad()
def test_padding_changes_nothing(case: str, lengths: tuple[int, ...]) -> None:
    model = shaken(case)
    rows = [random_tokens(n) for n in lengths]
    for filler in (0, VOCAB - 1):
        tokens, mask = padded(rows, filler)
        hidden = model(tokens, token_mask=mask).hidden
        assert hidden.isfinite().all()
        assert model.logits(hidden).isfinite().all()
        for b, row in enumerate(rows):
            if len(row):
                close(hidden[b, : len(row)], alone(model, row))


@every_case
def test_a_batch_of_padding_alone(case: str) -> None:
    hidden = shaken(case)(random_tokens(2, 3), token_mask=torch.zeros(2, 3, dtype=torch.bool)).hidden
    assert hidden.shape[:2] == (2, 3)
    assert hidden.isfinite().all()
    assert hidden.requires_grad  # a rank without targets must not hang the others


@with_attention
@pytest.mark.parametrize("lengths", [[(3, 5, 1), (7,), (2, 2)], [(12, 1, 1, 1, 1), (1, 1, 1, 1, 3)], [(4, 4), (4, 4)]])
@torch.no_grad()
def test_packed_documents_do_not_see_one_another(case: str, lengths: list[tuple[int, ...]]) -> None:
    model = shaken(case)
    documents = [[random_tokens(n) for n in row] for row in lengths]
    tokens, segment_ids = packed(documents, filler=4)
    hidden = model(tokens, token_mask=segment_ids > 0, segment_ids=segment_ids).hidden
    assert hidden.isfinite().all()
    assert torch.equal(model(tokens, segment_ids=segment_ids).hidden, hidden)
    for b, row in enumerate(documents):
        starts = [sum(len(d) for d in row[:i]) for i in range(len(row))]
        for start, document in zip(starts, row, strict=True):
            close(hidden[b, start : start + len(document)], alone(model, document))


@with_attention
def test_gradients_of_packed_rows_are_those_of_texts_alone(case: str) -> None:
    model = shaken(case)
    documents = [[random_tokens(n) for n in row] for row in [(3, 5), (6,)]]
    tokens, segment_ids = packed(documents)
    real = segment_ids > 0
    targets = random_tokens(int(real.sum()))

    def gradients(hidden: Tensor) -> dict[str, Tensor]:
        model.zero_grad()
        model.nll(hidden, targets).sum().backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    expected = gradients(torch.cat([alone(model, document) for row in documents for document in row]))
    actual = gradients(model(tokens, segment_ids=segment_ids).hidden[real])
    assert actual.keys() == expected.keys()
    for name, gradient in expected.items():
        close(actual[name], gradient, 1e-4)


@with_attention
def test_a_row_longer_than_the_context_is_refused(case: str) -> None:
    model = shaken(case)
    assert model.context == 19
    assert model(random_tokens(1, 19)).hidden.shape[1] == 19
    with pytest.raises(ContextLengthError, match=r"20 tokens.*19"):
        model(random_tokens(1, 20))


@pytest.mark.parametrize("case", RECURRENT_CASES)
def test_recurrent_models_refuse_packed_rows(case: str) -> None:
    with pytest.raises(InputError, match="packed"):
        shaken(case)(random_tokens(2, 5), segment_ids=torch.ones(2, 5, dtype=torch.long))


@pytest.mark.parametrize("case", BAG_CASES)
@torch.no_grad()
def test_tokens_of_a_bag_know_of_no_other(case: str) -> None:
    model, tokens = shaken(case), random_tokens(3, 7)
    hidden = model(tokens).hidden
    assert torch.equal(model(tokens.flip(1)).hidden, hidden.flip(1))
    assert torch.equal(model(tokens[:, :1]).hidden, hidden[:, :1])


@every_case
@torch.no_grad()
def test_types_are_read_where_there_are_several(case: str) -> None:
    model: Any = shaken(case)
    tokens, mask = padded([random_tokens(5), random_tokens(3)])
    types = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 0, 0]])
    plain, zero = model(tokens, token_mask=mask), model(tokens, token_mask=mask, type_ids=types * 0)
    typed = model(tokens, token_mask=mask, type_ids=types).hidden
    assert torch.equal(plain.hidden, zero.hidden)
    several = getattr(model.config, "n_types", 0) > 1
    assert bool((typed - plain.hidden).abs().max() > 1e-3) == several
    close(typed[1, :3], model(tokens[1:, :3], type_ids=types[1:, :3]).hidden[0])


@every_case
@torch.no_grad()
def test_saved_and_loaded_model_is_the_same(case: str, tmp_path: Path) -> None:
    model, other = shaken(case), shaken(case)
    save_file(dict(model.named_parameters()), tmp_path / "m.safetensors")
    other.load_state_dict(load_file(tmp_path / "m.safetensors"), strict=True)
    tokens = random_tokens(3, 7)
    assert torch.equal(model.logits(model(tokens).hidden), other.logits(other(tokens).hidden))
    assert model.head_weight() is model.embedding.weight


@every_reader
def test_learns_what_was_masked(case: str) -> None:
    """Rows whose last token says what was masked at their beginning."""
    model = fresh(case, dropout=0.0).train()
    tokens = random_tokens(3, 5) % (VOCAB - 1)
    tokens[:, 4] = torch.arange(3)
    targets = tokens[:, :2].flatten()
    masked = tokens.clone()
    masked[:, :2] = VOCAB - 1
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    loss = torch.tensor(math.inf)
    for _ in range(300):
        optimizer.zero_grad()
        loss = model.nll(model(masked).hidden[:, :2].flatten(0, 1), targets).mean()
        loss.backward()
        optimizer.step()
        if loss < 0.1:
            break
    assert loss < 0.1


@every_case
@torch.no_grad()
def test_initial_loss_is_that_of_guessing(case: str) -> None:
    name, settings = CASES[case]
    model = build_model(name, family(name).config(**{k: 2 for k in ("n_layers",) if k in settings}), 2001).eval()
    tokens = torch.randint(0, 2001, (3, 12))
    loss = model.nll(model(tokens).hidden.flatten(0, 1), torch.randint(0, 2001, (36,))).mean()
    assert abs(float(loss) - math.log(2001)) < 0.2


@every_case
def test_nll_is_minus_log_softmax_of_logits(case: str) -> None:
    model = shaken(case)
    hidden = model(random_tokens(3, 7)).hidden.flatten(0, 1)
    targets = random_tokens(21)
    expected = F.cross_entropy(model.logits(hidden), targets, reduction="none")
    close(model.nll(hidden, targets), expected)
    targets[5] = -100
    assert model.nll(hidden, targets)[5] == 0


@every_case
def test_every_parameter_learns(case: str) -> None:
    model = shaken(case).train()
    hidden = model(random_tokens(3, 7), type_ids=torch.arange(7).expand(3, 7) % 2).hidden
    (model.nll(hidden.flatten(0, 1), random_tokens(21)).sum() + model.pooled(hidden[:, 0]).sum()).backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


@every_case
@torch.no_grad()
def test_dropout_acts_in_training_alone(case: str) -> None:
    torch.manual_seed(5)
    model = shaken(case, dropout=0.4)
    torch.manual_seed(5)
    without = shaken(case, dropout=0.0)
    tokens = random_tokens(3, 7)
    assert torch.equal(model(tokens).hidden, without(tokens).hidden)
    model.train()
    assert (model(tokens).hidden - model(tokens).hidden).abs().max() > 1e-3


@every_case
@torch.no_grad()
def test_bf16_is_near_fp32(case: str) -> None:
    model = shaken(case)
    tokens, mask = padded([random_tokens(n) for n in (7, 4)])
    expected = model.logits(model(tokens, token_mask=mask).hidden)[mask]
    with torch.autocast("cpu", torch.bfloat16):
        actual = model.logits(model(tokens, token_mask=mask).hidden)[mask]
    assert (actual.float() - expected).abs().mean() < 0.05 * expected.abs().mean()


@with_attention
@torch.no_grad()
def test_attention_can_be_observed(case: str) -> None:
    model = shaken(case)
    seen: list[Tensor] = []

    def watch(module: Any, args: Any, kwargs: Any, output: Tensor) -> None:
        seen.append(module.weights(*args, **kwargs))
        close(seen[-1] @ args[2], output)

    for module in model.modules():
        if isinstance(module, Attention):
            module.register_forward_hook(watch, with_kwargs=True)
    model(random_tokens(1, 5))
    assert len(seen) == 2  # layers
    near = masks.window(5, 2)[0, 0]  # no layer sees less
    assert all((weights[..., near] > 0).all() for weights in seen)  # both directions


@torch.no_grad()
def test_local_layers_see_their_window_and_nothing_else() -> None:
    model: Any = shaken("modernbert-local")  # block 0 is global, block 1 sees two tokens to each side
    model.layers[0].attention.output.weight.zero_()
    tokens = random_tokens(1, 11)
    changed = tokens.clone()
    changed[0, 5] = (changed[0, 5] + 1) % VOCAB
    moved = (model(tokens).hidden - model(changed).hidden)[0].abs().amax(-1)
    assert (moved[3:8] > 1e-5).all()
    assert not moved[:3].any()
    assert not moved[8:].any()


@torch.no_grad()
def test_depth_of_an_albert_costs_no_weights() -> None:
    shallow, deep = fresh("albert-plain", n_layers=1), fresh("albert-plain", n_layers=5)
    assert [n for n, _ in shallow.named_parameters()] == [n for n, _ in deep.named_parameters()]
    assert len(deep.blocks()) == 1
    deep.load_state_dict(shallow.state_dict())
    tokens = random_tokens(2, 6)
    assert (shallow(tokens).hidden - deep(tokens).hidden).abs().max() > 1e-3


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_recurrent_encoders_equal_plain_torch(cell: str) -> None:
    ours: Any = build_model("birnn", BiRNNConfig(cell=cell, n_layers=2, d_model=13, d_hidden=7, dropout=0.0), VOCAB)
    theirs = getattr(nn, cell.upper())(13, 7, 2, bidirectional=True, batch_first=True)
    theirs.load_state_dict(ours.recurrent.state_dict())
    rows = [random_tokens(n) for n in (6, 2, 4)]
    tokens, mask = padded(rows)
    targets = random_tokens(3, 6).masked_fill(~mask, -100)
    expected = torch.cat([theirs(ours.embedding.weight[row][None])[0][0] for row in rows])
    hidden = ours(tokens, token_mask=mask).hidden
    close(hidden[mask], expected)
    logits = F.linear(expected, ours.head.weight, ours.head.bias) @ ours.embedding.weight.T + ours.output_bias
    close(ours.logits(hidden)[mask], logits)
    F.cross_entropy(logits, targets[mask], reduction="sum").backward()
    wanted = {name: p.grad.clone() for name, p in ours.named_parameters() if p.grad is not None}
    wanted |= {f"recurrent.{name}": p.grad for name, p in theirs.named_parameters()}
    ours.zero_grad()
    ours.nll(ours(tokens, token_mask=mask).hidden.flatten(0, 1), targets.flatten()).sum().backward()
    for name, parameter in ours.named_parameters():
        close(parameter.grad, wanted[name], 1e-4)


@with_attention
def test_widths_that_heads_do_not_divide(case: str) -> None:
    with pytest.raises(ConfigError, match=r"d_model 14.*n_heads 4"):
        family(CASES[case][0]).config(d_model=14, n_heads=4)
