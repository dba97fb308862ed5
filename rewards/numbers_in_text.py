"""The values that a text states, in digits or in words.

These are not values: references (#2), the numbers of steps, questions and lines ("Step 2", "Q3:", "1. How many"),
ordinals (3rd, third) and words that compare (twice, half). Every regular expression here runs in linear time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import lru_cache

# Of a text, so much is read; a longer run of digits is no value of any problem.
MAX_CHARS = 20_000
MAX_DIGITS = 40

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_SMALL = {word: value for value, word in enumerate(_ONES)}
_DECADES = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_TENS = {word: 10 * value for value, word in enumerate(_DECADES, 2)}
_SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_FACTORS = {**_SCALES, "dozen": 12, "dozens": 12}
_WORDS = {*_SMALL, *_TENS, *_FACTORS}
_COUNTED = (
    r"(?:steps?|parts?|questions?|sub-?questions?|problems?|answers?|stages?|phases?|lines?|cases?|items?|no\.|q|eq\.)"
)
_TOKEN = re.compile(
    rf"(?P<label>#\s?\d+|\b{_COUNTED}\s?#?\d{{1,3}}\b(?!\.\d|[,%]\d)|^\s*\(?\d{{1,2}}[.):](?=\s)|\b\d[\d,]{{0,12}}(?:st|nd|rd|th)\b)"
    r"|(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?|(?<!\d)\.\d+)(?P<percent>\s?%|\s?percent\b)?"
    r"|(?P<word>[a-z]+)|(?P<other>[^\sa-z\d])",
    re.IGNORECASE | re.MULTILINE,
)


@lru_cache(maxsize=50_000)
def values(text: str) -> frozenset[Decimal]:
    """Return the values in a text, in digits or in words; a percentage counts as its plain number."""
    return frozenset(value for value, _ in _found(text))


@lru_cache(maxsize=50_000)
def known_values(text: str) -> frozenset[Decimal]:
    """Return the values that a text makes known: the values in it, and its percentages as fractions."""
    found = list(_found(text))
    return frozenset(value for value, _ in found) | {value / 100 for value, percent in found if percent}


def _found(text: str) -> Iterator[tuple[Decimal, bool]]:
    """Yield each value of a text, and whether it is a percentage."""
    words: list[str] = []
    number: Decimal | None = None  # in digits, still waiting for a word that scales it: "3 thousand"
    percent = False
    for match in _TOKEN.finditer(text[:MAX_CHARS]):
        word = match[0].lower()
        if number is not None and word in _FACTORS:
            number *= _FACTORS[word]
            continue
        if number is not None:
            yield number, percent
            number = None
        if word in _WORDS or (words and word == "and"):
            words.append(word)
            continue
        if word == "-" and words:
            continue
        for value in _spoken(words):
            yield value, word in ("%", "percent")
        words.clear()
        if match["digits"] and len(match["digits"]) <= MAX_DIGITS:
            number, percent = Decimal(match["digits"].replace(",", "")), match["percent"] is not None
    if number is not None:
        yield number, percent
    for value in _spoken(words):
        yield value, False


def _spoken(words: Sequence[str]) -> Iterator[Decimal]:
    """Yield the values of consecutive number words: "two hundred and five" is one number, "two and five" are two."""
    total = group = 0
    last = ""  # the word before; empty at the start of a number
    for word in words:
        if word == "and":
            joins = last in _FACTORS
        elif word in _FACTORS:
            joins = last == "" or last in _WORDS
        else:
            joins = last in ("", "and", *_FACTORS) or (last in _TENS and 0 < _SMALL.get(word, 0) < 10)
        if not joins and last:
            yield Decimal(total + group)
            total = group = 0
        if word in ("hundred", "dozen", "dozens"):
            group = max(group, 1) * _FACTORS[word]
        elif word in _FACTORS:
            total, group = total + max(group, 1) * _FACTORS[word], 0
        elif word != "and":
            group += _SMALL.get(word, _TENS.get(word, 0))
        last = word if word != "and" or joins else ""
    if last:
        yield Decimal(total + group)
