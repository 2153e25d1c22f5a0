"""What every family promises, whatever it is made of: the same tests over recurrence and attention."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from case_tools import VOCAB, random_tokens
from model_cases import ATTENTION_CASES, CASES, RECURRENT_CASES, fresh, shaken
from safetensors.torch import load_file, save_file
from torch import Tensor

from malgil.errors import ContextLengthError, InputError
from malgil.models import FAMILIES
from malgil.models.base import CausalLM, Model, State

every_case = pytest.mark.parametrize("case", CASES)


def close(actual: Tensor, expected: Tensor, tolerance: float = 2e-5) -> None:
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=tolerance)


def padded(rows: list[Tensor], filler: int) -> tuple[Tensor, Tensor]:
    """Rows of different lengths as (B, T), and which tokens are real."""
    length = max(len(row) for row in rows)
    tokens = torch.stack([F.pad(row, (0, length - len(row)), value=filler) for row in rows])
    mask = torch.stack([torch.arange(length) < len(row) for row in rows])
    return tokens, mask


def alone(model: Model, row: Tensor) -> Tensor:
    """(T, D): the hidden vectors of a row read by itself, without a state."""
    hidden: Tensor = model(row[None]).hidden[0]
    return hidden


def test_every_family_has_cases() -> None:
    assert {name for name, _ in CASES.values()} == {n for n, f in FAMILIES.items() if issubclass(f.model, CausalLM)}


@every_case
def test_shapes(case: str) -> None:
    model = shaken(case)
    output = model(random_tokens(3, 7))
    assert output.hidden.shape == (3, 7, model.d_model)
    assert output.state is None  # a state is made only where one was asked for
    assert model.logits(output.hidden).shape == (3, 7, VOCAB)
    inside = set(model.modules())
    assert all(block in inside for block in model.blocks())


@every_case
@torch.no_grad()
def test_a_later_token_changes_nothing_before_it(case: str) -> None:
    model = shaken(case)
    tokens = random_tokens(3, 7)
    changed = tokens.clone()
    changed[:, 4] = (changed[:, 4] + 1) % VOCAB
    before, after = model(tokens).hidden, model(changed).hidden
    assert torch.equal(before[:, :4], after[:, :4])
    moved = (before[:, 4:] - after[:, 4:]).abs().amax(-1)
    assert (moved > 1e-4).all()  # and is seen by every token from there on


@every_case
@torch.no_grad()
def test_cached_decoding_equals_reading_from_the_start(case: str) -> None:
    model = shaken(case)
    rows = [random_tokens(n) for n in (3, 5, 2)]
    tokens, mask = padded(rows, filler=7)
    hidden, state = model(tokens, token_mask=mask, state=model.init_state(3, 17))
    for b, row in enumerate(rows):
        close(hidden[b, : len(row)], alone(model, row))
    for width in (1, 1, 1, 4, 1):  # single steps, a chunk, and a step again
        new = random_tokens(3, width)
        hidden, state = model(new, state=state)
        rows = [torch.cat((row, n)) for row, n in zip(rows, new, strict=True)]
        for b, row in enumerate(rows):
            close(hidden[b], alone(model, row)[-width:])


@every_case
@torch.no_grad()
def test_a_padded_chunk_after_a_padded_prompt(case: str) -> None:
    model = shaken(case)
    rows = [random_tokens(n) for n in (4, 2, 3)]
    tokens, mask = padded(rows, filler=1)
    _, state = model(tokens, token_mask=mask, state=model.init_state(3, 15))
    more = [random_tokens(n) for n in (1, 3, 2)]
    tokens, mask = padded(more, filler=2)
    _, state = model(tokens, token_mask=mask, state=state)
    last = random_tokens(3, 1)
    hidden, _ = model(last, state=state)
    for b in range(3):
        close(hidden[b], alone(model, torch.cat((rows[b], more[b], last[b])))[-1:])


@every_case
@torch.no_grad()
def test_a_row_without_new_tokens_keeps_its_state(case: str) -> None:
    model = shaken(case)
    tokens = random_tokens(2, 3)
    _, state = model(tokens, state=model.init_state(2, 6))
    new = random_tokens(2, 1)
    _, state = model(new, token_mask=torch.tensor([[True], [False]]), state=state)
    last = random_tokens(2, 1)
    hidden, _ = model(last, state=state)
    close(hidden[0], alone(model, torch.cat((tokens[0], new[0], last[0])))[-1:])
    close(hidden[1], alone(model, torch.cat((tokens[1], last[1])))[-1:])


@every_case
@torch.no_grad()
def test_prompts_of_one_length_with_a_mask(case: str) -> None:
    model = shaken(case)
    tokens = random_tokens(3, 4)
    _, state = model(tokens, token_mask=torch.ones(3, 4, dtype=torch.bool), state=model.init_state(3, 9))
    new = random_tokens(3, 1)
    close(model(new, state=state).hidden, model(torch.cat((tokens, new), 1)).hidden[:, -1:])


@every_case
@pytest.mark.parametrize("lengths", [(3, 5, 2), (4, 4, 4)])
@torch.no_grad()
def test_selected_rows_go_on_independently(case: str, lengths: tuple[int, ...]) -> None:
    model = shaken(case)
    rows = [random_tokens(n) for n in lengths]
    tokens, mask = padded(rows, filler=0)
    _, state = model(tokens, token_mask=mask, state=model.init_state(3, 12))
    picks = (2, 0, 0, 1, 2)
    branches = state.select(torch.tensor(picks))
    chosen = [rows[i] for i in picks]
    for _ in range(3):  # the original and its copies take turns
        new, own = random_tokens(len(picks), 1), random_tokens(3, 1)
        hidden, branches = model(new, state=branches)
        rest, state = model(own, state=state)
        chosen = [torch.cat((row, n)) for row, n in zip(chosen, new, strict=True)]
        rows = [torch.cat((row, n)) for row, n in zip(rows, own, strict=True)]
        for b, row in enumerate(chosen):
            close(hidden[b], alone(model, row)[-1:])
        for b, row in enumerate(rows):
            close(rest[b], alone(model, row)[-1:])


@every_case
@torch.no_grad()
def test_two_states_share_nothing(case: str) -> None:
    model = shaken(case)
    first, second = random_tokens(2, 5), random_tokens(2, 5)
    _, a = model(first, state=model.init_state(2, 8))
    _, b = model(second, state=model.init_state(2, 8))
    new = random_tokens(2, 1)
    close(model(new, state=a).hidden, model(torch.cat((first, new), 1)).hidden[:, -1:])
    close(model(new, state=b).hidden, model(torch.cat((second, new), 1)).hidden[:, -1:])


@every_case
def test_state_round_trip_and_detach(case: str) -> None:
    model = shaken(case)
    tokens, mask = padded([random_tokens(n) for n in (3, 5, 2)], filler=3)
    _, state = model(tokens, token_mask=mask, state=model.init_state(3, 9))
    assert any(t.requires_grad for t in state.tensors())
    detached = state.detach()
    assert not any(t.requires_grad for t in detached.tensors())
    assert all(t.shape[state.row_dim] == 3 for t in state.tensors())
    again = _copied(detached)
    new = random_tokens(3, 2)
    with torch.no_grad():
        assert torch.equal(model(new, state=detached).hidden, model(new, state=again).hidden)


def _copied(state: State) -> State:
    return state.with_tensors([t.clone() for t in state.tensors()])


@every_case
@torch.no_grad()
def test_padding_changes_nothing(case: str) -> None:
    model = shaken(case)
    rows = [random_tokens(n) for n in (3, 7, 1, 5)]
    for filler in (0, VOCAB - 1):
        tokens, mask = padded(rows, filler)
        hidden = model(tokens, token_mask=mask).hidden
        assert hidden.isfinite().all()
        for b, row in enumerate(rows):
            close(hidden[b, : len(row)], alone(model, row))


@pytest.mark.parametrize("case", ATTENTION_CASES)
@torch.no_grad()
def test_packed_documents_do_not_see_one_another(case: str) -> None:
    model = shaken(case)
    lengths = [(3, 5, 1), (7,), (2, 2)]
    documents = [[random_tokens(n) for n in row] for row in lengths]
    tokens, mask = padded([torch.cat(row) for row in documents], filler=4)
    ids = [torch.cat([torch.full((n,), i + 1) for i, n in enumerate(row)]) for row in lengths]
    segment_ids, _ = padded(ids, filler=0)
    hidden = model(tokens, token_mask=mask, segment_ids=segment_ids).hidden
    assert hidden.isfinite().all()
    for b, row in enumerate(documents):
        start = 0
        for document in row:
            close(hidden[b, start : start + len(document)], alone(model, document))
            start += len(document)


@pytest.mark.parametrize("case", ATTENTION_CASES)
def test_a_row_longer_than_the_context_is_refused(case: str) -> None:
    model = shaken(case)
    assert model.context == 19
    assert model(random_tokens(1, 19)).hidden.shape[1] == 19
    with pytest.raises(ContextLengthError, match=r"20 tokens.*19"):
        model(random_tokens(1, 20))


@pytest.mark.parametrize("case", RECURRENT_CASES)
def test_recurrent_models_refuse_packed_rows(case: str) -> None:
    model = shaken(case)
    with pytest.raises(InputError, match="packed"):
        model(random_tokens(2, 5), segment_ids=torch.ones(2, 5, dtype=torch.long))


@every_case
@torch.no_grad()
def test_saved_and_loaded_model_is_the_same(case: str, tmp_path: Path) -> None:
    model, other = shaken(case), shaken(case)
    save_file(dict(model.named_parameters()), tmp_path / "m.safetensors")
    stored = load_file(tmp_path / "m.safetensors")
    other.load_state_dict(stored, strict=True)
    tokens = random_tokens(3, 7)
    assert torch.equal(model.logits(model(tokens).hidden), other.logits(other(tokens).hidden))
    tied = model.head_weight() is model.embedding.weight
    assert tied == getattr(model.config, "tied")  # noqa: B009 - the config is each family's own
    assert any(name.startswith("head.") for name in stored) != tied


@every_case
def test_overfits_one_batch(case: str) -> None:
    model = fresh(case).train()
    tokens = random_tokens(3, 8)
    tokens[:, 0] = torch.arange(3)  # what follows the first token is then no guess
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    loss = torch.tensor(math.inf)
    for _ in range(300):
        optimizer.zero_grad()
        loss = model.nll(model(tokens[:, :-1]).hidden.flatten(0, 1), tokens[:, 1:].flatten()).mean()
        loss.backward()
        optimizer.step()
        if loss < 0.1:
            break
    assert loss < 0.1


@every_case
@torch.no_grad()
def test_initial_loss_is_that_of_guessing(case: str) -> None:
    model = fresh(case)
    tokens = random_tokens(5, 12)
    loss = model.nll(model(tokens[:, :-1]).hidden.flatten(0, 1), tokens[:, 1:].flatten()).mean()
    assert abs(float(loss) - math.log(VOCAB)) < 0.1


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
    tokens = random_tokens(3, 7)
    model.nll(model(tokens).hidden.flatten(0, 1), random_tokens(21)).sum().backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]


@every_case
@torch.no_grad()
def test_carried_state_equals_one_long_row(case: str) -> None:
    """Truncated back-propagation reads a long row in pieces; what it reads is the whole."""
    model = shaken(case)
    tokens = random_tokens(3, 15)
    state: State = model.init_state(3, 15)
    pieces = []
    for piece in tokens.split((5, 5, 3, 2), dim=1):
        hidden, state = model(piece, state=state.detach())
        pieces.append(hidden)
    close(torch.cat(pieces, 1), model(tokens).hidden)


@pytest.mark.parametrize("case", RECURRENT_CASES)
def test_gradients_end_at_the_detached_state(case: str) -> None:
    model = shaken(case)
    tokens = random_tokens(3, 10)
    _, state = model(tokens[:, :5], state=model.init_state(3, 0))
    carried = [t.detach().requires_grad_() for t in state.tensors()]
    model(tokens[:, 5:], state=state.with_tensors(carried).detach()).hidden.sum().backward()
    assert all(t.grad is None for t in carried)
    model(tokens[:, 5:], state=state.with_tensors(carried)).hidden.sum().backward()
    assert all(t.grad is not None and t.grad.any() for t in carried)


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
    torch.manual_seed(1)
    first, second = model(tokens).hidden, model(tokens).hidden
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(first, model(tokens).hidden)


@every_case
@torch.no_grad()
def test_bf16_weights_decode_as_fp32_ones_do(case: str) -> None:
    model = fresh(case)
    tokens, mask = padded([random_tokens(n) for n in (3, 5)], filler=0)
    new = random_tokens(2, 1)

    def step() -> Tensor:
        _, state = model(tokens, token_mask=mask, state=model.init_state(2, 8))
        hidden: Tensor = model(new, state=state).hidden
        return hidden

    expected = step()
    with torch.autocast("cpu", torch.bfloat16):
        close(step().float(), expected, 0.05)
    model.bfloat16()
    half = step()
    assert half.dtype == torch.bfloat16
    close(half.float(), expected, 0.05)
