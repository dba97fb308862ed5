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
    r"|(?<=\d )\d+/\d+(?!\d)|[²³¹⁰⁴-⁹ⁿ]|(?<=[-+*×·,])\s?(?:\.{2,}|…|\\[lc]?dots)|\|(?=[\w(-])|(?<=[\w)])\|"
    r"|[^\W\d_]{2,}(?=\()|(?<!\d)\d{1,2}:\d\d(?!\d)"
    r"|\b(?:hundred|thousand|million|billion|trillion|dozens?|remainder|squared|cubed|sqrt|log|floor|ceil)\b)"
    r"|(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?P<percent>\s?\\?%)?"
    r"|(?P<equals>(?<![<>!=])=(?!=)|\bequals\b)"
    r"|(?P<unit>[-/](?=[^\W\d_]))|(?P<open>\()|(?P<close>\))"
    r"|(?P<sign>[-−–+*×·⋅/÷]|\\(?:cdot|times|div)\b|\b(?:plus|minus|times|divided by|multiplied by)\b)"
    r"|(?P<letter>(?<=[\d\s)])x(?=\s?[\d($.]))|(?P<of>(?<=[\d%])\s?of(?=\s(?:the\s|his\s|her\s)?\$?[\d.]))"
    r"|(?P<word>[^\W\d_]+)|(?P<end>[.,;:?!](?=\s|$)|\n)",
    re.IGNORECASE,
)
_SIGNS = str.maketrans("−–×·⋅÷", "--***/")
_SPOKEN = {
    "plus": "+", "minus": "-", "times": "*", "multiplied by": "*", "divided by": "/",
    "\\cdot": "*", "\\times": "*", "\\div": "/",
}  # fmt: skip
_BINDS = {"+": 1, "-": 1, "*": 2, "/": 2}
# Units of one kind, of which 2 hours + 30 minutes are 150: what mixes them is converted, and not computed here.
_UNITS = (
    ("second", "minute", "hour", "day", "week", "month", "year"),
    ("cent", "dollar", "penny", "pennie", "nickel", "dime", "quarter", "$", "¢"),
    ("inche", "inch", "foot", "feet", "yard", "mile", "cm", "centimeter", "meter", "km", "kilometer"),
    ("ounce", "pound", "gram", "kg", "kilogram"), ("cup", "pint", "quart", "gallon", "ml", "liter"),
)  # fmt: skip
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
    text, began = text[:MAX_CHARS], 0
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "equals":
            sides.append([])
        elif kind == "end":
            found += _read(sides, text[began : match.start()])
            sides, began = [[]], match.end()
        else:
            # What stands before a bracket without a space multiplies it: 2(40 + 9).
            if kind == "open" and text[max(0, match.start() - 1) : match.start()] in tuple("0123456789)"):
                sides[-1].append("*")
            sides[-1].append(_token(match))
    return tuple(found + _read(sides, text[began:]))


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


def _read(sides: Sequence[list[str]], text: str) -> list[Equation]:
    """Return the equations of a sentence, from the tokens between its equals signs."""
    found = []
    converts = any(len({unit for unit in units if unit in _units(text)}) > 1 for units in _UNITS)
    for before, after in pairwise(sides):
        left, right = _ending(before), _beginning(after)
        if sum(_is_number(token) for token in left) < 2 or not right or _UNKNOWN in (*left, *right):
            continue
        worth = [(_worth(left, percent), _worth(right, percent)) for percent in (0.01, 1.0)]
        pairs = [(one, other) for one, other in worth if one is not None and other is not None]
        if pairs:
            # Nothing is rounded among whole numbers without a division.
            exact = all(token.isdigit() or token in "+-*()" for token in (*left, *right))
            tolerance = 0.0 if exact else TOLERANCE
            holds = any(abs(one - other) <= tolerance * max(1.0, abs(other)) for one, other in pairs)
            if converts and not holds:
                continue
            result = Decimal(right[0].rstrip("%")) if len(right) == 1 else Decimal(repr(pairs[0][1]))
            operands = frozenset(Decimal(token.rstrip("%")) for token in left if _is_number(token))
            found.append(Equation(operands, result, holds))
    return found


def _units(text: str) -> set[str]:
    """Return the words of a sentence, also without a plural's ending, and signs of money."""
    found = re.findall(r"[^\W\d_]+|[$¢]", text.lower())
    return {form for word in found for form in (word, word.removesuffix("s"))}


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
            if kept and following not in ("+", "-", "*", "/"):
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
            following in ("", "+", "*", "/", ")", "of") or (token != "-" and (not kept or kept[-1] in ("(", *_BINDS)))
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
    values.append({"+": left + right, "-": left - right, "*": left * right}[sign] if sign != "/" else left / right)
