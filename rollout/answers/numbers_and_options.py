"""The values that a text states: numbers, option letters and options named by their value.

A text states a number only if exactly one number can be meant: "5 or 7", "3 + 2", "3-5" and "2x" state
none. Every regular expression here is searched in time linear in the text.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Context, Decimal, DecimalException
from typing import NamedTuple

from rollout.answers.number_words import in_digits

# A longer run of digits, or a larger exponent, is no answer of any data set: it is refused, not computed.
MAX_DIGITS = 400
MAX_EXPONENT = 308
# Integers of any allowed length are multiplied exactly; Decimal's own precision is 28 digits.
_EXACT = Context(prec=2 * MAX_DIGITS)
SCALES = {
    "hundred": 100, "thousand": 10**3, "k": 10**3, "lakh": 10**5, "lakhs": 10**5, "million": 10**6, "mn": 10**6,
    "crore": 10**7, "crores": 10**7, "billion": 10**9, "bn": 10**9, "trillion": 10**12,
    "十": 10, "百": 100, "千": 10**3, "천": 10**3, "万": 10**4, "萬": 10**4, "만": 10**4, "億": 10**8, "亿": 10**8,
    "억": 10**8,
}  # fmt: skip

# Beside a currency K, M, B and T are scales ("$70K", "5M dollars"); elsewhere they are units or variables, also between
# two dollar signs, which may be a formula's: "$300K$". The next dollar sign may begin another amount: "$70K + $30K".
_MONEY_SCALES = {"k": "thousand", "m": "million", "b": "billion", "t": "trillion"}
_MONEY_SCALE = r"\s?(k|K|[MB]n?|[mb]n|mil|T)"
_SCALED_MONEY = re.compile(
    r"((?:(\\\$|[€£₹]|\b(?:USD|EUR|GBP|INR|Rs\.?))|\$)\s?[-−]?\d[\d,]{0,400}(?:\.\d{1,400})?)"
    rf"{_MONEY_SCALE}(?![\w^({{'’])(?(2)|(?![^$]{{0,400}}\$(?!\d)))"
)
_SCALED_AMOUNT = re.compile(
    rf"(?<=\d){_MONEY_SCALE}(?=\s(?:U\.?S\.? |Canadian |Australian )?"
    r"(?:dollars?|euros?|pounds?|rupees?|yen|yuan|bucks|cents?|USD|EUR|GBP|INR)\b)"
)

_DIGITS = r"(?:\d+(?:,\d+)*(?:\.\d+)?|(?<![\w.])\.\d+)"
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_POWER = (
    r"(?:[eE][-+]?\d+(?!\w)|\s{0,3}(?:[x×*·]|\\times|\\cdot)\s{0,3}10(?:[⁻⁺]?[⁰¹²³⁴-⁹]+|\s?(?:\^|\*\*)\s?"
    r"(?:\{\s?[-+]?\d+\s?\}|[-+]?\d+)))"
)
_FRACTION = r"\\[dt]?frac\s?(?:\{\s?-?\d+(?:\.\d+)?\s?\}|\d)\s?(?:\{\s?-?\d+(?:\.\d+)?\s?\}|\d)"
_OVER = r"\s{0,2}[/⁄∕]\s{0,2}\d+(?:\.\d+)?(?![\d,.]*[/⁄∕])"
_HALVES = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"
# A letter of a script that puts no spaces between words is no part of a number beside it: 答案是12。
_LETTER = r"[^\W\u0e00-\u0e4f\u0e80-\u0ecf\u1000-\u103f\u1780-\u17df\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
NUMBER = re.compile(
    rf"(?:(?<![)}}%])(?<!{_LETTER})[-−+]\s?)?(?:\\?\$\s?|[€£₹]\s?)?(?:(?<![)}}%\s])(?<!{_LETTER})[-−+]\s?)?(?<!{_LETTER})(?<!\\)"
    rf"(?:\d*\s?[{_HALVES}]|\d+\s?{_FRACTION}|{_FRACTION}|\d+ {{1,2}}\d+[/⁄∕]\d+(?![\d/])|{_DIGITS}(?:{_POWER}"
    rf"|{_OVER})?)"
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
# What multiplies units that are marked as words: \text{kg} \cdot \text{m/s}, \mathrm{N \cdot m}.
_MARKED_WORDS = re.compile(rf"{_WORDED}\s?\{{(?:[^{{}}]|\{{[^{{}}]{{0,9}}\}}){{0,60}}\}}")
_BETWEEN_WORDS = re.compile(rf"(\}}(?:\^\{{?-?\d\}}?)?)\s?(?:\\cdot(?![A-Za-z])|[·⋅])\s?(?={_WORDED}\s?\{{)")
_OHM = re.compile(r"(?<=[\d\s,;:!}kM])(?:\\Omega(?![A-Za-z])|[\u03a9\u2126](?!\w))")
SEPARATOR = re.compile(r"(?<=\d)(?:\{,\}|,\\!|\\,|\\ |[\u2009\u202f\u00a0])(?=\d{3}(?!\d))")
# What makes a number another one: alternatives and bounds anywhere, and what stands directly before or after it.
# One letter glued to a number is a unit only where units are written so: "5m" is 5, but "2x" and "5n" are no numbers.
_CHANGED = re.compile(r"\b(?:or|either|neither|nor|between)\b|[±<>≤≥≠√∞]")
# Words that make the number behind them another one, or none: "not 12", "cannot be 12", "more than 12", "half of 12".
CHANGES_NEXT = (
    r"(?:\b(?:not|never|cannot|neither|nor|except|without|hardly|scarcely|anything but|far from|nowhere near)"
    r"|n['’]t)(?:\s(?:be|have been|equal|necessarily|really|actually|simply|just|exactly|possibly|even|surely"
    r"|going to be|say|the|a|any|to)){0,3}\s+|\b(?:more|less|fewer|greater|larger|smaller|bigger|higher|lower|other"
    r"|rather) than(?:\sor equal to)?\s+|\b(?:at least|at most|up to|instead of)\s+"
    r"|(?:\bdoubt|(?:\bnot|n['’]t) (?:think|believe|say|suppose))(?: that)? (?:it|this|that"
    r"|the (?:right |correct |final )?answer) (?:is|was|can be|could be|would be|should be)\s+"
    r"|\b(?:(?:half|twice|double|triple|thrice|quadruple)(?:\sas (?:many|much|large|big|long|old) as|\sof)?"
    r"|(?:halves|thirds?|quarters?|fourths?|fifths?|sixths?|sevenths?|eighths?|ninths?|tenths?|percent|roots?"
    r"|square|cube|logarithm|log|reciprocal|inverse|opposite|factorial|powers?|absolute value|multiples?"
    r"|divisors?)\sof)(?:\s(?:the|a|all|these|those))?\s+"
)
# Words behind a number that take it back: "12 is wrong".
TAKES_BACK = (
    r"\s(?:is|was|would be|can|could|must)(?:n['’]t|not|\snot"
    r"|\snever)?(?:\sbe)?\s(?:(?:clearly|also|definitely|just)\s)?(?:(?:wrong|incorrect|false|impossible|ruled out"
    r"|excluded)\b|(?<=not )(?:the (?:right |correct |final )?answer|right|correct|possible|it)\b"
    r"|(?<=n['’]t )(?:the (?:right |correct |final )?answer|right|correct|possible|it)\b"
    r"|(?<=not be )(?:the (?:right |correct |final )?answer|right|correct|it)\b)"
)
_CHANGED_BEFORE = re.compile(
    rf"(?:[-+*/^_×÷:,√|]|\}}\s?\{{|\b(?:log|ln|lg|sqrt|sin|cos|tan)\s{{1,3}}|\b[A-Za-z]\w*\(|\d)$|[-+*/^×÷]\s$"
    rf"|(?:{CHANGES_NEXT})[\s$]*$",
    re.IGNORECASE,
)
_CHANGED_AFTER = re.compile(
    r"[\d^_!({²³⁰¹⁴-⁹₀-₉α-ωΑ-Ω:]|\s?[+*×÷^=](?!\*)|\s?[-/:]\s?(?:[A-Za-z](?![A-Za-z])(?<![smhgLl])|\d|\()"
    r"|(?![mgshlLVAWJNKCFMtk%°])[A-Za-z](?![A-Za-z])|[CP]\d|\s(?:squared|cubed|factorial)\b"
    rf"|.{{0,30}}?{TAKES_BACK}"
)


def plain(text: str) -> str:
    """Return ``text`` with one spelling for characters that mean the same: minus signs, digits of any script (category
    Nd), thin and no-break spaces, vulgar fractions, full-width signs. Superscript and circled digits are left alone."""
    if text.isascii():
        return text
    text = text.translate(_MARKS)
    return "".join(
        str(unicodedata.decimal(char)) if char.isdecimal() else " " if unicodedata.category(char) == "Zs" else char
        for char in SEPARATOR.sub(",", text)
    )


def untexted(text: str) -> str:
    r"""Return ``text`` without LaTeX that does not affect its value: ``$``, ``\left``, spacing, ``\text{}``."""
    text = SEPARATOR.sub(",", plain(text))
    text = _SPACING.sub(" ", text)
    text = re.sub(rf"{_WORDED}\s?\{{([^{{}}]*)\}}", r"\1", text)
    text = re.sub(_WORDED, "", text)
    return text.replace("\\$", "$").replace("\\%", "%").replace("{,}", ",")


def letters_unwrapped(text: str) -> str:
    r"""Return a text with single letters out of LaTeX: ``\text{B}`` and ``\(B\)`` are B."""
    text = re.sub(rf"{_WORDED}\s?\{{\s?(\(?[A-J]\)?)\s?\}}", r"\1", text)
    return re.sub(r"\\[(\[]\s?(\(?[A-J]\)?)\s?\\[)\]]", r"\1", text)


def with_scales_in_words(text: str) -> str:
    """Return a text with the letters that scale an amount of money as words: "$70 thousand" for "$70K"."""
    text = _SCALED_MONEY.sub(lambda match: f"{match[1]} {_MONEY_SCALES[match[3][0].lower()]}", text)
    return _SCALED_AMOUNT.sub(lambda match: f" {_MONEY_SCALES[match[1][0].lower()]}", text)


class Found(NamedTuple):
    """A number in a text: its position and its value (None if it is not a usable number)."""

    start: int
    end: int
    value: Decimal | None


def numbers(text: str) -> list[Found]:
    """Return the numbers of a text in order; ``start`` and ``end`` are positions in the original ``text``."""
    found = []
    for match in NUMBER.finditer(text):
        start, token = match.start(), match[0]
        if token[0] in "-−+" and _subtracts(text[max(0, start - 20) : start].rstrip(), token[1].isspace()):
            token = token[1:].lstrip()
            start = match.end() - len(token)
        found.append(Found(start, match.end(), _worth(token)))
    return found


def _subtracts(before: str, spaced: bool) -> bool:
    """Return whether a sign after ``before`` is an operator (x - 5, 10 -5) or a dash, not the number's sign (is -5)."""
    if not before:
        return False
    return (spaced and before[-1] not in "=(,:[{$") or bool(re.search(r"[\d)}%°]$|(?<![A-Za-z])[A-Za-z]$", before))


