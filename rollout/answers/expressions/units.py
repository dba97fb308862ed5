"""Units and percent signs at the end of a tidy text."""

from __future__ import annotations

import re

# Units written in more than one way: those of one entry are the same unit, those of two are not.
UNITS = {
    name: names.split()[0]
    for names in (
        "cm centimeter centimetre", "mm millimeter millimetre", "m meter metre", "km kilometer kilometre",
        "in inch inche", "ft foot feet", "yd yard", "mi mile", "s sec second", "min minute", "h hr hour", "day", "week",
        "month", "year yr", "cent", "dollar usd", "g gram", "kg kilogram", "lb pound", "oz ounce", "mph", "kmph",
        "l liter litre", "ml milliliter millilitre", "gallon gal", "degree °", "radian rad", "ton", "cup", "quart",
    )
    for name in names.split()
}  # fmt: skip
_UNIT = re.compile(
    r"(?:⟦([^⟦⟧]*)⟧(?:\^(\d))?|(?:(?<=[\d})])\s?|(?<=\\pi)\s)([A-Za-z]{2,}(?: [A-Za-z]+)*)(?:\^(\d))?|(°))$"
)
# An angle's sign is part of the argument of sin 13°, and no unit of the whole.
_TRIGONOMETRY = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)")


def unit_of(text: str) -> tuple[str, str | None]:
    """Return a text without its unit, and the unit in one spelling; the unit is None if none is known."""
    if text.startswith("⟦dollar⟧"):
        return text.removeprefix("⟦dollar⟧").strip(), "dollar"
    match = _UNIT.search(text)
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
    known = UNITS.get(name) or UNITS.get(name.removesuffix("s"))
    if known is None and match[3]:
        return text, None
    return text[: match.start()].strip(), f"{known}^{power}" if known and power else known


def without_units(gold: str, found: str) -> tuple[str, str]:
    """Return both texts without their units; if the units differ, ``found`` is returned empty and so equals nothing."""
    (left, unit), (right, other) = unit_of(gold), unit_of(found)
    if unit and other and unit != other:
        return left, ""
    if (unit == "degree" or other == "degree") and (_TRIGONOMETRY.search(left) or _TRIGONOMETRY.search(right)):
        return gold, found
    return left, right
