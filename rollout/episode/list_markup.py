"""Remove what chat models write around a list: fences, headings, emphasis, JSON.

Everything here works on places in the text, so that a sub-question stays a piece of it. The time taken is linear in
the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_FENCE = re.compile(r"(?:```|~~~)[\w+-]*")
_HEADING = re.compile(r"#{1,6}\s++(?!\(?\d|(?:Q|Step|Sub-?\s?question)\s*\d)[^?？]*", re.IGNORECASE)
_TITLE = re.compile(
    r"(?:(?:the|a|my|list|of|here|are) ){0,4}(?:sub-?\s?questions?|questions|steps|decomposition)", re.IGNORECASE
)
# A list's item in JSON or Python: a text, or the one text of an object, and what comes next.
_STRING = r"(?:\"((?:[^\"\\]|\\.)*+)\"|'((?:[^'\\]|\\.)*+)')"
_ITEM = re.compile(rf"\s*+(?:\{{\s*+\"\w++\"\s*+:\s*+)?{_STRING}\s*+(?:\}}\s*+)?(,|\])", re.DOTALL)
# The last item, where the text was cut off.
_CUT_ITEM = re.compile(r"\s*+(?:\{\s*+\"\w++\"\s*+:\s*+)?\"((?:[^\"\\]|\\.)*+)\Z", re.DOTALL)
_BEFORE_LIST = re.compile(r"(?:.*[:：])?\s*+(?:(?:```|~~~)[\w+-]*+\s*+)?(?:\{\s*+\"\w++\"\s*+:\s*+)?", re.DOTALL)
_PAIRS = (("**", "**"), ("__", "__"), ("*", "*"), ("_", "_"), ("`", "`"), ('"', '"'), ("“", "”"))


def quoted_items(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Return the places of the texts in a list of JSON or Python, if that is what a part of a text holds; else none."""
    place = text.find("[", start, end)
    if place < 0 or not _BEFORE_LIST.fullmatch(text, start, place):
        return []
    items: list[tuple[int, int]] = []
    place += 1
    while found := _ITEM.match(text, place, end):
        items.append(found.span(1) if found[1] is not None else found.span(2))
        place = found.end()
        if found[3] == "]":
            return items
    if items and (cut := _CUT_ITEM.match(text, place, end)):
        items.append(cut.span(1))
    return items


def is_markup(line: str) -> bool:
    """Return whether a line is a fence, or a heading that asks nothing and has no number."""
    text = line.strip()
    return bool(_FENCE.fullmatch(text) or _HEADING.fullmatch(text))


def is_title(text: str) -> bool:
    """Return whether a text is the name of a list of sub-questions."""
    return _TITLE.fullmatch(text.strip(" *_#:.")) is not None


def unwrapped(text: str, first: int, start: int, end: int) -> tuple[int, int]:
    """Return the place of a sub-question without emphasis or quotation marks around it; from ``first`` to ``start`` is
    its label, which may have taken the stars that open an emphasis."""
    label = text[first:start]
    stars = len(label) - len(label.rstrip("*"))
    odd = text.count("**", start, end) % 2 == 1
    if text.endswith("*", start, end) and (stars or (odd and "**" in label)):
        end -= len(text[start:end]) - len(text[start:end].rstrip("*"))
    elif stars > 1 and odd:
        start -= 2  # the emphasis ends within: it is the sub-question's own
    start, end = trimmed(text, start, end)
    if end - start > 1 and text[end - 1] == "," and text[end - 2] in "\"'”":
        end -= 1
    for left, right in _PAIRS:
        inner = start + len(left), end - len(right)
        wrapped = text.startswith(left, start, end) and text.endswith(right, start, end)
        if inner[0] < inner[1] and wrapped and text.find(left, *inner) < 0 and text.find(right, *inner) < 0:
            start, end = trimmed(text, *inner)
    return start, end


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a place in a text without the white space at its ends."""
    body = text[start:end]
    return start + len(body) - len(body.lstrip()), end - (len(body) - len(body.rstrip()))


def lines(text: str, start: int, end: int) -> Iterator[tuple[int, str]]:
    """Yield the lines of a part of a text, each with the place where it begins."""
    for line in text[start:end].splitlines(keepends=True):
        yield start, line
        start += len(line)
