"""Results as text for a terminal."""

from __future__ import annotations

import fcntl
import json
import struct
from datetime import datetime
from math import prod
from pathlib import Path
from typing import Any

from malgil.errors import MalgilError
from malgil.runs.folder import RunFolder, find_runs

_HEAD = ("run", "recipe", "started", "status", "steps", "parameters", "best val loss", "bits/byte")
#: figures of an evaluation in the order in which they are shown, and what they are called
SCORES = {
    "loss": "loss (nats a token)",
    "perplexity": "perplexity",
    "accuracy": "tokens right",
    "bleu": "BLEU",
    "chrf": "chrF",
    "exact_match": "exactly right",
    "token_error_rate": "edits a word",
    "beam": "translated with a beam of",
    "bits_per_byte": "bits per byte",
    "carried_loss": "loss with carried state",
    "masked": "hidden tokens",
    "sentence_loss": "loss (nats a pair)",
    "sentence_accuracy": "pairs told rightly",
    "pairs": "pairs of texts",
    "replaced_loss": "replaced or not: loss",
    "replaced_accuracy": "replaced or not: right",
    "replaced_f1": "replaced tokens: F1",
    "replaced": "replaced tokens",
    "masked_loss": "generator: loss",
    "masked_accuracy": "generator: tokens right",
    "tokens": "tokens",
    "bytes": "bytes",
    "unknown": "unknown tokens",
}
#: what some of them are called where a score is of labelled texts, and what these have beside
OF_TEXTS = {
    "loss": "loss (a text)",
    "accuracy": "accuracy",
    "accuracy_at_1": "partner is the nearest",
    "candidates": "of candidates",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "matthews": "Matthews correlation",
    "exact_match": "all labels right",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "mse": "mean squared error",
    "texts": "texts",
}
#: the same of tagged words, and of questions
OF_WORDS = {
    "loss": "loss (a word)",
    "f1": "F1 of entities",
    "precision": "precision",
    "recall": "recall",
    "accuracy": "tags right",
    "sentences": "sentences",
    "words": "words",
}
OF_QUESTIONS = {
    "loss": "loss (a window)",
    "exact_match": "exact match",
    "f1": "F1 of words",
    "korean_exact_match": "exact match, Korean",
    "character_f1": "F1 of characters, Korean",
    "answerable_f1": "F1 where there is one",
    "unanswerable": "rightly given none",
    "questions": "questions",
}
SIGNATURES = {"bleu_signature": "BLEU, how", "chrf_signature": "chrF, how"}


def score_lines(result: dict[str, Any]) -> str:
    """A score, a figure a line."""
    lines = []
    for key, label in _labels(result).items():
        if (value := result.get(key)) is not None:
            lines.append(f"{label:<26} {value:,}" if isinstance(value, int) else f"{label:<26} {value:.4f}")
        elif key == "bits_per_byte" and (reason := result.get("not_comparable")):
            lines.append(f"{label:<26} {reason}")
    lines += [f"{label:<26} {result[key]}" for key, label in SIGNATURES.items() if key in result]
    by_length = result.get("bleu_by_source_words", [])
    if len(by_length) > 1:
        lines += ["", "BLEU by length of the source", *_length_lines(by_length)]
    if by_label := result.get("by_label"):
        lines += ["", *_label_lines(by_label, "label", "texts")]
    if types := result.get("types"):
        lines += ["", *_label_lines(types, "type", "entities")]
    for key, noun in (("cut_sources", "sources"), ("cut", "texts")):
        if cut := result.get(key):
            lines.append(f"note: {cut:,} of the {noun} are longer than the model reads; their ends were left out")
    if unknown_tags := result.get("unknown_tags"):
        lines.append(f"note: {unknown_tags:,} words have tags that the model does not know, and count as wrong")
    if unknown := result.get("unknown_labels"):
        shown = ", ".join(unknown[:8]) + (f" and {len(unknown) - 8} more" if len(unknown) > 8 else "")
        lines.append(f"note: the model does not know these labels, and texts with them count as wrong: {shown}")
    lines += [f"note: {note}" for note in result.get("notes", [])]
    if caution := result.get("caution"):
        lines.append(f"note: {caution}")
    return "\n".join(lines)


