"""The words on a report, in English and in Korean. Texts that a model or a user wrote are never translated."""

from __future__ import annotations

from malgil.config import not_found

WORDS: dict[str, tuple[str, str]] = {
    "kicker": ("Training report", "학습 보고서"),
    "footer": ("Made by Malgil {version}. This page is one file and loads nothing from a network.",
               "Malgil {version}에서 만들었습니다. 파일 하나로 되어 있고 네트워크를 쓰지 않습니다."),
    "parameters": ("{n} parameters", "매개변수 {n}개"),
    "running": ("running", "학습 중"),
    "finished": ("finished", "완료"),
    "interrupted": ("interrupted", "중단됨"),
    "stopped early": ("stopped early", "일찍 멈춤"),
    "val_loss": ("Validation loss", "검증 손실"),
    "best of": ("best of {n}, at step {step}", "평가 {n}번 중 최저, {step}단계"),
    "train only": ("training text only, nothing was evaluated", "학습 글만 기준이며 평가는 하지 않았습니다"),
    "loss": ("Training loss", "학습 손실"),
    "nats": ("nats per token", "nat / 토큰"),
    "perplexity": ("Perplexity", "퍼플렉시티"),
    "perplexity note": ("equally likely tokens", "똑같이 그럴듯한 토큰 수"),
    "bits": ("Bits per byte", "바이트당 비트"),
    "bits note": ("comparable across tokenizers", "토크나이저가 달라도 비교할 수 있음"),
    "not comparable": ("not comparable", "비교 불가"),
    "unknown note": ("{n} validation tokens are unknown to the tokenizer",
                     "검증 글의 토큰 {n}개를 토크나이저가 모릅니다"),
    "not measured": ("not measured", "재지 않음"),
    "speed": ("Tokens a second", "초당 토큰"),
    "speed note": ("mean of the run", "학습 전체의 평균"),
    "time": ("Time", "시간"),
    "time note": ("{steps} steps, {tokens} tokens", "{steps}단계, 토큰 {tokens}개"),
    "verdict": ("Are these numbers normal?", "이 수치는 정상인가?"),
    "warnings": ("Warnings", "경고"),
    "curves": ("Learning curve", "학습 곡선"),
    "loss chart": ("Loss", "손실"),
    "by": ("Horizontal axis", "가로축"),
    "step": ("Steps", "단계"),
    "tokens": ("Tokens", "토큰"),
    "seconds": ("Time", "시간"),
    "log": ("log scale", "로그 눈금"),
    "late": ("without the first tenth", "처음 10 % 빼고"),
    "lr": ("Learning rate", "학습률"),
    "raw": ("training, as logged", "학습, 기록한 그대로"),
    "smooth": ("training, smoothed", "학습, 평활"),
    "validation": ("validation", "검증"),
    "even": ("guessing evenly", "고르게 찍기"),
    "best": ("best", "최저"),
    "loss chart note": ("Lower is better. Smoothed: a centred mean over about 4 % of the curve.",
                        "낮을수록 좋습니다. 평활: 곡선의 약 4 % 구간의 중심 평균."),
    "no curve": ("Nothing has been logged yet.", "아직 기록된 수치가 없습니다."),
    "evaluations": ("Evaluations", "평가"),
    "samples": ("Samples as training went", "학습하며 쓴 글"),
    "samples note": ("The prompt is marked; what follows is the model's own.",
                     "표시된 부분이 주어진 글이고 그 뒤는 모델이 쓴 글입니다."),
    "at step": ("step {step}", "{step}단계"),
    "all samples": ("The other {n} samples", "나머지 {n}개"),
    "data": ("Data", "데이터"),
    "training part": ("Training", "학습"),
    "validation part": ("Validation", "검증"),
    "n_tokens": ("tokens", "토큰"),
    "documents": ("documents", "문서"),
    "bytes": ("bytes", "바이트"),
    "vocabulary": ("Vocabulary", "어휘"),
    "tokenizer": ("Tokenizer", "토크나이저"),
    "epochs": ("Times the training text was seen", "학습 글을 본 횟수"),
    "unknown": ("Unknown tokens in validation", "검증의 모르는 토큰"),
    "sources": ("Files", "파일"),
    "machine": ("Machine", "기계"),
    "cpu": ("Processor", "프로세서"),
    "cores": ("Usable cores", "쓸 수 있는 코어"),
    "memory": ("Usable memory", "쓸 수 있는 메모리"),
    "gpus": ("GPU", "GPU"),
    "os": ("System", "운영 체제"),
    "python": ("Python", "Python"),
    "torch": ("PyTorch", "PyTorch"),
    "malgil": ("Malgil", "말길"),
    "peak memory": ("Peak memory", "최대 메모리"),
    "peak gpu memory": ("Peak GPU memory", "최대 GPU 메모리"),
    "energy": ("Energy", "에너지"),
    "settings": ("Settings", "설정"),
    "settings note": ("All {n} settings, as resolved before the first step", "첫 단계 전에 정해진 설정 {n}개 모두"),
    "setting": ("setting", "설정"),
    "value": ("value", "값"),
}  # fmt: skip

_COLUMN = {"en": 0, "ko": 1}


def josa(number: str, pair: str) -> str:
    """A number and its Korean particle, by the sound of its last digit: `josa("1.88", "이/가")` is `1.88이`.

    Args:
        pair: the form after a consonant and after a vowel, `이/가`, `은/는` or `으로/로` (`로` after ㄹ too).
    """
    consonant, vowel = pair.split("/")
    open_digits = "1245789" if consonant == "으로" else "2459"
    return number + (vowel if number[-1] in open_digits else consonant)


class Words:
    """`words("at step", step="500")` in one language.

    Raises:
        NotFoundError: another language than `en` and `ko`.
    """

    def __init__(self, language: str) -> None:
        if language not in _COLUMN:
            raise not_found("report language", language, _COLUMN)
        self.language = language

    def __call__(self, key: str, **values: str) -> str:
        return WORDS[key][_COLUMN[self.language]].format(**values)

    def get(self, key: str) -> str:
        """The words for a key that may have none, which then stands for itself."""
        return self(key) if key in WORDS else key
