"""Find the equations that a text states: their operands, their results, and whether they hold.

"She sells 16 - 3 - 4 = 9 eggs" states one; units and words in between are skipped. An equation that cannot be read, or
that computes nothing ("x = 5"), is left out. Reading is linear in the text. All are computed, while
``rollout.answers.read_number`` takes the one number after the last equals sign as it stands.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise

MAX_CHARS = 4_000
# A longer side is no step of a solution.
MAX_TOKENS = 60
# Results may be rounded so far.
TOLERANCE = 0.01
_TOKEN = re.compile(
    # What is not computed here: an equation with it is left out, and not read as a part of itself.
    r"(?P<unread>\\[dt]?frac\s?\{[^{}]{0,40}\}\s?\{[^{}]{0,40}\}|\\sqrt\s?\{[^{}]{0,40}\}|[\^√]|\*\*|(?<=\d)!(?!\s[A-Z])"
    r"|(?<=\d )\d+/\d+(?!\d)|[²³¹⁰⁴-⁹ⁿ]|(?<=[-+*×·])\s?(?:\.{2,}|…|\\[lc]?dots)|[^\W\d_]{2,}(?=\())"
    r"|(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?P<percent>\s?\\?%)?"
    r"|(?P<equals>(?<![<>!=])=(?!=)|\bequals\b)"
    r"|(?P<unit>[-/](?=[^\W\d_]))|(?P<open>\()|(?P<close>\))"
    r"|(?P<sign>[-−–+*×·⋅/÷]|\\(?:cdot|times|div)\b|\b(?:plus|minus|divided by|multiplied by)\b"
    # Not in "3 times a day", nor in "3 times because 42 / 14 = 3".
    r"|\btimes\b(?=\s(?:the\s|his\s|her\s)?\\?[$(]{0,2}\s?[\d.]))"
    r"|(?P<letter>(?<=[\d\s)])x(?=\s?[\d($.]))|(?P<of>(?<=[\d%])\s?of(?=\s(?:the\s|his\s|her\s)?\$?[\d.]))"
    r"|(?P<word>[^\W\d_]+)|(?P<end>[.,;:?!](?=\s|$)|\n)",
    re.IGNORECASE,
)
_SIGNS = str.maketrans("−–×·⋅÷", "--***/")
_SPOKEN = {
    "plus": "+", "minus": "-", "times": "*", "multiplied by": "*", "divided by": "/",
    "\\cdot": "*", "\\times": "*", "\\div": "/",
}  # fmt: skip
_BINDS = {"+": 1, "-": 1, "*": 2, "/": 2, "×": 2}
# Units of one kind, by their names: what mixes them is converted, as 2 hours + 30 minutes = 150 minutes.
_UNITS = {
    "second": "time", "minute": "time", "hour": "time", "day": "time", "week": "time", "month": "time", "year": "time",
    "cent": "money", "dollar": "money", "penny": "money", "nickel": "money", "dime": "money", "quarter": "money",
    "inch": "length", "foot": "length", "yard": "length", "mile": "length", "centimeter": "length", "meter": "length",
    "kilometer": "length", "ounce": "mass", "pound": "mass", "gram": "mass", "kilogram": "mass", "cup": "volume",
    "pint": "volume", "quart": "volume", "gallon": "volume", "liter": "volume",
}  # fmt: skip
_SAME_UNIT = {
    "$": "dollar", "¢": "cent", "pennies": "penny", "inches": "inch", "feet": "foot", "cm": "centimeter", "m": "meter",
    "km": "kilometer", "kg": "kilogram", "g": "gram", "lb": "pound",
}  # fmt: skip
_UNIT = re.compile(r"(\$)\s?\d|\d\s?(¢|[A-Za-z]+)")
# What is not computed here either. An equation beside it counts where it holds, and is left out where it does not.
_BESIDE = re.compile(
    r"\d\s(?:hundred|thousand|million|billion|trillion|dozens?)\b|\bremainder\s(?:of\s)?\d|(?<!\d)\d{1,2}:\d\d(?!\d)"
    r"|\|\s?-?[\w(]+\s?[-+*/]\s?-?[\w)]+\s?\|"
)
# So much of a sentence is beside an equals sign.
_BEFORE, _AFTER = 60, 30
# A number before a bracket, without a space: a product, unless the number only counts ("Step 2(3 + 4) = 7").
_IMPLIED = "×"
# A letter to compute with: what it is worth is not known.
_UNKNOWN = "?"


@dataclass(frozen=True)
class Equation:
    """One equation: the values that it computes with, its result, and whether it holds."""

    operands: frozenset[Decimal]
    result: Decimal
    holds: bool


@lru_cache(maxsize=2_000)
def equations(text: str) -> tuple[Equation, ...]:
    """Return the equations of a text in order."""
    sides: list[list[str]] = [[]]
    found: list[Equation] = []
    text, places, began = text[:MAX_CHARS], list[str](), 0
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "equals":
            sides.append([])
            before = text[max(began, match.start() - _BEFORE) : match.end()]
            places.append(before + re.split(r"[.,;:?!](?:\s|$)|\n", text[match.end() :][:_AFTER], maxsplit=1)[0])
        elif kind == "end":
            found += _read(sides, places)
            sides, places, began = [[]], [], match.end()
        else:
            if kind == "open" and re.search(r"\d\)?$", text[max(0, match.start() - 2) : match.start()]):
                sides[-1].append(_IMPLIED)
            sides[-1].append(_token(match))
    return tuple(found + _read(sides, places))


def _token(match: re.Match[str]) -> str:
    """Return a number, an operator, a bracket, or the empty string for a word."""
    if match["unread"]:
        return _UNKNOWN
    if match["number"]:
        return match["number"].replace(",", "") + ("%" if match["percent"] else "")
    if match["letter"] or match["of"]:
        return "*" if match["letter"] else "of"
    if match["word"] or match["unit"]:
        return _UNKNOWN if len(match[0]) == 1 and match[0].isalpha() and match[0] not in "aAI" else ""
    return _SPOKEN.get(match[0].lower()) or match[0].translate(_SIGNS)


def _read(sides: Sequence[list[str]], places: Sequence[str]) -> list[Equation]:
    """Return the equations of a sentence, from the tokens between its equals signs and the text beside each sign."""
    found = []
    for (before, after), beside in zip(pairwise(sides), places, strict=True):
        left, right = _ending(before), _beginning(after)
        if sum(_is_number(token) for token in left) < 2 or not right or _UNKNOWN in (*left, *right):
            continue
        one = _equation(left, right)
        if _IMPLIED in left and (one is None or not one.holds):
            counted = _equation(left[left.index(_IMPLIED) + 1 :], right)
            one = counted if counted is not None and counted.holds else one
        if one is not None and (one.holds or not (_BESIDE.search(beside) or _converts(beside))):
            found.append(one)
    return found


def _equation(left: Sequence[str], right: Sequence[str]) -> Equation | None:
    """Return the equation of two sides; None if one of them cannot be computed."""
    worth = [(_worth(left, percent), _worth(right, percent)) for percent in (0.01, 1.0)]
    pairs = [(one, other) for one, other in worth if one is not None and other is not None]
    if not pairs:
        return None
    # Nothing is rounded among whole numbers without a division.
    exact = all(token.isdigit() or token in "+-*()×" for token in (*left, *right))
    tolerance = 0.0 if exact else TOLERANCE
    holds = any(abs(one - other) <= tolerance * max(1.0, abs(other)) for one, other in pairs)
    result = Decimal(right[0].rstrip("%")) if len(right) == 1 else Decimal(repr(pairs[0][1]))
    operands = frozenset(Decimal(token.rstrip("%")) for token in left if _is_number(token))
    return Equation(operands, result, holds)


def _converts(text: str) -> bool:
    """Return whether two units of one kind stand at the numbers of a text."""
    kinds: dict[str, set[str]] = {}
    for sign, word in _UNIT.findall(text):
        named = (sign or word).lower()
        unit = _SAME_UNIT.get(named) or (named if named in _UNITS else named.removesuffix("s"))
        if unit in _UNITS:
            kinds.setdefault(_UNITS[unit], set()).add(unit)
    return any(len(units) > 1 for units in kinds.values())


def _is_number(token: str) -> bool:
    return token[:1].isdigit() or token[:1] == "."


def _ending(tokens: Sequence[str]) -> list[str]:
    """Return the computation at the end of a side: back to a number that is followed by another one."""
    kept: list[str] = []
    for token in reversed([token for token in tokens if token][-MAX_TOKENS:]):
        if kept and (_is_number(token) or token == ")") and (_is_number(kept[-1]) or kept[-1] == "("):
            break
        kept.append(token)
    return _tidy(kept[::-1])


def _beginning(tokens: Sequence[str]) -> list[str]:
    """Return the computation or number at the start of a side: up to a word that no operator follows."""
    kept: list[str] = []
    for place, token in enumerate(tokens[:MAX_TOKENS]):
        if not token:
            following = next((later for later in tokens[place : place + MAX_TOKENS] if later), "")
            if kept and following not in _BINDS:
                break
        elif kept and _is_number(token) and _is_number(kept[-1]):
            break
        else:
            kept.append(token)
    return _tidy(kept)


def _tidy(tokens: Sequence[str]) -> list[str]:
    """Return a computation without operators that units left behind ("5 dollars / hour * 3")."""
    kept: list[str] = []
    for place, token in enumerate(tokens):
        following = tokens[place + 1] if place + 1 < len(tokens) else ""
        if token == "of":
            if kept and _is_number(kept[-1]) and _is_number(following):
                kept.append("*")
        elif token not in _BINDS or not (
            following in ("", "+", "*", "×", "/", ")", "of")
            or (token != "-" and (not kept or kept[-1] in ("(", *_BINDS)))
        ):
            kept.append(token)
    return kept


def _worth(tokens: Sequence[str], percent: float) -> float | None:
    """Return the result of a computation, with ``percent`` for each percent sign; None if it cannot be read."""
    values: list[float] = []
    signs: list[str] = []
    expecting = True
    try:
        for token in tokens:
            if _is_number(token):
                values.append(float(token.rstrip("%")) * (percent if token.endswith("%") else 1.0))
                expecting = False
            elif token == "(":
                if not expecting:
                    _push("*", values, signs)
                signs.append(token)
                expecting = True
            elif token == ")":
                while signs and signs[-1] != "(":
                    _apply(values, signs)
                if not signs:
                    return None
                signs.pop()
                expecting = False
            elif expecting:
                values.append(0.0)  # a sign of its own
                signs.append(token)
            else:
                _push(token, values, signs)
                expecting = True
        while signs:
            _apply(values, signs)
    except (IndexError, ZeroDivisionError, OverflowError, KeyError):
        return None
    return values[0] if len(values) == 1 and math.isfinite(values[0]) else None


def _push(sign: str, values: list[float], signs: list[str]) -> None:
    while signs and signs[-1] != "(" and _BINDS[signs[-1]] >= _BINDS[sign]:
        _apply(values, signs)
    signs.append(sign)


def _apply(values: list[float], signs: list[str]) -> None:
    right, left, sign = values.pop(), values.pop(), signs.pop()
    if sign == "(":
        raise KeyError(sign)
    worth = {"+": left + right, "-": left - right, "*": left * right, "×": left * right}
    values.append(left / right if sign == "/" else worth[sign])