def _worth(token: str) -> Decimal | None:
    token = re.sub(r"(?<=10)[⁻⁺]?[⁰¹²³⁴-⁹]+", lambda match: f"^{match[0].translate(_RAISED)}", token)
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
    return value if sign > 0 else value.copy_negate()


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
        return _EXACT.scaleb(base, int(power[2]))
    top, slash, bottom = (part.strip() for part in token.partition("/"))
    if "," in top:
        if not (_THOUSANDS.fullmatch(top) or _INDIAN.fullmatch(top)):
            return None
        top = top.replace(",", "")
    return Decimal(top) / Decimal(bottom) if slash else Decimal(top)


def parse_number(text: str) -> Decimal | None:
    """Return the one number that a text states, without currency, thousands separators, unit and percent sign.

    If the text is an equation, this is its right side. None if there is no number, more than one, or something beside
    the number that changes its value (a variable, a root, a factorial).
    """
    if len(text) > 2 * MAX_DIGITS:
        return None
    text = in_digits(with_scales_in_words(_plain_units(text)))
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


def _plain_units(text: str) -> str:
    """Return a text with the ohm as a word, and without what multiplies units with each other."""
    text = _MARKED_WORDS.sub(lambda match: re.sub(r"\\cdot(?![A-Za-z])", " ", match[0]), text)
    return _OHM.sub("ohm", _BETWEEN_WORDS.sub(r"\1 ", text))