def _labels(result: dict[str, Any]) -> dict[str, str]:
    if "texts" in result:
        return OF_TEXTS
    if "types" in result or "questions" in result:
        return OF_WORDS if "types" in result else OF_QUESTIONS
    of_tokens = "perplexity" in result or "replaced_loss" not in result
    return SCORES | ({} if of_tokens else {"loss": "loss that is trained"})


def _length_lines(rows: list[dict[str, Any]]) -> list[str]:
    return [
        f"  {row['low']:>3} to {row['high']:<3} words {row['sentences']:>6,} pairs {row['bleu']:>7.2f}" for row in rows
    ]


def _label_lines(by_label: dict[str, dict[str, Any]], label: str, things: str) -> list[str]:
    """A table of the figures of each label."""
    width = max(len(label), *(len(name) for name in by_label))
    head = f"{label:<{width}} {'precision':>10} {'recall':>8} {'F1':>8} {things:>8}"
    return [head] + [
        f"{name:<{width}} {row['precision']:>10.4f} {row['recall']:>8.4f} {row['f1']:>8.4f} {row['support']:>8,}"
        for name, row in by_label.items()
    ]


def run_facts(folder: RunFolder) -> dict[str, Any]:
    """What `malgil runs` says of a run; what is not known is None.

    Returns:
        run (its folder), recipe, started (local time), steps, status (finished, interrupted, running, imported or
        unreadable), parameters, val_loss (the best) and val_bits_per_byte (of the same evaluation).
    """
    facts: dict[str, Any] = {
        "run": str(folder.path),
        "recipe": None,
        "started": f"{datetime.fromtimestamp(folder.config.stat().st_mtime):%Y-%m-%d %H:%M}",
        "steps": None,
        "status": "unreadable",
        "parameters": None,
        "val_loss": None,
        "val_bits_per_byte": None,
    }
    try:
        facts["recipe"] = folder.read_config().get("recipe")
        lines = folder.lines(folder.metrics)
    except (MalgilError, OSError, ValueError):
        return facts
    evaluated = [line for line in lines if isinstance(line.get("val_loss"), float)]
    best = min(evaluated, key=lambda line: float(line["val_loss"]), default={})
    return facts | {
        "steps": lines[-1].get("step") if lines else 0,
        "status": _status(folder, trained=bool(lines)),
        "parameters": _parameters(folder),
        "val_loss": best.get("val_loss"),
        "val_bits_per_byte": best.get("val_bits_per_byte"),
    }


def runs_table(root: Path) -> str:
    """The runs in a folder, newest first, with what each reached."""
    found = [run_facts(folder) for folder in find_runs(root)]
    if not found:
        return f"no runs in {root}; train one: malgil train --data builtin"
    rows: list[tuple[str, ...]] = [_HEAD]
    rows += [_row(facts) for facts in found]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    words = {0, 1, 2, 3}  # columns set to the left; numbers are set to the right
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i in words else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _row(facts: dict[str, Any]) -> tuple[str, ...]:
    def shown(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    return (
        facts["run"],
        str(facts["recipe"] or "-"),
        facts["started"],
        facts["status"],
        shown(facts["steps"], ","),
        shown(facts["parameters"], ","),
        shown(facts["val_loss"], ".4f"),
        shown(facts["val_bits_per_byte"], ".4f"),
    )


def _status(folder: RunFolder, *, trained: bool) -> str:
    if _is_locked(folder):
        return "running"
    if not folder.weights.is_file():
        return "interrupted"
    return "finished" if trained else "imported"


def _is_locked(folder: RunFolder) -> bool:
    """Whether a process writes there now: it holds the lock, which its end gives back."""
    try:
        with (folder.path / ".lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _parameters(folder: RunFolder) -> int | None:
    """From the header of the weights, or of the newest checkpoint's: nothing is loaded."""
    places = sorted(folder.checkpoints.glob("step-*/model.safetensors"))
    for path in [folder.weights, *reversed(places)]:
        try:
            with path.open("rb") as file:
                (size,) = struct.unpack("<Q", file.read(8))
                header = json.loads(file.read(min(size, 1 << 26)))
            return sum(int(prod(tensor["shape"])) for name, tensor in header.items() if name != "__metadata__")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
            continue
    return None
