"""The family of BERT, one change at a time and at equal cost: what each change of pretraining is worth afterwards.

    python benchmarks/family.py ROWS.jsonl [--out DIR] [--seeds 1,2,3] [--pretraining 5m] [--tuning 60s] [--threads 2]
                                [--systems NAME,...] [--tasks NAME,...]
                                [--SECTION.NAME VALUE ...] [--tune.SECTION.NAME VALUE ...]
    python benchmarks/family.py ROWS.jsonl --table

Every system is pretrained for the same time on the same Korean and English texts, with one tokenizer, one size and one
batch, and is then fine-tuned for the same time on 10,000 reviews of NSMC, on subjectivity and on WNUT17. Nothing is
selected: schedules end when the time does, the last weights are kept, and each is scored once, on parts that no
settings were chosen by (NSMC: the part for choosing, so that its last 10 % stay untouched; see labelled.py).

    nothing         no pretraining
    masked          15 % of tokens are hidden
    next sentence   + whether the second text follows the first
    sentence order  + whether two texts are in their order
    replaced        which tokens a small generator has put in, in place of hidden ones' names
    shared layers   masked, one block for all layers (ALBERT), embeddings as wide as before
    distilled       half of the layers, taught by `masked` of the same seed, whose cost comes on top

A row is appended for every pretraining and every score. A benchmark that was stopped goes on where it was: what has a
row is not done again, and a pretraining that was cut off is resumed from DIR (by default beside ROWS). `--table` prints
means.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

from common import machine, table
from labelled import DATASETS, Settings, malgil, own_settings, paragraphs, place, write_texts

#: what so little time can train: of four layers the first minutes go by at the frequencies of tokens
SIZE = {"--model.n-layers": "2", "--model.n-heads": "4", "--model.d-model": "128", "--model.max-len": "128"}
LAST = {"--training.keep": "last", "--training.evaluate-every": "none", "--training.sample-every": "none"}
PRETRAINING = {
    **SIZE,
    **LAST,
    "--model.pooler": "true",
    "--model.dropout": "0",
    "--objective.also": "none",
    "--training.batch-size": "16",
    "--training.muon-learning-rate": "0.006",
    "--training.weight-decay": "0.1",
}
TUNING = {"--model.dropout": "0.1", "--training.learning-rate": "1e-3", "--training.muon-learning-rate": "0.003"}
SHARED = {"--model.name": "albert"}
SYSTEMS: dict[str, Settings | None] = {
    "nothing": None,
    "masked": {},
    "next sentence": {"--objective.also": "next_sentence"},
    "sentence order": {"--objective.also": "sentence_order"},
    "replaced": {"--objective.name": "replaced_tokens"},
    "shared layers": SHARED,
    "distilled": {"--objective.name": "distillation"},
}
TEACHER = "masked"
#: labelled texts, none: all, and settings of fine-tuning
TASKS: dict[str, tuple[int | None, Settings]] = {
    "nsmc": (10_000, {}),
    "subjectivity": (None, {}),
    "wnut17": (None, {"--training.batch-size": "8", "--training.learning-rate": "1e-2"}),
}
VOCAB = 8000
#: characters of a document that a file is cut into, at the ends of its lines
DOCUMENT = 3000


def documents() -> list[str]:
    """The texts in pieces of several paragraphs, so that sentences have others before and behind them."""
    found, lines, size = [], [], 0
    for line in paragraphs():
        lines.append(line)
        size += len(line)
        if size > DOCUMENT:
            found.append("\n".join(lines))
            lines, size = [], 0
    return [*found, "\n".join(lines)]


def prepare(folder: Path) -> None:
    """Texts, tokenizer and labelled parts, once."""
    from malgil.text.settings import TokenizerSettings
    from malgil.text.training import train_tokenizer

    if (folder / "tokenizer.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    texts = documents()
    held = [text for text in texts if place(text) < 0.02]
    write_texts(held, folder / "held.jsonl")
    write_texts((text for text in texts if place(text) >= 0.02), folder / "texts.jsonl")
    for name, (limit, _) in TASKS.items():
        DATASETS[name].write(folder, limit)
    reviews = (json.loads(line)["text"] for line in (folder / "nsmc.train.jsonl").open(encoding="utf-8"))
    settings = TokenizerSettings(kind="wordpiece", vocab_size=VOCAB - 2)
    train_tokenizer(itertools.chain(texts, reviews), settings).with_mask().save(folder / "tokenizer.json")


class Benchmark:
    """One call: what is done is in the rows."""

    def __init__(self, options: argparse.Namespace, settings: Settings, tuning: Settings) -> None:
        self.options, self.settings, self.tuning = options, settings, tuning
        self.folder: Path = options.out or options.rows.with_suffix("")
        self.common = ["--threads", options.threads]

    def rows(self) -> list[dict[str, Any]]:
        path: Path = self.options.rows
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    def append(self, row: dict[str, Any]) -> None:
        with self.options.rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        print(json.dumps(row, ensure_ascii=False), flush=True)

    def done(self, **wanted: Any) -> bool:
        return any(all(row.get(key) == value for key, value in wanted.items()) for row in self.rows())

    def encoder(self, system: str, seed: str) -> Path:
        return self.folder / f"{system.replace(' ', '-')}-{seed}"

    def pretrain(self, system: str, seed: str) -> None:
        """Until there is a finished encoder, and a row of it."""
        from malgil.models.base import count_parameters
        from malgil.runs.run import load

        out, own = self.encoder(system, seed), dict(SYSTEMS[system] or {})
        if self.done(stage="pretraining", system=system, seed=seed) and (out / "model.safetensors").exists():
            return
        size = PRETRAINING | self.settings
        if system == "shared layers":
            own["--model.d-embedding"] = size["--model.d-model"]
        if system == "distilled":
            own["--model.n-layers"] = str(int(size["--model.n-layers"]) // 2)
            own["--objective.teacher"] = str(self.encoder(TEACHER, seed))
        if (out / "config.yaml").exists():
            malgil(["train", "--resume", "--out", str(out)], {})
        else:
            shutil.rmtree(out, ignore_errors=True)
            words = ["train", "bert", "--data", str(self.folder / "texts.jsonl"), "--out", str(out), "--seed", seed]
            words += ["--data.validation", str(self.folder / "held.jsonl"), "--time", self.options.pretraining]
            words += ["--tokenizer.path", str(self.folder / "tokenizer.json"), *self.common]
            also = {} if "--objective.name" in own else {"--objective.also": PRETRAINING["--objective.also"]}
            base = {name: value for name, value in PRETRAINING.items() if name != "--objective.also"}
            malgil(words, base | also | self.settings | own)
        run = load(out)
        last = {key: value for key, value in run.metrics[-1].items() if key.startswith("val_")}
        facts = {key: run.metrics[-1][key] for key in ("step", "tokens", "seconds")}
        parameters = count_parameters(run.model)
        self.append({"stage": "pretraining", "system": system, "seed": seed, "parameters": parameters, **facts, **last})

    def tune(self, system: str, seed: str, task: str) -> None:
        """A fine-tuned encoder's score on a task, as a row."""
        from malgil.runs.run import load

        if self.done(stage="tuning", system=system, seed=seed, task=task):
            return
        dataset, out = DATASETS[task], self.folder / "tuned"
        shutil.rmtree(out, ignore_errors=True)
        start, model = ["finetune", str(self.encoder(system, seed)), dataset.recipe], {}
        if SYSTEMS[system] is None:
            start = ["train", dataset.recipe, "--tokenizer.path", str(self.folder / "tokenizer.json")]
            model = {name: v for name, v in (PRETRAINING | self.settings).items() if name.startswith("--model.")}
        words = [*start, "--data", str(self.folder / f"{task}.train.jsonl"), "--out", str(out), "--seed", seed]
        scored = self.folder / f"{task}.{'choose' if task == 'nsmc' else 'score'}.jsonl"
        words += ["--data.validation", str(scored), "--time", self.options.tuning, *dataset.settings, *self.common]
        malgil(words, model | LAST | TUNING | TASKS[task][1] | self.tuning)
        run = load(out, threads=int(self.options.threads))
        line = run.metrics[-1]  # the only evaluation, of the last weights
        value = line[f"val_{dataset.figure}"]
        facts = {"step": line["step"], "seconds": line["seconds"], "loss": line["val_loss"]}
        self.append({"stage": "tuning", "system": system, "seed": seed, "task": task, dataset.figure: value, **facts})
        shutil.rmtree(out)

    def run(self) -> None:
        prepare(self.folder)
        systems, tasks = self.options.systems.split(","), self.options.tasks.split(",")
        for seed in self.options.seeds.split(","):
            for system in systems:
                if system == "distilled":
                    self.pretrain(TEACHER, seed)
                if SYSTEMS[system] is not None:
                    self.pretrain(system, seed)
                for task in tasks:
                    self.tune(system, seed, task)


