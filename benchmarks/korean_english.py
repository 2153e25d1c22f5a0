"""Korean to English on the Python documentation and Tatoeba: BLEU and chrF for two tokenizers.

    python benchmarks/korean_english.py RECIPE [--seed 1337] [--time 20m] [--threads 2] [--SECTION.NAME VALUE ...]

Both sources are split 90 / 5 / 5 by a hash of the English sentence, so that no sentence stands in two parts: training,
choice of weights, and the part that is scored once. Each tokenizer is trained and tried in a run of its own, with the
same time. Prints a JSON object a tokenizer.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import sys
import tempfile
import time
from pathlib import Path

from common import data, machine

SHARES = (("train", 0.90), ("choose", 0.95), ("score", 1.0))
#: settings of the `tokenizer` section that are compared
TOKENIZERS = {"bpe 8,000": ("bpe", "8000"), "unigram 8,000": ("unigram", "8000")}


def pairs() -> list[tuple[str, str]]:
    """(Korean, English), line breaks made spaces, each pair once."""
    docs = gzip.decompress(data("translation/python_docs.ko-en.jsonl.gz").read_bytes()).decode("utf-8")
    found = [(row["ko"], row["en"]) for row in map(json.loads, docs.splitlines())]
    tatoeba = data("translation/tatoeba.en-ko.tsv").read_text(encoding="utf-8")
    found += [(line.split("\t")[1], line.split("\t")[0]) for line in tatoeba.splitlines()]
    clean = [(" ".join(ko.split()), " ".join(en.split())) for ko, en in found]
    return list(dict.fromkeys(pair for pair in clean if all(pair)))


def part_of(english: str) -> str:
    """The part a sentence belongs to."""
    place = int.from_bytes(hashlib.sha256(english.encode()).digest()[:4], "big") / 2**32
    return next(name for name, upto in SHARES if place < upto)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("--seed", default="1337")
    parser.add_argument("--time", default="20m")
    parser.add_argument("--threads", default="2")
    options, settings = parser.parse_known_args()

    from malgil.cli.main import main as malgil
    from malgil.runs.run import load

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part, _ in SHARES:
            rows = [f"{ko}\t{en}\n" for ko, en in pairs() if part_of(en) == part]
            (folder / f"{part}.tsv").write_text("".join(rows), encoding="utf-8")
        for number, (label, (kind, size)) in enumerate(TOKENIZERS.items()):
            out = folder / f"run{number}"
            command = ["train", options.recipe, "--data", str(folder / "train.tsv"), "--out", str(out)]
            command += ["--data.validation", str(folder / "choose.tsv"), "--seed", options.seed]
            command += ["--time", options.time, "--threads", options.threads]
            command += ["--tokenizer.kind", kind, "--tokenizer.vocab-size", size, *settings]
            started = time.perf_counter()
            if malgil(command):
                sys.exit(1)
            trained = time.perf_counter() - started
            figures = load(out, threads=int(options.threads)).evaluate(folder / "score.tsv", generation={"beam": 5})
            result = {"tokenizer": label, "recipe": options.recipe, "seconds": round(trained), "seed": options.seed}
            result |= {key: round(figures[key], 2) for key in ("bleu", "chrf")}
            result |= {"pairs": figures["sentences"], "signature": figures["bleu_signature"], "settings": settings}
            print(json.dumps(result | {"machine": machine()}, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
