"""Convert numbers written in words to digits: ``eighty-six``, ``two thousand three hundred``, ``two thirds``.

In an answer, ``in_digits`` writes the digits, and the rules for numbers then read them. ``one`` is a number only where
it counts something: not in "one of them", "no one" or "the right one". ``worth`` reads every word as a number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

_SMALL = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fourty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80,
    "ninety": 90,
}  # fmt: skip
SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
# The words of fractions, which but for "half" and "quarter" are those of ordinals too.
PARTS = {
    "half": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fourth": 4, "fourths": 4, "fifth": 5, "fifths": 5,
    "sixth": 6, "sixths": 6, "seventh": 7, "sevenths": 7, "eighth": 8, "eighths": 8, "ninth": 9, "ninths": 9,
    "tenth": 10, "tenths": 10, "eleventh": 11, "elevenths": 11, "twelfth": 12, "twelfths": 12, "sixteenth": 16,
    "sixteenths": 16, "twentieth": 20, "twentieths": 20, "hundredth": 100, "hundredths": 100, "thousandth": 1000,
    "thousandths": 1000,
}  # fmt: skip
ORDINALS = PARTS | {
    "first": 1, "second": 2, "thirteenth": 13, "fourteenth": 14, "fifteenth": 15, "seventeenth": 17, "eighteenth": 18,
    "nineteenth": 19, "thirtieth": 30, "fortieth": 40, "fiftieth": 50, "sixtieth": 60, "seventieth": 70,
    "eightieth": 80, "ninetieth": 90,
}  # fmt: skip
WORDS = frozenset((*_SMALL, *TENS, *SCALES))
_PART = "|".join(sorted(PARTS, key=len, reverse=True))
_BASIC = "|".join(sorted([*_SMALL, *TENS], key=len, reverse=True))
_SCALE = "|".join(SCALES)
# A run of number words; "a" counts only before a scale or a part. "six-pack" and "twelve-ish" hold no number.
_RUN = re.compile(
    rf"(?<![\w\\-])(?:(?:{_BASIC})\b|(?<!and )an?(?=\s(?:(?:{_SCALE})\b|(?:{_PART})(?:\sof\b|\W*$))))"
    rf"(?:(?:\s?-\s?|\s|,\s|\sand\s|\sand\sa\s)(?:{_BASIC}|{_SCALE}|point|{_PART})\b)*(?!\w|-[^\W\d])",
    re.IGNORECASE,
)
_TOKEN = re.compile(r"[A-Za-z]+|[^A-Za-z]+")
_ONE_COUNTS = re.compile(
    r"(?:^|[=:]|\b(?:is|are|was|were|be|equals?|has|have|had|gets?|leaves?|exactly|only|just|needs?|makes?|gives?"
    r"|remains?|left|minus|plus|times|negative|to|and|or|than|not))\W{0,3}$",
    re.IGNORECASE,
)
_POINTS_BACK = re.compile(r"\b(?:the|these|those|all|both|other|others|any|my|your|his|her|its|our|their)\s$", re.I)
_NO_COUNT_AFTER = re.compile(
    r"\s(?:of|another|by|can|could|may|might|must|should|has|who|that|which|would|will|gets|at|way|day|needs)\b"
    r"|['’]",
    re.IGNORECASE,
)


def in_digits(text: str) -> str:
    """Return a text with its number words converted to digits; the rest does not change."""
    if not _RUN.search(text):
        return text

    def digits(match: re.Match[str]) -> str:
        word, before = match[0].lower(), text[max(0, match.start() - 12) : match.start()]
        if word == "one" and (not _ONE_COUNTS.search(before) or _NO_COUNT_AFTER.match(text, match.end())):
            return match[0]
        # "these two", "the three of them" point back to something.
        return match[0] if _SMALL.get(word, 11) <= 10 and _POINTS_BACK.search(before) else _converted(match[0])

    # "Twelve (12)" says it twice.
    return re.sub(r"(?<!\d)(\d{1,20}) ?\(\1\)", r"\1", _RUN.sub(digits, text))


def worth(words: Sequence[str]) -> list[int]:
    """Return what number words in a row are worth: "two hundred and five" is one number, "two and five" are two.

    A scale that no number stands before counts once: "hundred" is 100.
    """
    tokens = _TOKEN.findall(" ".join(words))
    found, at = [], 0
    while at < len(tokens):
        value, end = _number_at(tokens, at, bare_scale=True)
        if end > at:
            found.append(value)
        at = max(end, at + 1)
    return found


def _converted(run: str) -> str:
    """Return a run of number words in digits; each number is as long as possible ("five six" is two numbers)."""
    tokens = [token.lower() if token.isalpha() else token for token in _TOKEN.findall(run)]
    written, at = "", 0
    while at < len(tokens):
        value, end = _number_at(tokens, at)
        if end > at:
            part = _part_after(tokens, value, end)
            if part is None:
                written, at = written + str(value), end
            else:
                written, at = written + part[0], part[1]
        else:
            written, at = written + tokens[at], at + 1
    # Two and two thirds is one mixed number.
    return re.sub(r"(\d) and (\d+/\d+)", r"\1 \2", _with_point(written))


def _with_point(text: str) -> str:
    return re.sub(r"(\d) point (\d(?: \d)*)(?!\d)", lambda match: f"{match[1]}.{match[2].replace(' ', '')}", text)


def _number_at(tokens: list[str], at: int, *, bare_scale: bool = False) -> tuple[int, int]:
    """Return the value of the longest number that begins at a token and the index after it; (0, ``at``) if none. It may
    begin with a scale only if ``bare_scale`` says so."""
    total, group, limit, end = 0, 0, 10**15, at
    room, index, started = 10**15, at, False  # the next word's value must be below ``room``
    if tokens[at] in ("a", "an") and at + 2 < len(tokens):
        if tokens[at + 2] in PARTS:
            return 1, at + 1
        group, index, started = 1, at + 2, True
    elif bare_scale and tokens[at] in SCALES:
        group, started = 1, True
    while index < len(tokens):
        word = tokens[index]
        if word in _SMALL or word in TENS:
            value = _SMALL.get(word, TENS.get(word, 0))
            if value >= room or (value == 0 and started):
                break
            group += value
            room = 10 if word in TENS else 1
        elif word == "hundred" and 0 < group < 100 and started:
            group, room = group * 100, 100
        elif word in SCALES and word != "hundred" and group and SCALES[word] < limit:
            limit = SCALES[word]
            total, group, room = total + group * limit, 0, limit
        else:
            break
        started, end = True, index + 1
        index = _next_word(tokens, end)
    return total + group, end


def _next_word(tokens: list[str], end: int) -> int:
    """Return the index of the word that may continue a number ending before ``end``; past the last token if none."""
    if end >= len(tokens):
        return end
    gap, word = tokens[end], tokens[end - 1]
    after_scale = word in SCALES
    if tokens[end + 1 : end + 2] == ["and"] and after_scale:
        return end + 3
    if gap.strip() == "," and not (after_scale and word != "hundred"):
        return len(tokens)
    return end + 1


def _part_after(tokens: list[str], value: int, end: int) -> tuple[str, int] | None:
    """Return "2/3" and the index after it for "two thirds"; None if no such fraction follows. Fractions are below 1."""
    if end + 1 >= len(tokens) or tokens[end].strip() not in ("", "-") or tokens[end + 1] not in PARTS:
        return None
    word, whole = tokens[end + 1], PARTS[tokens[end + 1]]
    fits = 0 < value < whole and (value == 1) != word.endswith("s") and (value, whole) != (2, 4)
    if not fits:
        return None
    fraction = Fraction(value, whole)
    return f"{fraction.numerator}/{fraction.denominator}", end + 2
