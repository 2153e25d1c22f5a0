"""Next-token prediction: what counts, who sees whom, which row goes where, and that cutting a step changes nothing."""

from __future__ import annotations

import doctest
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from malgil.data.corpus import open_corpus
from malgil.data.lanes import Lanes
from malgil.data.settings import DataSettings
from malgil.data.store import TokenStore, token_store
from malgil.data.windows import Windows
from malgil.errors import ConfigError
from malgil.models import FAMILIES, build_model, family
from malgil.models.base import Model
from malgil.models.rnn_lm import RNNLMConfig
from malgil.objectives import causal_lm
from malgil.objectives.base import Assembled, BatchPlan, Specials, check_fit
from malgil.objectives.causal_lm import (
    IGNORED,
    CausalLanguageModelling,
    StreamBatches,
    TokenBatch,
    WindowBatches,
    collate,
)
from malgil.text.settings import TokenizerSettings
from malgil.text.training import train_tokenizer

TEXT = "산은 높고 물은 흐른다. The river carries light. " * 40
ONE = Specials(0, 0)
FAMILIES_SMALL: dict[str, dict[str, Any]] = {
    "gpt2": {"n_layers": 2, "n_heads": 3, "d_model": 15, "max_len": 7},
    "llama": {"n_layers": 2, "n_heads": 2, "d_model": 12, "max_len": 7},
    "rnn_lm": {"n_layers": 2, "d_model": 11, "max_len": 7},
}


def window(ids: list[int], starts: list[int] = []) -> tuple[np.ndarray, np.ndarray]:  # noqa: B006
    flags = np.zeros(len(ids), dtype=bool)
    flags[starts] = True
    return np.array(ids), flags


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    part = open_corpus(DataSettings(paths=[str(path)])).train
    return token_store(part, train_tokenizer([TEXT], TokenizerSettings(kind="char")))


def small(name: str, vocab_size: int, **changed: Any) -> Model:
    torch.manual_seed(3)
    return build_model(name, family(name).config(**{**FAMILIES_SMALL[name], **changed}), vocab_size)


# -- the collator -----------------------------------------------------------------------------------


def test_doctests() -> None:
    result = doctest.testmod(causal_lm)
    assert result.attempted >= 3
    assert result.failed == 0


def test_targets_are_the_next_tokens() -> None:
    batch = collate([window([0, 5, 6, 7]), window([8, 9, 1, 2])], ONE, respect=True)
    assert batch.tokens.tolist() == [[0, 5, 6], [8, 9, 1]]
    assert batch.targets.tolist() == [[5, 6, 7], [9, 1, 2]]
    assert batch.n_targets == 6
    assert batch.segment_ids is None  # one document a row: nothing to keep apart
    assert batch.token_mask is None


def test_a_border_in_one_row_gives_all_rows_segments() -> None:
    windows = [window([0, 5, 0, 7, 0, 3], [0, 2, 4]), window([8, 9, 1, 2, 3, 4]), window([8, 9, 1, 2, 3, 0], [5])]
    batch = collate(windows, ONE, respect=True)
    assert batch.segment_ids is not None
    assert batch.segment_ids.tolist() == [[1, 1, 2, 2, 3], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]]
    assert collate(windows, ONE, respect=False).segment_ids is None


def test_a_short_row_is_padded_on_the_right_and_does_not_count() -> None:
    windows = [window([0, 5, 0, 7, 8], [0, 2]), window([4, 6])]
    batch = collate(windows, ONE, respect=True)
    assert batch.tokens.shape == (2, 4)
    assert batch.token_mask is not None
    assert batch.token_mask.tolist() == [[True] * 4, [True, False, False, False]]
    assert batch.targets.tolist() == [[5, 0, 7, 8], [6, IGNORED, IGNORED, IGNORED]]
    assert batch.segment_ids is not None
    assert batch.segment_ids.tolist() == [[1, 1, 2, 2], [1, 0, 0, 0]]
    assert batch.n_targets == 5


def test_the_end_is_not_asked_for_the_next_document() -> None:
    """begin 1, end 2: after the end anything may follow, so the begin token there is nobody's target."""
    batch = collate([window([1, 5, 6, 2, 1, 7, 2], [0, 4])], Specials(1, 2), respect=True)
    assert batch.targets.tolist() == [[5, 6, 2, IGNORED, 7, 2]]
    assert batch.n_targets == 5
    assert batch.segment_ids is not None
    assert batch.segment_ids.tolist() == [[1, 1, 1, 1, 2, 2]]


