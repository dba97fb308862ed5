"""The values a text states: numbers, option letters and options named by their value.

A text states a number only where exactly one number can be meant: of "5 or 7", "3 + 2", "3-5" or "2x" there is
none. Every regular expression here is searched in time linear in the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from decimal import Decimal, DecimalException
from typing import NamedTuple

Choices = Mapping[str, str] | Sequence[str] | None

LETTERS = "ABCDEFGHIJ"
# A longer run of digits, or a larger exponent, is no answer of any data set: it is refused, not computed.
MAX_DIGITS = 400
MAX_EXPONENT = 308
SCALES = {
    "hundred": 100, "thousand": 10**3, "k": 10**3, "lakh": 10**5, "lakhs": 10**5, "million": 10**6, "mn": 10**6,
    "crore": 10**7, "crores": 10**7, "billion": 10**9, "bn": 10**9, "trillion": 10**12,
}  # fmt: skip

_DIGITS = r"(?:\d+(?:,\d+)*(?:\.\d+)?|(?<![\w.])\.\d+)"
_POWER = (
    r"(?:[eE][-+]?\d+(?!\w)|\s{0,3}(?:[x×*·]|\\times|\\cdot)\s{0,3}10\s?(?:\^|\*\*)\s?(?:\{\s?[-+]?\d+\s?\}|[-+]?\d+))"
)
_FRACTION = r"\\[dt]?frac\s?(?:\{\s?-?\d+(?:\.\d+)?\s?\}|\d)\s?(?:\{\s?-?\d+(?:\.\d+)?\s?\}|\d)"
_OVER = r"\s{0,2}[/⁄∕]\s{0,2}\d+(?:\.\d+)?(?![\d,.]*[/⁄∕])"
_HALVES = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
NUMBER = re.compile(
    r"(?:(?<![\w)}%])[-−+]\s?)?(?:\\?\$\s?|[€£₹]\s?)?(?:(?<![\w)}%\s])[-−+]\s?)?(?<![\w\\])"
    rf"(?:\d*\s?[{_HALVES}]|\d+\s?{_FRACTION}|{_FRACTION}|\d+ \d+[/⁄∕]\d+(?![\d/])|{_DIGITS}(?:{_POWER}|{_OVER})?)"
)
EQUALS = re.compile(r"(?<![<>!=])=|[≈≃≅]|\\approx(?![a-z])")
_MIXED = re.compile(r"(\d+)\s+(\d+)/(\d+)")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_INDIAN = re.compile(r"\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d+)?")
_VULGAR = {char: " " + unicodedata.normalize("NFKC", char).replace("⁄", "/") for char in _HALVES}
_MARKS = str.maketrans(
    {"−": "-", "–": "-", "—": "-", "‒": "-", "﹣": "-", "－": "-", "＋": "+", "％": "%", "＄": "$", "．": ".",
     "，": ",", "＝": "=", "（": "(", "）": ")", "∕": "/", "⁄": "/", "’": "'",
     "\u200b": "", "\ufeff": "", "\u2060": ""} | _VULGAR
)  # fmt: skip
_WORDED = r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|operatorname|mbox|rm|bf)(?![A-Za-z])"
_SPACING = re.compile(r"\\(?:left|right|displaystyle|[bB]igg?[lr]?)(?![A-Za-z])|\\[!,;: ]|\\q?quad(?![A-Za-z])|~")
_SEPARATOR = re.compile(r"(?<=\d)(?:\{,\}|,\\!|\\,|\\ |[\u2009\u202f\u00a0])(?=\d{3}(?!\d))")
# What makes a number another one: alternatives and bounds anywhere, and what stands directly before or after it.
# One letter glued to a number is a unit only where units are written so: "5m" is 5, but "2x" and "5n" are no numbers.
_CHANGED = re.compile(r"\b(?:or|either|neither|nor|between)\b|[±<>≤≥≠√∞]")
_CHANGED_BEFORE = re.compile(
    r"(?:[-+*/^_×÷:,√]|\b[A-Za-z]\w*\(|\d)$|[-+*/^×÷]\s$"
    r"|\b(?:not|n't|never|except|(?:more|less|fewer|greater|other|rather) than|at least|at most|up to)\s*$",
    re.IGNORECASE,
)
_CHANGED_AFTER = re.compile(
    r"[\d^_!({²³⁰¹⁴-⁹₀-₉α-ωΑ-Ω:]|\s?[+*×÷^=](?!\*)|\s?[-/:]\s?(?:[A-Za-z](?![A-Za-z])(?<![smhgLl])|\d|\()"
    r"|(?![mgshlLVAWJNKCFMtk%°])[A-Za-z](?![A-Za-z])"
)


def plain(text: str) -> str:
    """Return ``text`` with one spelling for what means the same: minus signs, digits of any script (category Nd), thin
    and no-break spaces, vulgar fractions, full-width signs. Superscript and circled digits are left alone."""
    if text.isascii():
        return text
    text = text.translate(_MARKS)
    return "".join(
        str(unicodedata.decimal(char)) if char.isdecimal() else " " if unicodedata.category(char) == "Zs" else char
        for char in _SEPARATOR.sub(",", text)
    )


def untexted(text: str) -> str:
    r"""Return ``text`` without LaTeX that says nothing of its value: ``$``, ``\left``, spacing, ``\text{}``."""
    text = _SEPARATOR.sub(",", plain(text))
    text = _SPACING.sub(" ", text)
    text = re.sub(rf"{_WORDED}\s?\{{([^{{}}]*)\}}", r"\1", text)
    text = re.sub(_WORDED, "", text)
    return text.replace("\\$", "$").replace("\\%", "%").replace("{,}", ",")


class Found(NamedTuple):
    """A number in a text: where it stands and what it is worth (None where it is not a usable number)."""

    start: int
    end: int
    value: Decimal | None


def numbers(text: str) -> list[Found]:
    """Return every number of a text in its order; ``start`` and ``end`` index into ``text`` as it is given."""
    found = []
    for match in NUMBER.finditer(text):
        start, token = match.start(), match[0]
        if token[0] in "-−+" and _subtracts(text[max(0, start - 20) : start].rstrip(), token[1].isspace()):
            token = token[1:].lstrip()
            start = match.end() - len(token)
        found.append(Found(start, match.end(), _worth(token)))
    return found


def _subtracts(before: str, spaced: bool) -> bool:
    """Return whether a sign after ``before`` is an operator (x - 5, 10 -5) or a dash, not the number's own (is -5)."""
    if not before:
        return False
    return (spaced and before[-1] not in "=(,:[{$") or bool(re.search(r"[\d)}%°]$|(?<![A-Za-z])[A-Za-z]$", before))


