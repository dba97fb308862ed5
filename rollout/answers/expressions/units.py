r"""Units and percent signs at the end of a tidy text, and the letters that are none."""

from __future__ import annotations

import re

from rollout.answers.number_words import in_digits
from rollout.answers.numbers_and_options import NUMBER

# Units written in more than one way: those of one entry are the same unit, those of two are not.
UNITS = {
    name: names.split()[0]
    for names in (
        "cm centimeter centimetre", "mm millimeter millimetre", "m meter metre", "km kilometer kilometre",
        "in inch inche", "ft foot feet", "yd yard", "mi mile", "s sec second", "min minute", "h hr hour", "day", "week",
        "month", "year yr", "cent", "dollar usd", "g gram", "kg kilogram", "lb pound", "oz ounce", "mph mi/h",
        "kmph kph km/h", "l liter litre", "ml milliliter millilitre", "gallon gal", "degree °", "celsius °c",
        "fahrenheit °f", "radian rad", "ton", "cup", "quart",
    )
    for name in names.split()
}  # fmt: skip
_UNIT = re.compile(
    r"(?:(°(?:[CF]|⟦[CF]⟧)?)|⟦([^⟦⟧]*)⟧(?:\^(\d))?"
    r"|(?:(?<=[\d})])\s?|(?<=\\pi)\s|(?<=[\d})][A-Za-z])\s)"
    r"([A-Za-z]{2,}(?:\.? ?(?<=[. ])[A-Za-z]+)*(?:/[A-Za-z]+)?)(?:\^(\d))?)$"
)
_BARE = re.compile(r"(?<=[\d})])\s?([A-Za-z]+(?:/[A-Za-z]+)?)(?:\^(\d))?$")
# A word and nothing else is a name, as that of a point, and no unit.
_ONE_WORD = re.compile(r"⟦\s*[A-Za-z]+\s*⟧")
# Marked texts and commands, whose letters are none of a formula's.
_MARKED = re.compile(r"⟦[^⟦⟧]*⟧|\\[A-Za-z]+")
_WORD = re.compile(r"[A-Za-z]{3}|\b(?:[Ii]t|[Ii]s|[Hh]e|[Ww]e|[Ss]o)\b")
_APART = re.compile(r"(?<=[\d})])\s([mgshlLNJWVAKCF])(\^\{?[23]\}?)?(?=[.\s]{0,3}$)")
# A degree's sign without a letter may be of either.
_DEGREES = {"degree", "celsius", "fahrenheit"}
# An angle's sign is part of the argument of sin 13°, and no unit of the whole.
_TRIGONOMETRY = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)")


def unit_of(text: str) -> tuple[str, str | None]:
    """Return a text without its unit, and the unit in one spelling; the unit is None if none is known."""
    if text.startswith("⟦dollar⟧"):
        return text.removeprefix("⟦dollar⟧").strip(), "dollar"
    match = _UNIT.search(text)
    if match is None or _ONE_WORD.fullmatch(text):
        return text, None
    known = _known(match[1] or match[2] or match[4] or "", match[3] or match[5] or "")
    if known is None and match[4] and not re.fullmatch(r"(?:(?:sq|cu|square|cubic)\b\.? ?)?units?", match[4]):
        return text, None
    return text[: match.start()].strip(), known


def _known(words: str, power: str) -> str | None:
    """Return a unit in one spelling; None if it is unknown, and for money per something, which is often left out."""
    names = re.sub(r"[⟦⟧]", "", words.lower()).replace("per", "/").replace(".", ". ").split()
    if names and names[0] in ("square", "sq", "sq."):
        names, power = names[1:], "2"
    elif names and names[0] in ("cubic", "cu", "cu."):
        names, power = names[1:], "3"
    elif len(names) > 1 and names[0] in ("degree", "degrees"):
        names = names[1:]
    name = " ".join(names).rstrip(".")
    if glued := re.fullmatch(r"(.*[a-z])\^?([23])", name):
        name, power = glued[1], glued[2]
    parts = [UNITS.get(part) or UNITS.get(part.removesuffix("s")) for part in re.split(r"\s?/\s?", name)]
    if None in parts or len(parts) > 2 or (len(parts) == 2 and parts[0] in ("dollar", "cent")):
        return None
    unit = "/".join(filter(None, parts))
    unit = UNITS.get(unit, unit)
    return f"{unit}^{power}" if power else unit


def has_variables(text: str, longest: int) -> bool:
    """Return whether a tidy text has letters that are factors: runs of up to ``longest`` letters that are no words, no
    commands and no exponent of a number (1e5)."""
    bare = NUMBER.sub(" ", in_digits(_MARKED.sub(" ", text)))
    return re.search(rf"(?<![A-Za-z])[A-Za-z]{{1,{longest}}}(?![A-Za-z])", bare) is not None


def is_sentence(text: str) -> bool:
    """Return whether a tidy text has a word, so that its letters are no factors."""
    return _WORD.search(_MARKED.sub(" ", text)) is not None


def with_marked_unit(text: str) -> str:
    """Return an answer with a mark on a unit of one letter that stands apart from its number at the end ("10 m"), as
    people write units and not factors."""
    return _APART.sub(r"\\text{\1}\2", text)


def _bare_unit(text: str, marked: str) -> tuple[str, str | None]:
    """Return a text without letters at its end that are a unit if the other text has the unit ``marked``."""
    match = _BARE.search(text)
    if match is None or has_variables(text[: match.start()], 3):
        return text, None
    known = _known(match[1], match[2] or "") if match[1].islower() or match[1] == "L" else None
    if known is None and match[0].strip() != re.sub(r"[⟦⟧\s]", "", marked):
        return text, None
    return text[: match.start()].strip(), known


def without_units(gold: str, found: str) -> tuple[str, str]:
    """Return both texts without their units; if the units differ, ``found`` is returned empty and so equals nothing.

    Letters without a mark are variables, and a unit only where the other text has one: ``10 m`` is ``10\\text{ m}``.
    """
    (left, unit), (right, other) = unit_of(gold), unit_of(found)
    if left != gold and right == found and not has_variables(left, 3):
        right, other = _bare_unit(found, gold[len(left) :])
    elif left == gold and right != found and not has_variables(right, 3):
        left, unit = _bare_unit(gold, found[len(right) :])
    loose = "degree" in (unit, other) and {unit, other} <= _DEGREES
    if unit and other and unit != other and not loose:
        return left, ""
    if (unit == "degree" or other == "degree") and (_TRIGONOMETRY.search(left) or _TRIGONOMETRY.search(right)):
        return gold, found
    return left, right
