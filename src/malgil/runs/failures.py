"""What the system refuses, memory and disk, as Malgil's own errors, wherever in a run it happens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from malgil.errors import ResourceError, StorageError

#: how PyTorch, whose errors are plain RuntimeErrors on the CPU, says that memory was asked for in vain
_NO_MEMORY = ("can't allocate memory", "out of memory", "Storage size calculation overflowed", "invalid array size")


@contextmanager
def failures() -> Iterator[None]:
    """Turns errors of memory and of files inside the block into errors with a place and an advice.

    Raises:
        ResourceError: out of memory; StorageError: a file that cannot be read or written.
    """
    try:
        yield
    except MemoryError as error:
        raise _out_of_memory() from error
    except RuntimeError as error:
        if not any(words in str(error) for words in _NO_MEMORY):
            raise
        raise _out_of_memory() from error
    except BrokenPipeError:
        raise
    except OSError as error:
        what, where = error.strerror or str(error), str(error.filename or "")
        raise StorageError(what, where, "check the path, its permissions and the disk") from error


def _out_of_memory() -> ResourceError:
    return ResourceError(
        "not enough memory",
        fix="lower training.batch_size, model.d_model or model.n_layers (`malgil train --dry-run` estimates)",
    )
