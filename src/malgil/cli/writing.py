"""What `malgil generate`, `translate` and `predict` print: text as it is written, lines, or JSON lines."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

from malgil.errors import InputError
from malgil.runs.predicting import row_of
from malgil.runs.run import PREDICTED_TOGETHER, Run
from malgil.text.tokenizer import clean

#: lines of a file that are translated together
FILE_BATCH = 64


def write_streaming(run: Run, prompt: str, settings: dict[str, Any]) -> None:
    """The prompt, and what follows it piece by piece."""
    (text,) = _sound([prompt])
    pieces = run.stream(text, **settings)  # a prompt that cannot be read is refused here, before anything is shown
    sys.stdout.write(text)
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")


def write_all(run: Run, prompts: list[str], settings: dict[str, Any], *, as_json: bool) -> None:
    """Several prompts or samples, numbered, or a JSON object each."""
    made = run.complete(_sound(prompts), **settings)
    for number, completion in enumerate(made, start=1):
        if as_json:
            line = {
                "prompt": completion.prompt,
                "text": completion.text,
                "finish_reason": completion.finish_reason,
                "logprob": completion.logprob,
            }
            print(json.dumps(line, ensure_ascii=False))
        else:
            print(f"--- {number} of {len(made)}\n{completion.prompt}{completion.text}")


def write_translations(
    run: Run, lines: BinaryIO | None, settings: dict[str, Any], *, batch: int | None, as_json: bool
) -> None:
    """A line of output for every line of input, as soon as its batch is there; `n_best` lines of three columns each.

    Args:
        lines: standard input; None where it is closed.
        batch: lines at a time; None = 64 of a file, one of what comes as it is written.

    Raises:
        InputError: there is no standard input.
    """
    if lines is None:
        raise InputError("there is no standard input", "malgil translate", "give it lines: ... < FILE")
    if batch is None:
        batch = FILE_BATCH if stat.S_ISREG(os.fstat(lines.fileno()).st_mode) else 1
    several = run.generation_settings(**settings).n_best > 1
    for number, made in enumerate(run.translate_lines(lines_of(lines), batch, **settings), start=1):
        if made.cut:
            print(
                f"warning: line {number} is longer than the model reads: {made.cut:,} of its tokens were left out",
                file=sys.stderr,
            )
        if as_json:
            line = {
                "source": made.source,
                "text": made.text,
                "finish_reason": made.finish_reason,
                "cut": made.cut,
                "hypotheses": [{"text": h.text, "score": h.score} for h in made.hypotheses],
            }
            print(json.dumps(line, ensure_ascii=False))
        elif several:
            for hypothesis in made.hypotheses:
                print(number, f"{hypothesis.score:.4f}", hypothesis.text.replace("\t", " "), sep="\t")
        else:
            print(made.text)
        sys.stdout.flush()


def write_predictions(run: Run, lines: BinaryIO | None, *, batch: int | None, precision: str = "fp32") -> None:
    """A JSON object for every line of input, as soon as its batch is there.

    Args:
        lines: standard input; None where it is closed.
        batch: lines at a time; None = 1,024 of a file, one of what comes as it is written.

    Raises:
        InputError: there is no standard input, or a line cannot be read.
    """
    if lines is None:
        raise InputError("there is no standard input", "malgil predict", "give it lines: ... < FILE")
    if batch is None:
        batch = PREDICTED_TOGETHER if stat.S_ISREG(os.fstat(lines.fileno()).st_mode) else 1
    rows = (row_of(line, number) for number, line in enumerate(lines_of(lines), start=1))
    for row in run.predict_lines(rows, batch, precision=precision):
        print(json.dumps(row, ensure_ascii=False))
        sys.stdout.flush()


def lines_of(lines: BinaryIO) -> Iterator[str]:
    """Lines without their ends, and without the mark that some programs put before the first."""
    for number, line in enumerate(lines):
        text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
        yield _sound([text if number else text.removeprefix("\ufeff")])[0]


def _sound(prompts: list[str]) -> list[str]:
    """The prompts as UTF-8 can hold them; what was replaced is said."""
    cleaned = [clean(prompt) for prompt in prompts]
    if replaced := sum(count for _, count in cleaned):
        what = "character that is not UTF-8 was" if replaced == 1 else "characters that are not UTF-8 were"
        print(f"warning: {replaced} {what} replaced by U+FFFD", file=sys.stderr)
    return [text for text, _ in cleaned]
