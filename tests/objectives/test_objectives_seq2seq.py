"""One text into another: shifts and masks, which pair goes where, and that cutting a step changes nothing."""

from __future__ import annotations

import doctest
import itertools
import json
import math
import pickle
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from malgil.data.loader import Loader
from malgil.data.pair_store import PairStore, pair_store
from malgil.data.pairs import open_all_pairs
from malgil.data.settings import DataSettings
from malgil.errors import ConfigError, ContextLengthError
from malgil.models import FAMILIES, build_model, family
from malgil.models.base import EncoderDecoder, Memory, Output, State
from malgil.objectives import seq2seq
from malgil.objectives.base import Assembled, BatchPlan, Specials, check_fit
from malgil.objectives.seq2seq import IGNORED, BucketBatches, PairBatch, SequenceToSequence, collate_pairs
from malgil.text.settings import TokenizerSettings
from malgil.text.training import train_tokenizer

ONE, TWO = Specials(0, 0), Specials(1, 2)
WORDS = ("산", "높은", "river", "빛을", "carries", "물은", "흐른다")


class Averager(EncoderDecoder):
    """Adds the mean of the source to each target token: the smallest model that must mind both masks."""

    def __init__(self, vocab_size: int, context: int | None = None) -> None:
        super().__init__()
        self.d_model, self.vocab_size, self.source_vocab_size = 9, vocab_size, vocab_size
        self.context = self.source_context = context
        self.embedding, self.sources = nn.Embedding(vocab_size, 9), nn.Embedding(vocab_size, 9)

    def head_weight(self) -> Tensor:
        return self.embedding.weight

    def encode(self, source: Tensor, *, source_mask: Tensor | None = None) -> Memory:
        mask = torch.ones_like(source, dtype=torch.bool) if source_mask is None else source_mask
        return Memory(self.sources(source), mask)

    def init_state(self, memory: Memory, max_len: int) -> State:
        raise NotImplementedError

    def forward(
        self,
        tokens: Tensor,
        *,
        token_mask: Tensor | None = None,
        memory: Memory | None = None,
        state: State | None = None,
    ) -> Output:
        assert memory is not None
        weights = memory.mask[..., None] / memory.mask.sum(1)[:, None, None]
        return Output(self.embedding(tokens) + (memory.hidden * weights).sum(1, keepdim=True))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    """97 pairs of one to nine words, all different."""
    random = np.random.default_rng(0)
    rows = []
    for i in range(97):
        words = random.choice(WORDS, random.integers(1, 10)).tolist()
        rows.append({"source": f"{i} {' '.join(words)}", "target": f"{' '.join(words[::-1])}."})
    path = tmp_path_factory.mktemp("pairs") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    part, _ = open_all_pairs(DataSettings(paths=[str(path)]))
    source = train_tokenizer((s for s, _ in part.pairs()), TokenizerSettings(kind="char"))
    target = train_tokenizer((t for _, t in part.pairs()), TokenizerSettings(kind="char"))
    return pair_store(part, source, target, longest=None, max_ratio=None, filtering=True)


def pair(source: list[int], target: list[int]) -> tuple[np.ndarray, np.ndarray]:
    return np.array(source), np.array(target)


def ragged() -> PairBatch:
    return collate_pairs([pair([5, 6, 7], [8]), pair([9], [10, 11, 12, 13]), pair([3, 4], [14, 15])], TWO, ONE)


def model() -> Assembled:
    torch.manual_seed(3)
    return Assembled(Averager(23), {})


# -- the collator -----------------------------------------------------------------------------------


def test_doctests() -> None:
    result = doctest.testmod(seq2seq)
    assert result.attempted >= 3
    assert result.failed == 0


def test_rows_of_different_length_are_padded_on_the_right() -> None:
    batch = ragged()
    assert batch.source.tolist() == [[5, 6, 7, 0], [9, 0, 0, 0], [3, 4, 0, 0]]
    assert batch.tokens.tolist() == [[1, 8, 0, 0, 0], [1, 10, 11, 12, 13], [1, 14, 15, 0, 0]]
    no = IGNORED
    assert batch.targets.tolist() == [[8, 2, no, no, no], [10, 11, 12, 13, 2], [14, 15, 2, no, no]]
    assert batch.source_mask is not None
    assert batch.source_mask.sum(1).tolist() == [4, 2, 3]
    assert batch.token_mask is not None
    assert batch.token_mask.tolist() == (batch.targets != IGNORED).tolist()
    assert batch.positions is not None
    assert batch.positions.tolist() == [0, 1, 5, 6, 7, 8, 9, 10, 11, 12]
    assert batch.n_targets == 10


