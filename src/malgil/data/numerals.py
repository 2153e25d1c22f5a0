"""The pairs that need no download: numbers and how they are read, in Korean and in English.

    ko 12345  ->  만 이천삼백사십오
    en 12345  ->  twelve thousand three hundred forty-five

The source says the language, so that one model learns both. Everything follows from rules and hashes.
"""

from __future__ import annotations

import hashlib
from functools import cache

from malgil.errors import InputError

LARGEST = 999_999_999
_ALL_BELOW = 200
_OF_EACH_LENGTH = 500  # numbers of three digits, of four, ... of nine
_KOREAN_DIGITS = ("", "일", "이", "삼", "사", "오", "육", "칠", "팔", "구")
_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def korean(number: int) -> str:
    """The Sino-Korean reading, spaced at 만 and 억 as the orthography has it (한글 맞춤법, article 44).

    Digits are grouped by four. Inside a group 일 is not said before 십, 백 and 천, nor before 만 at the beginning of
    the number; before 억 it is.

    >>> korean(1024), korean(10_000), korean(110_000_001)
    ('천이십사', '만', '일억 천만 일')

    Raises:
        InputError: not in 0 .. 999,999,999.
    """
    _refuse_out_of_range(number)
    if number == 0:
        return "영"
    high, low = divmod(number, 10**4)
    hundred_millions, ten_thousands = divmod(high, 10**4)
    words = []
    if hundred_millions:
        words.append(_korean_group(hundred_millions) + "억")
    if ten_thousands:
        first_one = ten_thousands == 1 and not hundred_millions
        words.append("만" if first_one else _korean_group(ten_thousands) + "만")
    if low:
        words.append(_korean_group(low))
    return " ".join(words)


def english(number: int) -> str:
    """The American reading, without "and".

    >>> english(1024), english(21_000_300)
    ('one thousand twenty-four', 'twenty-one million three hundred')

    Raises:
        InputError: not in 0 .. 999,999,999.
    """
    _refuse_out_of_range(number)
    if number < 1000:
        return _english_group(number)
    words = []
    for size, name in ((10**6, "million"), (10**3, "thousand")):
        count, number = divmod(number, size)
        if count:
            words += [_english_group(count), name]
    if number:
        words.append(_english_group(number))
    return " ".join(words)


@cache
def numerals() -> tuple[int, ...]:
    """The numbers whose readings are the built-in pairs, ascending.

    The first 200, and 500 of each length from three to nine digits. A quarter of the digits are zero on top of those
    that chance makes so: what is left out is what is hard about reading numbers.
    """
    drawn = {_drawn(length, index) for length in range(3, 10) for index in range(_OF_EACH_LENGTH)}
    return tuple(sorted(drawn.union(range(_ALL_BELOW))))


# ---------------------------------------------------------------------------------------------


def _refuse_out_of_range(number: int) -> None:
    if not 0 <= number <= LARGEST:
        raise InputError(f"no reading of {number}", fix=f"give a number from 0 to {LARGEST:,}")


def _korean_group(number: int) -> str:
    """1 .. 9999."""
    text = ""
    for size, name in ((1000, "천"), (100, "백"), (10, "십")):
        digit, number = divmod(number, size)
        if digit:
            text += (_KOREAN_DIGITS[digit] if digit > 1 else "") + name
    return text + _KOREAN_DIGITS[number]


def _english_group(number: int) -> str:
    """0 .. 999."""
    if number >= 100:
        hundreds, rest = divmod(number, 100)
        return f"{_ONES[hundreds]} hundred" + (f" {_english_group(rest)}" if rest else "")
    if number < 20:
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens] + (f"-{_ONES[ones]}" if ones else "")


def _drawn(length: int, index: int) -> int:
    """A number of so many digits."""
    first, *rest = hashlib.sha256(f"{length} {index}".encode()).digest()[:length]
    digits = [first % 9 + 1, *(0 if byte < 64 else byte % 10 for byte in rest)]
    return int("".join(map(str, digits)))
