"""NSMC, reviews of films as positive or negative: accuracy of one encoder, pretrained and fine-tuned here.

    python benchmarks/nsmc.py [--limit 45m] [--pretraining 34m] [--seed 1337] [--threads 2] [--part score]
                              [--records N] [--out DIR] [--baseline] [--peer-python PYTHON]
                              [--SECTION.NAME VALUE ...] [--tune.SECTION.NAME VALUE ...]

The file is split by a hash of the id: 85 % to train, 5 % to choose settings and weights by, 10 % that are scored once,
after all else (`--part choose` leaves them alone). The encoder (`modernbert`) learns to guess hidden tokens of the 85 %
without their labels and of the Korean texts beside them; then `classify` goes on from there, with what is left of the
limit, while n-grams of characters vote beside it (`--tune.objective.n-grams 0`: without them). The limit is that of
the wall and holds all, from reading the files to the last prediction. `--pretraining 0` shows what is lost without it,
`--records N` with fewer labels. Settings with `tune.` are those of fine-tuning. An encoder that an earlier call left in
DIR is taken as it is, and its seconds count as if they had been spent now.
Prints a JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import machine
from labelled import (
    DATASETS,
    PARTS,
    Settings,
    baseline,
    korean_paragraphs,
    malgil,
    own_settings,
    place,
    texts_of,
    write_texts,
)

MODEL = {"--model.n-layers": "3", "--model.n-heads": "4", "--model.d-model": "192", "--model.max-len": "128"}
PRETRAINING = {
    **MODEL,
    "--tokenizer.kind": "wordpiece",
    "--tokenizer.vocab-size": "10000",
    "--training.batch-size": "16",
    "--training.sample-every": "none",
}
TUNING = {
    "--objective.n-grams": "5",
    "--model.dropout": "0.1",
    "--training.watch": "val_accuracy",
    "--training.batch-size": "64",
    "--training.learning-rate": "1e-3",
    "--training.muon-learning-rate": "0.003",
    "--objective.label-smoothing": "0.1",
    "--training.sample-every": "none",
}
#: of the time that is left: evaluations, saving and the last predictions are no part of a training's time
SHARE, RESERVE = 0.85, 60.0


def pretrain(files: dict[str, Path], folder: Path, seconds: float, common: list[str], settings: Settings) -> float:
    """An encoder that has read the training part without its labels, and Korean texts; returns seconds of the wall."""
    spent, started = folder / "encoder.json", time.perf_counter()
    if spent.exists():
        print(f"the encoder in {folder} is there", file=sys.stderr)
        return float(json.loads(spent.read_text(encoding="utf-8"))["seconds"])
    texts = list(dict.fromkeys(itertools.chain(texts_of(files["train"]), korean_paragraphs())))
    held = {text for text in texts if place(f"held {text}") < 0.01}
    train = write_texts((text for text in texts if text not in held), folder / "texts.jsonl")
    validation = write_texts(held, folder / "held.jsonl")
    words = ["train", "modernbert", "--data", str(train), "--data.validation", str(validation), "--time", f"{seconds}s"]
    malgil([*words, "--out", str(folder / "encoder"), *common], PRETRAINING | settings)
    seconds = time.perf_counter() - started
    spent.write_text(json.dumps({"seconds": seconds}), encoding="utf-8")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", default="45m", help="of everything")
    parser.add_argument("--pretraining", default="34m", help="0: none")
    parser.add_argument("--seed", default="1337")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--part", default="score", choices=PARTS[1:])
    parser.add_argument("--records", type=int, help="labelled texts to train on; by default all")
    parser.add_argument("--out", type=Path, help="a folder to leave the runs in")
    parser.add_argument("--baseline", action="store_true", help="the logistic regression too, outside of the limit")
    parser.add_argument("--peer-python", default=sys.executable, help="the Python that has scikit-learn")
    options, rest = parser.parse_known_args()
    started = time.perf_counter()

    from malgil.models.base import count_parameters
    from malgil.runs.durations import seconds_of
    from malgil.runs.run import load

    settings, tuning = own_settings(rest)
    dataset = DATASETS["nsmc"]
    with tempfile.TemporaryDirectory() as name:
        folder = options.out or Path(name)
        files = dataset.write(folder)
        common = ["--seed", options.seed, "--threads", options.threads]
        result: dict[str, Any] = {"seed": options.seed, "part": options.part, "records": options.records}
        pretraining = 0.0 if options.pretraining == "0" else seconds_of(options.pretraining)
        if pretraining:
            before = time.perf_counter()
            spent = pretrain(files, folder, pretraining, common, settings)
            started -= max(0.0, spent - (time.perf_counter() - before))  # of an earlier call
            last = load(folder / "encoder").metrics[-1]
            result["pretraining"] = {key: last.get(key) for key in ("step", "tokens", "seconds", "val_loss")}
            command, model = ["finetune", str(folder / "encoder"), "classify"], {}
        else:
            command = ["train", "classify"]
            chosen = PRETRAINING | {"--model.name": "modernbert"} | settings
            model = {name: value for name, value in chosen.items() if name.startswith(("--model", "--tokenizer"))}
        labelled = dataset.write(folder / "labelled", options.records)
        left = SHARE * (seconds_of(options.limit) - (time.perf_counter() - started)) - RESERVE
        if left <= 0:
            sys.exit(f"the limit of {options.limit} leaves no time for fine-tuning")
        command += ["--data", str(labelled["train"]), "--data.validation", str(files["choose"])]
        command += ["--time", f"{left:.0f}s", "--out", str(folder / "classifier"), *common]
        malgil(command, TUNING | model | tuning)
        run = load(folder / "classifier", threads=int(options.threads))
        score = run.evaluate(files[options.part])
        result["seconds"] = round(time.perf_counter() - started)
        chosen = max((line["val_accuracy"], line["step"]) for line in run.metrics if "val_accuracy" in line)
        result["tuning"] = {"step": run.metrics[-1]["step"], "seconds": run.metrics[-1]["seconds"]}
        result |= {"chosen": {"accuracy": round(chosen[0], 5), "step": chosen[1]}, "texts": score["texts"]}
        error = math.sqrt(score["accuracy"] * (1 - score["accuracy"]) / score["texts"])
        result |= {"accuracy": round(score["accuracy"], 5), "standard_error": round(error, 5)}
        result |= {"parameters": count_parameters(run.model), "limit": options.limit, "settings": rest}
        if options.baseline:
            found = baseline(dataset, labelled, options.part, options.peer_python, int(options.threads))
            result["logistic_regression"] = {"accuracy": round(found["accuracy"], 5), "seconds": found["seconds"]}
    print(json.dumps(result | {"machine": machine()}, ensure_ascii=False))


if __name__ == "__main__":
    main()
