"""Built-in pairs: readings that speakers give, and that every number can be read back from its reading."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malgil.data import numerals as module
from malgil.data.numerals import LARGEST, english, korean, numerals
from malgil.errors import InputError

READINGS = {
    0: ("영", "zero"),
    7: ("칠", "seven"),
    10: ("십", "ten"),
    11: ("십일", "eleven"),
    40: ("사십", "forty"),
    100: ("백", "one hundred"),
    101: ("백일", "one hundred one"),
    219: ("이백십구", "two hundred nineteen"),
    1024: ("천이십사", "one thousand twenty-four"),
    10_000: ("만", "ten thousand"),
    10_001: ("만 일", "ten thousand one"),
    12_345: ("만 이천삼백사십오", "twelve thousand three hundred forty-five"),
    110_000: ("십일만", "one hundred ten thousand"),
    10_000_000: ("천만", "ten million"),
    100_000_000: ("일억", "one hundred million"),
    100_010_000: ("일억 일만", "one hundred million ten thousand"),
    300_000_020: ("삼억 이십", "three hundred million twenty"),
    987_654_321: (
        "구억 팔천칠백육십오만 사천삼백이십일",
        "nine hundred eighty-seven million six hundred fifty-four thousand three hundred twenty-one",
    ),
}


@pytest.mark.parametrize("number", READINGS)
def test_readings(number: int) -> None:
    assert (korean(number), english(number)) == READINGS[number]


def read_korean(text: str) -> int:
    """The number of a reading, by adding up what stands before 천, 백, 십 and before 억, 만."""
    total = 0
    for word in text.split():
        size = {"억": 10**8, "만": 10**4}.get(word[-1], 1)
        group = digit = 0
        for letter in word.rstrip("억만"):
            if letter in "천백십":
                group += (digit or 1) * {"천": 1000, "백": 100, "십": 10}[letter]
                digit = 0
            else:
                digit = "영일이삼사오육칠팔구".index(letter)
        group += digit
        total += (group or 1) * size if size > 1 else group
    return total


def read_english(text: str) -> int:
    """The number of a reading, word by word."""
    ones = {word: value for value, word in enumerate(module._ONES)}
    tens = {word: 10 * value for value, word in enumerate(module._TENS) if word}
    total = group = 0
    for word in text.replace("-", " ").split():
        if word == "hundred":
            group *= 100
        elif word in ("thousand", "million"):
            total, group = total + group * {"thousand": 10**3, "million": 10**6}[word], 0
        else:
            group += ones.get(word, 0) + tens.get(word, 0)
    return total + group


@given(st.integers(0, LARGEST) | st.integers(1, 9999).map(lambda n: n * 10_000))
def test_every_reading_can_be_read_back(number: int) -> None:
    assert read_korean(korean(number)) == number
    assert read_english(english(number)) == number


@pytest.mark.parametrize("number", [-1, LARGEST + 1])
def test_numbers_without_a_reading(number: int) -> None:
    with pytest.raises(InputError, match=f"no reading of {number}; give a number from 0 to 999,999,999"):
        korean(number)
    with pytest.raises(InputError):
        english(number)


def test_the_numbers_are_of_every_length() -> None:
    numbers = numerals()
    assert list(numbers) == sorted(set(numbers))
    lengths = [sum(len(str(n)) == length for n in numbers) for length in range(1, 10)]
    assert lengths[:2] == [10, 90]
    assert all(350 <= n <= 500 for n in lengths[2:])
    assert numbers[-1] <= LARGEST
    digits = "".join(str(n)[1:] for n in numbers)
    assert 0.28 < digits.count("0") / len(digits) < 0.38


def test_doctests() -> None:
    result = doctest.testmod(module)
    assert result.attempted >= 2
    assert result.failed == 0
