"""The values that a text states anywhere, in digits or in words; the one that answers is read in ``rollout.answers``.

A fraction in lowest terms (3/4, ½, 2 1/2, \\frac{3}{4}) is one value; another stroke is a division that is left to do
(48/2), of two values. So is an exponent part of its number (6.72e-05, 3 x 10^8).

These are not values: references (#2), the numbers of steps, questions and lines ("Step 2", "Q3:", "1. How many"),
ordinals (3rd, third) and words that compare (twice, half). Those in digits are read apart, as labels. Every regular
expression here runs in linear time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from rollout.answers.number_words import ORDINALS, SCALES, TENS, WORDS, worth
from rollout.answers.numbers_and_options import parse_number, plain

# Of a text, so much is read; a longer run of digits is no value of any problem.
MAX_CHARS = 20_000
MAX_DIGITS = 40
# So much before an equals sign tells what is on its left.
_BEFORE = 40

_DOZENS = ("dozen", "dozens")
_FACTORS = SCALES | dict.fromkeys(_DOZENS, 12)
_COUNTED = (
    r"(?:steps?|parts?|questions?|sub-?questions?|problems?|answers?|stages?|phases?|lines?|cases?|items?|no\.|q|eq\.)"
)
_VULGAR = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"
_POWER = (
    r"(?:e[-+]?\d{1,3}(?!\w)|\s?(?:[x×*·]|\\times|\\cdot)\s?10(?:[⁻⁺]?[⁰¹²³⁴-⁹]{1,3}"
    r"|\s?\^\s?(?:\{\s?[-+]?\d{1,3}\s?\}|[-+]?\d{1,3})))"
)
_FRACTION = (
    rf"(?:\d{{1,9}}\s?)?(?:[{_VULGAR}]|\\[dt]?frac\s?\{{\s?\d{{1,9}}\s?\}}\s?\{{\s?\d{{1,9}}\s?\}})"
    r"|(?:\d{1,9} )?(?<![\d./⁄])\d{1,9}[/⁄]\d{1,9}(?![\d/⁄]|[.,]\d|\s?%)"
)
_EQUALS = re.compile(r"=\s{0,3}\\?\$?\s?\Z")
# A letter that stands alone before its equals sign (x, $x_1$, \theta): it has a value, and nothing is computed.
_LETTER = r"(?:[A-Za-z]|\\[a-z]{1,10})(?:_(?:\w|\{\w{1,3}\}))?'?\s{0,3}\Z"
_ASSIGNED = re.compile(
    r"(?:^|[$(\[,;:]\s{0,3}|[^-+*/^×·÷−–=\s\d)\]}\\]\s{1,3}(?<!plus\s)(?<!minus\s)(?<!times\s)(?<!by\s))" + _LETTER
)
# "Set y = 0", "when x = 1": a value to try, and no result.
_SUPPOSED = re.compile(
    r"\b(?:set|setting|let|when|whenever|if|at|for|where|put|putting|suppos(?:e|ing)|assum(?:e|ing)|tak(?:e|ing)"
    r"|substitut(?:e|ing))\s[\\$(]{0,2}\s?" + _LETTER,
    re.IGNORECASE,
)
_TOKEN = re.compile(
    rf"(?P<label>#\s?\d+|\b{_COUNTED}\s?#?\d{{1,3}}\b(?!\.\d|[,%]\d)|^\s*\(?\d{{1,2}}[.):](?=\s)|\b\d[\d,]{{0,12}}(?:st|nd|rd|th)\b)"
    rf"|(?P<power>\d{{1,20}}(?:\.\d{{1,20}})?{_POWER})|(?P<fraction>{_FRACTION})"
    r"|(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?|(?<!\d)\.\d+)(?P<percent>\s?%|\s?percent\b)?"
    r"|(?P<word>[a-z]+)|(?P<other>[^\sa-z\d])",
    re.IGNORECASE | re.MULTILINE,
)


class Value(NamedTuple):
    """A value of a text: where it begins (-1 for one in words), whether it is a percentage, the whole numbers that
    a fraction is written with, and the number of dozens."""

    number: Decimal
    start: int = -1
    percent: bool = False
    parts: tuple[Decimal, ...] = ()
    dozens: Decimal | None = None


@lru_cache(maxsize=2_000)
def values(text: str) -> frozenset[Decimal]:
    """Return the values in a text, in digits or in words; a percentage counts as its plain number."""
    return frozenset(value.number for value in _found(text))


@lru_cache(maxsize=2_000)
def known_values(text: str) -> frozenset[Decimal]:
    """Return the values that a text makes known: the values in it, its percentages as fractions, the numbers that its
    fractions are written with, and its numbers of dozens."""
    found = list(_found(text))
    parts = frozenset(part for value in found for part in value.parts)
    dozens = {value.dozens for value in found if value.dozens is not None}
    return values(text) | parts | dozens | {value.number / 100 for value in found if value.percent}


@lru_cache(maxsize=2_000)
def labels(text: str) -> frozenset[Decimal]:
    """Return the numbers of a text's references, steps, lines and ordinals: 64 of "#64", "item 64" and "the 64th"."""
    found = (re.search(r"\d[\d,]*", match["label"]) for match in _TOKEN.finditer(text[:MAX_CHARS]) if match["label"])
    digits = (number[0].replace(",", "") for number in found if number is not None)
    return frozenset(Decimal(number) for number in digits if len(number) <= MAX_DIGITS)


