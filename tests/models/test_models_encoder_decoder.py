"""What every encoder-decoder promises, whatever it is made of: the same tests over recurrence and attention."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from case_tools import VOCAB, padded, random_tokens
from encoder_decoder_cases import CASES, SEPARABLE_CASES, SOURCE_VOCAB, alone, encoded, fresh, shaken
from safetensors.torch import load_file, save_file
from torch import Tensor

from malgil.errors import InputError
from malgil.models import FAMILIES
from malgil.models.base import EncoderDecoder, Memory

every_case = pytest.mark.parametrize("case", CASES)
LENGTHS = (3, 7, 1, 5)


def close(actual: Tensor, expected: Tensor, tolerance: float = 2e-5) -> None:
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=tolerance)


def sources() -> list[Tensor]:
    return [random_tokens(n) for n in (6, 2, 4, 1)]


def test_every_family_has_cases() -> None:
    families = {name for name, row in FAMILIES.items() if issubclass(row.model, EncoderDecoder)}
    assert {name for name, _ in CASES.values()} == families


@every_case
def test_shapes(case: str) -> None:
    model = shaken(case)
    memory = model.encode(random_tokens(3, 5))
    assert memory.hidden.shape[:2] == memory.mask.shape == (3, 5)
    assert memory.mask.all()
    output = model(random_tokens(3, 7), memory=memory)
    assert output.hidden.shape == (3, 7, model.d_model)
    assert output.state is None  # a state is made only where one was handed in
    assert model.logits(output.hidden).shape == (3, 7, VOCAB)
    inside = set(model.modules())
    assert all(block in inside for block in model.blocks())


@every_case
@torch.no_grad()
def test_a_later_token_changes_nothing_before_it(case: str) -> None:
    model = shaken(case)
    memory, tokens = model.encode(random_tokens(3, 5)), random_tokens(3, 7)
    changed = tokens.clone()
    changed[:, 4] = (changed[:, 4] + 1) % VOCAB
    before, after = model(tokens, memory=memory).hidden, model(changed, memory=memory).hidden
    close(before[:, :4], after[:, :4], 1e-6)
    moved = (before[:, 4:] - after[:, 4:]).abs().amax(-1)
    assert (moved > 1e-4).all()  # and is seen by every token from there on


@every_case
@pytest.mark.parametrize("place", [0, 2, 4])
@torch.no_grad()
def test_every_target_position_sees_every_source_token_of_its_own_row(case: str, place: int) -> None:
    model = shaken(case)
    source, tokens = random_tokens(3, 5), random_tokens(3, 4)
    changed = source.clone()
    changed[1, place] = (changed[1, place] + 1) % VOCAB
    before = model(tokens, memory=model.encode(source)).hidden
    after = model(tokens, memory=model.encode(changed)).hidden
    moved = (before - after).abs().amax(-1)
    assert (moved[1] > 1e-6).all()
    assert (moved[[0, 2]] < 1e-6).all()


@every_case
@torch.no_grad()
def test_padding_changes_nothing(case: str) -> None:
    model = shaken(case)
    pairs = list(zip(sources(), [random_tokens(n) for n in LENGTHS], strict=True))
    for filler in (0, VOCAB - 1):
        memory = encoded(model, [source for source, _ in pairs], filler)
        tokens, mask = padded([target for _, target in pairs], filler)
        hidden = model(tokens, token_mask=mask, memory=memory).hidden
        assert hidden.isfinite().all()
        for b, (source, target) in enumerate(pairs):
            close(hidden[b, : len(target)], alone(model, source, target))


@every_case
@torch.no_grad()
def test_token_by_token_equals_the_whole(case: str) -> None:
    model = shaken(case)
    rows, tokens = sources(), random_tokens(4, 8)
    state = model.init_state(encoded(model, rows), 8)
    pieces = []
    for piece in tokens.split((1, 1, 3, 1, 2), dim=1):  # single steps, a chunk, and steps again
        hidden, state = model(piece, state=state)
        pieces.append(hidden)
    for b, source in enumerate(rows):
        close(torch.cat(pieces, dim=1)[b], alone(model, source, tokens[b]))


@every_case
@torch.no_grad()
def test_a_padded_beginning_is_gone_on_from_each_rows_end(case: str) -> None:
    model = shaken(case)
    rows, targets = sources(), [random_tokens(n) for n in LENGTHS]
    tokens, mask = padded(targets, filler=7)
    hidden, state = model(tokens, token_mask=mask, state=model.init_state(encoded(model, rows), 10))
    some, rest = random_tokens(4, 1), random_tokens(4, 2)
    wanted = torch.tensor([[True], [False], [True], [False]])  # rows without a new token keep their state
    _, state = model(some, token_mask=wanted, state=state)
    last, _ = model(rest, state=state)
    for b, (source, target) in enumerate(zip(rows, targets, strict=True)):
        close(hidden[b, : len(target)], alone(model, source, target))
        whole = torch.cat((target, some[b][wanted[b]], rest[b]))
        close(last[b], alone(model, source, whole)[-2:])


@every_case
@pytest.mark.parametrize("picks", [(2, 0, 0, 1, 2), (0, 0, 1, 1, 3, 3), (3, 1)])
@torch.no_grad()
def test_selected_rows_go_on_independently(case: str, picks: tuple[int, ...]) -> None:
    """Unequal beams of a sentence, equal ones, and fewer sentences, as a beam search selects them."""
    model = shaken(case)
    rows = sources()
    tokens = random_tokens(4, 2)
    _, state = model(tokens, state=model.init_state(encoded(model, rows), 9))
    branches = state.select(torch.tensor(picks))
    chosen, histories = [rows[i] for i in picks], [tokens[i] for i in picks]
    for _ in range(2):  # the original and its copies take turns
        new, own = random_tokens(len(picks), 1), random_tokens(4, 1)
        hidden, branches = model(new, state=branches)
        rest, state = model(own, state=state)
        histories = [torch.cat((row, n)) for row, n in zip(histories, new, strict=True)]
        tokens = torch.cat((tokens, own), dim=1)
        for b, (source, history) in enumerate(zip(chosen, histories, strict=True)):
            close(hidden[b], alone(model, source, history)[-1:])
        for b, source in enumerate(rows):
            close(rest[b], alone(model, source, tokens[b])[-1:])


@every_case
@torch.no_grad()
def test_beams_are_reordered_and_leave(case: str) -> None:
    model = shaken(case)
    rows = sources()[:2]
    state = model.init_state(encoded(model, rows), 9).select(torch.tensor([0, 0, 0, 1, 1, 1]))
    histories, owners = [torch.empty(0, dtype=torch.long)] * 6, [0, 0, 0, 1, 1, 1]
    for rows_kept in ([2, 2, 0, 5, 3, 3], [1, 0, 2, 4, 4, 5], [3, 5, 4], [2, 0]):
        new = random_tokens(len(histories), 1)
        hidden, state = model(new, state=state)
        histories = [torch.cat((h, n)) for h, n in zip(histories, new, strict=True)]
        for b, history in enumerate(histories):
            close(hidden[b], alone(model, rows[owners[b]], history)[-1:])
        state = state.select(torch.tensor(rows_kept))
        histories, owners = [histories[i] for i in rows_kept], [owners[i] for i in rows_kept]


@every_case
def test_state_round_trip_and_detach(case: str) -> None:
    model = shaken(case)
    _, state = model(random_tokens(4, 2), state=model.init_state(encoded(model, sources()), 9))
    state = state.select(torch.tensor([0, 0, 1, 1, 3, 3]))
    assert any(t.requires_grad for t in state.tensors())
    assert all(t.shape[state.row_dim] == 6 for t in state.tensors())
    detached = state.detach()
    assert not any(t.requires_grad for t in detached.tensors())
    again = detached.with_tensors([t.clone() for t in detached.tensors()])
    new = random_tokens(6, 2)
    with torch.no_grad():
        close(model(new, state=detached).hidden, model(new, state=again).hidden, 1e-6)


@pytest.mark.parametrize("case", SEPARABLE_CASES)
@torch.no_grad()
def test_a_source_vocabulary_of_its_own(case: str) -> None:
    model = shaken(case, source_vocab=SOURCE_VOCAB)
    assert (model.vocab_size, model.source_vocab_size) == (VOCAB, SOURCE_VOCAB)
    memory = model.encode(torch.tensor([[SOURCE_VOCAB - 1, 0]]))
    assert model.logits(model(random_tokens(1, 3), memory=memory).hidden).shape == (1, 3, VOCAB)


@every_case
def test_memory_or_state_and_not_both(case: str) -> None:
    model = shaken(case)
    memory = model.encode(random_tokens(2, 3))
    with pytest.raises(InputError, match="memory"):
        model(random_tokens(2, 1))
    with pytest.raises(InputError, match="memory"):
        model(random_tokens(2, 1), memory=memory, state=model.init_state(memory, 2))


@every_case
@torch.no_grad()
def test_saved_and_loaded_model_is_the_same(case: str, tmp_path: Path) -> None:
    model, other = shaken(case), shaken(case)
    save_file(dict(model.named_parameters()), tmp_path / "m.safetensors")
    other.load_state_dict(load_file(tmp_path / "m.safetensors"), strict=True)
    source, tokens = random_tokens(3, 5), random_tokens(3, 4)
    ours, theirs = (m.logits(m(tokens, memory=m.encode(source)).hidden) for m in (model, other))
    assert torch.equal(ours, theirs)


@every_case
def test_every_parameter_learns(case: str) -> None:
    model = shaken(case).train()
    hidden = model(random_tokens(4, 6), memory=encoded(model, sources())).hidden
    model.nll(hidden.flatten(0, 1), random_tokens(24)).sum().backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]


def _pairs() -> tuple[list[Tensor], Tensor]:
    """Four pairs whose targets begin alike: who does not see the source guesses among four, ln 4 / 5 = 0.28 a token."""
    targets = random_tokens(4, 6)
    targets[:, 0], targets[:, 1] = 1, torch.arange(2, 6)
    return [torch.tensor([7, 3 + b, 8][: 3 - b % 2]) for b in range(4)], targets


@every_case
def test_overfits_one_batch(case: str) -> None:
    model = fresh(case).train()
    rows, targets = _pairs()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.008)
    loss = torch.tensor(math.inf)
    for _ in range(300):
        optimizer.zero_grad()
        hidden = model(targets[:, :-1], memory=encoded(model, rows)).hidden
        loss = model.nll(hidden.flatten(0, 1), targets[:, 1:].flatten()).mean()
        loss.backward()
        optimizer.step()
        if loss < 0.15:
            break
    assert loss < 0.15


@every_case
@torch.no_grad()
def test_initial_loss_is_that_of_guessing(case: str) -> None:
    model = fresh(case)
    tokens = random_tokens(40, 12)
    hidden = model(tokens[:, :-1], memory=model.encode(random_tokens(40, 5))).hidden
    loss = model.nll(hidden.flatten(0, 1), tokens[:, 1:].flatten()).mean()
    assert abs(float(loss) - math.log(VOCAB)) < 0.2


@every_case
@torch.no_grad()
def test_dropout_acts_in_training_alone(case: str) -> None:
    torch.manual_seed(5)
    model = shaken(case, dropout=0.4)
    torch.manual_seed(5)
    without = shaken(case, dropout=0.0)
    source, tokens = random_tokens(3, 5), random_tokens(3, 7)

    def hidden(of: EncoderDecoder) -> Tensor:
        read: Tensor = of(tokens, memory=of.encode(source)).hidden
        return read

    assert torch.equal(hidden(model), hidden(without))
    model.train()
    torch.manual_seed(1)
    first, second = hidden(model), hidden(model)
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(first, hidden(model))


@every_case
def test_bf16_reads_and_learns_as_fp32_does(case: str) -> None:
    model = fresh(case)
    rows, tokens = sources(), random_tokens(4, 5)

    def run() -> Tensor:
        memory = encoded(model, rows)
        whole: Tensor = model(tokens, memory=memory).hidden
        _, state = model(tokens[:, :3], state=model.init_state(memory, 5))
        close(model(tokens[:, 3:], state=state).hidden.float(), whole[:, 3:].float(), 0.05)
        return whole

    expected = run()
    with torch.autocast("cpu", torch.bfloat16):
        hidden = run()
    close(hidden.float(), expected, 0.05)
    hidden.float().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    model.bfloat16()
    half = run()
    assert half.dtype == torch.bfloat16
    close(half.float(), expected, 0.05)


@every_case
def test_padding_of_the_source_gets_no_gradient(case: str) -> None:
    model = shaken(case)
    memory = encoded(model, sources())
    watched = memory.hidden.detach().requires_grad_()
    model(random_tokens(4, 3), memory=Memory(watched, memory.mask, memory.final)).hidden.sum().backward()
    if watched.grad is not None:  # without attention nothing is looked at
        assert watched.grad[memory.mask].any()
        assert not watched.grad[~memory.mask].any()


@every_case
def test_smoothed_loss_counts_what_is_not_ignored(case: str) -> None:
    model = shaken(case)
    hidden = model(random_tokens(4, 3), memory=encoded(model, sources())).hidden.flatten(0, 1)
    targets = random_tokens(12)
    targets[5] = -100
    expected = F.cross_entropy(model.logits(hidden), targets, reduction="none", label_smoothing=0.1)
    close(model.nll(hidden, targets, 0.1), expected)
