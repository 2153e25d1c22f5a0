"""How well the entities of a text are found: by exact span and type, as conlleval counts.

    말길  은   서울  특별시  에  있다          entities: (0, 1, ORG), (2, 4, LOC), as (start, stop, type)
    B-ORG O  B-LOC I-LOC  O   O

An entity is right if one of the same tokens and type is right: half an entity is a wrong one and a missing one. F1 is
taken over all entities together (micro), which is the figure of CoNLL (Tjong Kim Sang & De Meulder 2003). Token
accuracy stands beside it and says little: most tokens are O. All figures lie in 0 .. 1; what has no value, such as
the precision where nothing was found, is 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, TypeAlias

from malgil.errors import InputError
from malgil.metrics.classification import Figures

Tags: TypeAlias = Sequence[str]
#: of the other notations of tags: what begins and what ends an entity (BIOES, BILOU)
_BEGINS, _ENDS = frozenset("BSU"), frozenset("ESLU")


class Entity(NamedTuple):
    """The tokens `start` to before `stop`."""

    start: int
    stop: int
    type: str


@dataclass(frozen=True)
class TaggingScore:
    """Figures of all entities together, of each type by its name, and the share of tokens whose tag is right."""

    all: Figures
    types: dict[str, Figures]
    token_accuracy: float

    @property
    def f1(self) -> float:
        """Of all entities together."""
        return self.all.f1

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self.all), "types": {k: asdict(v) for k, v in self.types.items()}} | {
            "token_accuracy": self.token_accuracy
        }


def entities(tags: Tags) -> list[Entity]:
    """The entities of a sequence of tags, in order, read as conlleval reads them.

    A tag is `O`, or a prefix and a type such as `B-LOC`. Ill-formed sequences have a meaning: an I that continues
    nothing, because O or another type stands before it, begins an entity. So IOB1, where B stands only between two
    entities of one type that touch, and IOB2, where every entity begins with it, are read alike; BIOES and BILOU too.

    >>> entities(["I-LOC", "I-LOC", "B-LOC", "I-ORG", "O"])
    [Entity(start=0, stop=2, type='LOC'), Entity(start=2, stop=3, type='LOC'), Entity(start=3, stop=4, type='ORG')]
    """
    found: list[Entity] = []
    open_ = False  # whether the entity found last may go on
    for i, tag in enumerate(tags):
        prefix, _, kind = tag.partition("-")
        if prefix == "O":
            open_ = False
            continue
        if open_ and prefix not in _BEGINS and found[-1].type == kind:
            found[-1] = found[-1]._replace(stop=i + 1)
        else:
            found.append(Entity(i, i + 1, kind))
        open_ = prefix not in _ENDS
    return found


def iob2(tags: Tags) -> list[str]:
    """The same entities in IOB2: B begins each, I goes on.

    >>> iob2(["I-LOC", "I-LOC", "B-LOC", "O", "S-ORG"])
    ['B-LOC', 'I-LOC', 'B-LOC', 'O', 'B-ORG']
    """
    result = ["O"] * len(tags)
    for start, stop, kind in entities(tags):
        suffix = f"-{kind}" if kind else ""
        result[start:stop] = [f"B{suffix}"] + [f"I{suffix}"] * (stop - start - 1)
    return result


def score_tags(predicted: Sequence[Tags], right: Sequence[Tags]) -> TaggingScore:
    """All figures of the tags of some sentences.

    Args:
        predicted, right: the tags of each sentence, one a token.

    Raises:
        InputError: no tokens, or not as many sentences or tags in both.
    """
    if len(predicted) != len(right):
        raise InputError(f"tags of {len(predicted)} sentences for {len(right)}", fix="give those of each sentence")
    there, found, both = Counter[str](), Counter[str](), Counter[str]()
    tokens = hits = 0
    for number, (guess, truth) in enumerate(zip(predicted, right, strict=True)):
        if len(guess) != len(truth):
            raise InputError(f"{len(guess)} tags for {len(truth)} tokens", f"sentence {number}", "give one a token")
        tokens += len(truth)
        hits += sum(a == b for a, b in zip(guess, truth, strict=True))
        expected, given = set(entities(truth)), set(entities(guess))
        there.update(entity.type for entity in expected)
        found.update(entity.type for entity in given)
        both.update(entity.type for entity in expected & given)
    if not tokens:
        raise InputError("no tags to score", fix="give at least one token")
    types = {kind: Figures.count(both[kind], found[kind], there[kind]) for kind in sorted(there | found)}
    return TaggingScore(Figures.count(both.total(), found.total(), there.total()), types, hits / tokens)
