"""Four labelled sets, an encoder beside a logistic regression on n-grams (with naive Bayes weights), in one run.

    python benchmarks/understanding.py RUN [--names korsts,wnut17,subjectivity,movie_reviews] [--tuning 4m]
                                       [--seeds 1,2,3] [--threads 2] [--part score] [--peer-python PYTHON]
                                       [--SECTION.NAME VALUE ...]

RUN is an encoder's run: an imported one, or the one that nsmc.py leaves in its --out. Each set is fine-tuned for the
same time, once a seed; the weights are those of the best evaluation on the part for choosing, and the score part is
read once a seed. KorSTS: Spearman, WNUT17: F1 of entities, both on their development files; subjectivity and
movie_reviews: accuracy on a fifth. The parts: see labelled.py.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import machine, table
from labelled import DATASETS, PARTS, baseline, given_settings, malgil

NAMES = ("korsts", "wnut17", "subjectivity", "movie_reviews")


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    return f"{statistics.mean(values):.2f}" + (f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="an encoder's run to begin with")
    parser.add_argument("--tuning", default="4m", help="of each set and seed")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--names", default=",".join(NAMES))
    parser.add_argument("--part", default="score", choices=PARTS[1:])
    parser.add_argument("--peer-python", default=sys.executable, help="the Python that has scikit-learn")
    options, rest = parser.parse_known_args()
    settings = given_settings(rest)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        from malgil.runs.run import load

        folder = Path(name)
        files = {found: DATASETS[found].write(folder) for found in options.names.split(",")}
        for number, (found, parts) in enumerate(files.items()):
            dataset, values, alone = DATASETS[found], [], []
            for seed in options.seeds.split(","):
                out = folder / f"{found}-{seed}"
                words = ["finetune", str(options.run), dataset.recipe, "--data", str(parts["train"]), "--seed", seed]
                words += ["--data.validation", str(parts["choose"]), "--time", options.tuning, "--out", str(out)]
                words += ["--threads", options.threads, *dataset.settings]
                malgil(words, {"--training.watch": f"val_{dataset.figure}"} | settings)
                run = load(out, threads=int(options.threads))
                values.append(100 * run.evaluate(parts[options.part], **dataset.fields)[dataset.figure])
                print(f"{found}, seed {seed}: {dataset.figure} {values[-1]:.2f}", file=sys.stderr, flush=True)
                if run.config["objective"].get("n_grams"):  # what the encoder says without their votes
                    run = load(out, threads=int(options.threads))
                    run.config["objective"]["n_gram_share"] = 0.0
                    alone.append(100 * run.evaluate(parts[options.part], **dataset.fields)[dataset.figure])
            plain = baseline(dataset, parts, options.part, options.peer_python, int(options.threads))
            rows.append(
                {
                    "data": found,
                    "figure": dataset.figure,
                    "records": plain["n"],
                    "n-grams": f"{100 * plain[dataset.figure]:.2f}",
                    "encoder": spread(values),
                    **({"without votes of n-grams": spread(alone)} if alone else {}),
                    "difference": f"{statistics.mean(values) - 100 * plain[dataset.figure]:+.2f}",
                }
            )
            print(table(rows[number:]), file=sys.stderr, flush=True)
    print(machine())
    print(table(rows))


if __name__ == "__main__":
    main()
