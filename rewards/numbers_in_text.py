"""The values that a text states anywhere, in digits or in words; the one that answers is read in ``rollout.answers``.

These are not values: references (#2), the numbers of steps, questions and lines ("Step 2", "Q3:", "1. How many"),
ordinals (3rd, third) and words that compare (twice, half). Every regular expression here runs in linear time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import lru_cache

from rollout.answers.number_words import SCALES, WORDS, worth

# Of a text, so much is read; a longer run of digits is no value of any problem.
MAX_CHARS = 20_000
MAX_DIGITS = 40

_DOZENS = ("dozen", "dozens")
_FACTORS = SCALES | dict.fromkeys(_DOZENS, 12)
_COUNTED = (
    r"(?:steps?|parts?|questions?|sub-?questions?|problems?|answers?|stages?|phases?|lines?|cases?|items?|no\.|q|eq\.)"
)
_TOKEN = re.compile(
    rf"(?P<label>#\s?\d+|\b{_COUNTED}\s?#?\d{{1,3}}\b(?!\.\d|[,%]\d)|^\s*\(?\d{{1,2}}[.):](?=\s)|\b\d[\d,]{{0,12}}(?:st|nd|rd|th)\b)"
    r"|(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?|(?<!\d)\.\d+)(?P<percent>\s?%|\s?percent\b)?"
    r"|(?P<word>[a-z]+)|(?P<other>[^\sa-z\d])",
    re.IGNORECASE | re.MULTILINE,
)


@lru_cache(maxsize=2_000)
def values(text: str) -> frozenset[Decimal]:
    """Return the values in a text, in digits or in words; a percentage counts as its plain number."""
    return frozenset(value for value, _ in _found(text))


@lru_cache(maxsize=2_000)
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
        if word in WORDS or word in _DOZENS or (words and word == "and"):
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
    """Yield what number words in a row are worth, dozens among them."""
    start = 0
    for place, word in enumerate(words):
        if word in _DOZENS:
            *before, counted = worth(words[start:place]) or [1]
            yield from map(Decimal, (*before, 12 * counted))
            start = place + 1
    yield from map(Decimal, worth(words[start:]))
