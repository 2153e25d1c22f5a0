"""The words of a comparison, in English and in Korean, and its figures as people read them."""

from __future__ import annotations

from typing import Any

from malgil.report import figures
from malgil.report.words import Words

COMPARE_WORDS: dict[str, tuple[str, str]] = {
    "kicker": ("Comparison", "모델 비교"),
    "title text": ("{n} language models", "언어 모델 {n}개"),
    "title pairs": ("{n} models of translation", "번역 모델 {n}개"),
    "title labels": ("{n} models of understanding", "분류 모델 {n}개"),
    "budget seconds": ("{time} of training each", "모델마다 {time} 학습"),
    "budget tokens": ("{n} tokens of training each", "모델마다 토큰 {n}개 학습"),
    "seeds": ("{n} seeds each", "시드 {n}개씩"),
    "seeds or fewer": ("{n} seeds each or fewer", "시드 {n}개 이하씩"),
    "one seed": ("one seed each", "시드 하나씩"),
    "meaning": ("What it means", "결과의 뜻"),
    "overview": ("All models", "모든 모델"),
    "overview note": (
        "Best first. A model is marked = where its difference from the best is not larger than what another seed "
        "may change. Click a name for its settings.",
        "좋은 순서입니다. = 표시는 가장 좋은 모델과의 차이가 시드만 바꾸어도 생길 만한 크기라는 뜻입니다. 이름을 "
        "누르면 설정이 보입니다.",
    ),
    "overview note one": (
        "Best first. With one seed each nobody can say what chance has done: a model is marked = where it is "
        "within 1 % of the best, a rule of thumb. --seeds 3 tells more. Click a name for its settings.",
        "좋은 순서입니다. 시드가 하나면 우연의 몫을 알 수 없습니다. 가장 좋은 모델과 1 % 안이면 어림으로 = 표시를 "
        "합니다. --seeds 3이면 더 알 수 있습니다. 이름을 누르면 설정이 보입니다.",
    ),
    "recipe": ("Model", "모델"),
    "parameters column": ("Parameters", "매개변수"),
    "bits_per_byte": ("Bits per byte", "바이트당 비트"),
    "val_bits_per_byte": ("Bits per byte", "바이트당 비트"),
    "perplexity": ("Perplexity", "퍼플렉시티"),
    "loss token": ("Loss, nats a token", "손실, nat/토큰"),
    "loss text": ("Loss, nats a text", "손실, nat/글"),
    "carried_loss": ("Loss, state carried", "손실, 상태 이어감"),
    "bleu": ("BLEU", "BLEU"),
    "chrf": ("chrF", "chrF"),
    "exact_match": ("Exactly right", "완전히 맞음"),
    "accuracy": ("Accuracy", "정확도"),
    "val_accuracy": ("Accuracy", "정확도"),
    "f1": ("F1", "F1"),
    "val_f1": ("F1", "F1"),
    "matthews": ("Matthews correlation", "매슈스 상관계수"),
    "time_to_quality": ("Time to {quality}", "{quality}까지"),
    "tokens_per_second": ("Trains, tokens/s", "학습, 토큰/초"),
    "throughput token": ("Writes, tokens/s", "쓰기, 토큰/초"),
    "throughput sentence": ("Translates, sentences/s", "번역, 문장/초"),
    "throughput text": ("Reads, texts/s", "판정, 글/초"),
    "latency token": ("One token alone", "토큰 하나만"),
    "latency sentence": ("One sentence alone", "문장 하나만"),
    "latency text": ("One text alone", "글 하나만"),
    "peak_memory": ("Peak memory", "최대 메모리"),
    "energy": ("Energy", "에너지"),
    "size": ("On disk", "디스크"),
    "failed": ("failed", "실패"),
    "failed why": ("{name} failed: {why}", "{name} 실패: {why}"),
    "quality": ("Quality", "품질"),
    "against": ("against", "가로축"),
    "seconds": ("Time", "시간"),
    "tokens": ("Tokens", "토큰"),
    "parameters axis": ("Parameters", "매개변수"),
    "seconds axis": ("seconds of training", "학습한 초"),
    "tokens axis": ("tokens read in training", "학습에서 읽은 토큰"),
    "log": ("log scale", "로그 눈금"),
    "less is better": ("less is better", "낮을수록 좋음"),
    "more is better": ("more is better", "높을수록 좋음"),
    "quality note": (
        "Every point is an evaluation on text that nobody was trained on. Learning rates fall towards the end of "
        "the budget, so a point before it is not what a shorter training would have reached.",
        "점마다 아무도 학습하지 않은 글에 대한 평가입니다. 학습률은 주어진 시간의 끝으로 갈수록 낮아지므로, "
        "중간의 점은 그만큼 짧게 학습했을 때의 결과가 아닙니다.",
    ),
    "target": ("what the slowest learner reached", "가장 더딘 모델이 이른 값"),
    "asked": ("asked for", "정한 값"),
    "speed": ("Speed against length", "길이에 따른 속도"),
    "speed note": (
        "Measured with weights at random. A recurrent model takes its steps one after another, whatever the "
        "length; attention looks back at every token before, so that a long text costs it more and more.",
        "임의의 가중치로 쟀습니다. 순환 모델은 길이와 상관없이 한 걸음씩 나아가고, 어텐션은 앞의 모든 토큰을 "
        "돌아보므로 글이 길수록 부담이 커집니다.",
    ),
    "speed note labels": (
        "Measured with weights at random, of the encoder alone: n-grams that vote beside it are not in these pictures, "
        "but in the table above they are.",
        "임의의 가중치로, 인코더만 쟀습니다. 옆에서 투표하는 n-그램은 이 그림에는 없고 위의 표에는 있습니다.",
    ),
    "training speed": ("Training, tokens a second", "학습, 초당 토큰"),
    "reading": ("Reading a text, milliseconds", "글 하나 읽기, 밀리초"),
    "writing": ("Writing a token behind it, milliseconds", "그 뒤에 토큰 하나 쓰기, 밀리초"),
    "length axis": ("tokens of the sequence", "열의 토큰 수"),
    "errors": ("Where the errors lie", "어디에서 틀리나"),
    "errors note": (
        "All models were asked about the same tokens and texts.",
        "모든 모델에 같은 토큰과 글을 물었습니다.",
    ),
    "rarity": ("By how rare the token is", "토큰이 드문 정도"),
    "rarity axis": ("times it stands in the training text", "학습 글에 나온 횟수"),
    "place": ("By how much was read before it", "앞에서 읽은 양"),
    "place axis": ("tokens before it", "앞의 토큰 수"),
    "words": ("By the length of the source", "원문 길이"),
    "words axis": ("words of the source", "원문의 낱말 수"),
    "text length": ("By the length of the text", "글 길이"),
    "text length axis": ("tokens of the text", "글의 토큰 수"),
    "rarest": ("By its rarest token", "가장 드문 토큰"),
    "rarest axis": ("times its rarest token stands in the training texts", "가장 드문 토큰이 학습 글에 나온 횟수"),
    "samples": ("The same beginnings, continued", "같은 시작, 다른 이어 쓰기"),
    "samples pairs": ("The same sentences, translated", "같은 문장, 다른 번역"),
    "samples labels": ("The same texts, judged", "같은 글, 다른 판정"),
    "empty prompt": ("a new text", "새 글"),
    "reference": ("by a person", "사람"),
    "fair": ("How it was made", "비교한 방법"),
    "fair data": (
        "One split for all. Training: {train}. Reported on: {validation}.",
        "모두 같은 나눔을 썼습니다. 학습: {train}. 보고: {validation}.",
    ),
    "fair tokenizer": (
        "One tokenizer for all ({kind}, {n} tokens), trained once on the training part.",
        "토크나이저도 하나입니다({kind}, 토큰 {n}개). 학습 부분에서 한 번 익혔습니다.",
    ),
    "fair once": ("The same batches and context for all: {once}.", "배치와 문맥도 같습니다: {once}."),
    "fair last": (
        "Nothing was selected by the part that is reported: the weights are those of the last step, and no run "
        "was stopped early.",
        "보고하는 부분으로 고른 것은 없습니다. 가중치는 마지막 단계의 것이고 일찍 멈춘 학습도 없습니다.",
    ),
    "fair alone": (
        "Runs went one at a time, each in a process of its own. Time counts data and optimisation, not evaluation.",
        "학습은 한 번에 하나씩, 저마다 제 프로세스에서 했습니다. 시간은 데이터와 최적화만 세고 평가는 세지 않습니다.",
    ),
    "fair equal": (
        "Widths were chosen so that every model has {n} parameters within 5 %.",
        "모든 모델의 매개변수가 5 % 안에서 {n}개가 되도록 너비를 정했습니다.",
    ),
    "fair but": (
        "But {names}: what stands beside the body is not in that number.",
        "다만 {names}: 몸통 옆에 있는 것은 그 수에 들지 않습니다.",
    ),
    "fair sizes": (
        "Sizes are what each recipe chooses for this data and budget.",
        "크기는 레시피마다 이 데이터와 시간에 맞추어 정한 것입니다.",
    ),
    "fair tuned": (
        "Learning rates were tuned alike for all: {factors} times the recipe's own, a quarter of the budget each, "
        "on a part of the training data and with a seed that are not reported. Taken: {taken}.",
        "학습률은 모두 같은 만큼 골랐습니다. 레시피 값의 {factors}배를 예산의 4분의 1씩, 보고하지 않는 학습 "
        "데이터의 일부와 시드로 시험했습니다. 고른 값: {taken}.",
    ),
    "fair edge": (
        "For {names} the best factor was the smallest or the largest: beyond it may be a better one.",
        "{names}: 가장 좋은 배수가 시험한 범위의 끝이라 더 나은 값이 밖에 있을 수 있습니다.",
    ),
    "fair untuned": (
        "No learning rate was tuned here: each recipe's own. --tune 3 tries several, alike for all.",
        "학습률을 따로 고르지 않고 레시피의 값을 썼습니다. --tune 3이면 모두 같은 만큼 골라 봅니다.",
    ),
    "fair energy": (
        "Energy is that of training and its evaluations: {source}.",
        "에너지는 학습과 그 평가의 것입니다: {source}.",
    ),
    "differs": ("What differs", "다른 설정"),
    "settings of": ("All settings of {name}", "{name} 설정 전체"),
    "evaluations of": ("Figures behind the charts", "그림 뒤의 수치"),
    "device": ("Device", "장치"),
    "threads": ("Threads", "스레드"),
    "estimate": ("an estimate from processor time", "프로세서 시간으로 어림한 값"),
    "seed": ("seed", "시드"),
    "choose": ("Click a model to see it alone", "모델을 누르면 그것만 보입니다"),
    "up to": ("up to {n}", "{n} 이하"),
}

