"""Mark an answer against a problem's gold answer."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal

from rollout.answers.expressions.same_expression import RELATIVE_TOLERANCE, numbers_equal, same_expression
from rollout.answers.numbers_and_options import letters as letters_of
from rollout.answers.numbers_and_options import named_by_value, option_text, parse_number, untexted
from rollout.options import options
from rollout.records import NUMERIC_TYPES, Problem

JEEBENCH_TOLERANCE = 0.01
_BOOLEAN = {"yes": True, "true": True, "no": False, "false": False, "not true": False, "not false": True}


def score(problem: Problem, answer: str | None) -> float:
    """Return how right ``answer`` is for ``problem``: 0 or 1, or a partial mark in JEEBench's multiple choice.

    JEEBench's integer and numeric problems (by type, or by ``meta["raw_type"]`` of a number) are right within 0.01.
    Raises ValueError for an unknown answer type, and the errors of ``math_equality.math_equal``.
    """
    if answer is None or not answer.strip():
        return 0.0
    gold, kind = problem.answer, problem.answer_type
    if kind in NUMERIC_TYPES:
        jeebench = kind != "number" or problem.meta.get("raw_type") in ("Integer", "Numeric")
        return float(_same_number(parse_number(gold), parse_number(answer), jeebench=jeebench))
    if kind == "boolean":
        want = verdict(gold)
        return float(want is not None and want == verdict(answer))
    if kind == "choice":
        letters = options(problem.choices)
        named = _named(answer, letters)
        return float(bool(named) and named <= _twins(gold.strip().upper(), letters))
    if kind == "multi_choice":
        right, named = letters_of(gold), letters_of(answer) or _named(answer, options(problem.choices))
        if not named or not named <= right:
            return 0.0
        return 1.0 if named == right else 0.25 * len(named)
    if kind == "expression":
        return float(same_expression(gold, answer))
    if kind == "text":
        return float(any(_same_text(text, answer) for text in forms(problem)))
    raise ValueError(f"unknown answer type {kind!r}")


def forms(problem: Problem) -> list[str]:
    """Return the gold answer and its other forms."""
    return [problem.answer, *(problem.meta.get("answer_aliases") or ())]


def verdict(text: str) -> bool | None:
    """Return what an answer of yes or no says; None where it is neither."""
    return _BOOLEAN.get(re.sub(r"[\s.!*]+", " ", untexted(text)).strip("{}$ ").lower())


def _same_number(gold: Decimal | None, found: Decimal | None, *, jeebench: bool) -> bool:
    if gold is None or found is None:
        return False
    if jeebench:
        return abs(gold - found) <= Decimal(str(JEEBENCH_TOLERANCE))
    return numbers_equal(gold, found, RELATIVE_TOLERANCE)


def _named(text: str, letters: dict[str, str]) -> set[str]:
    """Return the option that a text names by letter or value; a letter beside another option's value names none."""
    read = letters_of(text)
    if len(read) == 1 and (not letters or read <= set(letters)):
        return read
    both = re.match(r"[\s(\[*$]*([A-Ja-j])[)\].:]+\s*(\S.*)", text, re.DOTALL)
    if both and both[1].upper() in letters:
        value = named_by_value(both[2], letters)
        return value if both[1].upper() in value else set()
    return named_by_value(text, letters)


def _twins(letter: str, letters: dict[str, str]) -> set[str]:
    """Return a letter and the letters of the options with the same text: any of them counts."""
    text = option_text(letters.get(letter, letter))
    return {letter} | {other for other, value in letters.items() if option_text(value) == text}


def _same_text(gold: str, found: str) -> bool:
    left, right = (
        re.sub(r"\s*([,;])\s*", r"\1", re.sub(r"[\s{}$*\"“”«»`]+", " ", untexted(text)).strip(" .'‘’")).lower()
        for text in (unicodedata.normalize("NFC", gold), unicodedata.normalize("NFC", found))
    )
    strip = re.compile(r"^the |^\((?=\w\)$)|(?<=^\(\w)\)$")
    left, right = (strip.sub("", text).strip("()") for text in (left, right))
    # Of an answer of marks alone nothing is left, and "..." is not "()".
    return left == right if left else gold.strip() == found.strip()
