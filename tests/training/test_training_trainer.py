"""The trainer: exact gradients however a step is cut, finite numbers only, and free work between steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from training_cases import MODELS, equal, gradients, trainer, weights

from malgil.errors import Interrupted, NonFiniteError, NotFoundError, ResourceError
from malgil.objectives.causal_lm import IGNORED
from malgil.training.progress import Limits, Progress, step_limit
from malgil.training.settings import TrainingSettings
from malgil.training.trainer import Hooks, Trainer
from malgil.training.watching import Watched

# -- a step -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_accumulation_is_exact(name: str, uneven: bool) -> None:
    whole = trainer(name, batch_size=8, uneven=uneven, clip=None)
    cut = trainer(name, batch_size=4, accumulate=2, uneven=uneven, clip=None)
    counts = [int((b.targets != IGNORED).sum()) for b in cut.batches(0)]
    assert (counts[0] != counts[1]) == uneven  # the mean of means would be another number
    expected, found = gradients(whole), gradients(cut)
    assert expected.keys() == found.keys() == dict(whole.assembled.named_parameters()).keys()
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key], gradient, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["gpt2", "llama", "lstm"])
def test_accumulation_trains_to_the_same_weights(name: str) -> None:
    # a large epsilon keeps AdamW from blowing the rounding of a vanishing gradient up to a whole step
    settings: dict[str, Any] = {"steps": 4, "eps": 1e-2, "learning_rate": 1e-2}
    whole = trainer(name, batch_size=8, uneven=name != "lstm", **settings)
    cut = trainer(name, batch_size=4, accumulate=2, uneven=name != "lstm", **settings)
    assert whole.run() == cut.run() == "finished"
    for (key, a), (_, b) in zip(whole.assembled.named_parameters(), cut.assembled.named_parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6, msg=key)


def test_the_gradient_is_that_of_the_mean_over_all_targets() -> None:
    one = trainer("gpt2", batch_size=4, accumulate=2, uneven=True, clip=None)
    found = gradients(one)
    body = one.assembled.body
    body.zero_grad()
    sums = [one.objective.loss(one.assembled, b, None)[0]["nll"] for b in one.batches(0)]
    count = sum(int((b.targets != IGNORED).sum()) for b in one.batches(0))
    (sum(sums) / count).backward()
    for key, p in one.assembled.named_parameters():
        assert p.grad is not None
        torch.testing.assert_close(found[key], p.grad, rtol=0, atol=1e-6)


def test_the_report_tells_mean_loss_norm_and_rate() -> None:
    one = trainer("gpt2", accumulate=2, uneven=True, clip=0.01, warmup=3, learning_rate=0.4)
    copy = trainer("gpt2", accumulate=2, uneven=True, clip=None)
    grads = gradients(copy)
    batches = one.batches(0)
    with torch.no_grad():
        sums = [one.objective.loss(one.assembled, b, None)[0]["nll"].item() for b in batches]
    report = one.step(batches)
    assert report.loss == pytest.approx(sum(sums) / sum(b.n_targets for b in batches), rel=1e-6)
    assert report.norm == pytest.approx(math.sqrt(sum(g.square().sum().item() for g in grads.values())), rel=1e-5)
    assert report.norm > 0.01  # before clipping
    assert report.rate == pytest.approx(0.1)


def test_clipping_bounds_what_the_optimizer_sees() -> None:
    clipped = gradients(trainer("gpt2", clip=0.01))
    free = gradients(trainer("gpt2", clip=None))
    norm = math.sqrt(sum(g.square().sum().item() for g in clipped.values()))
    assert norm == pytest.approx(0.01, rel=1e-3)
    scale = {(clipped[k] / free[k]).nanmedian().item() for k in free}
    assert max(scale) - min(scale) < 1e-4


def test_dropout_depends_on_seed_step_and_micro_batch_alone() -> None:
    def loss(step: int, **changed: Any) -> float:
        one = trainer("gpt2", dropout=0.4, **changed)
        one.progress.step = step
        torch.seed()  # whatever the generator was before
        return one.step(trainer("gpt2").batches(0) * one.settings.accumulate).loss

    assert loss(0) == loss(0)
    assert len({loss(0), loss(1), loss(0, seed=5)}) == 3
    # two equal micro-batches drop different units, or their mean would be the loss of one
    assert loss(0, accumulate=2) != loss(0)


# -- numbers that are not finite --------------------------------------------------------------------


def poison_weights(one: Trainer) -> None:
    with torch.no_grad():
        next(one.assembled.parameters()).fill_(math.nan)


def poison_gradients(one: Trainer) -> None:
    next(one.assembled.parameters()).register_hook(lambda grad: grad * math.inf)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize(("poison", "what"), [(poison_weights, "loss"), (poison_gradients, "gradient")])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_not_finite_numbers_move_no_weight(
    poison: Callable[[Trainer], None], what: str, optimizer: str, clip: float | None
) -> None:
    one = trainer("llama", optimizer=optimizer, clip=clip)
    one.step(one.batches(0))
    one.progress.step = 1
    poison(one)
    before, state = weights(one), one.optimizers.state()
    kept = {k: v.clone() for k, v in state.items()}
    with pytest.raises(NonFiniteError, match=f"the {what} is not finite; step 2; lower training.learning_rate"):
        one.step(one.batches(1))
    after = weights(one)
    assert all(torch.equal(after[k].nan_to_num(), before[k].nan_to_num()) for k in before)
    assert equal(one.optimizers.state(), kept)
    assert all(p.grad is None for p in one.assembled.parameters())


def test_a_validation_loss_that_is_not_finite_stops_before_anything_is_saved() -> None:
    saved: list[int] = []
    one = trainer("gpt2", hooks=Hooks(evaluate=lambda: {"val_loss": math.nan}, save=lambda: saved.append(1)))
    one = trainer("gpt2", hooks=one.hooks, evaluate_every=2)
    with pytest.raises(NonFiniteError, match="the validation loss is not finite; step 2"):
        one.run()
    assert not saved


def test_weights_that_are_not_finite_are_never_saved() -> None:
    one = trainer("gpt2")
    with torch.no_grad():
        list(one.assembled.parameters())[3][0] = math.inf
    with pytest.raises(NonFiniteError, match=r"weight 'body\.\S+' is not finite; step 0"):
        one.snapshot({})


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no"), MemoryError(), RuntimeError("can't allocate memory")])
def test_out_of_memory_names_what_to_lower(error: Exception) -> None:
    one = trainer("gpt2")

    def fail(*_: Any) -> None:
        raise error

    one.objective.loss = fail  # type: ignore[assignment, method-assign]
    with pytest.raises(ResourceError, match=r"step 1 on cpu; lower training.batch_size"):
        one.run()


def test_other_errors_pass() -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("shapes differ")

    one = trainer("gpt2")
    one.objective.loss = fail  # type: ignore[assignment, method-assign]
    with pytest.raises(RuntimeError, match="shapes differ"):
        one.run()


# -- limits -----------------------------------------------------------------------------------------


def test_limits_in_steps() -> None:
    batches = trainer("gpt2").batches  # 36 tokens a step, 10 steps an epoch
    assert step_limit(TrainingSettings(steps=7), batches) == 7
    assert step_limit(TrainingSettings(tokens=36 * 7 + 1), batches) == 8
    assert step_limit(TrainingSettings(epochs=1.55), batches) == 16
    assert step_limit(TrainingSettings(steps=7, tokens=36 * 3, epochs=2), batches) == 3
    assert step_limit(TrainingSettings(seconds=5), batches) is None


def test_the_share_of_a_run_is_that_of_its_nearest_limit() -> None:
    both = Limits(steps=10, seconds=4.0)
    assert both.share(Progress(step=5, seconds=1.0)) == 0.5
    assert both.share(Progress(step=5, seconds=3.0)) == 0.75
    assert both.share(Progress(step=11)) == 1.0
    assert Limits(seconds=4.0).share(Progress(step=10**6)) == 0.0


def timed(one: Trainer, clock: list[float], seconds: float) -> Trainer:
    """The trainer, each of whose steps takes so many seconds of a clock."""
    step = one.step

    def later(batches: list[Any]) -> Any:
        clock[0] += seconds
        return step(batches)

    one.step = later  # type: ignore[method-assign]
    return one


def test_a_time_limit_counts_data_and_optimisation_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    lines: list[dict[str, Any]] = []

    def evaluate() -> dict[str, Any]:
        clock[0] += 1000
        return {"val_loss": 1.0}

    hooks = Hooks(evaluate=evaluate, sample=lambda step: clock.__setitem__(0, clock[0] + 1000), log=lines.append)
    rhythm: dict[str, Any] = {"evaluate_every": 2, "sample_every": 2, "log_every": 1}
    one = timed(trainer("gpt2", hooks=hooks, steps=None, seconds=10.0, **rhythm), clock, 2.0)
    assert one.run() == "finished"
    assert one.progress.step == 5
    assert [line["seconds"] for line in lines] == [2, 4, 6, 8, 10]
    assert [line["tokens_per_second"] for line in lines] == [18.0] * 5
    # the rate falls with the time that is spent: cosine from 1e-3 to 1e-4 after one step of warm-up
    shares = [(done - 0.2) / (1 - 0.2) for done in (0.2, 0.4, 0.6, 0.8)]
    expected = [5e-4] + [1e-3 * (0.1 + 0.45 * (1 + math.cos(math.pi * share))) for share in shares]
    assert [line["lr"] for line in lines] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("share", "at"),
    [(None, [1, 2, 3, 4, 5, 6, 7, 8]), (0.25, [1, 4, 6, 8]), (0.1, [1, 8]), (100.0, [1, 2, 3, 4, 5, 6, 7, 8])],
)
def test_evaluations_wait_until_they_are_within_their_share(
    share: float | None, at: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An evaluation takes half a second and a step one: two are a quarter of four seconds, three of six."""
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    lines: list[dict[str, Any]] = []

    def evaluate() -> dict[str, Any]:
        clock[0] += 0.5
        return {"val_loss": 1.0}

    settings: dict[str, Any] = {"evaluate_every": 1, "evaluation_share": share, "log_every": 100}
    hooks = Hooks(evaluate=evaluate, log=lines.append)
    stopped = timed(trainer("gpt2", hooks=hooks, steps=8, **settings), clock, 1.0)
    hooks.signal = lambda: 15 if stopped.progress.step == 5 else 0
    with pytest.raises(Interrupted):
        stopped.run()
    going_on = timed(trainer("gpt2", hooks=Hooks(evaluate=evaluate, log=lines.append), steps=8, **settings), clock, 1.0)
    going_on.restore(stopped.snapshot({}))
    going_on.run()
    assert [line["step"] for line in lines] == at
    assert going_on.progress.evaluations == len(at)
    assert going_on.progress.evaluation_seconds == 0.5 * len(at)
    assert going_on.progress.seconds == 8.0


