r"""The rules by which two mathematical expressions are the same.

Expressions with an order or a shape (tuples, intervals, lists, unions, matrices) are compared part by part. Parts are
compared by name, by text, as exact values, and only then by math-verify, which sees no difference between ``x`` and
``X``, ``204_5`` and ``204``, inches and feet, ``(3, 4)`` and ``{3, 4}``, ``\frac{1}{2^{97}}`` and ``\frac{1}{2^{96}}``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from itertools import chain
from typing import TypeVar

from rollout.answers.expressions.exact_values import (
    NoValueError,
    Value,
    is_too_large,
    relative_difference,
    same_formula,
    same_value,
    value_of,
)
from rollout.answers.expressions.math_equality import math_equal
from rollout.answers.expressions.named_values import Statement, read_statement
from rollout.answers.expressions.shapes import Matrix, both_signs, bracketed, interval, matrix, split
from rollout.answers.expressions.spelling import tidy
from rollout.answers.expressions.units import has_variables, is_sentence, unit_of, with_marked_unit, without_units
from rollout.answers.numbers_and_options import parse_number

Item = TypeVar("Item")

MAX_EXPRESSION = 400
RELATIVE_TOLERANCE = 1e-6
# With fewer digits a decimal is an approximation of an irrational number, and not that number rounded.
IRRATIONAL_DIGITS = 7

_FUNCTIONS = re.compile(
    "sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|sinh|cosh|tanh|log|ln|exp|max|min|gcd|lcm|mod|det"
)
# A letter that is not of a command.
_LETTER = re.compile(r"(?<![\\A-Za-z])[A-Za-z]")
_NO_VALUE = re.compile(r"[-+]?(?:nan|[\d.]+/0+|\\frac\{[^{}]*\}\{0+\}|[\d.]+e[-+]?\d{4,})", re.IGNORECASE)
_DECIMAL = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?\.(\d+)…?")


def same_expression(gold: str, found: str) -> bool:
    """Return whether two expressions (LaTeX or plain) are the same; shape and order count where they matter.

    Raises the errors of ``math_equality.math_equal``.
    """
    if len(found) > MAX_EXPRESSION:
        return gold.strip() == found.strip()
    # Beside a number without letters, "10 m" has a unit that the other leaves out.
    found = tidy(found if _LETTER.search(gold) else with_marked_unit(found))
    return not _NO_VALUE.fullmatch(found) and _same(tidy(gold), found)


def numbers_equal(gold: Decimal, found: Decimal, tolerance: float) -> bool:
    """Return whether two numbers are equal within a relative tolerance for rounding; integers must be exactly equal."""
    if gold == gold.to_integral_value() and found == found.to_integral_value():
        return gold == found
    return abs(gold - found) <= Decimal(str(tolerance)) * max(abs(gold), abs(found))


# -- lists ---------------------------------------------------------------------------------------------------------


def _same(gold: str, found: str) -> bool:
    if not gold or not found:
        return False
    return gold == found or any(_same_lists(left, right) for left in _lists(gold) for right in _lists(found))


def _lists(text: str) -> list[list[Statement]]:
    """Return the readings of a text as a list or set: ``1,200`` may be one number or two; ``±`` is two values."""
    readings = [split(text, r"[,;]"), split(text, r"[,;](?!\d{3}(?!\d))")]
    return [_items(items) for items in (readings if readings[0] != readings[1] else readings[:1])]


def _items(texts: list[str]) -> list[Statement]:
    """Read the items of a list; an unnamed item takes the name before it: ``x = 1, 2`` is ``x = 1`` and ``x = 2``."""
    items: list[Statement] = []
    for statement in map(read_statement, filter(None, texts)):
        name = statement.name or (items[-1].name if items and not statement.is_equation else None)
        values = [statement.parts[-1][1]] if len(statement.parts) == 1 else []
        if values and len(texts) == 1 and (shape := bracketed(values[0])) and shape[0] == "\\{":
            values = split(shape[1], ",")
        values = [value for text in values for value in both_signs(text)]
        if len(values) > 1:
            items += [Statement(value, name, (("", value),)) for value in values]
        else:
            items.append(Statement(statement.text, name, statement.parts, statement.is_equation))
    return items


def _same_lists(gold: list[Statement], found: list[Statement]) -> bool:
    if not gold or not found:
        return False
    left, right = _joined(gold), _joined(found)
    if left and right and (len(gold) == 1) != (len(found) == 1):
        return _same_statements(left, right)
    many, other = _has_names(gold), _has_names(found)
    if len(gold) == 1:
        # One value written several ways ("1/2 or 0.5") is that value; two values are not.
        return not other and all(_same_statements(gold[0], item) for item in found)
    if len(gold) != len(found):
        return False
    if many != other and None in {item.name for item in (found if many else gold)}:
        # x = 5, y = 9 against 5, 9: the values have the order in which they stand, or that of their names.
        return _same_in_order(gold, found) or _same_in_order(_by_name(gold), _by_name(found))
    return _same_in_some_order(gold, found, _same_statements)


def _has_names(items: list[Statement]) -> bool:
    """Return whether the items have different names: x and y, but not x_1 and x_2."""
    return len({(item.name or "").partition("_")[0] for item in items}) > 1


def _joined(items: list[Statement]) -> Statement | None:
    r"""Return a list as one statement: ``x = 3, y = 4`` as ``(x,y) = (3,4)``, ``x < 2, x > 5`` as a union."""
    if len(items) == 1:
        return items[0]
    names = [item.name for item in items]
    if None not in names and len(set(names)) == len(names) and all(len(item.parts) == 1 for item in items):
        ordered = _by_name(items)
        value = f"({','.join(item.parts[0][1] for item in ordered)})"
        return Statement(value, f"({','.join(str(item.name) for item in ordered)})", (("=", value),))
    intervals = [interval(item.text) for item in items]
    union = "\\cup ".join(filter(None, intervals))
    return Statement(union, None, (("", union),)) if None not in intervals else None


def _by_name(items: list[Statement]) -> list[Statement]:
    return sorted(items, key=lambda item: (item.name or "").lstrip("\\"))


def _same_in_order(gold: list[Statement], found: list[Statement]) -> bool:
    return all(map(_same_statements, gold, found))


def _same_in_some_order(gold: list[Item], found: list[Item], same: Callable[[Item, Item], bool]) -> bool:
    left = list(found)
    for item in gold:
        match = next((index for index, other in enumerate(left) if same(item, other)), None)
        if match is None:
            return False
        del left[match]
    return not left


# -- statements ----------------------------------------------------------------------------------------------------


def _same_statements(gold: Statement, found: Statement) -> bool:
    """Compare two items: their names where both have one, and their values."""
    if found.text in (gold.text, gold.text.removesuffix("%")) and gold.name == found.name:
        return True
    if gold.name and found.name and gold.name != found.name:
        return False
    left, right = _values(gold), _values(found)
    if left and right:
        return _same_one(left[0][0], right[0][0]) or _same_rounded(left, right)
    return gold.is_equation and found.is_equation and _same_values(gold.text, found.text)


def _values(statement: Statement) -> tuple[list[str], list[str]] | None:
    r"""Return the values that a statement gives, exact ones and rounded ones (``\frac{5}{8} \approx 0.63``).

    None if its parts contradict each other, or if it is an equation that gives no value.
    """
    parts = list(statement.parts)
    if statement.name and _value_with_unit(parts[-1][1]) is not None:
        # In A = \pi r^2 = 9\pi the formula in letters is no value.
        parts = [part for part in parts if _is_decimal(part[1]) or _value_with_unit(part[1]) is not None]
    if len(parts) == 1:
        return [parts[0][1]], []
    first = next((text for relation, text in parts if not _is_decimal(text)), parts[0][1])
    exact, rounded = [first], []
    for index, (relation, text) in enumerate(parts):
        if text is first:
            continue
        approximate = "approx" in relation + (parts[index + 1][0] if index + 1 < len(parts) else "")
        if (approximate or _is_decimal(text)) and _rounds_to(first, text, loosely=approximate):
            rounded.append(text)
        elif not approximate and _same_one(first, text):
            exact.append(text)
        else:
            return None
    return exact, rounded


def _same_rounded(gold: tuple[list[str], list[str]], found: tuple[list[str], list[str]]) -> bool:
    """Return whether one of the two is a single decimal that the other gives as its approximation."""
    for (one, _), (_, others) in ((gold, found), (found, gold)):
        if len(one) == 1 and _is_decimal(one[0]) and any(_same_leaf(one[0], other) for other in others):
            return True
    return False


def _is_decimal(text: str) -> bool:
    return _DECIMAL.fullmatch(unit_of(text)[0].removesuffix("%")) is not None


def _rounds_to(exact: str, rounded: str, *, loosely: bool) -> bool:
    """Return whether a number is another one rounded or cut off at its last digit.

    ``loosely`` also accepts a number that is not written as a decimal if it is within 1 %.
    """
    value, other = _value_with_unit(exact), _value_with_unit(rounded)
    if value is None or other is None:
        return False
    text = unit_of(rounded)[0]
    step = Fraction(1, 100) if text.endswith("%") else Fraction(1)
    if decimals := _DECIMAL.fullmatch(text.removesuffix("%")):
        step /= 10 ** len(decimals[1])
    elif not text.isdecimal():
        return loosely and relative_difference(value, other) < Decimal("0.01")
    off = abs(Fraction(value) - Fraction(other))
    return off <= step / 2 or (off < step and abs(Fraction(other)) <= abs(Fraction(value)))


def _value_with_unit(text: str) -> Value | None:
    """Return the value of a text including its unit and percent sign; None if there is none."""
    text = unit_of(text)[0].replace("…", "")
    try:
        value = value_of(text.removesuffix("%"))
    except NoValueError:
        return None
    return value / 100 if value is not None and text.endswith("%") else value


# -- single values -------------------------------------------------------------------------------------------------


def _same_items(gold: str, found: str) -> bool:
    return _same_statements(read_statement(gold), read_statement(found))


def _same_one(gold: str, found: str) -> bool:
    """Compare two single values: a union, a matrix, a tuple or interval, or an expression."""
    if gold == found:
        return True
    unions = [split(text, r"\\cup(?![A-Za-z])") for text in (gold, found)]
    if len(unions[0]) > 1 or len(unions[1]) > 1:
        return len(unions[0]) == len(unions[1]) and _same_in_some_order(unions[0], unions[1], _same_one)
    matrices = [matrix(text) for text in (gold, found)]
    if matrices[0] or matrices[1]:
        return _same_matrices(matrices[0], matrices[1])
    shapes = []
    for text in (gold, found):
        shape = bracketed(text)
        items = split(shape[1], ",") if shape else []
        if shape and len(items) == 1 and shape[0] == "(" and shape[2] == ")":
            return _same_one(*(shape[1] if text is other else other for other in (gold, found)))
        shapes.append((shape[0] + shape[2], items) if shape else ("", []))
    if shapes[0][0] or shapes[1][0]:
        (left, items), (right, others) = shapes
        if left and right:
            return left == right and len(items) == len(others) and all(map(_same_items, items, others))
        ranges = [interval(text) or text for text in (gold, found)]
        return ranges != [gold, found] and _same_one(*ranges)
    return _same_leaf(gold, found)


def _same_matrices(gold: Matrix | None, found: Matrix | None) -> bool:
    if gold is None or found is None or gold[0] != found[0] or [*map(len, gold[1])] != [*map(len, found[1])]:
        return False
    return all(map(_same_one, chain(*gold[1]), chain(*found[1])))


def _same_leaf(gold: str, found: str) -> bool:
    ratio = [text.split(":") for text in (gold, found)]
    if len(ratio[0]) > 1 or len(ratio[1]) > 1:
        return len(ratio[0]) == len(ratio[1]) and all(map(_same_leaf, *ratio))
    if re.search(r"[ap]\.?m\.?\W*$", gold + " ", re.IGNORECASE) or re.search(r"\d⟦?[ap]\.?m", found, re.IGNORECASE):
        return _bare(gold) == _bare(found)
    if any(one.endswith("%") and unit_of(other)[1] for one, other in ((gold, found), (found, gold))):
        return False
    return any(_same_values(*pair) for pair in _without_percent(*without_units(gold, found)))


def _bare(text: str) -> str:
    return re.sub(r"[\s.⟦⟧{}]", "", text).lower()


def _without_percent(gold: str, found: str) -> list[tuple[str, str]]:
    """Return pairs without percent signs, at least one of which must agree: 20 % is 1/5 and 0.2.

    A gold answer in percent, or a whole number above 1, may be the answer to "what percent". In that case the sign
    may be left out or added.
    """
    left, right = gold.removesuffix("%").strip(), found.removesuffix("%").strip()
    if gold.endswith("%") == found.endswith("%"):
        return [(left, right)]
    if gold.endswith("%"):
        return [(left, right), (f"\\frac{{{left}}}{{100}}", right)]
    hundredth = (left, f"\\frac{{{right}}}{{100}}")
    return [(left, right), hundredth] if re.fullmatch(r"-?[\d,]*(?:[2-9]|\d{2})", left) else [hundredth]


def _same_values(gold: str, found: str) -> bool:
    """Compare two texts without shape, unit or name: as numbers, else by math-verify where it can be trusted."""
    if not gold or not found:
        return False
    if re.sub(r"[\s⟦⟧]", "", gold) == re.sub(r"[\s⟦⟧]", "", found):
        return True
    relations = [bool(re.search(r"[=<>]|\\(?:le|ge|ne|in|approx)(?![A-Za-z])", text)) for text in (gold, found)]
    if relations[0] != relations[1]:
        return False
    if not relations[0] and (decided := _same_numbers(gold, found)) is not None:
        return decided
    if any(_not_mathematics(text) for text in (gold, found)) or _case_differs(gold, found):
        return False
    if not relations[0] and (decided := same_formula(gold, found)) is not None:
        return decided
    return not is_too_large(gold) and not is_too_large(found) and math_equal(gold, found)


def _same_numbers(gold: str, found: str) -> bool | None:
    """Compare two numbers exactly, except for the rounding of a decimal. None if one of the two is not a number."""
    try:
        values = value_of(gold.replace("…", "")), value_of(found.replace("…", ""))
    except NoValueError:
        return False
    if values[0] is None or values[1] is None:
        # A letter is a variable: 5k is not 5000, and 3s^2 is not 3 of a unit. A word of three letters may be a unit.
        if has_variables(gold, 3) or (has_variables(found, 2) and not is_sentence(found)):
            return None
        left, right = parse_number(gold), parse_number(found)
        return None if left is None or right is None else numbers_equal(left, right, RELATIVE_TOLERANCE)
    if same_value(values[0], values[1]):
        return True
    decimals = [_DECIMAL.fullmatch(text) for text in (gold, found)]
    if not any(decimals):
        return False
    irrational = any(isinstance(value, Decimal) for value in values)
    digits = min(len(re.sub(r"^[-+0.,]+|\D", "", match[0])) for match in decimals if match)
    if irrational and digits < IRRATIONAL_DIGITS:
        return False
    step = Fraction(1, 10 ** min(len(match[1]) for match in decimals if match))
    close = relative_difference(values[0], values[1]) <= Decimal(str(RELATIVE_TOLERANCE))
    return close and abs(Fraction(values[0]) - Fraction(values[1])) < step


def _case_differs(gold: str, found: str) -> bool:
    """Return whether a letter of one text is in the other only in the other case: math-verify takes x for X."""
    letters = [set(re.sub(r"\\[A-Za-z]+", "", text)) for text in (gold, found)]
    return any(char.isalpha() and char.swapcase() in letters[0] and char not in letters[0] for char in letters[1])


def _not_mathematics(text: str) -> bool:
    """Return whether math-verify would misread a text: a word or code, whose letters are not factors; a base or a
    name's index, which it would drop; or braces that do not close."""
    names = re.sub(r"\\[A-Za-z]+", " ", text)
    words = [word for word in re.findall(r"[A-Za-z]+", names) if not _FUNCTIONS.fullmatch(word)]
    return (
        any(len(word) > 3 or (len(word) > 1 and word.isupper()) for word in words)
        or len(words) > 12
        or text.count("{") != text.count("}")
        or "{{{" in text
        or "⟦" in text
        or re.search(r"(?<!\\log)(?<=\w)_[\w{]|\\overline|\\[A-Za-z]*(?:line|vec|angle|triangle)\b", text) is not None
    )