def _worth(token: str) -> Decimal | None:
    token = re.sub(r"[$€£₹\\]", "", plain(token)).strip()
    sign = -1 if token.startswith("-") else 1
    token = token.lstrip("+-").strip()
    if len(token) > MAX_DIGITS:
        return None
    try:
        value = _unsigned(token)
    except (DecimalException, ZeroDivisionError):
        return None
    if value is None or not value.is_finite():
        return None
    # Arithmetic would round a long integer to 28 digits.
    return value.copy_negate() if sign < 0 else value


def _unsigned(token: str) -> Decimal | None:
    fraction = re.fullmatch(
        r"(\d*)\s?[dt]?frac\s?\{?\s?(-?\d+?(?:\.\d+)?)\s?\}?\s?\{?\s?(-?\d+(?:\.\d+)?)\s?\}?", token
    )
    if fraction:
        whole, top, bottom = fraction.groups()
        return Decimal(whole or 0) + Decimal(top) / Decimal(bottom)
    if mixed := _MIXED.fullmatch(token):
        return Decimal(mixed[1]) + Decimal(mixed[2]) / Decimal(mixed[3])
    power = re.fullmatch(
        r"([\d.,]+)(?:[eE]|\s*(?:[x×*·]|times|cdot)\s*10\s?(?:\^|\*\*)\s?\{?\s?)([-+]?\d+)\s?\}?", token
    )
    if power:
        if len(power[2]) > 4 or abs(int(power[2])) > MAX_EXPONENT or (base := _unsigned(power[1])) is None:
            return None
        return base.scaleb(int(power[2]))
    top, slash, bottom = (part.strip() for part in token.partition("/"))
    if "," in top:
        if not (_THOUSANDS.fullmatch(top) or _INDIAN.fullmatch(top)):
            return None
        top = top.replace(",", "")
    return Decimal(top) / Decimal(bottom) if slash else Decimal(top)