# -- between steps ----------------------------------------------------------------------------------


class Diary:
    """Hooks which note what was asked of them, and when."""

    def __init__(self, losses: list[float] | None = None, signal_at: int | None = None) -> None:
        self.notes: list[tuple[str, int]] = []
        self.lines: list[dict[str, Any]] = []
        self.losses = losses
        self.signal_at = signal_at
        self.one: Trainer

    def hooks(self) -> Hooks:
        return Hooks(
            log=self.lines.append,
            evaluate=self._evaluate if self.losses is not None else None,
            sample=lambda step: self._note("sample"),
            save=lambda: self._note("save"),
            signal=lambda: 15 if self.one.progress.step == self.signal_at else 0,
        )

    def _note(self, what: str) -> None:
        self.notes.append((what, self.one.progress.step))

    def _evaluate(self) -> dict[str, Any]:
        self._note("evaluate")
        assert self.losses is not None
        return {"val_loss": self.losses[sum(what == "evaluate" for what, _ in self.notes) - 1]}

    def steps(self, what: str) -> list[int]:
        return [step for name, step in self.notes if name == what]


def kept(losses: list[float] | None = None, signal_at: int | None = None, **settings: Any) -> tuple[Trainer, Diary]:
    diary = Diary(losses, signal_at)
    diary.one = trainer("gpt2", hooks=diary.hooks(), **settings)
    return diary.one, diary


