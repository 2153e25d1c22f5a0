"""Multi30k, German to English: BLEU of a recipe, cased and detokenised, by sacrebleu's default.

    python benchmarks/multi30k.py RECIPE [--seed 1337] [--time 25m] [--out DIR] [--threads 2] [--SECTION.NAME VALUE ...]

Settings and stopping are chosen on the last 1,000 training pairs, which are not trained on; the validation part of
1,014 pairs is translated once, at the end, by greedy search and with a beam of five. Prints a JSON object.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import tempfile
import time
from pathlib import Path

from common import data, machine

HELD = 1000


def parts(folder: Path) -> dict[str, str]:
    """The training pairs but the last 1,000, those, and the validation pairs, as files a side."""
    files = {}
    for side in ("de", "en"):
        lines = (
            gzip.decompress(data(f"translation/multi30k/train.{side}.gz").read_bytes()).decode("utf-8").split("\n")[:-1]
        )
        for name, chosen in (("train", lines[:-HELD]), ("held", lines[-HELD:])):
            path = folder / f"{name}.{side}"
            path.write_text("\n".join(chosen) + "\n", encoding="utf-8")
            files[f"{name}.{side}"] = str(path)
        files[f"val.{side}"] = str(data(f"translation/multi30k/val.{side}.gz"))
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("--seed", default="1337")
    parser.add_argument("--time", default="25m", help="of training")
    parser.add_argument("--epochs", help="train so many epochs instead")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--held", action="store_true", help="score the held-out training pairs, to choose settings by")
    options, settings = parser.parse_known_args()

    from malgil.cli.main import main as malgil
    from malgil.models.base import count_parameters
    from malgil.runs.run import load

    with tempfile.TemporaryDirectory() as name:
        files, out = parts(Path(name)), options.out or Path(name) / "run"
        command = ["train", options.recipe, "--out", str(out), "--seed", options.seed]
        command += ["--epochs", options.epochs] if options.epochs else ["--time", options.time]
        command += ["--threads", options.threads, "--source", files["train.de"], "--target", files["train.en"]]
        command += ["--validation-source", files["held.de"], "--validation-target", files["held.en"], *settings]
        started = time.perf_counter()
        if malgil(command):
            sys.exit(1)
        trained = time.perf_counter() - started
        run = load(out, threads=int(options.threads))
        scored = "held" if options.held else "val"
        result = {"recipe": options.recipe, "seed": options.seed, "scored": scored, "seconds": round(trained)}
        result |= {"parameters": count_parameters(run.model), "steps": run.metrics[-1]["step"]}
        for beam in (1, 5):
            started = time.perf_counter()
            figures = run.evaluate(
                source=[files[f"{scored}.de"]], target=[files[f"{scored}.en"]], generation={"beam": beam}
            )
            result |= {f"bleu_beam{beam}": round(figures["bleu"], 2), f"chrf_beam{beam}": round(figures["chrf"], 2)}
            result[f"seconds_beam{beam}"] = round(time.perf_counter() - started, 1)
        result |= {"by_length": figures["bleu_by_source_words"], "signature": figures["bleu_signature"]}
        result |= {"loss": round(figures["loss"], 4), "settings": settings, "machine": machine()}
    print(json.dumps(result, ensure_ascii=False))


if __name__ == "__main__":
    main()
