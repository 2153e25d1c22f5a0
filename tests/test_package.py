"""The Python face: what `import malgil` offers, and that it stays light."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import malgil


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    "statement",
    [
        "import malgil; malgil.__version__; dir(malgil)",
        "import malgil.errors",
        "from malgil.cli.main import main; main(['--help'])",
        "from malgil.cli.main import main; main([])",
        "from malgil.cli.main import main; main(['train', '--help'])",
        "from malgil.cli.main import main; main(['compare', '--help'])",
        "from malgil.cli.main import main; main(['--version'])",
        "from malgil.cli.main import main; main(['runs', '/nowhere'])",
    ],
)
def test_nothing_heavy_is_imported(statement: str) -> None:
    heavy = "('torch', 'numpy', 'tokenizers', 'transformers', 'yaml')"
    assert python(f"{statement}\nimport sys; print([m for m in {heavy} if m in sys.modules])").endswith("[]")


def test_exports() -> None:
    assert malgil.__all__ == ["Run", "__version__", "compare", "finetune", "import_model", "load", "train"]
    assert dir(malgil) == malgil.__all__
    for name in malgil.__all__:
        assert getattr(malgil, name) is not None
    with pytest.raises(AttributeError, match="'말길'"):
        _ = malgil.말길


@pytest.mark.parametrize("name", ["train", "finetune", "compare", "load", "import_model", "Run"])
def test_what_is_offered_is_explained(name: str) -> None:
    offered = getattr(malgil, name)
    assert inspect.getdoc(offered)
    members = [offered] if not inspect.isclass(offered) else [offered, *vars(offered).values()]
    for member in members:
        if inspect.isfunction(member) and not member.__name__.startswith("_"):
            assert inspect.getdoc(member), member
            for parameter in inspect.signature(member).parameters.values():
                assert parameter.name == "self" or parameter.annotation is not parameter.empty, (member, parameter)


def test_train_names_the_limits_of_the_command_line() -> None:
    parameters = inspect.signature(malgil.train).parameters
    for name in ("data", "out", "time", "steps", "tokens", "epochs", "config", "seed", "device", "threads", "resume"):
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