def test_the_rhythm_of_a_run() -> None:
    one, diary = kept([3.0, 2.0, 2.5], steps=7, evaluate_every=3, sample_every=4, checkpoint_every=5, log_every=2)
    assert one.run() == "finished"
    assert diary.steps("evaluate") == [3, 6, 7]
    assert diary.steps("sample") == [4, 7]
    assert diary.steps("save") == [3, 5, 6, 7]  # 3 and 6 are the best so far
    assert [line["step"] for line in diary.lines] == [1, 2, 3, 4, 6, 7]
    assert [line["step"] for line in diary.lines if "val_loss" in line] == [3, 6, 7]
    assert (one.progress.best_step, one.progress.best, one.progress.worse_in_a_row) == (6, 2.0, 1)
    assert set(diary.lines[0]) == {"step", "tokens", "seconds", "loss", "lr", "grad_norm", "tokens_per_second"}
    assert [line["tokens"] for line in diary.lines] == [36 * line["step"] for line in diary.lines]


def test_without_a_rhythm_all_comes_at_the_end() -> None:
    one, diary = kept([3.0], steps=4, log_every=100)
    one.run()
    assert diary.notes == [("evaluate", 4), ("sample", 4), ("save", 4)]
    assert [line["step"] for line in diary.lines] == [1, 4]


