"""From settings to everything that a run is made of: data, tokenizer, stores, model, plan.

What a recipe leaves open is chosen here, in this order, since each choice needs the one before: device, limit,
tokenizer, tokens, size, speed, rhythm. The tree that comes out has no `auto` and repeats the run.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from malgil.config import AUTO, Tree, parse
from malgil.data.settings import DataSettings
from malgil.errors import ConfigError
from malgil.models import FAMILIES, build_model, family
from malgil.models.base import Model
from malgil.objectives.base import Assembled, Batches, BatchPlan, Objective, check_fit
from malgil.runs.fit import fit_rhythm, rhythm_is_set
from malgil.runs.recipe import Settings, full_tree, settings_of
from malgil.runs.start import fit_rates, load_start
from malgil.runs.task import Data, Task, Tokenizers
from malgil.runs.tasks import task_of
from malgil.runtime.device import Precision, prepare_cpu, resolve_device, resolve_precision, synchronise
from malgil.training.distributed import World, join_world
from malgil.training.progress import Limits, step_limit
from malgil.training.trainer import Hooks, Trainer
from malgil.training.watching import Watched

Say = Callable[[str], None]


@dataclass
class Prepared:
    """A run before its first step."""

    tree: Tree
    settings: Settings
    task: Task
    tokenizers: Tokenizers
    data: Data
    train: Any
    validation: Any
    assembled: Assembled
    objective: Objective[Any]
    batches: Batches
    device: torch.device
    precision: Precision
    world: World
    planned_steps: int  # 0 where a run that goes on knows its rhythm already
    seconds_per_step: float | None

    @property
    def model(self) -> Model:
        """The body."""
        return self.assembled.body

    def evaluator(self) -> Any:
        """Scores the validation part; see `Task.evaluator`."""
        return self.task.evaluator(self.settings, self.tokenizers, self.validation, self.device)

    def trainer(self, hooks: Hooks) -> Trainer:
        """The trainer of the model as it is."""
        training = self.settings.training
        limits = Limits(step_limit(training, self.batches), training.seconds)
        return Trainer(
            assembled=self.assembled,
            objective=self.objective,
            batches=self.batches,
            settings=training,
            limits=limits,
            device=self.device,
            precision=self.precision,
            world=self.world,
            workers=self.settings.data.workers,
            hooks=hooks,
            watched=Watched.of(training.watch, self.task.metric),
        )

    def trial(self, steps: int = 4) -> float:
        """Seconds of a step: the median of a few after one to warm up. The weights move."""
        trainer = self.trainer(Hooks())
        times = []
        for batch in [self.batches(i) for i in range(steps)]:
            started = time.perf_counter()
            trainer.step(batch)
            synchronise(self.device)
            times.append(time.perf_counter() - started)
        return statistics.median(times[1:])


def prepare(
    tree: Tree, say: Say, tokenizers: Tokenizers | None = None, progress: Any = None, *, fresh: bool = True
) -> Prepared:
    """Make everything that the settings describe; `tree` is filled in place.

    Args:
        tokenizers: those of a run which goes on; otherwise they are trained or loaded.
        progress: called with (characters done, characters in all) while text is tokenised.
        fresh: no checkpoint is there whose weights will replace those that the model begins with.
    """
    resuming = tokenizers is not None
    task = task_of(tree["objective"]["name"])
    check_fit(task.objective_class, family(tree["model"]["name"]).model, {n: f.model for n, f in FAMILIES.items()})
    training: Tree = tree["training"]
    named = str(training.get("device", AUTO))
    device = resolve_device(named)
    training["device"] = named if ":" in named else device.type
    training["threads"] = prepare_cpu(training.get("threads"))
    precision = resolve_precision(training.get("precision", AUTO), device)
    training["precision"] = precision.name
    world = join_world(device)
    data = task.opened(parse(DataSettings, tree.get("data", {}), "data"))
    _tell(say, [f"training:   {data.train.describe()}", f"validation: {data.validation.describe()}", *data.notes])
    _tell(say, task.fit_budget(tree, data, device.type))
    _tell(say, task.fit_tokenizer(tree, data))
    _tell(say, task.fit_objective(tree, data))
    tokenizers = tokenizers or task.tokenizers(tree, data)
    rows, tree["tokenizer"]["source_vocab_size"] = tokenizers.vocab_sizes
    if training.get("start") is not None:  # whose embedding may have rows that belong to no token
        rows = max(rows, int(tree["tokenizer"].get("vocab_size") or 0))
    tree["tokenizer"]["vocab_size"] = rows
    train = task.training_store(data.train, tokenizers, tree, progress)
    validation = task.validation_store(data.validation, tokenizers, tree, progress)
    _tell(say, [*task.notes(train, validation)])

    fit_rates(tree)
    said = task.fit(
        tree,
        store=train,
        vocab_size=tokenizers.target.vocab_size,
        device=device.type,
        world=world.size,
        rate=lambda: world.agree(matrix_rate(device, precision)),
        count=lambda model: block_parameters(model, tokenizers.vocab_sizes),
    )
    _tell(say, said)
    if training.get("watch", AUTO) == AUTO:  # the task may have named one that its data asks for
        training["watch"] = task.metric[0]
    settings = _with_provisional_rhythm(tree)
    objective = task.objective(settings, tokenizers)
    training_settings = settings.training
    plan = BatchPlan(
        training_settings.batch_size,
        training_settings.accumulate,
        world.rank,
        world.size,
        training_settings.seed,
        training_settings.batch_tokens,
    )
    assembled = _assembled(settings, objective, device, train, fresh=fresh)
    prepared = Prepared(
        tree=tree,
        settings=settings,
        task=task,
        tokenizers=tokenizers,
        data=data,
        train=train,
        validation=validation,
        assembled=assembled,
        objective=objective,
        batches=objective.training_batches(train, assembled.body, settings.model.max_len, plan),
        device=device,
        precision=precision,
        world=world,
        planned_steps=0,
        seconds_per_step=None,
    )
    _plan(prepared, resuming=resuming, fresh=fresh)
    return prepared


def matrix_rate(device: torch.device, precision: Precision) -> float:
    """Floating-point operations a second in matrix products of a middling size, measured in about 0.1 s."""
    dtype = torch.bfloat16 if precision.name == "bf16" else torch.float32
    n = 512 if device.type == "cpu" else 4096
    a, b = (torch.ones(n, n, dtype=dtype, device=device) for _ in range(2))
    best = 0.0
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(4):
            a @ b
        synchronise(device)
        best = max(best, 4 * 2 * n**3 / (time.perf_counter() - started))
    return best


def _plan(run: Prepared, *, resuming: bool, fresh: bool) -> None:
    """How many steps there will be, from the limits or from the speed of a few trial steps, and their rhythm."""
    training = run.settings.training
    steps = step_limit(training, run.batches)
    if steps is None and training.seconds is None:
        raise ConfigError("the run has no limit", fix="give --time, --steps, --tokens or --epochs")
    if training.seconds is not None and not (resuming and rhythm_is_set(run.tree)):
        run.seconds_per_step = run.world.agree(run.trial())
        steps = min(steps or sys.maxsize, max(1, int(training.seconds / run.seconds_per_step)))
        # the trial's weights have moved: begin again from the seed
        run.assembled = _assembled(run.settings, run.objective, run.device, run.train, fresh=fresh)
    run.planned_steps = steps or 0
    fit_rhythm(run.tree, run.planned_steps)
    run.settings = settings_of(run.tree)
    run.tree = full_tree(run.settings, run.tree.get("description", ""))


def block_parameters(model: Tree, vocab_sizes: tuple[int, int | None]) -> int:
    """Parameters but those of embeddings and output layer, counted without making them."""
    chosen = dict(model)
    name = chosen.pop("name")
    with torch.device("meta"):
        built = build_model(name, parse(family(name).config, chosen, "model"), *vocab_sizes)
    tables = [m.weight for m in built.modules() if isinstance(m, torch.nn.Embedding)]
    outside = {id(p) for p in (*tables, built.head_weight())}
    return sum(p.numel() for p in built.parameters() if id(p) not in outside)


def _with_provisional_rhythm(tree: Tree) -> Settings:
    """The settings with what only the plan decides left at its default."""
    training = {k: v for k, v in tree["training"].items() if v != AUTO or k in ("device", "compile")}
    return settings_of({**tree, "training": training})


def _assembled(
    settings: Settings, objective: Objective[Any], device: torch.device, store: Any, *, fresh: bool
) -> Assembled:
    """A body and its parts as they begin: all random numbers come from the seed, the body's first."""
    torch.manual_seed(settings.training.seed)
    body = build_model(settings.family, settings.model, *settings.vocab_sizes)
    if fresh and settings.training.start is not None:
        load_start(body, settings.training.start)
    parts = objective.parts(body)
    if fresh:
        objective.prime(parts, store)
    assembled = Assembled(body, parts).to(device)
    objective.begin(body)
    return assembled


def _tell(say: Say, lines: list[str]) -> None:
    for line in lines:
        say(line)
