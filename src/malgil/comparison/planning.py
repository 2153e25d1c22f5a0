"""From a request to a plan: the kind of data, the tokenizer, and every setting of every model, before any training.

What must be the same for all is chosen once: the parts of the data, the tokenizer, the context, the tokens of a batch,
and how fast this machine is, by which recipes choose their size. The rest is each recipe's own. Nothing is `auto` any
more, so that seeds differ in nothing else, but the rhythm of evaluations, and rates that follow from a pretraining.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from malgil.comparison.folder import ComparisonFolder
from malgil.comparison.request import Request
from malgil.comparison.widths import total, with_total
from malgil.config import AUTO, Tree, check_values, merge, nested, not_found, parse
from malgil.data.kinds import kind_of
from malgil.data.settings import DataSettings
from malgil.errors import ConfigError, ResumeMismatch
from malgil.models import FAMILIES, family
from malgil.objectives.base import check_fit
from malgil.report.words import language_of
from malgil.runs.compared import Compared
from malgil.runs.fit import LABELLED_RATES
from malgil.runs.prepare import block_parameters, matrix_rate
from malgil.runs.pretraining import pretrains
from malgil.runs.recipe import compared_recipes, compose, recipe
from malgil.runs.task import Task, Tokenizers
from malgil.runs.tasks import TASKS, task_of
from malgil.runtime.device import prepare_cpu, resolve_device, resolve_precision
from malgil.runtime.hardware import describe_hardware
from malgil.training.settings import TrainingSettings

Say = Callable[[str], None]
VERSION = 1
#: what selects nothing: the last weights, no early stop; and a rhythm that leaves time for training, however long the
#: validation part is
ALIKE = {
    "keep": "last",
    "patience": None,
    "accumulate": 1,
    "evaluate_every": AUTO,
    "evaluation_share": 0.25,
    "checkpoint_every": AUTO,
    "log_every": AUTO,
    "sample_every": None,
}


@dataclass(frozen=True)
class Kind:
    """What is compared, and by what it was decided, in words."""

    compared: Compared
    task: Task
    objective: str
    recipes: tuple[str, ...]
    why: str


def decide(request: Request) -> Kind:
    """The kind of a comparison: as it was said, else from the recipes, else from the data.

    Raises:
        NotFoundError: no such kind or recipe.
        ConfigError: recipes of different kinds, one that cannot be compared, or fewer than two.
    """
    kinds = {name: task.compared for name, task in TASKS.items() if task.compared is not None}
    if request.recipes:
        objectives = {name: recipe(name)["objective"]["name"] for name in request.recipes}
        first = objectives[request.recipes[0]]
        why = "the recipes say so"
        for name, objective in objectives.items():
            if objective not in kinds:
                raise ConfigError(f"recipe '{name}' is of no kind that is compared", "--recipes", "leave it out")
            if objective != first:
                raise ConfigError(
                    f"'{request.recipes[0]}' and '{name}' learn different things: {first}, {objective}",
                    "--recipes",
                    "compare recipes of one kind",
                )
    else:
        data = parse(DataSettings, request.settings.get("data", {}), "data")
        found, why = (request.kind, "it was asked for") if request.kind else kind_of(data)
        names = {compared.kind: name for name, compared in kinds.items()}
        if found not in names:
            raise (
                not_found("kind of comparison", found, names)
                if request.kind
                else ConfigError(
                    f"the data has {found}, for which nothing is compared yet", "--data", f"kinds: {', '.join(names)}"
                )
            )
        first = names[found]
    compared, recipes = kinds[first], request.recipes or tuple(compared_recipes(first))
    if request.kind is not None and compared.kind != request.kind:
        raise ConfigError(
            f"the recipes are of {compared.kind}, not of {request.kind}", "--kind", "leave one of the two out"
        )
    if len(recipes) < 2:
        raise ConfigError("a comparison needs two recipes at least", "--recipes", "name more, or use malgil train")
    return Kind(compared, task_of(first), first, recipes, why)


def make_plan(request: Request, folder: ComparisonFolder, say: Say, progress: Any = None) -> Tree:
    """Everything that is settled before the first step; what a plan on disk has settled already stays as it is.

    The tokenizer is written into the folder; the parts of the data are tokenised, so that no job waits for it.

    Raises:
        ResumeMismatch: the data are others than those that the comparison began with.
        MalgilError: as preparing any of the runs would.
    """
    known = folder.read_plan() if folder.plan.exists() else {}
    kind = decide(request)
    _check_quality(request.quality, kind)
    task, asked = kind.task, merge({"data": {}, "tokenizer": {}, "training": {}}, request.settings)
    machine = known.get("machine") or _machine(asked["training"])
    device = resolve_device(machine["device"])
    base = merge(asked, {"training": {**ALIKE, **request.budget, "seed": request.seed}})
    base = merge(base, {"training": {key: machine[key] for key in ("device", "precision", "threads")}})
    once = nested(dict.fromkeys(kind.compared.once, AUTO))
    base = merge(merge(once, base), nested(known.get("once", {})))

    for name in kind.recipes:  # a setting that one of them does not have is found before anything is read
        _composed(name, base)
    say(f"comparing {kind.compared.kind} ({kind.why}): {', '.join(kind.recipes)}")
    data = task.opened(parse(DataSettings, asked["data"], "data"))
    _same_data(known.get("data", {}).get("fingerprints"), data, folder)
    for line in (f"training:   {data.train.describe()}", f"validation: {data.validation.describe()}", *data.notes):
        say(line)
    base["tokenizer"], tokenizers = _tokenizers(kind, base, data, folder, say)
    trees: dict[str, Tree] = {}
    stores: dict[Any, Any] = {}  # by the context, in which alone they differ
    validation: Any = None
    for name in kind.recipes:
        tree = _composed(name, base)
        tree["tokenizer"]["vocab_size"], tree["tokenizer"]["source_vocab_size"] = tokenizers.vocab_sizes
        task.fit_objective(tree, data)
        later = {key: AUTO for key in LABELLED_RATES if pretrains(tree) and tree["training"].get(key) == AUTO}
        if (longest := tree["model"].get("max_len")) not in stores:
            made = task.training_store(data.train, tokenizers, tree, progress)
            longest = tree["model"].get("max_len")  # it may have been chosen just now
            stores[longest] = made
        if validation is None:
            validation = task.validation_store(data.validation, tokenizers, tree, progress)
            for line in task.notes(stores[longest], validation):
                say(line)
        task.fit(
            tree,
            store=stores[longest],
            vocab_size=tokenizers.target.vocab_size,
            device=device.type,
            world=1,
            rate=lambda: float(machine["rate"]),
            count=lambda model: block_parameters(model, tokenizers.vocab_sizes),
        )
        tree["training"].update(later)  # they follow from weights that are not there yet
        trees[name] = tree
        for key in kind.compared.once:  # the first recipe chooses for all
            section, _, leaf = key.partition(".")
            base = merge(base, {section: {leaf: tree[section][leaf]}})
    wanted = known.get("parameters") or _equal_parameters(request, trees, tokenizers)
    models = {
        name: known.get("recipes", {}).get(name) or _settled(name, tree, wanted, tokenizers)
        for name, tree in trees.items()
    }
    for model in models.values():  # the folder may have been moved
        model["settings"]["tokenizer"] |= {key: base["tokenizer"].get(key) for key in ("path", "source_path")}
    _save(tokenizers, folder)
    excerpt = task.excerpt(validation, tokenizers)
    return {
        "version": VERSION,
        "request": Request(**{**vars(request), "recipes": kind.recipes, "kind": kind.compared.kind}).to_dict(),
        "budget": {key: request.budget[key] for key in ("seconds", "tokens")},
        "objective": kind.objective,
        "why": kind.why,
        "language": request.language or known.get("language") or language_of(excerpt),
        "machine": machine,
        "data": {
            "sources": _sources(asked["data"]),
            "train": data.train.describe(),
            "validation": data.validation.describe(),
            "notes": list(data.notes),
            "fingerprints": _fingerprints(data),
            "tokenizer": tokenizers.target.kind,
            "vocab_size": tokenizers.target.vocab_size,
        },
        "once": {key: base[key.partition(".")[0]][key.partition(".")[2]] for key in kind.compared.once},
        "parameters": wanted,
        "recipes": models,
        "started": known.get("started") or time.strftime("%Y-%m-%d %H:%M"),
    }


# ---------------------------------------------------------------------------------------------


def _machine(training: Mapping[str, Any]) -> Tree:
    """Where and how fast: what recipes choose their size by, measured once for all of them."""
    chosen = {key: training[key] for key in ("device", "threads", "precision") if key in training}
    checked = check_values(TrainingSettings, chosen, "training")
    named = str(checked.get("device", AUTO))
    device = resolve_device(named)
    threads = prepare_cpu(checked.get("threads"))
    precision = resolve_precision(checked.get("precision", AUTO), device)
    return {
        "device": named if ":" in named else device.type,
        "threads": threads,
        "precision": precision.name,
        "rate": matrix_rate(device, precision),
        **describe_hardware(),
    }


def _composed(name: str, base: Tree) -> Tree:
    """A recipe with what is alike for all laid over it."""
    tree = compose(name, [], base)
    check_fit(
        task_of(tree["objective"]["name"]).objective_class,
        family(tree["model"]["name"]).model,
        {n: f.model for n, f in FAMILIES.items()},
    )
    return tree


def _check_quality(quality: float | None, kind: Kind) -> None:
    """Refuse a share of right answers that none can be."""
    figure = kind.compared.curves[0]
    if quality is not None and figure.more and quality > 1:
        name = figure.name.removeprefix("val_")
        fix = f"say --quality {quality / 100:g}" if quality <= 100 else "say a share, such as --quality 0.8"
        raise ConfigError(f"{name} is a share of 1, and {quality:g} is more", "--quality", fix)


def _tokenizers(kind: Kind, base: Tree, data: Any, folder: ComparisonFolder, say: Say) -> tuple[Tree, Tokenizers]:
    """The one tokenizer (or the two of pairs), trained on the training part as the first recipe would, or as asked.

    Returns:
        the settings of every run's tokenizer, whose files are written when all is planned, and the tokenizers.
    """
    tree = _composed(kind.recipes[0], base)
    for line in kind.task.fit_tokenizer(tree, data):
        say(line)
    section = dict(tree["tokenizer"])
    if folder.plan.exists() and folder.tokenizer.exists():
        section |= {"path": str(folder.tokenizer)}
        if folder.source_tokenizer.exists():
            section |= {"source_path": str(folder.source_tokenizer)}
        return section, kind.task.tokenizers({**tree, "tokenizer": section}, data)
    tokenizers = kind.task.tokenizers(tree, data)
    if tokenizers.source is not None:
        section["source_path"] = str(folder.source_tokenizer)
    return section | {"path": str(folder.tokenizer)}, tokenizers


def _save(tokenizers: Tokenizers, folder: ComparisonFolder) -> None:
    """Into the folder of the comparison, unless it has them."""
    if folder.plan.exists() and folder.tokenizer.exists():
        return
    folder.path.mkdir(parents=True, exist_ok=True)
    if tokenizers.source is not None:
        tokenizers.source.save(folder.source_tokenizer)
    tokenizers.target.save(folder.tokenizer)


def _fingerprints(data: Any) -> list[str]:
    """Of both parts."""
    return [data.train.fingerprint, data.validation.fingerprint]


def _same_data(known: list[str] | None, data: Any, folder: ComparisonFolder) -> None:
    """Refuse to go on with other data than those that the comparison began with."""
    if known is not None and known != _fingerprints(data):
        raise ResumeMismatch(
            "the data have changed since this comparison began",
            str(folder.path),
            "bring back the former files, or begin a new comparison",
        )


def _equal_parameters(request: Request, trees: Mapping[str, Tree], tokenizers: Tokenizers) -> int | None:
    """The total that all models shall have, or None."""
    if request.parameters != 0:
        return request.parameters
    return round(statistics.median(total(tree["model"], tokenizers.vocab_sizes) for tree in trees.values()))


def _settled(name: str, tree: Tree, wanted: int | None, tokenizers: Tokenizers) -> Tree:
    """What the plan says of a recipe."""
    model = tree["model"] if wanted is None else with_total(tree["model"], wanted, tokenizers.vocab_sizes)
    with torch.device("meta"):
        parameters = total(model, tokenizers.vocab_sizes)
    settings = {k: v for k, v in {**tree, "model": model}.items() if k not in ("recipe", "description")}
    return {
        "description": tree.get("description", ""),
        "family": model["name"],
        "parameters": parameters,
        "settings": settings,
    }


def _sources(data: Mapping[str, Any]) -> list[str]:
    names = [data.get(key, []) for key in ("paths", "source", "target")]
    return [str(name) for given in names for name in ([given] if isinstance(given, str) else given)]