def test_rows_of_one_length_need_no_mask() -> None:
    batch = collate_pairs([pair([5, 6], [7]), pair([8, 9], [10])], ONE, ONE)
    assert (batch.source_mask, batch.token_mask, batch.positions, batch.n_targets) == (None, None, None, 4)
    assert (batch.tokens.tolist(), batch.targets.tolist()) == ([[0, 7], [0, 10]], [[7, 0], [10, 0]])
    half = collate_pairs([pair([5, 6, 7], [7]), pair([8, 9], [10])], ONE, ONE)
    assert half.source_mask is not None
    assert half.token_mask is None


def test_moving_keeps_everything() -> None:
    batch = ragged()
    moved = batch.to(torch.device("meta"))
    tensors = (moved.source, moved.tokens, moved.targets, moved.source_mask, moved.token_mask, moved.positions)
    assert all(tensor is not None and tensor.is_meta for tensor in tensors)
    assert moved.n_targets == 10
    assert batch.to(torch.device("cpu")) is batch


# -- which pair goes where --------------------------------------------------------------------------


def rows_of(batches: list[PairBatch]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The rows that count, without padding."""
    rows = []
    for batch in batches:
        for row in range(len(batch.source)):
            real = batch.targets[row] != IGNORED
            mask = batch.source_mask[row] if batch.source_mask is not None else slice(None)
            if real.any():
                rows.append((tuple(batch.source[row][mask].tolist()), tuple(batch.targets[row][real].tolist())))
    return rows


def batches_of(store: PairStore, **plan: Any) -> BucketBatches:
    return BucketBatches(store, TWO, ONE, BatchPlan(**{"batch_size": 6, "seed": 5, **plan}))


BUDGETS: list[dict[str, Any]] = [{"batch_tokens": 250}, {"batch_size": 12}]


@pytest.mark.parametrize("budget", BUDGETS, ids=["tokens", "rows"])
@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_the_pairs_of_one_process(store: PairStore, budget: dict[str, Any], world: int) -> None:
    alone = batches_of(store, accumulate=2, **budget)
    ranks = [batches_of(store, accumulate=2, rank=rank, world=world, **budget) for rank in range(world)]
    for step in (0, 3, 4, 11):  # an epoch ends in the middle of a step
        whole = alone(step)
        shared = [rank(step) for rank in ranks]
        for slot in range(2):
            together = rows_of([batches[slot] for batches in shared])
            assert sorted(together) == sorted(rows_of([whole[slot]]))
            assert sum(batches[slot].n_targets for batches in shared) == whole[slot].n_targets
        assert len({rank.tokens(step) for rank in [alone, *ranks]}) == 1


@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_an_epoch_reads_every_pair_once(store: PairStore, accumulate: int) -> None:
    batches = batches_of(store, batch_tokens=300, accumulate=accumulate)
    per_epoch = round(batches.steps_per_epoch * accumulate)
    steps = [batches(step) for step in range(math.ceil(2 * per_epoch / accumulate) + 1)]
    rows = [rows_of([batch]) for batch in itertools.chain.from_iterable(steps)]
    once = Counter(((*s, 0), (*t, 2)) for s, t in every_pair(store))
    assert Counter(itertools.chain.from_iterable(rows[:per_epoch])) == once
    # the second epoch has a number of batches of its own
    second = next(n for n in range(1, len(rows)) if sum(map(len, rows[per_epoch : per_epoch + n])) == len(store))
    assert Counter(itertools.chain.from_iterable(rows[per_epoch : per_epoch + second])) == once
    assert rows[:per_epoch] != rows[per_epoch : 2 * per_epoch]


def every_pair(store: PairStore) -> list[tuple[list[int], list[int]]]:
    return [(s.tolist(), t.tolist()) for s, t in (store.pair(i) for i in range(len(store)))]


def test_batches_keep_to_the_budget_and_count_what_is_real(store: PairStore) -> None:
    batches = batches_of(store, batch_tokens=300, accumulate=2)
    for step in range(6):
        made = batches(step)
        assert all(b.source.numel() + b.tokens.numel() <= 300 for b in made)
        real = sum(len(source) + len(target) for source, target in rows_of(made))
        assert batches.tokens(step) == real
    everything = sum(len(s) + len(t) + 2 for s, t in every_pair(store))
    assert batches.tokens_per_step == round(everything / batches.steps_per_epoch)
    assert len(batches_of(store, batch_size=10)(0)[0].source) == 10


def test_any_step_from_any_process(store: PairStore) -> None:
    """A resumed run, or a loader's worker, makes the same batches."""
    batches = batches_of(store, batch_tokens=300)
    whole = [rows_of(batches(step)) for step in range(40)]
    assert [rows_of(batches(step)) for step in range(39, -1, -1)] == whole[::-1]
    copy = pickle.loads(pickle.dumps(batches))
    assert rows_of(copy(29)) == whole[29]
    for workers in (0, 1):
        made = itertools.islice(Loader(batches_of(store, batch_tokens=300), 33, workers), 3)
        assert [rows_of(micro_batches) for micro_batches in made] == whole[33:36]


def test_a_rank_without_a_pair_works_on_one_that_does_not_count(store: PairStore) -> None:
    plans = [{"batch_tokens": 1, "rank": rank, "world": 3} for rank in range(3)]  # each pair is a batch
    counted = [batches_of(store, **plan)(4)[0] for plan in plans]
    assert [batch.n_targets > 0 for batch in counted] == [True, False, False]
    assembled = Assembled(Averager(60), {})
    objective = SequenceToSequence(TWO, ONE, label_smoothing=0.1)
    assert objective.counts(counted[1]) == {"nll": 0}
    sums, _ = objective.loss(assembled, counted[1], None)
    assert sums["nll"].item() == 0.0
    sums["nll"].backward()
    assert all(p.grad is not None and not p.grad.any() for p in assembled.parameters())


def test_rows_that_cannot_be_shared_are_refused_without_a_budget() -> None:
    with pytest.raises(ConfigError, match="batch_size 7 cannot be shared by 2"):
        BatchPlan(7, world=2)
    assert BatchPlan(7, world=2, batch_tokens=100).world == 2


# -- the loss ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.15])
@pytest.mark.parametrize("padded", [True, False])
def test_loss_is_cross_entropy_of_the_logits(padded: bool, smoothing: float) -> None:
    assembled = model()
    batch = ragged() if padded else collate_pairs([pair([5, 6], [7]), pair([8, 9], [10])], TWO, ONE)
    objective = SequenceToSequence(TWO, ONE, label_smoothing=smoothing)
    sums, carry = objective.loss(assembled, batch, None)
    body = assembled.body
    memory = body.encode(batch.source, source_mask=batch.source_mask)
    logits = body.logits(body(batch.tokens, token_mask=batch.token_mask, memory=memory).hidden)
    expected = F.cross_entropy(
        logits.flatten(0, 1),
        batch.targets.flatten(),
        ignore_index=IGNORED,
        reduction="sum",
        label_smoothing=smoothing,
    )
    torch.testing.assert_close(sums["nll"], expected, rtol=1e-6, atol=1e-5)
    assert carry is None
    assert objective.counts(batch) == {"nll": batch.n_targets}


def gradients(assembled: Assembled, batches: list[PairBatch]) -> list[Tensor]:
    objective = SequenceToSequence(TWO, ONE, label_smoothing=0.1)
    assembled.zero_grad()
    for batch in batches:
        objective.loss(assembled, batch, None)[0]["nll"].backward()
    return [p.grad.clone() for p in assembled.parameters() if p.grad is not None]


def test_padding_and_sharing_change_no_gradient(store: PairStore) -> None:
    assembled = Assembled(Averager(60), {})
    (whole,) = batches_of(store, batch_tokens=300)(1)
    shared = [batches_of(store, batch_tokens=300, rank=rank, world=3)(1)[0] for rank in range(3)]
    wider = replace(
        whole,
        source=F.pad(whole.source, (0, 2)),
        source_mask=F.pad(whole.source_mask, (0, 2)) if whole.source_mask is not None else None,
    )
    expected = gradients(assembled, [whole])
    assert whole.source_mask is not None
    for other in ([wider], shared):
        for got, wanted in zip(gradients(assembled, other), expected, strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)


# -- what fits --------------------------------------------------------------------------------------


def test_pairs_that_do_not_fit_the_model_are_refused(store: PairStore) -> None:
    objective = SequenceToSequence(TWO)
    assert objective.source_specials == TWO
    longest = int(store.source_lengths.max())
    fitting = objective.training_batches(store, Averager(60, context=longest + 1), 9, BatchPlan(4))
    assert isinstance(fitting, BucketBatches)
    with pytest.raises(ContextLengthError, match=rf"a source of {longest + 1} tokens where the model takes {longest};"):
        objective.training_batches(store, Averager(60, context=longest), 9, BatchPlan(4))


def test_a_model_without_an_encoder_is_refused() -> None:
    lm = build_model("gpt2", family("gpt2").config(n_layers=1, n_heads=1, d_model=4, max_len=4), 9)
    with pytest.raises(ConfigError, match="SequenceToSequence does not fit model GPT2"):
        check_fit(SequenceToSequence, type(lm), {name: f.model for name, f in FAMILIES.items()})
    check_fit(SequenceToSequence, Averager, {})