@lru_cache(maxsize=2_000)
def stated_values(text: str) -> frozenset[Decimal]:
    """Return the values that a question makes known, its labels and ordinals in digits among them: "on the 28th of
    May"."""
    return known_values(text) | labels(text)


@lru_cache(maxsize=2_000)
def worded(text: str) -> frozenset[Decimal]:
    """Return the numbers of a text's words for ordinals and parts: 21 of "the twenty-first", 5 of "a fifth", 2 of
    "half"."""
    found, before = set[int](), ""
    for word in re.findall(r"[a-z]+", text[:MAX_CHARS].lower()):
        if (number := ORDINALS.get(word)) is not None:
            found.add(number + (TENS.get(before, 0) if number < 10 else 0))
        before = word
    return frozenset(map(Decimal, found))


@lru_cache(maxsize=2_000)
def answer_values(answer: str) -> frozenset[Decimal]:
    """Return the one number that an answer states, with and without its sign; none where it states none."""
    number = parse_number(answer)
    return frozenset() if number is None else frozenset({number, abs(number)})


@lru_cache(maxsize=2_000)
def fractions(text: str) -> tuple[Value, ...]:
    """Return the fractions of a text."""
    return tuple(value for value in _found(text) if value.parts)


@lru_cache(maxsize=2_000)
def results(text: str) -> frozenset[Decimal]:
    """Return the values, in digits, directly after an equals sign, except those to try: "set y = 0"."""
    return frozenset(number for before, number in _after_equals(text) if not _SUPPOSED.search(before))


@lru_cache(maxsize=2_000)
def computed(text: str) -> frozenset[Decimal]:
    """Return the values, in digits, directly after an equals sign, except those of a letter alone: "when x = 1"."""
    return frozenset(number for before, number in _after_equals(text) if not _ASSIGNED.search(before))


def _after_equals(text: str) -> Iterator[tuple[str, Decimal]]:
    """Yield the end of the text before an equals sign, and the value directly after it."""
    for value in _found(text):
        sign = _EQUALS.search(text, max(0, value.start - 8), value.start) if value.start > 0 else None
        if sign is not None:
            yield text[max(0, sign.start() - _BEFORE) : sign.start()], value.number


def _found(text: str) -> Iterator[Value]:
    """Yield each value of a text."""
    words: list[str] = []
    number: Value | None = None  # in digits, still waiting for a word that scales it: "3 thousand"
    for match in _TOKEN.finditer(text[:MAX_CHARS]):
        word = match[0].lower()
        if number is not None and word in _FACTORS:
            dozens = number.number if word in _DOZENS else number.dozens
            number = number._replace(number=number.number * _FACTORS[word], parts=(), dozens=dozens)
            continue
        if number is not None:
            yield number
            number = None
        if word in WORDS or word in _DOZENS or (words and word == "and"):
            words.append(word)
            continue
        if word == "-" and words:
            continue
        for value in _spoken(words):
            yield value._replace(percent=word in ("%", "percent"))
        words.clear()
        if match["digits"] and len(match["digits"]) <= MAX_DIGITS:
            number = Value(Decimal(match["digits"].replace(",", "")), match.start(), match["percent"] is not None)
        elif match["power"] and (power := parse_number(match[0])) is not None:
            number = Value(power, match.start())
        elif match["fraction"]:
            *before, number = _read(match)
            yield from before
    if number is not None:
        yield number
    yield from _spoken(words)


def _read(match: re.Match[str]) -> list[Value]:
    """Return the value of a fraction; of a division that is left to do, its numbers."""
    parts = tuple(map(Decimal, re.findall(r"\d+", plain(match[0]))))
    *whole, top, bottom = parts
    number = parse_number(match[0])
    if number is None or math.gcd(int(top), int(bottom)) > 1 or bottom == 1 or (whole and top > bottom):
        return [Value(part, -1 if place else match.start()) for place, part in enumerate(parts)]
    return [Value(number, match.start(), parts=parts)]


def _spoken(words: Sequence[str]) -> Iterator[Value]:
    """Yield what number words in a row are worth, dozens among them."""
    start = 0
    for place, word in enumerate(words):
        if word in _DOZENS:
            *before, counted = map(Decimal, worth(words[start:place]) or [1])
            yield from map(Value, before)
            yield Value(12 * counted, dozens=counted)
            start = place + 1
    yield from (Value(Decimal(number)) for number in worth(words[start:]))
