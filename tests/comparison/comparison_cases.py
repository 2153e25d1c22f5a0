"""Tiny comparisons: a corpus of two languages, settings of milliseconds, and results as jobs leave them."""

from __future__ import annotations

import random
from typing import Any

from malgil.comparison.display import CompareDisplay
from malgil.config import Tree

WORDS = ["the", "river", "of", "light", "carries", "stone", "말길", "산은", "물이", "흐른다", "높고", "새벽"]
#: small enough for a second a model, whatever the family
TINY: Tree = {
    "tokenizer": {"kind": "char"},
    "model": {"d_model": 16, "n_layers": 1, "max_len": 16, "dropout": 0.0},
    "training": {"precision": "fp32", "threads": 1, "device": "cpu", "learning_rate": 0.01},
    "generation": {"max_tokens": 20},
}


def sentences(count: int) -> str:
    """A sentence a line, English and Korean words."""
    draw = random.Random(1)
    return "\n".join(" ".join(draw.choices(WORDS, k=7)) + "." for _ in range(count))


def pairs(count: int) -> str:
    """Pairs as TSV with named columns: words, and the same words backwards."""
    draw = random.Random(2)
    lines = [draw.choices(WORDS, k=draw.randint(1, 5)) for _ in range(count)]
    return "source\ttarget\n" + "".join(f"{' '.join(line)}\t{' '.join(reversed(line))}\n" for line in lines)


def labelled(count: int) -> str:
    """Texts with a label in CSV: whether they say "말길"."""
    draw = random.Random(3)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(1, 9))) for _ in range(count)]
    return "text,label\n" + "".join(f"{text},{'예' if '말길' in text else '아니요'}\n" for text in texts)


class Recorder(CompareDisplay):
    """Keeps what was said, and which jobs were begun and kept."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.begun: list[str] = []
        self.were_done: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def begin(self, job: Tree) -> None:
        self.begun.append(job["name"])
        super().begin(job)

    def kept(self, job: Tree, result: Tree) -> None:
        self.were_done.append(job["name"])
        super().kept(job, result)


def plan(recipes: dict[str, int], seeds: int = 1, **changed: Any) -> Tree:
    """A plan as `make_plan` writes it, of recipes with their parameters."""
    request = {
        "recipes": list(recipes),
        "kind": "text",
        "seconds": 30.0,
        "tokens": None,
        "seeds": seeds,
        "seed": 7,
        "tune": 0,
        "parameters": None,
        "quality": None,
        "language": None,
        "settings": {},
    }
    return {
        "version": 1,
        "request": request | changed.pop("request", {}),
        "budget": {"seconds": 30.0, "tokens": None},
        "objective": "causal_lm",
        "language": "en",
        "started": "2026-01-02 03:04",
        "machine": {"device": "cpu", "threads": 1, "precision": "fp32", "rate": 1e9, "memory": 2**30},
        "data": {
            "sources": ["말길.txt"],
            "train": "말길.txt: 1 document",
            "validation": "말길.txt: 1 document",
            "notes": [],
            "tokenizer": "char",
            "vocab_size": 40,
        },
        "once": {"model.max_len": 16, "training.batch_size": 4},
        "parameters": None,
        "recipes": {
            name: {
                "description": f"what {name} is <b>",
                "family": f"{name}_family",
                "parameters": parameters,
                "settings": {"model": {"name": name}, "training": {"learning_rate": 0.1, "muon_learning_rate": 0.02}},
            }
            for name, parameters in recipes.items()
        },
    } | changed


def result(recipe: str, seed: int, bits: float, **changed: Any) -> Tree:
    """A job.json of a finished run of text, whose curve falls to `bits` in a straight line from twice of it."""
    curve = [
        {
            "step": 10 * i,
            "tokens": 1000 * i,
            "seconds": 3.0 * i,
            "val_bits_per_byte": bits * (2 - i / 10),
            "val_loss": bits,
        }
        for i in range(1, 11)
    ]
    bands = [{"low": 0, "high": 9, "size": 50, "value": 5.0}, {"low": 10, "high": None, "size": 60, "value": bits}]
    lengths = [{"length": n, "training": 1e6 / n, "reading": n * 1e-4, "writing": 1e-3} for n in (64, 128, 256)]
    return {
        "name": f"{recipe}-{seed}",
        "recipe": recipe,
        "seed": seed,
        "status": "finished",
        "step": 100,
        "tokens": 10_000,
        "seconds": 30.0,
        "tokens_per_second": 333.3,
        "curve": curve,
        "peak_memory": 300 * 2**20,
        "energy": {"joules": 120.0, "low": 40.0, "high": 360.0, "source": "estimate"},
        "warnings": [],
        "size": 2 * 2**20,
        "figures": {"bits_per_byte": bits, "loss": bits / 1.5, "perplexity": 2.7, "carried_loss": None},
        "profiles": [{"by": by, "figure": "loss", "more": False, "bands": bands} for by in ("rarity", "place")],
        "samples": [
            {"prompt": "", "text": f"{recipe} 말길 <script>alert(1)</script>", "reference": None},
            {"prompt": "the river", "text": " of light\n", "reference": None},
        ],
        "use": {"unit": "token", "latency": 0.001, "throughput": 2000.0},
        "lengths": lengths,
        "settings": {
            "recipe": recipe,
            "model": {"name": recipe, "d_model": len(recipe)},
            "data": {"paths": ["말길.txt"]},
        },
        "wall": {"training": 33.0},
    } | changed
