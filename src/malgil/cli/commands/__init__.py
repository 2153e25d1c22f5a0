"""The commands. Each imports what it needs when it runs, so that `--help` answers at once."""

from malgil.cli.app import app, given
from malgil.cli.commands import compare, embed, keep, tokenizers, train, use

__all__ = ["app", "compare", "embed", "given", "keep", "tokenizers", "train", "use"]

for _command in (
    "train",
    "finetune",
    "compare",
    "evaluate",
    "generate",
    "translate",
    "predict",
    "embed",
    "attention",
    "recipes",
    "runs",
    "import",
    "export",
    "tokenizer",
    "cache",
):
    app[_command].help_epilogue = ""  # the first steps are for those who ask for no command
