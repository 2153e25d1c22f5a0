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
    "best of": ("best of {n}, at step {step}", "평가 {n}번 중 최선, {step}단계"),
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
    "by length": ("BLEU by length of the source", "원문 길이별 BLEU"),
    "by length note": ("Of {n} pairs of the validation part, in groups of about equal size.",
                       "검증 쌍 {n}개를 비슷한 크기로 묶었습니다."),
    "source words": ("Words of the source", "원문 낱말 수"),
    "pairs": ("Pairs", "쌍"),
    "entity types": ("Entities by type", "종류별 개체"),
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
    "labels": ("Labels", "레이블"),
    "label": ("Label", "레이블"),
    "by label": ("By label", "레이블별"),
    "precision": ("Precision", "정밀도"),
    "recall": ("Recall", "재현율"),
    "support": ("In the data", "데이터에서"),
    "predicted": ("Predicted", "예측"),
    "confusion": ("Confusion matrix", "혼동 행렬"),
    "confusion corner": ("is ↓, was called →", "정답 ↓, 예측 →"),
    "confusion note": ("Validation texts. A row is what they are, a column what the model called them.",
                       "검증 글의 수. 행은 정답, 열은 모델의 답입니다."),
    "mistakes": ("Mistakes, the surest first", "가장 확신한 오답부터"),
    "mistakes note": ("{n} of {total} validation texts are labelled otherwise than in the data. Where the model is "
                      "very sure, look twice: the label may be the mistake.",
                      "검증 글 {total}개 가운데 {n}개에서 데이터와 답이 다릅니다. "
                      "모델이 아주 확신한 곳은 레이블이 틀렸을 수도 있습니다."),
    "text": ("Text", "글"),
    "in the data": ("In the data", "데이터"),
    "confidence": ("Confidence", "확신"),
    "no label": ("(none)", "(없음)"),
    "scores": ("Scores", "점수"),
    "scores note": ("Validation texts: Pearson {pearson}, Spearman {spearman}, mean squared error {mse}.",
                    "검증 글: 피어슨 {pearson}, 스피어먼 {spearman}, 평균 제곱 오차 {mse}."),
    "score": ("Score", "점수"),
    "difference": ("Difference", "차이"),
    "val_accuracy": ("Accuracy", "정확도"),
    "val_f1": ("F1", "F1"),
    "val_exact_match": ("Exact match", "완전 일치"),
    "val_matthews": ("Matthews correlation", "매슈스 상관"),
    "val_pearson": ("Pearson correlation", "피어슨 상관"),
    "val_spearman": ("Spearman correlation", "스피어먼 상관"),
    "val_precision": ("Precision", "정밀도"),
    "val_recall": ("Recall", "재현율"),
    "val_character_f1": ("F1 of characters", "글자 F1"),
    "val_masked_loss": ("Loss of hidden tokens", "가린 토큰의 손실"),
    "val_masked_accuracy": ("Hidden tokens right", "가린 토큰 정확도"),
    "val_sentence_loss": ("Loss of sentence pairs", "문장 쌍의 손실"),
    "val_sentence_accuracy": ("Sentence pairs right", "문장 쌍 정확도"),
    "val_replaced_loss": ("Loss of replaced tokens", "바뀐 토큰의 손실"),
    "val_replaced_accuracy": ("Replaced or not, right", "바뀜 여부 정확도"),
    "val_replaced_f1": ("F1 of replaced tokens", "바뀐 토큰 F1"),
    "val_accuracy_at_1": ("Partner found first", "짝이 가장 가까움"),
    "alike": ("Which texts belong together", "서로 어울리는 글"),
    "partner": ("Partner", "짝"),
    "second text": ("Second text", "둘째 글"),
    "nearest": ("Nearest", "가장 가까운 글"),
    "cosine": ("Cosine", "코사인"),
    "missed": ("Furthest from right", "가장 크게 틀린 것부터"),
    "misplaced": ("Out of their order the most", "순서가 가장 어긋난 것부터"),
    "partners note": ("For {share} of the validation texts the partner is the nearest of {n} candidates.",
                      "검증 글의 {share}에서 후보 {n}개 가운데 짝이 가장 가깝습니다."),
    "cosines note": ("Validation pairs: cosines and scores have a Spearman correlation of {spearman}.",
                     "검증 쌍의 코사인과 점수의 스피어먼 상관은 {spearman}입니다."),
    "attention": ("Attention", "어텐션"),
    "self": ("Within the text", "글 안"),
    "bidirectional self": ("Within the text, both ways", "글 안, 양방향"),
    "cross": ("Target → source", "번역문 → 원문"),
    "encoder self": ("Within the source", "원문 안"),
    "decoder self": ("Within the target", "번역문 안"),
    "self note": ("Each row is a token that was read: how much it looked at itself and at every token before it.",
                  "각 행은 읽은 토큰입니다. 자신과 앞의 토큰을 저마다 얼마나 보았는지 나타냅니다."),
    "bidirectional self note": (
        "Each row is a token of the text: how much it looked at every token, before it and behind it.",
        "각 행은 글의 토큰입니다. 앞과 뒤의 토큰을 저마다 얼마나 보았는지 나타냅니다."),
    "cross note": ("Each row is a token being written: how much the decoder looked at every token of the source.",
                   "각 행은 쓰는 중인 토큰입니다. 그때 디코더가 원문의 토큰을 저마다 얼마나 보았는지 나타냅니다."),
    "encoder self note": ("Each row is a token of the source: how much it looked at every token of it.",
                          "각 행은 원문의 토큰입니다. 원문의 토큰을 저마다 얼마나 보았는지 나타냅니다."),
    "decoder self note": ("Each row is a token the decoder read: how much it looked at itself and at those before it.",
                          "각 행은 디코더가 읽은 토큰입니다. 자신과 앞의 토큰을 저마다 얼마나 보았는지 나타냅니다."),
    "which attention": ("Attention", "어텐션"),
    "layer": ("Layer", "층"),
    "head": ("Head", "헤드"),
    "mean of heads": ("mean of heads", "헤드 평균"),
    "heat map": ("Heat map", "열지도"),
    "heat map name": ("{kind}: rows look at columns; arrow keys move from cell to cell",
                      "{kind}: 행이 열을 봅니다. 화살표 키로 칸을 옮깁니다"),
    "lines": ("Lines", "선"),
    "lines name": ("{kind}: lines from the tokens that look to those looked at; arrow keys move from token to token",
                   "{kind}: 보는 토큰에서 보이는 토큰으로 이은 선. 화살표 키로 토큰을 옮깁니다"),
    "looks": ("looks", "보는 쪽"),
    "looked at": ("is looked at", "보이는 쪽"),
    "heads": ("All layers and heads", "모든 층과 헤드"),
    "point": ("Point at a cell or a token.", "칸이나 토큰을 가리켜 보세요."),
    "looked at by": ("looked at by", "보는 토큰"),
    "cut tokens": ("Shown are the first {n} of up to {total} tokens of a text; the share of later ones is left out.",
                   "글마다 처음 {n}개 토큰만 보입니다(가장 긴 글은 {total}개). 뒤의 토큰의 몫은 빠져 있습니다."),
    "attention note": ("Rows add up to 1. Attention says where a model looked, not why it wrote what it wrote.",
                       "각 행의 합은 1입니다. 어텐션은 어디를 보았는지 말할 뿐, 왜 그렇게 썼는지는 말하지 않습니다."),
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


def language_of(text: str) -> str:
    """The language to speak of a text in: `ko` where a fifth of it is Hangul, else `en`."""
    return "ko" if sum("가" <= c <= "힣" for c in text) > 0.2 * len(text) else "en"


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
