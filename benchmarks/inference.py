"""Classifying 10,000 reviews of NSMC: `Run.predict` against transformers' pipeline with the same weights.

    python benchmarks/inference.py [--run DIR] [--threads 1] [--texts 10000] [--rounds 1] [--cpus 1] [--clock wall]
                                   [--peer-python PYTHON]

The weights are those of a classifier whose head reads the first token through a pooler, as that of
BertForSequenceClassification does (`--objective.pooling first --model.pooler true`): of the run that is named, or of
one trained here for some steps (4 layers, d_model 256, a WordPiece vocabulary of 16,000), since speed does not depend
on what was learnt. The body crosses over by `malgil export`; the peer puts the head's two tensors beside it.

Both read the texts as strings, tokenising included, and give probabilities. The pipeline reads batches of 32 in the
texts' own order, in its default precision, fp32; ours is `Run.predict` as it comes, in fp32 too, and with
`precision="auto"`, which is bf16 where the CPU has it. The time is that of all texts, after a warm-up of 64, by the
clock of the wall or of the processor; loading is not counted. Probabilities and labels are compared. Rounds alternate,
each measurement a process of its own.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import PEERS, clock, data, machine, run_json, table

NSMC = "sentiment/nsmc.train.tsv.gz"
SETTINGS = {
    "objective.pooling": "first",
    "tokenizer.kind": "wordpiece",
    "tokenizer.vocab-size": "16000",
    "model.pooler": "true",
    "model.n-layers": "4",
    "model.n-heads": "4",
    "model.d-model": "256",
    "model.max-len": "128",
    "training.evaluate-every": "none",
    "training.sample-every": "none",
}
WARM = 64
#: of `Run.predict`: its default, and what it takes on this machine where speed is asked for
PRECISIONS = ("fp32", "auto")


def reviews(count: int) -> list[str]:
    """The first reviews of the file that are not empty."""
    rows = gzip.decompress(data(NSMC).read_bytes()).decode("utf-8").splitlines()[1:]
    return [text for row in rows if (text := row.split("\t")[1].strip())][:count]


def trained(folder: Path, threads: int) -> Path:
    """A run of some steps."""
    from malgil.cli.main import main as malgil

    out = folder / "run"
    command = ["train", "classify", "--data", str(data(NSMC)), "--data.text-field", "document", "--steps", "20"]
    command += ["--data.label-field", "label", "--threads", str(threads), "--out", str(out)]
    if malgil([*command, *(word for name, value in SETTINGS.items() for word in (f"--{name}", value))]):
        sys.exit(1)
    return out


def hand_over(run: Path, folder: Path, texts: list[str]) -> None:
    """What the peer reads: the body and the tokenizer as exported, the head, the texts."""
    import numpy as np

    from malgil.runs.run import load

    loaded = load(run, device="cpu")
    pooled = loaded.settings.family == "bert" and loaded.settings.objective.pooling == "first"
    if not pooled or not loaded.config["model"]["pooler"]:
        sys.exit("this run is not built as BertForSequenceClassification is: see the docstring")
    loaded.export(folder / "hf")
    head = {name.rpartition(".")[2]: p.detach().numpy() for name, p in loaded.assembled.parts.named_parameters()}
    np.savez(folder / "head.npz", **head)
    facts = {"labels": list(loaded.settings.objective.labels), "max_len": loaded.settings.model.max_len, "texts": texts}
    (folder / "texts.json").write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")


def measure(run: Path, folder: Path, threads: int, timer: str, precision: str) -> None:
    """Ours, in this process; prints a JSON object."""
    from malgil.models.base import count_parameters
    from malgil.runs.run import load

    facts = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
    loaded, now = load(run, device="cpu", threads=threads), clock(timer)
    loaded.predict(facts["texts"][:WARM], precision=precision)
    started = now()
    found = loaded.predict(facts["texts"], precision=precision)
    seconds = now() - started
    probabilities = [list(row["probabilities"].values()) for row in found]
    shape = loaded.settings.model
    size = f"{shape.n_layers} layers, d_model {shape.d_model}, {count_parameters(loaded.model):,} parameters"
    print(json.dumps({"texts_per_second": len(found) / seconds, "probabilities": probabilities, "size": size}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="a run of `classify`; by default one is trained for some steps")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--cpus", help="pin to these processors")
    parser.add_argument("--clock", default="wall", choices=["wall", "cpu"], help="of the wall, or of the processor")
    parser.add_argument("--peer-python", default=sys.executable, help="the Python that has transformers")
    parser.add_argument("--measure", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--precision", default="fp32", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(*options.measure, options.threads, options.clock, options.precision)
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        run = options.run or trained(Path(name), options.threads)
        hand_over(run, Path(name), reviews(options.texts))
        peer = [options.peer_python, str(PEERS / "hf_classify.py"), name, str(options.threads), options.clock]
        own = [sys.executable, __file__, "--measure", str(run), name]
        own += ["--threads", str(options.threads), "--clock", options.clock]
        for number in range(options.rounds):
            commands = [peer, *([*own, "--precision", precision] for precision in PRECISIONS)]
            theirs, *ours = (run_json(command, options.threads, options.cpus) for command in commands)
            row = {"round": number + 1, "pipeline, batch 32 (texts/s)": f"{theirs['texts_per_second']:,.0f}"}
            for precision, found in zip(PRECISIONS, ours, strict=True):
                pairs = list(zip(theirs["probabilities"], found["probabilities"], strict=True))
                furthest = max(abs(a - b) for one, other in pairs for a, b in zip(one, other, strict=True))
                alike = sum(one.index(max(one)) == other.index(max(other)) for one, other in pairs) / len(pairs)
                row[f"malgil, {precision} (texts/s)"] = f"{found['texts_per_second']:,.0f}"
                row[f"ratio, {precision}"] = f"{found['texts_per_second'] / theirs['texts_per_second']:.2f}"
                row[f"same labels, {precision}"] = f"{alike:.2%}"
                row[f"furthest probability, {precision}"] = f"{furthest:.1e}"
            rows.append(row)
    print(machine())
    print(f"{options.threads} threads, {options.clock} clock, {options.texts:,} reviews; {ours[0]['size']}")
    print(table(rows))


if __name__ == "__main__":
    main()