def summary(rows: list[dict[str, Any]]) -> str:
    """Mean and standard deviation over seeds, and the mean difference from `masked` with its standard error."""
    lines = []
    for system in SYSTEMS:
        pretrained = [row for row in rows if row["stage"] == "pretraining" and row["system"] == system]
        line: dict[str, Any] = {"pretraining": system}
        line["tokens"] = f"{statistics.mean(row['tokens'] for row in pretrained):,.0f}" if pretrained else "-"
        for task in TASKS:
            figure = DATASETS[task].figure
            own, masked = ({row["seed"]: 100 * row[figure] for row in _of(rows, s, task)} for s in (system, TEACHER))
            line[f"{task} ({figure})"] = _spread(list(own.values()))
            both = [own[seed] - masked[seed] for seed in own if seed in masked]
            line[f"{task}: against masked"] = "" if system == TEACHER else _spread(both, signed=True)
        lines.append(line)
    return table(lines)


def _of(rows: list[dict[str, Any]], system: str, task: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["system"] == system and row.get("task") == task]


def _spread(values: list[float], *, signed: bool = False) -> str:
    if not values:
        return "-"
    width = statistics.stdev(values) if len(values) > 1 else float("nan")
    if signed:  # of a mean difference
        width /= len(values) ** 0.5
    return f"{statistics.mean(values):{'+' if signed else ''}.2f} ± {width:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=Path, help="the file that rows are appended to")
    parser.add_argument("--table", action="store_true", help="print what the rows say, and stop")
    parser.add_argument("--out", type=Path, help="the folder of the encoders")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--systems", default=",".join(SYSTEMS))
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--pretraining", default="5m")
    parser.add_argument("--tuning", default="60s")
    parser.add_argument("--threads", default="2")
    options, rest = parser.parse_known_args()
    if unknown := {*options.systems.split(",")} - {*SYSTEMS} | {*options.tasks.split(",")} - {*TASKS}:
        sys.exit(f"unknown: {', '.join(sorted(unknown))}")
    benchmark = Benchmark(options, *own_settings(rest))
    if not options.table:
        benchmark.run()
    print(machine())
    print(summary(benchmark.rows()))


if __name__ == "__main__":
    main()