def test_early_stopping_gives_its_reason() -> None:
    one, diary = kept([3.0, 2.0, 2.1, 2.05, 1.0], steps=50, evaluate_every=2, patience=2)
    reason = one.run()
    assert one.progress.step == 8
    assert reason == (
        "stopped early at step 8: 2 evaluations in a row without a better validation loss than 2.0000 at step 4"
    )
    assert diary.notes[-2:] == [("sample", 8), ("save", 8)]
    assert one.done
    assert one.run() == reason  # nothing more happens
    assert one.progress.step == 8


def watching(watched: Watched, figures: list[dict[str, Any]], **settings: Any) -> tuple[Trainer, list[int]]:
    """A trainer whose evaluations find these figures, and the steps at which it saved."""
    found, saved = iter(figures), []
    one = trainer("gpt2", hooks=Hooks(evaluate=lambda: next(found)), evaluate_every=2, **settings)
    one.hooks.save = lambda: saved.append(one.progress.step)
    one.watched = watched
    return one, saved


def test_early_stopping_by_accuracy_while_the_loss_rises() -> None:
    accuracies, losses = [0.5, 0.7, 0.7, 0.9, 0.8, 0.9], [1.0, 1.1, 1.2, 1.3, 1.4, 1.5]
    figures = [{"val_loss": x, "val_accuracy": y} for x, y in zip(losses, accuracies, strict=True)]
    one, saved = watching(Watched("val_accuracy", True), figures, steps=50, patience=2)
    assert one.run() == (
        "stopped early at step 12: 2 evaluations in a row without a better validation accuracy than 0.9000 at step 8"
    )
    assert saved == [2, 4, 8, 12]  # each time it is the best so far, and at the end
    assert (one.progress.best, one.progress.best_step) == (0.9, 8)
    by_loss, _ = watching(Watched(), figures, steps=50, patience=2)
    assert by_loss.run().endswith("2 evaluations in a row without a better validation loss than 1.0000 at step 2")


