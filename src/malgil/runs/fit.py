"""How a recipe fits itself to the data and the time: every `auto` becomes a number, and is said.

The rules are small on purpose, so that a person can follow them:

* tokenizer: characters for little text, byte-level BPE for more, the vocabulary growing with the text;
* compute: C floating-point operations train N parameters (counted in the blocks) on D tokens, C = 6 N D (Kaplan
  et al. 2020);
* size: N = 0.3 M (C / C0)^0.3, measured on runs from six seconds to two minutes (docs/results.md), which are
  short of time and not of parameters; for large C the rule of Hoffmann et al. 2022, D = 20 N, gives more and is
  taken. Of LADDER's shapes the nearest is chosen;
* a text that will be read more than four times brings dropout, and a small one bounds the size;
* batch and rates: the more compute, the more tokens a step, the lower Muon's rate, the longer AdamW's memory,
  by small powers of C, measured on the same runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from malgil.config import AUTO, Tree

#: compute of six seconds on one core with bf16 instructions, at UTILISATION of its matrix rate
C0 = 3.4e11
#: share of the measured matrix rate that a training step is taken to reach
UTILISATION = 0.35
CHINCHILLA = 20.0
#: a small text is not given to a large model, however long it may train
MOST_PARAMETERS_PER_TOKEN = 8.0
DEFAULT_SECONDS = {"cpu": 120.0, "cuda": 600.0, "mps": 300.0}
#: layers and width, from small to large; a family that fixes one of them ignores it here
LADDER = [
    (2, 96),
    (3, 96),
    (2, 128),
    (3, 128),
    (4, 128),
    (4, 192),
    (5, 256),
    (6, 320),
    (6, 384),
    (8, 512),
    (12, 768),
    (16, 1024),
    (24, 1024),
]
#: a GPU is not kept busy by less
LEAST_TOKENS_PER_STEP = {"cpu": 512, "cuda": 16384, "mps": 2048}
#: tokens of a step of pairs, both sides, in a short run; an epoch has at least so many steps
PAIR_TOKENS = 2048
LEAST_STEPS_PER_EPOCH = 20
#: labelled texts of a step, where there are many
RECORDS_PER_STEP = 32
#: rates for labelled data from nothing; those of a body that was trained before follow from it, see `runs.start`
LABELLED_RATES = {"learning_rate": 1e-3, "muon_learning_rate": 0.003}
#: epochs of labelled data, few from so many texts on
FEW_EPOCHS, MORE_EPOCHS, MANY_RECORDS = 3.0, 10.0, 50_000
#: how many lines of metrics, evaluations, samples and checkpoints a run has, about
RHYTHM = {"log_every": 200, "evaluate_every": 10, "sample_every": 5, "checkpoint_every": 5}


#: what may be `auto`: chosen here or, for the last three, from the device
CHOSEN = {
    "tokenizer.kind",
    "tokenizer.vocab_size",
    *(f"model.{k}" for k in ("n_layers", "n_heads", "n_kv_heads", "d_head", "d_model", "d_ff")),
    *(f"model.{k}" for k in ("max_len", "dropout", "rope_theta")),
    *(f"objective.{k}" for k in ("several_labels", "max_answer", "null_threshold")),
    *(f"training.{k}" for k in ("batch_size", "batch_tokens", "learning_rate", "muon_learning_rate", "beta2", *RHYTHM)),
    *(f"training.{k}" for k in ("device", "precision", "compile", "watch")),
}


@dataclass(frozen=True)
class Budget:
    """What limits a run: seconds, or steps, tokens or epochs."""

    seconds: float | None
    steps: int | None
    tokens: int | None
    epochs: float | None

    @classmethod
    def of(cls, training: Tree) -> Budget:
        return cls(*(training.get(k) for k in ("seconds", "steps", "tokens", "epochs")))

    @property
    def limited(self) -> bool:
        return any(v is not None for v in (self.seconds, self.steps, self.tokens, self.epochs))


def fit_budget(tree: Tree, device: str) -> list[str]:
    """Without any limit, a time that fits the device."""
    if Budget.of(tree["training"]).limited:
        return []
    tree["training"]["seconds"] = DEFAULT_SECONDS.get(device, 120.0)
    return [f"no limit given: training for {tree['training']['seconds']:.0f} s"]


def fit_epochs(tree: Tree, n_records: int) -> list[str]:
    """Without any limit, epochs of labelled data: three where a trained body is fine-tuned, more for less data."""
    training = tree["training"]
    if Budget.of(training).limited:
        return []
    training["epochs"] = FEW_EPOCHS if training.get("start") or n_records > MANY_RECORDS else MORE_EPOCHS
    return [f"no limit given: {training['epochs']:.0f} epochs"]


def fit_pieces(tree: Tree, n_bytes: int) -> list[str]:
    """Pieces of words for labelled texts, however few they are: what a text is about is hard to tell from letters."""
    section = tree.setdefault("tokenizer", {})
    said = []
    if section.get("kind") == AUTO:
        section["kind"] = "wordpiece"
        said.append("tokenizer: wordpiece")
    if section.get("vocab_size") == AUTO:
        section["vocab_size"] = 2 ** min(15, max(12, round(math.log2(max(n_bytes, 1) / 1000)) + 3))
        said.extend(_vocabulary(section))
    return said


def fit_tokenizer(tree: Tree, n_bytes: int) -> list[str]:
    """The kind of tokenizer and its vocabulary from the size of the training text."""
    section = tree.setdefault("tokenizer", {})
    said = []
    if section.get("kind") == AUTO:
        section["kind"] = "char" if n_bytes < 200_000 else "bpe"
        said.append(f"tokenizer: {section['kind']}")
    if section.get("vocab_size") == AUTO:
        power = round(math.log2(max(n_bytes, 1) / 1000))
        section["vocab_size"] = 2 ** min(15, max(10, power))
        said.extend(_vocabulary(section))
    return said


def _vocabulary(section: Tree) -> list[str]:
    """What is said of the vocabulary, if its size is a choice."""
    return [] if section["kind"] in ("char", "byte") else [f"vocabulary: {section['vocab_size']:,}"]


def fit_model(
    tree: Tree,
    *,
    n_tokens: int,
    vocab_size: int,
    device: str,
    world: int = 1,
    rate: Callable[[], float],
    count: Callable[[Tree], int],
) -> list[str]:
    """Size, context, batch and dropout from the data and the budget.

    Args:
        n_tokens: tokens of the training part.
        world: processes, which share a step's rows equally.
        rate: measures the device's matrix rate in FLOP/s; asked only under a time limit.
        count: parameters in the blocks of a model with these settings.
    """
    model, training = tree["model"], tree["training"]
    budget = Budget.of(training)
    if model.get("max_len") == AUTO:
        model["max_len"] = _context(n_tokens, vocab_size, device)
    length = int(model.get("max_len", 64))
    if not any(model.get(k) == AUTO or training.get(k) == AUTO for k in (*model, *training)):
        return []
    tokens = _training_tokens(budget, training, length, n_tokens)
    compute = _compute(tokens) if tokens is not None else rate() * UTILISATION * float(budget.seconds or 0.0)
    scale = compute / C0 / 2  # batch and rates were measured at twice that compute
    rows = max(768 * scale**0.23, LEAST_TOKENS_PER_STEP.get(device, 512)) / (length * world)
    most = (n_tokens - 1) // (length * world * int(training.get("accumulate", 1)))  # that the text can fill
    _fit_rates(training, scale, {"batch_size": max(1, min(round(rows), most)) * world})
    _fit_shape(model, compute, n_tokens, count)
    said = _fit_dropout(model, compute, tokens, n_tokens, count)
    shown = ", ".join(f"{k} {model[k]}" for k in ("n_layers", "n_heads", "d_model", "max_len") if k in model)
    per_step = int(training["batch_size"]) * int(training.get("accumulate", 1))
    return [f"model: {shown}{said}; {per_step} rows of {length} tokens a step"]


def fit_pairs(
    tree: Tree,
    *,
    n_tokens: int,
    device: str,
    world: int = 1,
    rate: Callable[[], float],
    count: Callable[[Tree], int],
) -> list[str]:
    """Size, batch and dropout of a model of pairs from the data and the budget; arguments as in `fit_model`.

    Args:
        n_tokens: tokens of the training part, both sides.
    """
    model, training = tree["model"], tree["training"]
    budget = Budget.of(training)
    if not any(model.get(k) == AUTO or training.get(k) == AUTO for k in (*model, *training)):
        return []
    size = training.get("batch_tokens")
    per_step = PAIR_TOKENS if size in (AUTO, None) else int(size)
    tokens = _training_tokens(budget, {**training, "batch_size": 1}, per_step, n_tokens)
    compute = _compute(tokens) if tokens is not None else rate() * UTILISATION * float(budget.seconds or 0.0)
    scale = compute / C0 / 2
    most = max(n_tokens // (LEAST_STEPS_PER_EPOCH * int(training.get("accumulate", 1))), 256)
    wanted = max(PAIR_TOKENS * scale**0.1, LEAST_TOKENS_PER_STEP.get(device, 512))
    _fit_rates(training, scale, {"batch_tokens": int(min(wanted, most)), "batch_size": 64 * world})
    _fit_shape(model, compute, n_tokens, count)
    said = _fit_dropout(model, compute, tokens, n_tokens, count)
    shown = ", ".join(f"{k} {model[k]}" for k in ("n_layers", "n_heads", "d_model", "d_hidden") if model.get(k))
    if training.get("batch_tokens") is None:
        return [f"model: {shown}{said}; {training['batch_size']} pairs a step"]
    return [f"model: {shown}{said}; up to {training['batch_tokens']:,} tokens a step"]


def fit_labels(
    tree: Tree,
    *,
    n_tokens: int,
    n_records: int,
    device: str,
    world: int = 1,
    rate: Callable[[], float],
    count: Callable[[Tree], int],
) -> list[str]:
    """Size, batch and rates of a model of labelled data; arguments as in `fit_model`.

    Args:
        n_tokens: of the training part, as it is read.
        n_records: of the training part.
    """
    model, training = tree["model"], tree["training"]
    budget = Budget.of(training)
    if not any(model.get(k) == AUTO or training.get(k) == AUTO for k in (*model, *training)):
        return []
    rows = max(1, min(RECORDS_PER_STEP, n_records // LEAST_STEPS_PER_EPOCH))
    if training.get("batch_size") == AUTO:
        training["batch_size"] = math.ceil(rows / world) * world
    tokens = _training_tokens(budget, training, max(1, n_tokens // n_records), n_tokens)
    compute = _compute(tokens) if tokens is not None else rate() * UTILISATION * float(budget.seconds or 0.0)
    training.update({key: value for key, value in LABELLED_RATES.items() if training.get(key) == AUTO})
    _fit_shape(model, compute, n_tokens, count)
    said = _fit_dropout(model, compute, tokens, n_tokens, count)
    shown = ", ".join(f"{k} {model[k]}" for k in ("n_layers", "n_heads", "d_model", "max_len") if k in model)
    return [f"model: {shown}{said}; {int(training['batch_size']) * int(training.get('accumulate', 1))} texts a step"]


def _fit_rates(training: Tree, scale: float, batch: Tree) -> None:
    """The batch and the rates that are still open."""
    chosen = {
        **batch,
        "muon_learning_rate": round(min(0.05, 0.045 * scale**-0.18), 4),
        "beta2": round(1 - min(0.05, max(0.01, 0.05 * scale**-0.4)), 3),
    }
    training.update({key: value for key, value in chosen.items() if training.get(key) == AUTO})


def _fit_shape(model: Tree, compute: float, n_tokens: int, count: Callable[[Tree], int]) -> None:
    """Layers and widths that are still open, for so much compute and data."""
    if not any(model.get(key) == AUTO for key in ("n_layers", "d_model")):
        model.update(_shaped(model, 0, 0))
        return
    wanted = max(3e5 * (compute / C0) ** 0.3, math.sqrt(compute / 6 / CHINCHILLA))
    wanted = min(wanted, max(3e5, MOST_PARAMETERS_PER_TOKEN * n_tokens))
    shapes = [_shaped(model, layers, width) for layers, width in LADDER]
    nearest: Tree = min(shapes, key=lambda shape: abs(math.log(count({**shape, "dropout": 0.0}) / wanted)))
    model.update(nearest)


def _fit_dropout(model: Tree, compute: float, tokens: int | None, n_tokens: int, count: Callable[[Tree], int]) -> str:
    """Dropout, if it is open, by how often the text will be read; returns what is to be said.

    None while text is new or nearly so (Muennighoff et al. 2023); the more often it is read, the more.

    Args:
        tokens: that will be read, where a limit says so; else it follows from the compute and the size.
    """
    if model.get("dropout") != AUTO:
        return ""
    model["dropout"] = 0.0
    epochs = (tokens if tokens is not None else compute / (6 * count(model))) / n_tokens
    model["dropout"] = 0.0 if epochs <= 4 else 0.1 if epochs <= 12 else 0.2
    return f", dropout {model['dropout']}"


def _compute(tokens: int) -> float:
    """The compute C = 6 N D of a run over so many tokens whose N follows from C by the rule of size."""
    # N = a C^0.3 and C = 6 N D give C = (6 a D)^(1 / 0.7), with a = 3e5 / C0^0.3
    return float((6 * 3e5 / C0**0.3 * tokens) ** (1 / 0.7))


def _shaped(model: Tree, n_layers: int, d_model: int) -> Tree:
    """The model's settings with every `auto` that follows from layers and width filled in."""
    shape = dict(model)
    for key, value in (("n_layers", n_layers), ("d_model", d_model)):
        if shape.get(key) == AUTO:
            shape[key] = value
    width = int(shape["d_model"])
    d_head = 32 if width < 512 else 64
    heads = max(4, width // d_head) if shape.get("n_heads", AUTO) == AUTO else int(shape["n_heads"])
    rules: Tree = {
        "n_heads": heads,
        # one key head serves four queries, in the smallest models all of them
        "n_kv_heads": max(k for k in range(1, max(1, heads // 4) + 1) if heads % k == 0),
        "d_head": d_head,
        "d_ff": 3 * width,
        "rope_theta": 1000.0 if int(shape.get("max_len", 64)) <= 256 else 10000.0,
    }
    for key, value in rules.items():
        if shape.get(key) == AUTO:
            shape[key] = value
    return shape


def fit_rhythm(tree: Tree, steps: int) -> None:
    """How often to log, evaluate, sample and save in a run of about `steps` steps, and the warm-up in steps."""
    training = tree["training"]
    for key, parts in RHYTHM.items():
        if training.get(key) == AUTO:
            training[key] = max(1, steps // parts)
    if 0 < training.get("warmup", 0) < 1:
        training["warmup"] = max(1, round(training["warmup"] * steps))


def rhythm_is_set(tree: Tree) -> bool:
    """Whether nothing is left for `fit_rhythm`, as in a run that goes on."""
    training = tree["training"]
    return not (any(training.get(key) == AUTO for key in RHYTHM) or 0 < training.get("warmup", 0) < 1)


def _context(n_tokens: int, vocab_size: int, device: str) -> int:
    """Pieces of words carry further than characters; a text gives at least 64 windows."""
    longest = 1024 if device == "cuda" else 128 if vocab_size > 300 else 64
    return int(max(16, min(longest, 2 ** int(math.log2(max(n_tokens // 64, 16))))))


def _training_tokens(budget: Budget, training: Tree, length: int, n_tokens: int) -> int | None:
    """How many tokens a run will read, where its limits say so."""
    size = training.get("batch_size")
    rows = int(training.get("accumulate", 1)) * (max(1, 768 // length) if size == AUTO or size is None else int(size))
    limits: list[int] = []
    if budget.steps is not None:
        limits.append(int(budget.steps) * rows * length)
    if budget.tokens is not None:
        limits.append(int(budget.tokens))
    if budget.epochs is not None:
        limits.append(int(float(budget.epochs) * n_tokens))
    return min(limits) if limits else None
