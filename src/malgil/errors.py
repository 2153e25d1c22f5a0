"""Every error that Malgil raises on purpose, in one tree.

    MalgilError
    ├── InputError (also a ValueError)     what was asked for cannot be done as given; exit 2
    │   ├── DataError                      a file or a row of the user's data
    │   ├── NotFoundError                  a recipe, setting, model or language with that name
    │   ├── ContextLengthError             more tokens than the model can take
    │   ├── ConfigError                    settings that do not fit one another
    │   ├── CheckpointError                a run, checkpoint or weight file that cannot be used
    │   └── ResumeMismatch                 a resumed run that would not be the same run
    └── RunError                           the run itself failed; exit 1
        ├── StorageError                   the disk is full or not writable
        ├── ResourceError                  out of memory
        ├── NonFiniteError                 a loss or gradient became NaN or infinite
        └── Interrupted                    stopped by a signal after saving; exit 128 + signal

A message is one line in three parts: what was wrong; where; what to do.
"""

from __future__ import annotations


class MalgilError(Exception):
    """Base of all errors raised on purpose.

    Args:
        what: what was wrong, with the value that was given.
        where: the file, row, setting or step, when there is one.
        fix: what the reader can do about it.
    """

    code = "error"
    exit_status = 1

    def __init__(self, what: str, where: str = "", fix: str = "") -> None:
        self.what, self.where, self.fix = what, where, fix
        super().__init__("; ".join(part for part in (what, where, fix) if part))


class InputError(MalgilError, ValueError):
    """A value of the wrong type or out of its range."""

    code = "input"
    exit_status = 2


class DataError(InputError):
    """A file that is missing, empty or unreadable, a malformed row, or too little data."""

    code = "data"


class NotFoundError(InputError):
    """A name that does not exist. `nearest` holds the closest ones that do."""

    code = "not_found"

    def __init__(self, what: str, where: str = "", fix: str = "", nearest: tuple[str, ...] = ()) -> None:
        self.nearest = nearest
        super().__init__(what, where, fix)


class ContextLengthError(InputError):
    """More tokens than the model's context holds."""

    code = "context_length_exceeded"


class ConfigError(InputError):
    """Settings, a model and an objective that do not fit one another."""

    code = "config"


class CheckpointError(InputError):
    """A run folder, checkpoint or weight file that is corrupt, unknown or unsafe."""

    code = "checkpoint"


class ResumeMismatch(InputError):  # noqa: N818 - the name that says it
    """A resumed run whose settings or data differ from the run on disk."""

    code = "resume_mismatch"


class RunError(MalgilError):
    """The run failed although what was asked for is sound."""

    code = "run"


class StorageError(RunError):
    """The disk is full, or a file cannot be written."""

    code = "storage"


class ResourceError(RunError):
    """Not enough memory."""

    code = "out_of_memory"


class NonFiniteError(RunError):
    """A loss or a gradient norm is NaN or infinite; the weights were not updated with it."""

    code = "non_finite"


class Interrupted(RunError):  # noqa: N818 - no failure of the run
    """The run was stopped by a signal and has saved its state.

    Args:
        signal_number: 2 (SIGINT) or 15 (SIGTERM); the exit status is 128 more.
    """

    code = "interrupted"

    def __init__(self, signal_number: int, what: str, where: str = "", fix: str = "") -> None:
        super().__init__(what, where, fix)
        self.signal_number = signal_number
        self.exit_status = 128 + signal_number
