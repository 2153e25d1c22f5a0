"""Which columns of a table hold the two sides of a pair, where nobody has said so: by the names that they usually have.

id,de,en                          de -> en    two languages; their English and Korean names too (German, 독일어)
{"tgt": .., "src": ..}            src -> tgt  names that say which side they are, in whatever order they stand
{"n": 1, "old": .., "new": ..}    old -> new  the first two columns with text, where the names say nothing
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from malgil.data.columns import first_cells, named_columns
from malgil.data.readers import Tally, first_rows, is_prose
from malgil.data.sources import format_of
from malgil.errors import DataError

#: names that say which side a column is
_SIDES = (
    *(("source", "target"), ("src", "tgt"), ("src", "trg"), ("input", "output")),
    *(("question", "answer"), ("q", "a"), ("원문", "번역"), ("질문", "답변")),
)
#: a language's code, its name in English and in Korean
_LANGUAGES = (
    *(("ar", "arabic", "아랍어"), ("bg", "bulgarian", "불가리아어"), ("bn", "bengali", "벵골어")),
    *(("ca", "catalan", "카탈루냐어"), ("cs", "czech", "체코어"), ("da", "danish", "덴마크어")),
    *(("de", "german", "독일어"), ("el", "greek", "그리스어"), ("en", "english", "영어")),
    *(("es", "spanish", "스페인어"), ("et", "estonian", "에스토니아어"), ("fa", "persian", "페르시아어")),
    *(("fi", "finnish", "핀란드어"), ("fr", "french", "프랑스어"), ("he", "hebrew", "히브리어")),
    *(("hi", "hindi", "힌디어"), ("hr", "croatian", "크로아티아어"), ("hu", "hungarian", "헝가리어")),
    *(("id", "indonesian", "인도네시아어"), ("it", "italian", "이탈리아어"), ("ja", "japanese", "일본어")),
    *(("ko", "korean", "한국어"), ("la", "latin", "라틴어"), ("lt", "lithuanian", "리투아니아어")),
    *(("lv", "latvian", "라트비아어"), ("mn", "mongolian", "몽골어"), ("ms", "malay", "말레이어")),
    *(("nl", "dutch", "네덜란드어"), ("no", "norwegian", "노르웨이어"), ("pl", "polish", "폴란드어")),
    *(("pt", "portuguese", "포르투갈어"), ("ro", "romanian", "루마니아어"), ("ru", "russian", "러시아어")),
    *(("sk", "slovak", "슬로바키아어"), ("sl", "slovenian", "슬로베니아어"), ("sr", "serbian", "세르비아어")),
    *(("sv", "swedish", "스웨덴어"), ("sw", "swahili", "스와힐리어"), ("ta", "tamil", "타밀어")),
    *(("th", "thai", "태국어"), ("tr", "turkish", "튀르키예어"), ("uk", "ukrainian", "우크라이나어")),
    *(("ur", "urdu", "우르두어"), ("vi", "vietnamese", "베트남어"), ("zh", "chinese", "중국어")),
)
_LANGUAGE = {name: names[0] for names in _LANGUAGES for name in names}
#: codes that are as often the name of a column of numbers; beside two other columns they are no language
_NUMBERS = ("id", "no")
#: letters of the longest name that may be a word of a list of words as well: it, es, no
_CODE = 2


def usual_pair(columns: Sequence[str]) -> tuple[str, str] | None:
    """The source and the target among columns by their names, or None: two sides, else the first two languages.

    >>> usual_pair(["id", "German", "English"])
    ('German', 'English')
    >>> usual_pair(["target", "source"])
    ('source', 'target')
    >>> usual_pair(["English", "영어"])  # one language: a word and its translation
    """
    known = {name.strip().lower(): name for name in columns}
    for source, target in _SIDES:
        if source in known and target in known:
            return known[source], known[target]
    languages: dict[str, str] = {}
    for plain, name in known.items():
        if plain in _LANGUAGE and (plain not in _NUMBERS or len(columns) == 2):
            languages.setdefault(_LANGUAGE[plain], name)
    found = list(languages.values())
    return (found[0], found[1]) if len(found) > 1 else None


def pair_columns(path: Path, fields: Sequence[str], tally: Tally) -> tuple[bool, list[str]]:
    """Whether the first row of csv or tsv names the columns, and their names, or else their numbers.

    It does if a field is given by name, or if its cells are a `usual_pair`. Two codes such as "it" and "es" may be a
    pair of words as well: they are names unless the row below is as short, or fields are given by number where there
    are two columns only, which says no more than that they have no names.

    Args:
        fields: the columns that a person gave, by name or number.

    Raises:
        DataError: no row.
    """
    if format_of(path)[0] in ("jsonl", "parquet"):
        return True, named_columns(path, tally)
    cells, *below = first_cells(path, 2, tally)
    by_name = any(not field.isdecimal() for field in fields)
    if by_name or _are_names(cells, below, codes=not fields or len(cells) > 2):
        return True, cells
    return False, [str(number) for number in range(1, len(cells) + 1)]


def default_pair(path: Path, header: bool, columns: Sequence[str], tally: Tally) -> Sequence[str]:
    """The source and the target where no field says so: by usual names, else the first two columns with text.

    Raises:
        DataError: no two columns hold text.
    """
    if not header:
        return columns[:2]
    if (named := usual_pair(columns)) is not None:
        return named
    rows = first_rows(path, tally)
    prose = [name for name in columns if any(is_prose(row.get(name)) for row in rows)]
    strings = [name for name in columns if any(isinstance(row.get(name), str) for row in rows)]
    found = prose if len(prose) > 1 else strings  # numbers count rows, unless they are one of the two sides
    if len(found) < 2:
        shown = ", ".join(itertools.islice(columns, 9))
        raise DataError("no two columns hold text", str(path), f"{advice(path)}; columns: {shown}")
    return found[:2]


def advice(path: Path) -> str:
    """What a file of pairs should look like, for one that has no two columns of text."""
    if format_of(path)[0] in ("jsonl", "parquet"):
        return 'give each text a column of its own, such as {"source": "...", "target": "..."}'
    sign = "comma" if format_of(path)[0] == "csv" else "tab"
    return f"separate source and target by a {sign}, or give two aligned files with --source and --target"


# ---------------------------------------------------------------------------------------------


def _are_names(cells: Sequence[str], below: Sequence[Sequence[str]], *, codes: bool) -> bool:
    """Whether a first row names columns, judged by the row below it.

    Args:
        codes: whether two short names may be names at all.
    """
    pair = usual_pair(cells)
    if pair is None:
        return False
    places = [cells.index(name) for name in pair]
    under = [row[place] for row in below for place in places]
    short = bool(under) and all(map(_short, under))
    if all(map(_short, pair)):
        return codes and not short
    return short or usual_pair(under) is None  # else every row says what language it is in


def _short(cell: str) -> bool:
    """Whether a cell is a code or a word that looks like one."""
    word = cell.strip()
    return len(word) <= _CODE and word.isascii() and word.isalpha()