def parse_number(text: str) -> Decimal | None:
    """Return the one number a text states: currency, thousands separators, a unit and a percent sign removed.

    Of an equation it is the right side. None where there is no number, more than one, or a number with something
    on it that changes its value (a variable, a root, a factorial).
    """
    if len(text) > 2 * MAX_DIGITS:
        return None
    text = _unwrapped(re.sub(r"[*_`]{2,}|`", "", untexted(text)).strip().rstrip(".,;:").strip())
    sides = EQUALS.split(text)
    value = _lone(sides[-1])
    if value is None or len(sides) == 1:
        return value
    if any(re.search(r"[;,](?!\d{3})|\b(?:or|and)\b|\d\s?[a-z](?![a-z])", side) for side in sides[:-1]):
        return None
    others = [other for side in sides[:-1] if (other := _lone(side)) is not None]
    # The sides of one equation may differ by rounding (2/3 = 0.67), not more.
    return value if all(abs(value - other) * 100 <= abs(value) for other in others) else None


def _unwrapped(text: str) -> str:
    text = text.replace("\\(", "").replace("\\)", "").replace("\\[", "").replace("\\]", "")
    while len(text) > 1 and (text[0], text[-1]) in (("{", "}"), ("$", "$"), ("(", ")"), ("*", "*"), ('"', '"')):
        text = text[1:-1].strip()
    return text


def _lone(text: str) -> Decimal | None:
    """Return the number of a text that holds but a unit, a scale word, a sign in words or a currency beside it."""
    text = re.sub(r"\^\s?\{?\s?(?:\\circ|°)\s?\}?|\\degree|\\circ", "°", text).replace("$", " ")
    # The exponent of a unit (cm^2, m/s², s^{-1}) is no second number.
    text = re.sub(r"(?<=[A-Za-z])(?:\^\s?(?:\{\s?-?\d\s?\}|-?\d)|[²³])(?!\d)", "", text)
    found = numbers(text)
    if len(found) != 1 or found[0].value is None or _CHANGED.search(text):
        return None
    value = found[0].value
    before, after = text[: found[0].start], text[found[0].end :]
    if _CHANGED_BEFORE.search(before) or _CHANGED_AFTER.match(after) or "\\" in before + after:
        return None
    if half := re.match(r"\s+and\s+(?:a\s+|one\s+)?half\b", after):
        value, after = value + Decimal("0.5"), after[half.end() :]
    # "K" is a unit of temperature, "k" a thousand; of longer words the case says nothing.
    while (word := re.match(r"[\s-]?([A-Za-z]+)", after)) and (
        scale := SCALES.get(word[1] if len(word[1]) < 3 else word[1].lower())
    ):
        value, after = value * scale, after[word.end() :]
    return value.copy_negate() if re.search(r"\b(?:minus|negative)\s*$", before, re.IGNORECASE) else value


def letters(text: str) -> set[str]:
    """Return the option letters a text consists of; none where it consists of anything else."""
    bare = re.sub(r"(?i:\b(?:and|options?|choices?)\b)|[\s,;&(){}\[\].*$:]", "", untexted(text))
    upper = bare.upper()
    return set(upper) if re.fullmatch(r"[A-J]{1,10}", upper) and bare in (upper, bare.lower()) else set()


def options(choices: Choices) -> dict[str, str]:
    """Return the options as letter to text; a list's entries are A, B, C ..."""
    if not choices:
        return {}
    pairs = choices.items() if isinstance(choices, Mapping) else zip(LETTERS, choices, strict=False)
    # Some sets write an option's own letter before its text: "B) 11", "E=4/9".
    named = ((letter.strip(), value) for letter, value in pairs)
    own = r"(?i)^\(?{}\s?[).:=]\s*(?=\S)".format
    return {letter.upper(): re.sub(own(re.escape(letter)), "", value) for letter, value in named}


def option_text(text: str) -> str:
    """Return an option's text for comparison: without LaTeX wrappers, spaces and a last full stop."""
    text = re.sub(r"\$|\*\*|`|\"", "", untexted(text))
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text).strip(".,;:")


def named_by_value(text: str, choices: dict[str, str]) -> set[str]:
    """Return the letters of the options whose value ``text`` is: by their text, else by their number alone.

    Several letters come back only where the options' texts are equal (twins); where options differ in their text
    and not in their number (5 days, 5 weeks), the number alone names none of them.
    """
    wanted = option_text(text)
    if not wanted:
        return set()
    texts = {letter: option_text(value) for letter, value in choices.items()}
    same = {letter for letter, value in texts.items() if value == wanted}
    same = same or {letter for letter, value in texts.items() if value.lower() == wanted.lower()}
    if same:
        return same if len({texts[letter] for letter in same}) == 1 else set()
    if (number := parse_number(text)) is None:
        return set()
    same = {letter for letter, value in choices.items() if parse_number(value) == number}
    return same if len({texts[letter] for letter in same}) == 1 else set()
