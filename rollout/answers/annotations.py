r"""Calculations written out for a calculator, as GSM8K's solutions do (Cobbe et al. 2021, arXiv 2110.14168):
``48/2 = <<48/2=24>>24 clips``.

A model that was fine-tuned on such solutions writes ``<<48/2=``; the value and ``>>`` are the calculator's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from rollout.answers.expressions.exact_values import NoValueError, value_of

# A value with more decimal places is not written; those of GSM8K's calculations have up to three.
PLACES = 6

_ARITHMETIC = re.compile(r"[\d.,+\-*/() ]{1,200}")
_BEGUN = re.compile(r"<<([^<>=\n]{1,200})=")
# The last one may have been cut off.
_ANNOTATION = re.compile(r"<<(?:[^<>\n]{0,400}>>|[\d.,+\-*/() =]{0,400}>?\Z)")
_NUMBER = re.compile(r"(?<![\d.,])(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?!\d)")
_EQUALS = re.compile(r"=\s{0,2}\$?\s{0,2}$")


def computed(expression: str) -> str | None:
    """Return the exact value of an expression of numbers, + - * / and brackets, as GSM8K writes numbers: without an
    exponent, thousands separators or needless zeros; None if it has none of up to ``PLACES`` decimal places."""
    if not _ARITHMETIC.fullmatch(expression):
        return None
    try:
        value = value_of(expression.replace("*", r"\cdot ").strip())
    except NoValueError:
        return None
    return _in_decimals(value) if isinstance(value, Fraction) else None


def _in_decimals(value: Fraction) -> str | None:
    scaled = abs(value) * 10**PLACES
    if scaled.denominator != 1:
        return None
    whole, rest = divmod(scaled.numerator, 10**PLACES)
    text = f"{whole}.{rest:0{PLACES}}".rstrip("0").rstrip(".")
    return f"-{text}" if value < 0 else text


def first_to_fill_in(text: str) -> tuple[int, str] | None:
    """Return the first calculation whose value, or the ``>>`` after it, is not what the text goes on with: the place
    after its ``=``, and what is to stand there. None if there is none that can be computed."""
    for begun in _BEGUN.finditer(text):
        value = computed(begun[1])
        if value is not None and not text.startswith(f"{value}>>", begun.end()):
            return begun.end(), f"{value}>>"
    return None


def without_annotations(text: str) -> str:
    """Return a text without its annotations: ``48/2 = 24 clips``."""
    return _ANNOTATION.sub("", text)


def annotate(steps: Sequence[str], equations: Sequence[str]) -> list[str]:
    """Return steps with their ``equations`` ("48/2=24", in their order) put back as annotations, each before its value.

    That is the first such number after an equals sign, or where no step has one, the last in the first step that holds
    it. An equation whose value stands nowhere is left out.
    """
    rest, found = list(equations), list[str]()
    for index, step in enumerate(steps):
        text, at, free = "", 0, 0
        while rest:
            expression, _, value = rest[0].rpartition("=")
            here = _place(step, free, value)
            later = [place for place in (_place(other, 0, value) for other in steps[index + 1 :]) if place is not None]
            if (here is None or not here.stated) and any(place.stated for place in later):
                break
            if here is None and later:
                break
            rest.pop(0)
            if here is not None:
                text += f"{step[at : here.start]}<<{expression}={computed(expression) or value}>>"
                at, free = here.start, here.start + 1  # a value has one annotation
        found.append(text + step[at:])
    return found


class _Place(NamedTuple):
    """The place of a value in a step; it is ``stated`` where it follows an equals sign."""

    start: int
    stated: bool


def _place(step: str, begin: int, value: str) -> _Place | None:
    """Return where a value stands in a step, from ``begin`` on."""
    same = [found.start() for found in _NUMBER.finditer(step, begin) if _plain(found[0]) == _plain(value.lstrip("-"))]
    stated = [start for start in same if _EQUALS.search(step[max(0, start - 6) : start])]
    return _Place(stated[0], True) if stated else _Place(same[-1], False) if same else None


def _plain(number: str) -> str:
    """Return a number without separators and needless zeros: 1,440.00 and .5 are 1440 and 0.5."""
    whole, _, places = number.replace(",", "").partition(".")
    decimals = places.rstrip("0")
    return f"{whole.lstrip('0') or '0'}.{decimals}" if decimals else whole.lstrip("0") or "0"