def test_moving_keeps_everything() -> None:
    batch = collate([window([0, 5, 0, 7], [0, 2]), window([4, 6])], ONE, respect=True)
    batch = replace(batch, stream=True, fresh=True)
    moved = batch.to(torch.device("meta"))
    assert moved.tokens.is_meta
    assert moved.targets.is_meta
    assert moved.segment_ids is not None
    assert moved.segment_ids.is_meta
    assert (moved.n_targets, moved.stream, moved.fresh) == (batch.n_targets, True, True)
    assert batch.to(torch.device("cpu")) is batch


# -- which row goes where ---------------------------------------------------------------------------


def rows_of(batches: list[TokenBatch]) -> list[list[int]]:
    return [row.tolist() for batch in batches for row in batch.tokens]


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("kind", ["windows", "streams"])
def test_every_world_reads_the_same_rows(store: TokenStore, kind: str, world: int) -> None:
    def batches(plan: BatchPlan) -> WindowBatches | StreamBatches:
        if kind == "windows":
            return WindowBatches(Windows(store, 7, seed=5), ONE, plan, respect=True)
        return StreamBatches(Lanes(store, plan.rows, 7, seed=5), ONE, plan)

    for step in (0, 3, 11):
        whole = rows_of(batches(BatchPlan(12))(step))
        shared = [batches(BatchPlan(6, 2, rank, world))(step) for rank in range(world)]
        assert [len(s) for s in shared] == [2] * world
        together = [row for m in range(2) for rank in range(world) for row in rows_of([shared[rank][m]])]
        assert together == whole


def test_rows_that_cannot_be_shared_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"batch_size 7 cannot be shared by 2 processes.*multiple of 2"):
        BatchPlan(7, world=2)


def test_an_epoch_reads_every_window_once(store: TokenStore) -> None:
    windows = Windows(store, 7, seed=5)
    batches = WindowBatches(windows, ONE, BatchPlan(5), respect=True)
    assert batches.tokens_per_step == 35
    assert batches.steps_per_epoch == len(windows) / 5
    steps = math.ceil(batches.steps_per_epoch)
    rows = [row for step in range(steps) for row in rows_of(batches(step))][: len(windows)]
    expected = [windows.window(0, i)[0][:-1].tolist() for i in range(len(windows))]
    assert rows == expected


def test_streams_go_on_where_they_stopped(store: TokenStore) -> None:
    batches = StreamBatches(Lanes(store, 6, 7, seed=5), ONE, BatchPlan(3, 2))
    columns = int(batches.steps_per_epoch)
    assert columns > 3
    before: list[TokenBatch] | None = None
    for step in range(columns + 2):
        now = batches(step)
        assert all(b.stream and b.fresh == (step % columns == 0) for b in now)
        if before is not None and step % columns:
            for old, new in zip(before, now, strict=True):
                assert torch.equal(old.targets[:, -1], new.tokens[:, 0])
        before = now


# -- the loss ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES_SMALL)
def test_loss_is_cross_entropy_of_the_logits(name: str) -> None:
    model = small(name, 23)
    torch.manual_seed(1)
    rows = [np.random.default_rng(n).integers(0, 23, n) for n in (8, 5, 2)]
    batch = collate([window(row.tolist()) for row in rows], ONE, respect=True)
    objective = CausalLanguageModelling(ONE)
    check_fit(type(objective), type(model), {n: f.model for n, f in FAMILIES.items()})
    sums, carry = objective.loss(Assembled(model, {}), batch, None)
    mask = batch.token_mask if name == "rnn_lm" else None
    logits = model.logits(model(batch.tokens, token_mask=mask).hidden)
    expected = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED, reduction="sum")
    torch.testing.assert_close(sums["nll"], expected, rtol=1e-6, atol=1e-5)
    assert objective.counts(batch) == {"nll": 12}
    assert carry is None
    sums["nll"].backward()
    assert all(p.grad is not None for p in model.parameters())


