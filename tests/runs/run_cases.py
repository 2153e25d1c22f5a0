"""Tiny runs of every recipe: some milliseconds a step, with dropout, shuffling and accumulation on."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from malgil.config import Tree, merge
from malgil.runs.display import Display
from malgil.runs.run import Run
from malgil.runs.training import train

ENGLISH = ["the", "river", "a", "word", "of", "over", "light", "carries", "stone", "and", "then", "morning"]
LABELS = {"좋음": "훌륭하다", "보통": "그저그렇다", "나쁨": "형편없다"}
KOREAN = ["말길", "산은", "물이", "흐른다", "높고", "나무", "아래에서", "바람을", "읽는다", "새벽", "그리고", "책"]

ATTENTION = {"n_layers": 2, "n_heads": 2, "d_model": 16, "max_len": 12, "dropout": 0.1}
RECURRENT = {"n_layers": 2, "d_model": 16, "max_len": 6, "dropout": 0.1}
MODELS: dict[str, dict[str, Any]] = {
    "gpt2": ATTENTION,
    "gpt": ATTENTION,
    "rnn": RECURRENT,
    "gru": RECURRENT,
    "lstm": RECURRENT,
    "bert": ATTENTION,
    "birnn": RECURRENT,
    "albert": {**ATTENTION, "d_embedding": 8},
    "electra": {**ATTENTION, "d_embedding": 16},
    "distilbert": {},
    "seq2seq-bahdanau": {"d_model": 16, "max_len": 40, "dropout": 0.1},
    "transformer": {**ATTENTION, "max_len": 40},
    "classify": {**ATTENTION, "max_len": 32},
    "similarity": {**ATTENTION, "max_len": 32},
    "tag": {**ATTENTION, "max_len": 20},
    "answer": {**ATTENTION, "max_len": 40},
    "embed": {**ATTENTION, "max_len": 32},
}
OF_PAIRS = ("seq2seq-bahdanau", "transformer")
OF_LABELS = ("classify", "similarity")
TRAINING = {
    "steps": 12,
    "batch_size": 2,
    "accumulate": 2,
    "warmup": 2,
    "evaluate_every": 5,
    "checkpoint_every": 3,
    "sample_every": 6,
    "log_every": 1,
    "precision": "fp32",
    "threads": 1,
    "device": "cpu",
}


def sentences(n_words: int, seed: int = 0) -> str:
    """Text of English and Korean words, a sentence a line."""
    draw = random.Random(seed)
    return "\n".join(" ".join(draw.choices(ENGLISH + KOREAN, k=7)) + "." for _ in range(n_words // 7))


def pairs(n_pairs: int, seed: int = 0) -> str:
    """Pairs as TSV: words in an order, and the words in the other language backwards."""
    draw = random.Random(seed)
    chosen = [draw.choices(range(len(ENGLISH)), k=draw.randint(1, 5)) for _ in range(n_pairs)]
    return "".join(
        " ".join(KOREAN[i] for i in line) + "\t" + " ".join(ENGLISH[i] for i in reversed(line)) + "\n"
        for line in chosen
    )


def reviews(n_texts: int, seed: int = 0) -> str:
    """Texts as TSV with a header, a label of three and a score; one word of each says which label, two the score."""
    draw = random.Random(seed)
    rows = ["text\tlabel\tscore\n"]
    for _ in range(n_texts):
        name, words = draw.choice(list(LABELS)), draw.choices(ENGLISH + KOREAN, k=draw.randint(1, 6))
        score = sum(word in KOREAN for word in words) - sum(word in ENGLISH for word in words)
        words.insert(draw.randint(0, len(words)), LABELS[name])
        rows.append(f"{' '.join(words)}\t{name}\t{score}\n")
    return "".join(rows)


PLACES, PEOPLE = ["서울", "부산 항", "New York", "한강 공원"], ["말길", "민수", "지영"]


def tagged(n_sentences: int, seed: int = 0) -> str:
    """Sentences in CoNLL's form, with people and places."""
    draw = random.Random(seed)
    lines = []
    for _ in range(n_sentences):
        where, who = draw.choice(PLACES).split(), draw.choice(PEOPLE)
        lines += [f"{who}\tB-PER", "이\tO", *(f"{word}\t{'I' if i else 'B'}-LOC" for i, word in enumerate(where))]
        lines += [f"{word}\tO" for word in draw.choices(ENGLISH + KOREAN, k=draw.randint(1, 4))] + [""]
    return "\n".join(lines)


