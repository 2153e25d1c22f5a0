"""Is my loss normal? Sentences for a beginner, each derived from the figures of the run itself.

No sentence compares the run with a text it has not seen, apart from two published figures which
are named with their source. The thresholds are the constants below.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from malgil.report.curves import Curves, Line, number
from malgil.report.words import Words, josa

INITIAL_TOLERANCE = 0.1  # of ln(vocabulary), and at least 0.3 nats: random weights are a little worse than even guesses
OVERFIT_RISE = 0.01  # of the best validation loss; below it is the jitter between evaluations
REPEATED = 2  # epochs before which a gap between training and validation is not memory: the texts differ
GAP = 0.1  # of the validation loss: training text known so much better than new text
STILL_FALLING = 0.01  # of the validation loss, within the last tenth of the steps: usual, and worth saying
FALLING_STEEPLY = 0.05  # the same, when so much was left to be learnt that the figure says little about the model
REBOUND = 0.1  # of the lowest smoothed training loss: the optimizer lost ground that it had won
USEFUL_EPOCHS = 4  # Muennighoff et al. 2023, section 5: up to about four epochs a repeat is nearly as good as new text

Tone = Literal["good", "note", "bad"]


@dataclass(frozen=True)
class Finding:
    """A sentence and how it weighs: `good` is as it should be, `note` is worth knowing, `bad` calls for a change."""

    tone: Tone
    text: str


def verdict(
    metrics: Iterable[Line], vocab_size: int, *, tokenizer: str = "", epochs: float | None = None, language: str = "en"
) -> list[str]:
    """Whether the numbers are normal: a summary, and then a sentence a finding.

    Args:
        metrics: lines of metrics.jsonl, losses in nats per token.
        vocab_size: the tokenizer's.
        tokenizer: its kind (`char`, `bpe`, ...); the scale for characters is given only where it fits.
        epochs: how often the training text was seen.
        language: `en` or `ko`.

    Raises:
        NotFoundError: another language.
    """
    return [f.text for f in findings(Curves.of(metrics), Even.tokens(vocab_size), tokenizer, epochs, language)]


def findings(curves: Curves, even: Even | None, tokenizer: str, epochs: float | None, language: str) -> list[Finding]:
    """As `verdict`, with their tones; the first one sums up the others.

    Args:
        even: the loss of one who knows nothing; None where nobody can say.
    """
    say = Say(language)
    found = [
        *_initial(curves, even, say),
        *_level(curves, even, say),
        *_stability(curves, say),
        *_overfitting(curves, epochs, say),
        *_ending(curves, say),
        *_repetition(epochs, say),
        *_scale(curves, even, tokenizer, say),
    ]
    return [_summary(found, curves, say), *found]


@dataclass(frozen=True)
class Even:
    """The loss of one who knows nothing and guesses evenly.

    Args:
        loss: in the unit of the run's losses.
        formula: how it is computed, such as `ln(300)`.
        n_tokens: among how many tokens is guessed; 0 where the loss is of no token.
    """

    loss: float
    formula: str
    n_tokens: int = 0

    @classmethod
    def tokens(cls, vocab_size: int) -> Even | None:
        """Of the next token among so many; None where there is nothing to guess."""
        return cls(math.log(vocab_size), f"ln({vocab_size:,})", vocab_size) if vocab_size > 1 else None

    @property
    def shown(self) -> str:
        return f"{self.formula} = {self.loss:.2f}"

    def among(self, say: Say) -> str:
        """What is done, in words."""
        if not self.n_tokens:
            return say("guessing evenly", "고르게 찍을 때")
        return say(f"guessing evenly among {self.n_tokens:,} tokens", f"{self.n_tokens:,}개 토큰을 고르게 찍을 때")


class Say:
    """Chooses between a sentence in English and in Korean."""

    def __init__(self, language: str) -> None:
        self.words = Words(language)
        self.korean = self.words.language == "ko"

    def __call__(self, english: str, korean: str) -> str:
        return korean if self.korean else english


def _summary(found: list[Finding], curves: Curves, say: Say) -> Finding:
    tones = {f.tone for f in found}
    if not curves.train and not curves.validation and not curves.broken:
        return Finding("note", say("Nothing has been logged yet.", "아직 기록된 수치가 없습니다."))
    if "bad" in tones:
        return Finding("bad", say("Something is wrong with these numbers.", "수치에 문제가 있습니다."))
    if "note" in tones:
        english = "These numbers are sound, with something worth knowing."
        return Finding("note", say(english, "수치는 정상이며, 알아 둘 점이 있습니다."))
    return Finding("good", say("These numbers are normal.", "수치는 정상입니다."))


def _initial(curves: Curves, even: Even | None, say: Say) -> Iterator[Finding]:
    """Untrained weights guess about evenly, so the first loss is near ln(vocabulary)."""
    evaluated = [line["val_loss"] for line in curves.validation if line["step"] == 0]
    logged = [line["loss"] for line in curves.train[:1]]
    if not evaluated + logged or even is None:
        return
    initial = float((evaluated + logged)[0])
    untrained = bool(evaluated) or curves.train[0]["step"] <= 1
    tolerance = max(0.3, INITIAL_TOLERANCE * even.loss)
    first, of_even, among = f"{initial:.2f}", even.shown, even.among(say)
    if initial > even.loss + tolerance:
        yield Finding(
            "bad",
            say(
                f"The first loss, {first}, is well above {of_even}, what {among} gives: "
                "the initial weights or the learning rate are too large, or the targets are wrong.",
                f"첫 손실 {josa(first, '이/가')} {among}의 값 {of_even}보다 훨씬 높습니다. "
                "초기 가중치나 학습률이 너무 크거나 정답이 잘못되었습니다.",
            ),
        )
    elif untrained and initial < even.loss - tolerance:
        yield Finding(
            "note",
            say(
                f"The first loss, {first}, is well below {of_even}, what guessing evenly gives: "
                "the weights were trained before, or the model can see what it is to predict.",
                f"첫 손실 {josa(first, '이/가')} 고르게 찍을 때의 값 {of_even}보다 훨씬 낮습니다. "
                "이미 학습된 가중치이거나 모델이 정답을 볼 수 있는 상태입니다.",
            ),
        )
    elif untrained:
        yield Finding(
            "good",
            say(
                f"It began at a loss of {first}, near {of_even}: that is what {among} gives, as it should be "
                "before anything is learnt.",
                f"첫 손실 {josa(first, '은/는')} {among}의 값 {of_even}에 가깝습니다. 학습 전에는 이래야 정상입니다.",
            ),
        )


def _level(curves: Curves, even: Even | None, say: Say) -> Iterator[Finding]:
    """What the best evaluation says: choices among tokens, and the size to which the text would shrink; of labelled
    data the share that is right."""
    best = curves.best
    if best is None:
        if curves.train:
            english = "No evaluation has been made, so nothing is known about text that the model has not seen."
            yield Finding("note", say(english, "평가를 하지 않아 처음 보는 글에 대해서는 알 수 없습니다."))
        return
    loss = float(best["val_loss"])
    if even is not None and loss >= 0.98 * even.loss:
        if curves.validation[-1]["step"] <= 1:
            english = "It is too early to judge: the only evaluation was made before anything was learnt."
            yield Finding("note", say(english, "아직 판단하기 이릅니다. 배우기 전의 평가뿐입니다."))
        else:
            yield Finding(
                "bad",
                say(
                    f"The validation loss, {loss:.2f}, is no better than guessing evenly: nothing has been learnt yet.",
                    f"검증 손실 {josa(f'{loss:.2f}', '은/는')} 고르게 찍는 것보다 낫지 않습니다. "
                    "아직 배운 것이 없습니다.",
                ),
            )
        return
    if even is None or not even.n_tokens:
        yield from _right(curves.kept or best, say)
        return
    choices, among = f"{math.exp(min(loss, 700)):.3g}", f"{even.n_tokens:,}"
    english = f"On unseen text it is as unsure as one who chooses evenly among {choices} tokens out of {among}"
    korean = f"처음 보는 글에서 {among}개 토큰 가운데 {choices}개를 놓고 고르게 찍는 만큼 망설입니다"
    bits = number(best, "val_bits_per_byte")
    if bits is not None and 0 < bits < 8:
        english += f"; {bits:.2f} bits per byte would store that text in {bits / 8:.0%} of its size"
        korean += f". 바이트당 {bits:.2f}비트이니 그 글을 원래 크기의 {bits / 8:.0%}로 줄일 수 있습니다"
    yield Finding("good", say(english + ".", korean + "."))


def _right(kept: Line, say: Say) -> Iterator[Finding]:
    """The share of unseen texts that is right, where a task has labels; else its F1 or the correlation of scores."""
    accuracy, f1, rank = (number(kept, key) for key in ("val_accuracy", "val_f1", "val_spearman"))
    if accuracy is not None:
        english, korean = (
            f"It is right on {accuracy:.1%} of unseen texts.",
            f"처음 보는 글의 {accuracy:.1%}를 맞힙니다.",
        )
    elif f1 is not None:
        english, korean = f"On unseen texts its F1 is {f1:.3f}.", f"처음 보는 글에서 F1은 {f1:.3f}입니다."
    elif rank is not None:
        english = f"Its scores of unseen texts follow the right ones with a rank correlation of {rank:.3f}."
        korean = f"처음 보는 글의 점수와 정답의 순위 상관은 {rank:.3f}입니다."
    else:
        return
    yield Finding("good", say(english, korean))


def _stability(curves: Curves, say: Say) -> Iterator[Finding]:
    if curves.broken:
        step = f"{curves.broken[0]:,}"
        yield Finding(
            "bad",
            say(
                f"At step {step} the loss was no longer a finite number: lower the learning rate.",
                f"{step}단계에서 손실이 유한한 수가 아니게 되었습니다. 학습률을 낮추십시오.",
            ),
        )
    if len(curves.smooth) < 20:
        return
    lowest, last = min(curves.smooth), curves.smooth[-1]
    if last > lowest * (1 + REBOUND):
        yield Finding(
            "bad",
            say(
                f"The training loss ended at {last:.2f} after it had been {lowest:.2f}: "
                "the learning rate is probably too high.",
                f"학습 손실이 {lowest:.2f}까지 내려갔다가 {josa(f'{last:.2f}', '으로/로')} 끝났습니다. "
                "학습률이 너무 높은 듯합니다.",
            ),
        )


def _overfitting(curves: Curves, epochs: float | None, say: Say) -> Iterator[Finding]:
    best = curves.best
    if best is None or len(curves.validation) < 2:
        return
    last = curves.validation[-1]
    lowest, final = float(best["val_loss"]), float(last["val_loss"])
    train_then, train_now = curves.smooth_at(best["step"]), curves.smooth_at(last["step"])
    if train_then is None or train_now is None:
        return
    if final - lowest > OVERFIT_RISE * lowest and train_now < train_then:
        step, now = f"{best['step']:,}", f"{train_now:.2f}"
        english, korean = _better_weights(curves, say)
        yield Finding(
            "note",
            say(
                f"It over-fits: after step {step} the validation loss rose from {lowest:.2f} to {final:.2f} while the "
                f"training loss fell from {train_then:.2f} to {now}. {english}; "
                "more text, more dropout, a smaller model or fewer steps help.",
                f"과적합입니다. {step}단계 뒤로 학습 손실은 {train_then:.2f}에서 {josa(now, '으로/로')} 내려갔지만 "
                f"검증 손실은 {lowest:.2f}에서 {josa(f'{final:.2f}', '으로/로')} 올랐습니다. "
                f"{korean}. "
                "글을 늘리거나 드롭아웃을 높이거나 모델이나 단계 수를 줄이면 나아집니다.",
            ),
        )
    elif final - train_now > GAP * final and (epochs is None or epochs >= REPEATED):
        yield Finding(
            "note",
            say(
                f"It predicts its training text ({train_now:.2f}) much better than new text ({final:.2f}): "
                "memorising has begun, although it does no harm yet.",
                f"학습한 글({train_now:.2f})을 새 글({final:.2f})보다 훨씬 잘 맞힙니다. "
                "외우기 시작했지만 아직 해롭지는 않습니다.",
            ),
        )
    elif final - lowest <= OVERFIT_RISE * lowest:
        yield Finding(
            "good",
            say(
                f"No sign of over-fitting: the validation loss ended at {final:.2f}, its lowest was {lowest:.2f}.",
                f"과적합의 기미가 없습니다. 검증 손실은 {josa(f'{final:.2f}', '으로/로')} 끝났고 "
                f"가장 낮았던 값은 {lowest:.2f}입니다.",
            ),
        )


def _better_weights(curves: Curves, say: Say) -> tuple[str, str]:
    """Whose weights are to be preferred to the last ones, in English and in Korean."""
    kept, figure = curves.kept, curves.watched[0]
    step = "" if kept is None else f"{kept['step']:,}"
    if figure == "val_loss":
        return f"The weights of step {step} are the better ones", f"{step}단계의 가중치가 더 낫습니다"
    name = say.words.get(figure)
    english = f"By {name}, which this run watches, the weights of step {step} are the best"
    return english, f"이 학습이 살피는 지표({name})로 보면 {step}단계의 가중치가 가장 낫습니다"


def _ending(curves: Curves, say: Say) -> Iterator[Finding]:
    """Still falling at the end: the loss at nine tenths of the steps, taken between evaluations, against the last."""
    if len(curves.validation) < 3 or curves.best is not curves.validation[-1]:
        return
    last = curves.validation[-1]
    before = _between(curves.validation, 0.9 * last["step"])
    fall = before - float(last["val_loss"])
    if fall <= STILL_FALLING * float(last["val_loss"]):
        return
    english = f"It was still learning at the end: the last tenth of the steps took {fall:.2f} off the validation loss."
    korean = f"끝날 때까지 계속 배우고 있었습니다. 마지막 10 %의 단계에서 검증 손실이 {fall:.2f} 더 내려갔습니다."
    rates = [rate for line in curves.train if (rate := number(line, "lr")) is not None]
    if rates and rates[-1] < 0.5 * max(rates):
        english += " Some of that comes from the falling learning rate; a new, longer run would go lower."
        korean += " 일부는 학습률이 내려간 덕분이며, 더 긴 새 학습이면 더 낮아질 것입니다."
    else:
        english += " More steps would go lower."
        korean += " 더 학습하면 더 낮아질 것입니다."
    steep = fall > FALLING_STEEPLY * float(last["val_loss"])
    yield Finding("note" if steep else "good", say(english, korean))


def _repetition(epochs: float | None, say: Say) -> Iterator[Finding]:
    if epochs is None or epochs <= USEFUL_EPOCHS:
        return
    yield Finding(
        "note",
        say(
            f"It saw its training text {epochs:.1f} times; beyond about {USEFUL_EPOCHS} a repeat teaches less and less "
            "(Muennighoff et al., 2023).",
            f"학습 글을 {epochs:.1f}번 보았습니다. {USEFUL_EPOCHS}번쯤을 넘으면 반복할수록 배우는 것이 줄어듭니다 "
            "(Muennighoff et al., 2023).",
        ),
    )


def _scale(curves: Curves, even: Even | None, tokenizer: str, say: Say) -> Iterator[Finding]:
    """A scale for characters of an alphabet alone: syllables (Hangul) and subwords have losses of another size."""
    if tokenizer != "char" or even is None or not 0 < even.n_tokens <= 200 or curves.best is None:
        return
    yield Finding(
        "good",
        say(
            "For scale: nanoGPT's own page gives 1.88 after three minutes on a laptop's processor and 1.47 on a large "
            "GPU, for the characters of Shakespeare's plays. Another text has another scale.",
            "참고로 nanoGPT는 셰익스피어 희곡의 글자 단위에서 노트북 CPU로 3분 뒤 1.88, 대형 GPU로 1.47을 보고합니다. "
            "글이 다르면 기준도 다릅니다.",
        ),
    )


def _between(validation: list[Line], step: float) -> float:
    """The validation loss at `step`, on the straight line between its neighbours."""
    for left, right in pairwise(validation):
        if left["step"] <= step <= right["step"]:
            share = (step - left["step"]) / (right["step"] - left["step"])
            return float(left["val_loss"] + share * (right["val_loss"] - left["val_loss"]))
    return float(validation[0]["val_loss"])
