"""What `malgil generate` and `malgil translate` print: text as it is written, lines, or JSON lines."""

from __future__ import annotations

import json
import os
import stat
import sys
from typing import Any, BinaryIO

from malgil.runs.run import Run
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
    run: Run, lines: BinaryIO, settings: dict[str, Any], *, batch: int | None, as_json: bool
) -> None:
    """A line of output for every line of input, as soon as its batch is there; `n_best` lines of three columns each.

    Args:
        batch: lines at a time; None = 64 of a file, one of what comes as it is written.
    """
    if batch is None:
        batch = FILE_BATCH if stat.S_ISREG(os.fstat(lines.fileno()).st_mode) else 1
    several = run.generation_settings(**settings).n_best > 1
    sources = (_sound([line.decode("utf-8", "surrogateescape").rstrip("\r\n")])[0] for line in lines)
    for number, made in enumerate(run.translate_lines(sources, batch, **settings), start=1):
        if as_json:
            hypotheses = [{"text": h.text, "score": h.score} for h in made.hypotheses]
            print(json.dumps({"source": made.source, "text": made.text, "hypotheses": hypotheses}, ensure_ascii=False))
        elif several:
            for hypothesis in made.hypotheses:
                print(f"{number}\t{hypothesis.score:.4f}\t{hypothesis.text}")
        else:
            print(made.text)
        sys.stdout.flush()


def _sound(prompts: list[str]) -> list[str]:
    """The prompts as UTF-8 can hold them; what was replaced is said."""
    cleaned = [clean(prompt) for prompt in prompts]
    if replaced := sum(count for _, count in cleaned):
        what = "character that is not UTF-8 was" if replaced == 1 else "characters that are not UTF-8 were"
        print(f"warning: {replaced} {what} replaced by U+FFFD", file=sys.stderr)
    return [text for text, _ in cleaned]