def questions(n_questions: int, seed: int = 0) -> str:
    """Questions as rows of JSON: who or where, of texts of about sixty characters; a third have no answer."""
    draw = random.Random(seed)
    rows = []
    for number in range(n_questions):
        where, who = draw.choice(PLACES), draw.choice(PEOPLE)
        before = " ".join(draw.choices(KOREAN, k=draw.randint(1, 9)))
        context = f"{before}. {who}은 {where}에서 왔다. {' '.join(draw.choices(ENGLISH, k=4))}."
        asked, answer = draw.choice([("누가 왔니?", who), ("어디에서 왔니?", where), ("언제 왔니?", None)])
        answers = [{"text": answer, "answer_start": context.index(answer, len(before))}] if answer else []
        rows.append({"id": str(number), "question": asked, "context": context, "answers": answers})
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def overrides(recipe: str, corpus: Path, **changed: Any) -> Tree:
    """The settings of a tiny run; `changed` holds sections."""
    tiny: Tree = {
        "data": {"paths": [str(corpus)]},
        "tokenizer": {"kind": "char"},
        "model": MODELS[recipe],
        "training": TRAINING,
    }
    if recipe in OF_PAIRS:
        of_pairs: Tree = {
            "data": {"paths": [str(corpus.with_suffix(".tsv"))]},
            "training": {"batch_tokens": 200},
            "generation": {"beam": 2, "max_tokens": 8},
        }
        tiny = merge(tiny, of_pairs)
    if recipe in OF_LABELS:
        fields = {"paths": [str(corpus.with_name("reviews.tsv"))], "label_field": "label"}
        tiny["data"] = fields if recipe == "classify" else {**fields, "label_field": "score"}
    if recipe == "embed":
        tiny["data"] = {"paths": [str(corpus.with_suffix(".tsv"))]}
    if recipe in ("tag", "answer"):
        tiny["data"] = {"paths": [str(corpus.with_name("tagged.conll" if recipe == "tag" else "questions.jsonl"))]}
    return merge(tiny, changed)


class Recorder(Display):
    """Keeps what was said."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    @property
    def text(self) -> str:
        return "\n".join(self.said)


class PowerCut(Exception):  # noqa: N818
    """Ends a run as abruptly as one process can do it to itself."""


class CutAt(Recorder):
    """Breaks a run off right after a step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def progress(self, progress: Any, report: Any, share: float) -> None:
        if progress.step == self.step:
            raise PowerCut


def trained(recipe: str, corpus: Path, out: Path, display: Display | None = None, **changed: Any) -> Run:
    """A finished tiny run."""
    return train(recipe, overrides(recipe, corpus, **changed), out=out, display=display or Recorder())


def resumed(out: Path, display: Display | None = None, **changed: Any) -> Run:
    """The run in `out`, gone on with to its end."""
    return train(None, changed, out=out, resume=True, display=display or Recorder())


def steps_saved(out: Path) -> list[int]:
    """The steps of the checkpoints that are there."""
    return sorted(int(p.name[5:]) for p in (out / "checkpoints").iterdir() if not p.name.startswith("."))


def bits(out: Path) -> dict[str, Any]:
    """All that must be the same in two runs that are one: weights, optimizer, carried states, logged numbers."""
    last = out / "checkpoints" / f"step-{steps_saved(out)[-1]:06d}"
    tensors = {p.name: p.read_bytes() for p in last.glob("*.safetensors")}
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    logged = [{k: v for k, v in line.items() if k not in ("seconds", "tokens_per_second")} for line in lines]
    samples = (out / "samples.jsonl").read_text(encoding="utf-8")
    return {**tensors, "kept": (out / "model.safetensors").read_bytes(), "logged": logged, "samples": samples}
