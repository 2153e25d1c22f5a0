"""Letters to phonemes on CMUdict: word and phoneme error rate of a recipe with attention.

    python benchmarks/cmudict.py RECIPE [--stress] [--seed 1337] [--time 15m] [--threads 2] [--SECTION.NAME VALUE ...]

The dictionary's words are split 90 / 5 / 5 by a hash of the word: training, choice of weights, and the part that is
scored once. A word counts as right if its phonemes are one of its listed pronunciations; stress marks are taken away
first, unless --stress is given. Prints a JSON object.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from common import data, machine

SHARES = (("train", 0.90), ("choose", 0.95), ("score", 1.0))


def pronunciations(stress: bool) -> dict[str, list[str]]:
    """Word in small letters -> its pronunciations, phonemes with spaces between."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in gzip.decompress(data("translation/cmudict.txt.gz").read_bytes()).decode("utf-8").splitlines():
        word, _, phonemes = line.split(" ", 2)
        said = phonemes if stress else re.sub(r"\d", "", phonemes)
        if said not in found[word.lower()]:
            found[word.lower()].append(said)
    return dict(found)


def part_of(word: str) -> str:
    """The part a word belongs to."""
    place = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big") / 2**32
    return next(name for name, upto in SHARES if place < upto)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("--stress", action="store_true", help="keep the stress marks of vowels")
    parser.add_argument("--seed", default="1337")
    parser.add_argument("--time", default="15m")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--beam", type=int, default=5)
    options, settings = parser.parse_known_args()

    from malgil.cli.main import main as malgil
    from malgil.metrics.sequences import error_rate, wrong_share
    from malgil.runs.run import load

    words = pronunciations(options.stress)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts: dict[str, list[str]] = {part: [w for w in words if part_of(w) == part] for part, _ in SHARES}
        for part in ("train", "choose"):
            rows = [f"{word}\t{said}\n" for word in parts[part] for said in words[word]]
            (folder / f"{part}.tsv").write_text("".join(rows), encoding="utf-8")
        command = ["train", options.recipe, "--data", str(folder / "train.tsv"), "--out", str(folder / "run")]
        command += ["--data.validation", str(folder / "choose.tsv"), "--seed", options.seed, "--time", options.time]
        command += ["--tokenizer.source-kind", "char", "--tokenizer.kind", "word", "--threads", options.threads]
        command += settings
        started = time.perf_counter()
        if malgil(command):
            sys.exit(1)
        trained = time.perf_counter() - started
        run = load(folder / "run", threads=int(options.threads))
        scored = parts["score"]
        result = {"recipe": options.recipe, "stress": options.stress, "words": len(scored), "seconds": round(trained)}
        references = [[said.split() for said in words[word]] for word in scored]
        for beam in (1, options.beam):
            made = [one.text.split() for one in run.translations(scored, beam=beam)]
            result[f"word_error_rate_beam{beam}"] = round(100 * wrong_share(made, references), 2)
            result[f"phoneme_error_rate_beam{beam}"] = round(100 * error_rate(made, references), 2)
        result |= {"seed": options.seed, "settings": settings, "machine": machine()}
    print(json.dumps(result, ensure_ascii=False))


if __name__ == "__main__":
    main()