#: figures that are shares, shown in percent
_SHARES = ("exact_match", "accuracy", "val_accuracy", "f1", "val_f1")
_SCORES = ("bleu", "chrf")
_PHRASES = {
    "bits_per_byte": ("{} bits per byte", "바이트당 {}비트"),
    "loss": ("a loss of {}", "손실 {}"),
    "bleu": ("BLEU {}", "BLEU {}"),
    "chrf": ("chrF {}", "chrF {}"),
    "accuracy": ("{} right", "정확도 {}"),
    "f1": ("an F1 of {}", "F1 {}"),
}


class CompareWords(Words):
    """Those of a comparison, and where it has none those of every report."""

    def __call__(self, key: str, **values: str) -> str:
        if key in COMPARE_WORDS:
            return COMPARE_WORDS[key][self.language == "ko"].format(**values)
        return super().__call__(key, **values)

    def figure(self, name: str, kind: str) -> str:
        """What a figure of a comparison of a kind is called; a loss is that of a token, or of a labelled text."""
        if name.removeprefix("val_") == "loss":
            return self("loss text" if kind == "labels" else "loss token")
        return self(name)

    def get(self, key: str) -> str:
        """The words for a key that may have none, which then stands for itself."""
        return self(key) if key in COMPARE_WORDS else super().get(key)


