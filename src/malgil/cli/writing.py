"""What `malgil generate` prints: one text as it is being written, several one after another, or JSON lines."""

from __future__ import annotations

import json
import sys
from typing import Any

from malgil.runs.run import Run
from malgil.text.tokenizer import clean


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


def _sound(prompts: list[str]) -> list[str]:
    """The prompts as UTF-8 can hold them; what was replaced is said."""
    cleaned = [clean(prompt) for prompt in prompts]
    if replaced := sum(count for _, count in cleaned):
        what = "character that is not UTF-8 was" if replaced == 1 else "characters that are not UTF-8 were"
        print(f"warning: {replaced} {what} replaced by U+FFFD in the prompt", file=sys.stderr)
    return [text for text, _ in cleaned]