def test_a_batch_in_which_nothing_counts_still_has_a_gradient() -> None:
    model = small("gpt2", 23)
    batch = collate([window([3, 4, 5])], ONE, respect=True)
    batch = replace(batch, targets=torch.full_like(batch.targets, IGNORED), n_targets=0)
    sums, _ = CausalLanguageModelling(ONE).loss(Assembled(model, {}), batch, None)
    assert sums["nll"].item() == 0.0
    sums["nll"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_documents_in_a_row_do_not_see_one_another() -> None:
    model = small("llama", 23)
    objective, alone = CausalLanguageModelling(ONE), CausalLanguageModelling(ONE, boundaries="ignore")
    ids = [0, 5, 6, 0, 7, 8, 9]
    packed = collate([window(ids, [0, 3])], ONE, respect=objective.respect)
    sums, _ = objective.loss(Assembled(model, {}), packed, None)
    parts = [collate([window(ids[:4])], ONE, respect=True), collate([window(ids[3:])], ONE, respect=True)]
    apart = sum(objective.loss(Assembled(model, {}), part, None)[0]["nll"] for part in parts)
    torch.testing.assert_close(sums["nll"], apart)
    crossed, _ = alone.loss(Assembled(model, {}), collate([window(ids, [0, 3])], ONE, respect=alone.respect), None)
    assert abs(crossed["nll"] - sums["nll"]) > 1e-4


def test_a_carried_state_is_used_and_cut_off_from_the_graph(store: TokenStore) -> None:
    model = small("rnn_lm", 40)
    objective = CausalLanguageModelling(ONE)
    batches = objective.training_batches(store, model, 7, BatchPlan(3))
    assert isinstance(batches, StreamBatches)
    first, second = batches(0)[0], batches(1)[0]
    _, carry = objective.loss(Assembled(model, {}), first, None)
    assert carry is not None
    assert not any(t.requires_grad for t in carry.tensors())
    on, _ = objective.loss(Assembled(model, {}), second, carry)
    anew, _ = objective.loss(Assembled(model, {}), replace(second, fresh=True), carry)
    nothing, _ = objective.loss(Assembled(model, {}), second, None)
    # one pass over both pieces is the authority
    both = torch.cat([first.tokens, second.tokens], dim=1)
    hidden = model(both).hidden[:, 7:]
    expected = F.cross_entropy(model.logits(hidden).flatten(0, 1), second.targets.flatten(), reduction="sum")
    torch.testing.assert_close(on["nll"], expected)
    assert torch.equal(anew["nll"], nothing["nll"])
    assert abs(on["nll"] - anew["nll"]) > 1e-4


def test_an_unfit_model_is_refused_by_name() -> None:
    class Encoder(Model):
        def head_weight(self) -> torch.Tensor:
            raise NotImplementedError

    with pytest.raises(ConfigError, match=r"does not fit model Encoder; models that fit: .*gpt2.*llama"):
        check_fit(CausalLanguageModelling, Encoder, {n: f.model for n, f in FAMILIES.items()})


def test_rows_of_a_stream_begin_anew_now_and_then(store: TokenStore) -> None:
    lanes = Lanes(store, 4, 5, seed=3)
    specials = Specials(0, 0)
    plain, renewed = (StreamBatches(lanes, specials, BatchPlan(4, seed=3), restarts=share) for share in (0.0, 0.5))
    anew = begun = total = 0
    for step in range(40):
        (before,), (now,) = plain(step), renewed(step)
        assert before.restarts is None
        assert torch.equal(now.targets, before.targets)
        assert torch.equal(now.tokens[:, 1:], before.tokens[:, 1:])
        rows = now.restarts if now.restarts is not None else torch.zeros(4, dtype=torch.bool)
        changed = now.tokens[:, 0] != before.tokens[:, 0]
        assert bool((now.tokens[changed, 0] == specials.begin_id).all())
        assert bool((~changed | rows).all())  # a first token is only replaced where a row begins anew
        anew, begun, total = anew + int(rows.sum()), begun + int(changed.sum()), total + 4
    assert 0.35 < anew / total < 0.65
    assert 0.1 < begun / total < 0.4
    assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(renewed(7), renewed(7), strict=True))


def test_a_row_that_begins_anew_has_an_empty_state(store: TokenStore) -> None:
    model = build_model("rnn_lm", RNNLMConfig(d_model=8, max_len=5), 5000).eval()
    objective = CausalLanguageModelling(Specials(0, 0))
    (batch,) = StreamBatches(Lanes(store, 3, 5, seed=0), Specials(0, 0), BatchPlan(3))(1)
    carried = model.init_state(3, 1).with_tensors([torch.randn(2, 3, 8) for _ in range(2)])
    emptied = carried.with_tensors([t.clone().index_fill_(1, torch.tensor([1]), 0.0) for t in carried.tensors()])
    restarted = replace(batch, restarts=torch.tensor([False, True, False]))
    got, _ = objective.loss(Assembled(model, {}), restarted, carried)
    expected, _ = objective.loss(Assembled(model, {}), batch, emptied)
    other, _ = objective.loss(Assembled(model, {}), batch, carried)
    assert torch.equal(got["nll"], expected["nll"])
    assert not torch.equal(got["nll"], other["nll"])
