"""Four labelled sets, an encoder beside a logistic regression on n-grams (with naive Bayes weights), in one run.

    python benchmarks/understanding.py [--run DIR] [--pretraining 15m] [--tuning 4m] [--seeds 1,2,3] [--threads 2]
                                       [--names korsts,wnut17,subjectivity,movie_reviews] [--part score]
                                       [--peer-python PYTHON] [--SECTION.NAME VALUE ...] [--tune.SECTION.NAME VALUE ...]

One encoder (`bert`) is pretrained on Korean and English texts and on the training parts without their labels, or is
that of a run (`--run`). Each set is then fine-tuned for the same time, once a seed; the weights are those of the best
evaluation on the part for choosing, and the score part is read once a seed. KorSTS: Spearman, WNUT17: F1 of entities,
both on their development files; subjectivity and movie_reviews: accuracy on a fifth. The parts: see labelled.py.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import machine, table
from labelled import (
    DATASETS,
    PARTS,
    Settings,
    baseline,
    malgil,
    own_settings,
    paragraphs,
    place,
    texts_of,
    write_texts,
)

NAMES = ("korsts", "wnut17", "subjectivity", "movie_reviews")
PRETRAINING = {
    "--model.n-layers": "4",
    "--model.n-heads": "4",
    "--model.d-model": "256",
    "--model.max-len": "256",
    "--objective.also": "none",
    "--model.pooler": "false",
    "--tokenizer.vocab-size": "16000",
}


def pretrain(files: dict[str, dict[str, Path]], folder: Path, time: str, common: list[str], settings: Settings) -> Path:
    """An encoder that has read everything without labels but what is held out."""
    own = (text for parts in files.values() for text in texts_of(parts["train"]))
    texts = list(dict.fromkeys(itertools.chain(paragraphs(), own)))
    held = {text for text in texts if place(f"held {text}") < 0.01}
    train = write_texts((text for text in texts if text not in held), folder / "texts.jsonl")
    words = ["train", "bert", "--data", str(train), "--data.validation", str(write_texts(held, folder / "held.jsonl"))]
    malgil([*words, "--time", time, "--out", str(folder / "encoder"), *common], PRETRAINING | settings)
    return folder / "encoder"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="an encoder's run to begin with")
    parser.add_argument("--pretraining", default="15m")
    parser.add_argument("--tuning", default="4m", help="of each set and seed")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--names", default=",".join(NAMES))
    parser.add_argument("--part", default="score", choices=PARTS[1:])
    parser.add_argument("--peer-python", default=sys.executable, help="the Python that has scikit-learn")
    options, rest = parser.parse_known_args()
    settings, tuning = own_settings(rest)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        from malgil.runs.run import load

        folder, common = Path(name), ["--threads", options.threads]
        files = {found: DATASETS[found].write(folder) for found in options.names.split(",")}
        encoder = options.run or pretrain(files, folder, options.pretraining, common, settings)
        for number, (found, parts) in enumerate(files.items()):
            dataset, values = DATASETS[found], []
            for seed in options.seeds.split(","):
                out = folder / f"{found}-{seed}"
                words = ["finetune", str(encoder), dataset.recipe, "--data", str(parts["train"]), "--seed", seed]
                words += ["--data.validation", str(parts["choose"]), "--time", options.tuning, "--out", str(out)]
                malgil([*words, *dataset.settings, *common], {"--training.watch": f"val_{dataset.figure}"} | tuning)
                score = load(out, threads=int(options.threads)).evaluate(parts[options.part])
                values.append(100 * score[dataset.figure])
                print(f"{found}, seed {seed}: {dataset.figure} {values[-1]:.2f}", file=sys.stderr, flush=True)
            plain = baseline(dataset, parts, options.part, options.peer_python, int(options.threads))
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            rows.append(
                {
                    "data": found,
                    "figure": dataset.figure,
                    "records": plain["n"],
                    "n-grams": f"{100 * plain[dataset.figure]:.2f}",
                    "encoder": f"{statistics.mean(values):.2f}{spread}",
                    "difference": f"{statistics.mean(values) - 100 * plain[dataset.figure]:+.2f}",
                }
            )
            print(table(rows[number:]), file=sys.stderr, flush=True)
    print(machine())
    print(table(rows))


if __name__ == "__main__":
    main()