def test_a_figure_without_a_value_is_never_the_best() -> None:
    figures = [{"val_loss": 1.0, "val_spearman": value} for value in (None, math.nan, -0.5, None, -0.6)]
    one, saved = watching(Watched("val_spearman", True), figures, steps=50, patience=2)
    one.run()
    assert one.progress.step == 4  # there has been none
    assert one.stopped == "stopped early at step 4: 2 evaluations in a row without a better validation spearman"
    one, saved = watching(Watched("val_spearman", True), figures, steps=10)
    one.run()
    assert (one.progress.best, one.progress.best_step, one.progress.worse_in_a_row) == (-0.5, 6, 2)
    assert saved == [6, 10]


def test_an_unknown_figure_names_the_nearest() -> None:
    one, _ = watching(Watched("val_acuracy"), [{"val_loss": 1.0, "val_accuracy": 0.5}])
    with pytest.raises(
        NotFoundError, match=r"unknown figure 'val_acuracy'; training.watch; did you mean val_accuracy\?"
    ):
        one.run()


@pytest.mark.parametrize(
    ("figure", "more"),
    [
        *[(name, False) for name in ("val_loss", "val_perplexity", "val_bits_per_byte", "val_token_error_rate")],
        *[(name, True) for name in ("val_accuracy", "val_f1", "val_matthews")],
    ],
)
def test_of_some_figures_more_is_better(figure: str, more: bool) -> None:
    watched = Watched.of(figure, ("val_spearman", True))
    assert watched == Watched(figure, more)
    assert (watched.better(2.0, 1.0), watched.better(1.0, 2.0), watched.better(1.0, 1.0)) == (more, not more, False)
    assert watched.better(1.0, None)
    assert not watched.better(math.nan, None)
    assert Watched.of("val_spearman", ("val_spearman", True)) == Watched("val_spearman", True)
    assert Watched.of("val_length", ("val_length", False)) == Watched("val_length", False)  # the task knows


def test_of_equal_figures_the_lower_loss_is_better() -> None:
    """As where a correlation has no value, since all scores of the validation part are equal."""
    figures = [{"val_loss": loss, "val_spearman": 0.0} for loss in (3.0, 2.0, 2.5, 1.5, 1.6, 1.7)]
    one, saved = watching(Watched("val_spearman", True), figures, steps=50, patience=2)
    assert "stopped early at step 12" in one.run()
    assert (one.progress.best, one.progress.best_loss, one.progress.best_step) == (0.0, 1.5, 8)
    assert saved == [2, 4, 8, 12]


def test_checkpoints_from_before_go_on() -> None:
    one, _ = watching(Watched(), [{"val_loss": 2.0}], steps=2)
    one.run()
    snapshot = one.snapshot({})
    snapshot.state["best_loss"] = snapshot.state.pop("best")
    del snapshot.state["evaluations"], snapshot.state["evaluation_seconds"]
    other, _ = watching(Watched(), [], steps=2)
    other.restore(snapshot)
    assert (other.progress.best, other.progress.best_step) == (2.0, 2)


@pytest.mark.parametrize("signal_at", [1, 3, 5, 7])
def test_a_signal_saves_and_what_it_cut_off_is_made_up_for(signal_at: int) -> None:
    settings: dict[str, Any] = {"steps": 7, "evaluate_every": 3, "sample_every": 3, "log_every": 1}
    losses = [3.0, 2.0, 2.5]
    whole, uninterrupted = kept(losses, **settings)
    whole.run()

    first, diary = kept(losses, signal_at, **settings)
    with pytest.raises(Interrupted, match=f"stopped by signal 15; saved at step {signal_at}; --resume") as error:
        first.run()
    assert error.value.exit_status == 143
    assert diary.notes[-1] == ("save", signal_at)
    assert len(diary.lines) == signal_at - 1
    second, rest = kept(losses[len(diary.steps("evaluate")) :], **settings)
    second.restore(first.snapshot({}))
    assert second.run() == "finished"

    assert equal(weights(second), weights(whole))
    lines = [{k: v for k, v in line.items() if "second" not in k} for line in diary.lines + rest.lines]
    assert lines == [{k: v for k, v in line.items() if "second" not in k} for line in uninterrupted.lines]
    for what in ("evaluate", "sample"):
        assert diary.steps(what) + rest.steps(what) == uninterrupted.steps(what)
    assert second.progress.best_step == whole.progress.best_step


