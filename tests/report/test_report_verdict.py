"""The sentences follow from the figures: runs with one fault each."""

from __future__ import annotations

import math

import pytest

from malgil.errors import NotFoundError
from malgil.report.curves import Curves, smoothed
from malgil.report.verdict import Even, findings, verdict

V = 300


def run(train, validation, *, steps=1000, every=10, lr=lambda share: 1e-3):
    """Lines whose losses are functions of the share of the run that is over."""
    lines = []
    for step in range(0, steps + 1, every):
        share = step / steps
        line = {"step": step or 1, "tokens": step * 35, "seconds": step / 7, "loss": train(share), "lr": lr(share)}
        if step % (10 * every) == 0:
            line["val_loss"] = validation(share)
        lines.append(line)
    return lines


EVEN = math.log(V)


def falling(low, start=EVEN, speed=12):
    return lambda share: low + (start - low) * math.exp(-speed * share)


def tones(metrics, **options):
    found = findings(Curves.of(metrics), Even.tokens(V), options.get("tokenizer", "bpe"), options.get("epochs"), "en")
    return [f.tone for f in found], " ".join(f.text for f in found)


def test_a_sound_run_is_called_normal():
    tone, text = tones(run(falling(2.0), falling(2.1)))
    assert set(tone) == {"good"}
    assert "near ln(300) = 5.70" in text
    assert "No sign of over-fitting: the validation loss ended at 2.10" in text
    assert "evenly among 8.17 tokens out of 300" in text
    assert "still learning" not in text


def test_over_fitting_names_the_step_and_both_losses():
    tone, text = tones(run(falling(0.5, speed=3), lambda share: falling(2.0)(share) + max(0, share - 0.5)))
    assert tone[0] == "note"
    assert "It over-fits: after step 500 the validation loss rose from 2.01 to 2.50" in text
    assert "The weights of step 500 are the better ones" in text


def test_a_loss_that_rises_on_both_is_a_learning_rate_and_no_over_fitting():
    def rebound(share):
        return falling(2.0)(share) + 3 * max(0, share - 0.6)

    tone, text = tones(run(rebound, rebound))
    assert tone[0] == "bad"
    assert "learning rate is probably too high" in text
    assert "over-fit" not in text


def test_a_gap_without_a_rise_is_memorising():
    _, text = tones(run(falling(1.0), falling(2.0)))
    assert "memorising has begun" in text


def test_an_unfinished_run_is_still_learning():
    straight = lambda share: math.log(V) - 3 * share  # noqa: E731
    tone, text = tones(run(straight, straight))
    assert tone[0] == "note"
    assert "the last tenth of the steps took 0.30 off the validation loss. More steps would go lower." in text


def test_a_fall_by_the_schedule_is_told_apart():
    slow = lambda share: math.log(V) - 1.2 * share  # noqa: E731
    _, text = tones(run(slow, slow, lr=lambda share: 1e-3 * (1 - share)))
    assert "Some of that comes from the falling learning rate" in text


@pytest.mark.parametrize("start, tone, words", [(9.5, "bad", "well above ln(300)"), (2.5, "note", "trained before")])
def test_the_first_loss_is_compared_with_guessing_evenly(start, tone, words):
    found, text = tones(run(falling(2.0, start), falling(2.0, start)))
    assert found[0] == tone
    assert words in text


def test_a_run_whose_first_lines_are_missing_is_not_judged_by_them():
    _, text = tones(run(falling(2.0), falling(2.0))[40:])
    assert "guessing evenly" not in text


def test_an_evaluation_before_the_first_step_is_too_early_to_judge():
    tone, text = tones(run(falling(2.0), falling(2.0))[:1])
    assert tone[0] == "note"
    assert "too early to judge" in text


def test_nothing_learnt_is_said():
    tone, text = tones(run(lambda share: math.log(V), lambda share: math.log(V)))
    assert tone[0] == "bad"
    assert "nothing has been learnt yet" in text


def test_a_loss_that_is_not_finite_names_its_step():
    metrics = run(falling(2.0), falling(2.0))
    metrics[7]["loss"] = math.nan
    tone, text = tones(metrics)
    assert tone[0] == "bad"
    assert "At step 70 the loss was no longer a finite number" in text


def test_repetition_counts_from_the_fifth_epoch():
    metrics = run(falling(2.0), falling(2.0))
    assert "4 a repeat" not in tones(metrics, epochs=4.0)[1]
    assert "It saw its training text 12.5 times" in tones(metrics, epochs=12.5)[1]


