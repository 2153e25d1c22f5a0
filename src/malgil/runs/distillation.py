"""The task of distillation: a masked language model that learns from another run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from malgil.config import AUTO, Tree
from malgil.errors import CheckpointError, ConfigError
from malgil.models.base import Encoder
from malgil.objectives.distillation import Distillation
from malgil.runs.folder import RunFolder
from malgil.runs.masked import MaskedTask, masking_of
from malgil.runs.recipe import Settings
from malgil.runs.task import Tokenizers
from malgil.runtime.files import sha256
from malgil.text.tokenizer import Tokenizer


class DistillationTask(MaskedTask):
    """Text with gaps, and a teacher that fills them too. The teacher's tokenizer and size are the run's own."""

    objective_class = Distillation
    of_tokens = False

    def fit_tokenizer(self, tree: Tree, data: Any) -> list[str]:
        """The teacher's."""
        teacher = _teacher(tree["objective"].get("teacher"))
        path = tree["tokenizer"].setdefault("path", None) or str(teacher.tokenizer)
        tree["tokenizer"]["path"] = path
        if Tokenizer.load(Path(path)).fingerprint != Tokenizer.load(teacher.tokenizer).fingerprint:
            raise ConfigError(
                "the student reads with another tokenizer than its teacher", path, "leave tokenizer.path out"
            )
        super().fit_tokenizer(tree, data)
        return [f"teacher:    {teacher.path}, whose tokenizer is used"]

    def fit(self, tree: Tree, **measured: Any) -> list[str]:
        """As the teacher, with half of its layers, where the settings say nothing else."""
        teacher = _teacher(tree["objective"].get("teacher")).read_config()["model"]
        model = tree["model"]
        if model["name"] != teacher["name"]:
            raise ConfigError(
                f"the student is of the family {model['name']}, its teacher of the family {teacher['name']}",
                "model.name",
                f"add --model.name {teacher['name']}",
            )
        halved = {"n_layers": max(1, int(teacher["n_layers"]) // 2)}
        model.update({key: v for key, v in (teacher | halved).items() if model.get(key, AUTO) == AUTO})
        return super().fit(tree, **measured)

    def objective(self, settings: Settings, tokenizers: Tokenizers) -> Distillation:
        chosen = settings.objective

        def teacher() -> Encoder:
            from malgil.runs.run import Run  # which knows all tasks, this one too

            model = Run(_teacher(chosen.teacher).path, device="cpu").model
            assert isinstance(model, Encoder)
            return model

        return Distillation(masking_of(settings, tokenizers), teacher, chosen.temperature)

    def fingerprints(self, settings: Settings) -> dict[str, str]:
        return {"teacher": sha256(_teacher(settings.objective.teacher).weights)}

    def untrained_loss(self, settings: Settings, tokenizers: Tokenizers) -> None:
        """The student begins with what its teacher knows."""


def _teacher(named: str | None) -> RunFolder:
    """The run that settings name.

    Raises:
        ConfigError: none.
        CheckpointError: there is no run, or none that is finished.
    """
    if named is None:
        raise ConfigError(
            "a student needs a teacher", "objective.teacher", "add --objective.teacher DIR, a finished run of bert"
        )
    folder = RunFolder(Path(named))
    folder.read_config()
    if not folder.weights.exists():
        raise CheckpointError("the teacher is not trained to its end", named, "malgil train --resume --out DIR does it")
    return folder