def figure_text(name: str, value: float) -> str:
    """A figure of quality with as many digits as it deserves."""
    if name in _SHARES:
        return f"{100 * value:.1f} %"
    if name in _SCORES:
        return f"{value:.1f}"
    return f"{value:.3f}" if value < 100 else f"{value:.4g}"


def phrase(name: str, value: float, language: str = "en") -> str:
    """A figure inside a sentence: `2.310 bits per byte`, `BLEU 31.2`, `88.1 % right`."""
    number, key = figure_text(name, value), name.removeprefix("val_")
    english, korean = _PHRASES.get(key, (f"{key} {{}}", f"{key} {{}}"))
    return (korean if language == "ko" else english).format(number)


def with_interval(name: str, value: float, half: float | None) -> str:
    """`2.310 ± 0.021`."""
    if half is None:
        return figure_text(name, value)
    if name in _SHARES:
        return f"{100 * value:.1f} ± {100 * half:.1f} %"
    return f"{figure_text(name, value)} ± {figure_text(name, half)}"


def milliseconds(seconds: float) -> str:
    """`0.52 ms`, `12 ms`, `1.3 s`."""
    if seconds >= 1:
        return f"{seconds:.1f} s"
    scaled = 1000 * seconds
    return f"{scaled:.2f} ms" if scaled < 10 else f"{scaled:.0f} ms"


def budget_text(result: Any, words: Words) -> str:
    """`30 s of training each`."""
    seconds, tokens = result["budget"]["seconds"], result["budget"]["tokens"]
    if tokens is not None:
        return words("budget tokens", n=f"{tokens:,}")
    return words("budget seconds", time=figures.duration(seconds, words.language).replace(".0", ""))
