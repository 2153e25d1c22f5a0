"""Which kind of data a person has named: text to continue, pairs of texts, or texts with labels.

--source, --target; columns named as sides or languages     pairs
a label column beside a text; --data.label-field            labels
a table without names whose second column repeats itself    labels
a table without names with texts in two columns             pairs
all else: a book, a folder, rows with one text              text
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from malgil.data.columns import first_cells, named_columns
from malgil.data.label_rows import LABEL_NAMES, PAIR_NAMES, TEXT_NAMES
from malgil.data.pair_columns import usual_pair
from malgil.data.readers import Tally
from malgil.data.settings import OF_LABELS, OF_PAIRS, DataSettings
from malgil.data.sources import find_files, format_of

TEXT, PAIRS, LABELS = "text", "pairs", "labels"
#: rows of a table without names that are looked at
LOOKED_AT = 200
#: different values among so many rows that still look like labels
MOST_LABELS = 0.2
_SCORES = ("score", "similarity", "rating", "점수", "유사도")


def kind_of(settings: DataSettings) -> tuple[str, str]:
    """`text`, `pairs` or `labels`, and what it was decided by, in words.

    Raises:
        DataError: a file that cannot be read.
    """
    default = DataSettings()
    for kind, names in ((LABELS, OF_LABELS), (PAIRS, OF_PAIRS), (TEXT, ("text_field",))):
        given = [name for name in names if getattr(settings, name) != getattr(default, name)]
        if given:
            return kind, f"data.{given[0]} is given"
    files, _ = find_files(settings.paths, "--data", json=True)
    for path in files[:1]:
        kind = format_of(path)[0]
        if kind == "json":
            return LABELS, f"{path.name} is one JSON value, as sets of questions are"
        if kind != "text":
            return _of_table(path, Tally(settings.skip_bad))
    return TEXT, "it is plain text"


def _of_table(path: Path, tally: Tally) -> tuple[str, str]:
    """By the names of the columns, or where there are none by what stands in them."""
    packed = format_of(path)[0] in ("jsonl", "parquet")
    rows = [] if packed else first_cells(path, LOOKED_AT, tally)
    names = named_columns(path, tally) if packed else rows[0]
    plain = [name.strip().lower() for name in names]
    if usual_pair(names) is not None:
        return PAIRS, f"columns of {path.name} are named as pairs are"
    label = next((name for name in plain if name in (*LABEL_NAMES, *_SCORES)), None)
    texts = {*TEXT_NAMES, *(name for pair in PAIR_NAMES for name in pair)}
    if label is not None and texts & set(plain):
        return LABELS, f"{path.name} has a column '{label}'"
    if packed or texts & set(plain) or len(names) < 2:
        return TEXT, f"{path.name} has one column of text"
    return _of_cells(path, rows)


def _of_cells(path: Path, rows: Sequence[Sequence[str]]) -> tuple[str, str]:
    seconds = [row[1] for row in rows if len(row) > 1]
    if len(seconds) > 9 and len(set(seconds)) <= MOST_LABELS * len(seconds):
        return LABELS, f"the second column of {path.name} has few different values"
    return PAIRS, f"{path.name} has texts in two columns"
