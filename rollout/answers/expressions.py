"""The rules by which two mathematical expressions are the same.

What has an order or a shape (tuples, intervals, lists, unions, matrices) is compared part by part; the parts by
their text, then as numbers, and only then by math-verify, which knows no difference between ``x`` and ``X``,
``204_5`` and ``204``, inches and feet, ``(3, 4)`` and ``{3, 4}``.
"""

from __future__ import annotations

import re
from decimal import Decimal
from itertools import accumulate, chain

from rollout.answers.math_equality import math_equal
from rollout.answers.numbers_and_options import parse_number, plain, untexted

MAX_EXPRESSION = 400
RELATIVE_TOLERANCE = 1e-6

_FUNCTIONS = re.compile(
    "sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|sinh|cosh|tanh|log|ln|exp|max|min|gcd|lcm|mod|det"
)
_NO_VALUE = re.compile(r"[-+]?(?:nan|inf|infinity|[\d.]+/0+|\\frac\{[^{}]*\}\{0+\}|[\d.]+e[-+]?\d{4,})", re.IGNORECASE)
# Units written in more than one way: those of one entry are the same unit, those of two are not.
_UNITS = {
    name: names.split()[0]
    for names in (
        "cm centimeter centimetre", "mm millimeter millimetre", "m meter metre", "km kilometer kilometre",
        "in inch inche", "ft foot feet", "yd yard", "mi mile", "s sec second", "min minute", "h hr hour", "day", "week",
        "month", "year yr", "cent", "dollar usd", "g gram", "kg kilogram", "lb pound", "oz ounce", "mph", "kmph",
        "l liter litre", "ml milliliter millilitre", "gallon gal", "degree °", "radian rad", "ton", "cup", "quart",
    )
    for name in names.split()
}  # fmt: skip


def same_expression(gold: str, found: str) -> bool:
    """Return whether two expressions (LaTeX or plain) are the same, with shape and order where they matter.

    Raises what ``math_equality.math_equal`` raises.
    """
    if len(found) > MAX_EXPRESSION:
        return gold.strip() == found.strip()
    found = _tidy(found)
    return not _NO_VALUE.fullmatch(found) and _same(_tidy(gold), found)


def numbers_equal(gold: Decimal, found: Decimal, tolerance: float) -> bool:
    """Return whether two numbers are equal within a relative tolerance for rounding; integers have none."""
    if gold == gold.to_integral_value() and found == found.to_integral_value():
        return gold == found
    return abs(gold - found) <= Decimal(str(tolerance)) * max(abs(gold), abs(found))


