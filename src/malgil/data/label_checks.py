"""What labelled data are judged by before anything is learnt from them, and which names they hold.

Each judge takes the records with their places, refuses those that teach nothing, and returns sentences about the rest:
what there is of each label, and what looks like an error.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from malgil.data.label_records import Labelled, Question, Scored, Tagged
from malgil.data.label_rows import Located
from malgil.errors import DataError

_DOMINANT = 0.9  # share of a class above which accuracy says little
_IDENTIFIERS = 50  # texts from which on labels that are mostly different are no labels
_SHOWN = 8  # labels named in a message
_LONGEST = 40  # characters of a text or a label in a message


def label_names(records: Iterable[Labelled]) -> tuple[str, ...]:
    """The labels, integers in their order, names otherwise in the order of the alphabet."""
    names = {name for record in records for name in record.labels}
    if all(re.fullmatch(r"[+-]?\d{1,18}", name) for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def judge_labelled(rows: Sequence[Located[Labelled]]) -> list[str]:
    """Shares of the labels; labels that occur once, a class that is nearly everything, contradictions.

    Raises:
        DataError: one class alone, or a label for nearly each text.
    """
    counts = Counter(name for _, record in rows for name in record.labels)
    several = any(len(record.labels) != 1 for _, record in rows)
    if len(counts) < 2 and not (several and counts):
        only = f": '{_short(next(iter(counts)))}'" if counts else ""
        raise DataError(f"only one class{only}", _place(rows), "give texts of at least two classes")
    if len(rows) >= _IDENTIFIERS and len(counts) > len(rows) / 2:
        raise DataError(
            f"{len(counts):,} different labels of {len(rows):,} texts, as '{_short(next(iter(counts)))}'",
            _place(rows),
            "name the column with the label by --data.label-field",
        )
    return [
        f"labels: {listed([f'{name} ({100 * n / len(rows):.1f} %)' for name, n in counts.most_common()])}",
        *_rare(rows, counts),
        *_dominant(counts, len(rows), several),
        *_contradictions(rows),
    ]


def judge_scored(rows: Sequence[Located[Scored]]) -> list[str]:
    """The range of the scores.

    Raises:
        DataError: they are all the same.
    """
    scores = [record.score for _, record in rows]
    if min(scores) == max(scores):
        raise DataError(f"every score is {scores[0]:g}", _place(rows), "give texts with different scores")
    return [f"scores: {min(scores):g} to {max(scores):g}, {sum(scores) / len(scores):.3g} on average"]


def judge_tagged(rows: Sequence[Located[Tagged]]) -> list[str]:
    """How many entities there are of each type.

    Raises:
        DataError: there are none.
    """
    counts = Counter(tag[2:] or "entity" for _, record in rows for tag in record.tags if tag[0] == "B")
    if not counts:
        raise DataError("every tag is O", _place(rows), "give sentences with entities: B-TYPE, I-TYPE")
    return [f"entities: {listed([f'{name} ({n:,})' for name, n in counts.most_common()])}"]


def tag_names(records: Iterable[Tagged]) -> tuple[str, ...]:
    """O, and B and I of each type, also where only one of them occurs: the other may be right elsewhere."""
    types = sorted({tag[1:] for record in records for tag in record.tags if tag != "O"})
    return ("O", *(f"{prefix}{kind}" for kind in types for prefix in "BI"))


def judge_questions(rows: Sequence[Located[Question]]) -> list[str]:
    """How many have no answer.

    Raises:
        DataError: all.
    """
    without = sum(not record.answers for _, record in rows)
    if without == len(rows):
        raise DataError("no question has an answer", _place(rows), "give questions with answers in their texts")
    return [f"{without:,} of {len(rows):,} questions have no answer in their text"] if without else []


def listed(names: Sequence[str]) -> str:
    """The first of some names, each not too long, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(_short, names[:_SHOWN])) + more


# ---------------------------------------------------------------------------------------------


def _rare(rows: Sequence[Located[Labelled]], counts: Counter[str]) -> list[str]:
    once = [name for name, count in counts.items() if count == 1]
    if not once:
        return []
    first = next(where for where, record in rows if once[0] in record.labels)
    header = "; if this line names the columns, give --data.text-field by name" if first.endswith(":1") else ""
    occur = "occur" if len(once) > 1 else "occurs"
    return [f"{_counted(len(once), 'label')} that {occur} once: {listed(once)} (first: {first}){header}"]


def _dominant(counts: Counter[str], texts: int, several: bool) -> list[str]:
    """A class so large that a model may learn nothing but to name it; one of several labels is none."""
    name, count = counts.most_common(1)[0]
    if several or count <= _DOMINANT * texts:
        return []
    share = 100 * count / texts
    return [f"{share:.1f} % of the texts are '{_short(name)}': accuracy says little, look at macro F1 and Matthews"]


def _contradictions(rows: Sequence[Located[Labelled]]) -> list[str]:
    """Texts that stand with other labels elsewhere: people who disagreed, or errors."""
    first_of: dict[tuple[str, ...], Located[Labelled]] = {}
    found: dict[tuple[str, ...], str] = {}
    for where, record in rows:
        before, other = first_of.setdefault(record.texts, (where, record))
        if set(other.labels) != set(record.labels) and record.texts not in found:
            labels = (" + ".join(map(_short, one.labels)) or "none" for one in (other, record))
            found[record.texts] = f"'{_short(record.text)}', {' and '.join(labels)}, at {before} and {where}"
    if not found:
        return []
    return [f"{_counted(len(found), 'text')} with contradicting labels: {next(iter(found.values()))}"]


def _place(rows: Sequence[Located[Any]]) -> str:
    """From where to where."""
    first, last = rows[0][0], rows[-1][0]
    return first if first == last else f"{first} to {last}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' if number > 1 else ''}"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