def test_an_interruption_inside_an_evaluation_repeats_it() -> None:
    one = trainer("gpt2", steps=4, evaluate_every=2, log_every=1)
    snapshots = []

    def evaluate() -> dict[str, Any]:
        snapshots.append(one.snapshot({}))
        raise one.interrupted(2)

    one.hooks = Hooks(evaluate=evaluate)
    with pytest.raises(Interrupted) as error:
        one.run()
    assert error.value.exit_status == 130
    again, diary = kept([1.0, 0.5], steps=4, evaluate_every=2, log_every=1)
    again.restore(snapshots[0])
    again.run()
    assert diary.steps("evaluate") == [2, 4]
    assert [line["step"] for line in diary.lines] == [2, 3, 4]


@pytest.mark.parametrize("name", MODELS)
def test_work_between_steps_leaves_training_alone(name: str) -> None:
    def noisy() -> dict[str, Any]:
        torch.manual_seed(999)
        one.assembled.eval()
        torch.rand(17)
        one.assembled.train()
        return {"val_loss": 1.0}

    quiet = trainer(name, dropout=0.3)
    quiet.run()
    one = trainer(name, dropout=0.3, evaluate_every=1, sample_every=2, checkpoint_every=1)
    one.hooks = Hooks(evaluate=noisy, sample=lambda step: torch.manual_seed(step) and None, save=lambda: None)
    one.run()
    assert equal(weights(one), weights(quiet))


# -- state ------------------------------------------------------------------------------------------


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", MODELS)
def test_a_run_that_was_broken_off_ends_with_the_same_bits(name: str, workers: int) -> None:
    settings: dict[str, Any] = {
        "steps": 8,
        "accumulate": 2,
        "dropout": 0.3,
        "optimizer": "muon" if name == "llama" else "adamw",
        "workers": workers,
        "columns": 5,  # the streams begin anew once
    }
    whole = trainer(name, **settings)
    whole.run()

    first = trainer(name, checkpoint_every=3, **settings)
    snapshots = []

    def save() -> None:
        snapshots.append(first.snapshot({}))
        for tensors in (snapshots[-1].model, snapshots[-1].optimizer, snapshots[-1].carry):
            tensors.update({k: v.clone() for k, v in tensors.items()})  # as the disk would keep them

    def progress(p: Progress, *_: Any) -> None:
        if p.step == 4:
            raise KilledError

    first.hooks = Hooks(save=save, progress=progress)
    with pytest.raises(KilledError):
        first.run()
    assert snapshots[-1].state["step"] == 3
    assert bool(snapshots[-1].carry) == (name in ("rnn", "gru", "lstm"))

    second = trainer(name, **settings)
    second.restore(snapshots[-1])
    assert second.progress.step == 3
    second.run()
    assert equal(weights(second), weights(whole))
    assert equal(second.optimizers.state(), whole.optimizers.state())
    assert equal(second.snapshot({}).carry, whole.snapshot({}).carry)


def test_a_carried_state_is_stored_in_the_order_of_rows() -> None:
    """Cut into micro-batches or not, the same rows stand in the same places: a checkpoint knows no slots."""
    whole, cut = trainer("lstm", batch_size=6, columns=9), trainer("lstm", batch_size=2, accumulate=3, columns=9)
    for one in (whole, cut):
        one.step(one.batches(0))
    expected, found = whole.snapshot({}).carry, cut.snapshot({}).carry
    assert {k: v.shape for k, v in expected.items()} == {"0": (2, 6, 10), "1": (2, 6, 10)}
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=1e-6)
    other = trainer("lstm", batch_size=3, accumulate=2, columns=9)
    other.restore(cut.snapshot({}))
    assert equal(other.snapshot({}).carry, found)