def _tidy(text: str) -> str:
    """Give one spelling to what LaTeX writes in many ways; text in words is put between ⟦ and ⟧."""
    text = plain(text).replace("\\$", "⟦dollar⟧").replace("$", "").replace("\\%", "%").replace("\n", " ")
    text = re.sub(r"\\[()\[\]]", " ", text.replace("\\\\", "⏎"))
    text = re.sub(r"\\(?:text|textbf|textit|textrm|mathrm|mbox)\s?\{([^{}]*)\}", r"⟦\1⟧", text)
    text = re.sub(r"⟦\s*(and|or)\s*⟧|\b(and|or)\b", ",", text)
    text = re.sub(r"\\v?phantom\s?(?:\{[^{}]*\}|.)|\\(?:displaystyle|boxed|approx)(?![A-Za-z])|\*\*", " ", text)
    text = re.sub(r"\\[dt]frac", r"\\frac", untexted(text))
    text = re.sub(r"\\frac\s?(\d)\s?(\d)", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\frac\s?(\d)\s?\{", r"\\frac{\1}{", text)
    text = re.sub(r"(\\frac\{[^{}]*\})\s?(\w)", r"\1{\2}", text)
    text = re.sub(r"\\sqrt\s?(\w)", r"\\sqrt{\1}", text)
    text = re.sub(r"\^\s?(?:\{\s?\\circ\s?\}|\\circ)", "°", text)
    text = re.sub(r"([_^])\s?\{\s?(\w)\s?\}(?!\w)", r"\1\2", text)
    text = re.sub(r"\\(le|ge|ne)q(?![A-Za-z])", r"\\\1", text)
    text = text.replace("≤", "\\le ").replace("≥", "\\ge ").replace("π", "\\pi ").replace("∞", "\\infty ")
    text = text.replace("∪", "\\cup ").replace("√", "\\sqrt").replace("\\lbrace", "\\{").replace("\\rbrace", "\\}")
    text = re.sub(r"(?<![A-Za-z0-9])\s+|\s+(?![A-Za-z0-9])|(?<=\d)\s+(?=[A-Za-z])", "", text.strip())
    return text.rstrip(".,;")


def _split(text: str, separator: str) -> list[str]:
    """Return the pieces of a text between separators (a regular expression) that are outside all brackets."""
    pieces, depth, start, at = [], 0, 0, 0
    find = re.compile(separator)
    while at < len(text):
        if text[at] in "([{⟦":
            depth += 1
        elif text[at] in ")]}⟧":
            depth -= 1
        elif depth <= 0 and (match := find.match(text, at)):
            pieces.append(text[start:at].strip())
            at = start = match.end()
            continue
        at += 1
    return [*pieces, text[start:].strip()]


def _lists(text: str) -> list[list[str]]:
    """Return the readings of a text as a list or set: ``1,200`` may be one number or two; ``±`` is two values."""
    if (shape := _bracketed(text)) and shape[0] == "\\{":
        text = shape[1]
    readings = [_split(text, ","), _split(text, r",(?!\d{3}(?!\d))")]
    distinct = readings if readings[0] != readings[1] else readings[:1]
    return [[value for item in items for value in _both_signs(item)] for items in distinct]


def _both_signs(text: str) -> list[str]:
    parts = re.split(r"\\pm(?![A-Za-z])|±", text)
    return [sign.join(parts) for sign in "+-"] if len(parts) == 2 else [text]


def _same(gold: str, found: str) -> bool:
    if not gold or not found:
        return False
    gold, found = _without_name(gold, found)
    return gold == found or any(_same_lists(left, right) for left in _lists(gold) for right in _lists(found))


def _same_lists(gold: list[str], found: list[str]) -> bool:
    if len(gold) == 1:
        # One value written several ways ("1/2 or 0.5") is that value; two values are not.
        return all(_same_one(gold[0], item) for item in found)
    return len(gold) == len(found) and _same_in_some_order(gold, found)


def _same_in_some_order(gold: list[str], found: list[str]) -> bool:
    left = list(found)
    for item in gold:
        match = next((other for other in left if _same_one(item, other)), None)
        if match is None:
            return False
        left.remove(match)
    return not left


def _without_name(gold: str, found: str) -> tuple[str, str]:
    """Return both without ``x =`` where one names what it gives and the other does not, or both name the same.

    Where they name different things ``found`` comes back empty, equal to nothing.
    """
    named = re.compile(
        r"(\\?[A-Za-z]+(?:_\w|'|_\{\w+\})?|[A-Za-z]\([A-Za-z](?:,[A-Za-z])*\)|\([a-z](?:,[a-z])+\))(?:=|\\in )"
    )
    left, right = named.match(gold), named.match(found)
    plain_left, plain_right = (not re.search(r"=|\\in ", text) for text in (gold, found))
    if left and right and left[1] != right[1]:
        return gold, ""
    if (left and right) or (left and plain_right) or (right and plain_left):
        return gold[left.end() if left else 0 :].strip(), found[right.end() if right else 0 :].strip()
    return gold, found


def _bracketed(text: str) -> tuple[str, str, str] | None:
    """Return opening bracket, content and closing bracket of a text that is one bracketed whole."""
    match = re.fullmatch(r"(\(|\[|\\\{)(.*?)(\)|\]|\\\})", text, re.DOTALL)
    if match is None:
        return None
    depths = accumulate((char in "([{") - (char in ")]}") for char in match[2])
    return None if min(depths, default=0) < 0 else (match[1], match[2], match[3])


def _same_one(gold: str, found: str) -> bool:
    """Compare two single values: a union, a matrix, a tuple or interval, or an expression."""
    gold, found = _without_name(gold, found)
    if gold == found:
        return True
    unions = [_split(text, r"\\cup(?![A-Za-z])") for text in (gold, found)]
    if len(unions[0]) > 1 or len(unions[1]) > 1:
        return len(unions[0]) == len(unions[1]) and _same_in_some_order(*unions)
    matrices = [_matrix(text) for text in (gold, found)]
    if matrices[0] or matrices[1]:
        return _same_matrices(matrices[0], matrices[1])
    shapes = []
    for text in (gold, found):
        shape = _bracketed(text)
        items = _split(shape[1], ",") if shape else []
        if shape and len(items) == 1 and shape[0] == "(" and shape[2] == ")":
            return _same_one(*(shape[1] if text is other else other for other in (gold, found)))
        shapes.append((shape[0] + shape[2], items) if shape else ("", []))
    if shapes[0][0] or shapes[1][0]:
        (left, items), (right, others) = shapes
        return left == right and len(items) == len(others) and all(map(_same_one, items, others))
    return _same_leaf(gold, found)


def _matrix(text: str) -> tuple[str, list[list[str]]] | None:
    match = re.fullmatch(r"\\begin\{([a-zA-Z]?)(?:matrix|array)\}(?:\{[lcr|]*\})?(.*)\\end\{\1(?:matrix|array)\}", text)
    if match is None:
        return None
    # Round and square brackets mean the same matrix; bars mean its determinant.
    kind = match[1] if match[1] in ("v", "V") else "p"
    rows = [row for row in match[2].split("⏎") if row.strip()]
    return kind, [[cell.strip() for cell in row.split("&")] for row in rows]


def _same_matrices(gold: tuple[str, list[list[str]]] | None, found: tuple[str, list[list[str]]] | None) -> bool:
    if gold is None or found is None or gold[0] != found[0] or [*map(len, gold[1])] != [*map(len, found[1])]:
        return False
    return all(map(_same_one, chain(*gold[1]), chain(*found[1])))


def _unit(text: str) -> tuple[str, str | None]:
    """Return a text without its unit, and the unit in one spelling, None where there is none known."""
    match = re.search(r"(?:⟦([^⟦⟧]*)⟧(?:\^(\d))?|(?<=[\d})])\s?([A-Za-z]{2,}(?: [A-Za-z]+)*)(?:\^(\d))?|(°))$", text)
    if match is None:
        return text, None
    words = (match[1] or match[3] or match[5] or "").lower().replace("per", "/").split()
    power = match[2] or match[4] or ""
    if words and words[0] in ("square", "sq", "sq."):
        words, power = words[1:], "2"
    elif words and words[0] in ("cubic", "cu", "cu."):
        words, power = words[1:], "3"
    name = " ".join(words).rstrip(".")
    if glued := re.fullmatch(r"(.*[a-z])\^?([23])", name):
        name, power = glued[1], glued[2]
    known = _UNITS.get(name) or _UNITS.get(name.removesuffix("s"))
    if known is None and match[3]:
        return text, None
    return text[: match.start()].strip(), f"{known}^{power}" if known and power else known


def _same_leaf(gold: str, found: str) -> bool:
    ratio = [text.split(":") for text in (gold, found)]
    if len(ratio[0]) > 1 or len(ratio[1]) > 1:
        return len(ratio[0]) == len(ratio[1]) and all(map(_same_leaf, *ratio))
    if re.search(r"[ap]\.?m\.?\W*$", gold + " ", re.IGNORECASE) or re.search(r"\d⟦?[ap]\.?m", found, re.IGNORECASE):
        return _bare(gold) == _bare(found)
    return _same_values(*_without_percent(*_without_units(gold, found)))


def _bare(text: str) -> str:
    return re.sub(r"[\s.⟦⟧{}]", "", text).lower()


def _without_units(gold: str, found: str) -> tuple[str, str]:
    """Return both without their units; where two units differ, ``found`` comes back empty, equal to nothing."""
    (left, unit), (right, other) = _unit(gold), _unit(found)
    if unit and other and unit != other:
        return left, ""
    # An angle's sign is part of the argument of sin 13°, and no unit of the whole.
    functions = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)")
    if (unit == "degree" or other == "degree") and (functions.search(left) or functions.search(right)):
        return gold, found
    return left, right


def _without_percent(gold: str, found: str) -> tuple[str, str]:
    """Return both without a percent sign; a gold in percent also accepts the same value as a fraction of one."""
    if gold.endswith("%") and not found.endswith("%"):
        share, value = parse_number(gold), parse_number(found)
        if share is not None and value is not None and numbers_equal(share / 100, value, RELATIVE_TOLERANCE):
            return gold, gold
    return gold.removesuffix("%").strip(), found.removesuffix("%").strip()


def _same_values(gold: str, found: str) -> bool:
    """Compare two texts without shape, unit or name: as numbers, else by math-verify where it can be trusted."""
    if not gold or not found:
        return False
    if re.sub(r"[\s⟦⟧]", "", gold) == re.sub(r"[\s⟦⟧]", "", found):
        return True
    relations = [bool(re.search(r"[=<>]|\\(?:le|ge|ne)(?![A-Za-z])", text)) for text in (gold, found)]
    if relations[0] != relations[1]:
        return False
    left, right = parse_number(gold), parse_number(found)
    if left is not None and right is not None and not relations[0]:
        return numbers_equal(left, right, RELATIVE_TOLERANCE)
    if any(_not_mathematics(text) for text in (gold, found)) or _case_differs(gold, found):
        return False
    return math_equal(gold, found)


def _case_differs(gold: str, found: str) -> bool:
    """Return whether a letter of one is in the other only in the other case: math-verify cannot tell x from X."""
    letters = [set(re.sub(r"\\[A-Za-z]+", "", text)) for text in (gold, found)]
    return any(char.isalpha() and char.swapcase() in letters[0] and char not in letters[0] for char in letters[1])


def _not_mathematics(text: str) -> bool:
    """Return whether a text is a word or code, whose letters are no factors to be reordered, or has a base or a name's
    index that math-verify would drop."""
    names = re.sub(r"\\[A-Za-z]+", " ", text)
    words = [word for word in re.findall(r"[A-Za-z]+", names) if not _FUNCTIONS.fullmatch(word)]
    return (
        any(len(word) > 3 or (len(word) > 1 and word.isupper()) for word in words)
        or len(words) > 12
        or "⟦" in text
        or re.search(r"\w_[\w{]|\\overline|\\[A-Za-z]*(?:line|vec|angle|triangle)\b", text) is not None
    )