def _unwrapped(text: str) -> str:
    text = text.replace("\\(", "").replace("\\)", "").replace("\\[", "").replace("\\]", "")
    while len(text) > 1 and (text[0], text[-1]) in (("{", "}"), ("$", "$"), ("(", ")"), ("*", "*"), ('"', '"')):
        text = text[1:-1].strip()
    return text


def _lone(text: str) -> Decimal | None:
    """Return the number of a text with nothing beside it but a unit, scale word, sign in words or currency."""
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
    if part := re.match(r"\s+and\s+(?:(?:a|one)\s+)?(half|quarter)\b", after):
        value, after = value + Decimal("0.5" if part[1] == "half" else "0.25"), after[part.end() :]
    # Without a currency "K" is a unit of temperature, "k" a thousand; of longer words the case says nothing.
    while (word := re.match(r"[\s-]?([A-Za-z]+|[十百千万萬億亿천만억])", after)) and (
        scale := SCALES.get(word[1] if len(word[1]) < 3 else word[1].lower())
    ):
        value, after = _EXACT.multiply(value, scale), after[word.end() :]
    return value.copy_negate() if re.search(r"\b(?:minus|negative)\s*$", before, re.IGNORECASE) else value


def letters(text: str) -> set[str]:
    """Return the option letters that a text consists of; none if it contains anything else."""
    bare = re.sub(r"(?i:\b(?:and|options?|choices?)\b)|[\s,;&(){}\[\].*$:]", "", untexted(text))
    upper = bare.upper()
    return set(upper) if re.fullmatch(r"[A-J]{1,10}", upper) and bare in (upper, bare.lower()) else set()


def option_text(text: str) -> str:
    """Return an option's text for comparison: without LaTeX wrappers, spaces and a last full stop."""
    text = re.sub(r"\$|\*\*|`|\"", "", untexted(text))
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text).strip(".,;:")


def named_by_value(text: str, choices: dict[str, str]) -> set[str]:
    """Return the letters of the options with the value ``text``: with the same text, or else with the same number.

    Several letters are returned only if the options' texts are equal (twins). If options differ in their text but not
    in their number (5 days, 5 weeks), the number alone names none of them.
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