def test_the_scale_of_characters_is_for_an_alphabet_alone():
    metrics = run(falling(1.6, math.log(65)), falling(1.7, math.log(65)))
    assert "nanoGPT" in verdict(metrics, 65, tokenizer="char")[-1]
    assert "nanoGPT" not in " ".join(verdict(metrics, 65, tokenizer="bpe"))
    assert "nanoGPT" not in " ".join(verdict(metrics, 1800, tokenizer="char"))


def test_no_evaluation_and_no_line():
    metrics = [{key: value for key, value in line.items() if key != "val_loss"} for line in run(falling(2), falling(2))]
    assert "No evaluation has been made" in " ".join(verdict(metrics, V))
    assert verdict([], V) == ["Nothing has been logged yet."]


def test_bits_per_byte_are_the_size_that_is_left():
    metrics = run(falling(2.0), falling(2.0))
    metrics[-1]["val_bits_per_byte"] = 2.0
    assert "2.00 bits per byte would store that text in 25% of its size" in " ".join(verdict(metrics, V))


def test_korean_says_the_same_with_the_particles_of_the_numbers():
    metrics = run(falling(0.5, speed=3), lambda share: falling(2.0)(share) + max(0, share - 0.5))
    sentences = verdict(metrics, V, language="ko")
    assert len(sentences) == len(verdict(metrics, V))
    assert sentences[0] == "수치는 정상이며, 알아 둘 점이 있습니다."
    assert "검증 손실은 2.01에서 2.50으로 올랐습니다" in " ".join(sentences)
    with pytest.raises(NotFoundError, match="unknown report language 'fr'; known: en, ko"):
        verdict(metrics, V, language="fr")


def test_a_resumed_step_counts_once_and_the_later_line_wins():
    curves = Curves.of([{"step": 5, "loss": 4.0}, {"step": 10, "loss": 3.0}, {"step": 5, "loss": 3.5}])
    assert [(line["step"], line["loss"]) for line in curves.train] == [(5, 3.5), (10, 3.0)]


def test_smoothing_keeps_a_straight_line_and_calms_noise():
    line = [10 - 0.05 * i for i in range(150)]
    assert smoothed(line) == pytest.approx(line)
    noisy = smoothed([2.0 + (-1) ** i for i in range(150)])
    assert max(abs(value - 2) for value in noisy[10:-10]) < 0.2


def test_long_curves_are_thinned_to_means_and_evaluations_are_all_kept():
    metrics = [{"step": i, "tokens": 3 * i, "seconds": i / 2, "loss": float(i % 2), "lr": i} for i in range(1, 7001)]
    for line in metrics[::100]:
        line["val_loss"] = 1.0
    columns = Curves.of(metrics).columns(limit=700)
    assert len(columns["train"]["step"]) == 700
    assert len(columns["validation"]["step"]) == 70
    assert columns["train"]["loss"] == pytest.approx([0.5] * 700)
    assert columns["train"]["step"][-1] == columns["train"]["lr"][-1] == 7000
    assert columns["train"]["tokens_per_second"] == [None] * 700


def test_the_weights_to_prefer_are_those_by_the_watched_figure() -> None:
    losses = [(10, 1.0, 0.6), (20, 1.2, 0.9), (30, 1.4, 0.9), (40, 1.5, 0.8)]
    lines = [{"step": s, "loss": 1.0 - s / 50, "val_loss": loss, "val_accuracy": right} for s, loss, right in losses]
    watched = Curves.of(lines, ("val_accuracy", True))
    assert (watched.kept, watched.best) == (lines[1], lines[0])  # the earliest of equals; the lowest loss
    assert Curves.of(lines, ("val_mse", False)).kept == lines[0]  # nobody has that figure
    assert Curves.of(lines, ("val_accuracy", False)).kept == lines[0]

    def said(curves: Curves, language: str) -> str:
        return " ".join(f.text for f in findings(curves, Even(1.1, "ln(3)"), "bpe", 1.0, language))

    english, korean = said(watched, "en"), said(watched, "ko")
    assert "after step 10 the validation loss rose from 1.00 to 1.50" in english
    assert "By Accuracy, which this run watches, the weights of step 20 are the best" in english
    assert "It is right on 90.0% of unseen texts." in english  # of the weights that are kept
    assert "지표(정확도)로 보면 20단계의 가중치가 가장 낫습니다" in korean
    by_loss = said(Curves.of(lines), "en")
    assert "The weights of step 10 are the better ones" in by_loss
    assert "60.0%" in by_loss
