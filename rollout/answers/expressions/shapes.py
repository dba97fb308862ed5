"""Find the brackets, lists and matrices in a tidy text, and where their parts begin and end."""

from __future__ import annotations

import re
from itertools import accumulate

Matrix = tuple[str, list[list[str]]]


def split(text: str, separator: str) -> list[str]:
    """Return the pieces of a text between separators (a regular expression) that are outside all brackets."""
    return [piece for piece, _ in split_with_separators(text, separator)]


def split_with_separators(text: str, separator: str) -> list[tuple[str, str]]:
    """Return the pieces of a text as ``split`` does, each with the separator before it (empty for the first)."""
    pieces, depth, start, at, before = [], 0, 0, 0, ""
    find = re.compile(separator)
    while at < len(text):
        if text[at] in "([{⟦":
            depth += 1
        elif text[at] in ")]}⟧":
            depth -= 1
        elif depth <= 0 and (match := find.match(text, at)):
            pieces.append((text[start:at].strip(), before))
            at = start = match.end()
            before = match[0]
            continue
        at += 1
    return [*pieces, (text[start:].strip(), before)]


def bracketed(text: str) -> tuple[str, str, str] | None:
    """Return opening bracket, content and closing bracket of a text that is bracketed as a whole."""
    match = re.fullmatch(r"(\(|\[|\\\{)(.*?)(\)|\]|\\\})", text, re.DOTALL)
    if match is None:
        return None
    depths = accumulate((char in "([{") - (char in ")]}") for char in match[2])
    return None if min(depths, default=0) < 0 else (match[1], match[2], match[3])


def both_signs(text: str) -> list[str]:
    r"""Return the two values of a text with ``\pm``, or the text itself."""
    parts = re.split(r"\\pm(?![A-Za-z])|±", text)
    return [sign.join(parts) for sign in "+-"] if len(parts) == 2 else [text]


def matrix(text: str) -> Matrix | None:
    """Return the kind and the cells of a matrix: ``v`` or ``V`` for determinants and norms, ``p`` for all others."""
    match = re.fullmatch(r"\\begin\{([a-zA-Z]?)(?:matrix|array)\}(?:\{[lcr|]*\})?(.*)\\end\{\1(?:matrix|array)\}", text)
    if match is None:
        return None
    # Round and square brackets mean the same matrix; bars mean its determinant.
    kind = match[1] if match[1] in ("v", "V") else "p"
    rows = [row for row in match[2].split("⏎") if row.strip()]
    return kind, [[cell.strip() for cell in row.split("&")] for row in rows]


def interval(text: str) -> str | None:
    r"""Return the interval that an inequality in one variable states (``2 \le x < 8``, ``x > 3``), else None."""
    pieces = split_with_separators(text, r"[<>]|\\[lg]e(?![A-Za-z])")
    signs = [sign for _, sign in pieces[1:]]
    sides = [piece for piece, _ in pieces]
    if len({sign in ("<", "\\le") for sign in signs}) != 1 or not all(sides):
        return None
    if signs[0] in (">", "\\ge"):
        sides, signs = sides[::-1], [{">": "<", "\\ge": "\\le"}[sign] for sign in reversed(signs)]
    letters = [index for index, side in enumerate(sides) if re.fullmatch(r"[A-Za-z]|\\theta", side)]
    if len(sides) == 3 and letters == [1]:
        low, high = sides[0], sides[2]
        opening, closing = "(" if signs[0] == "<" else "[", ")" if signs[1] == "<" else "]"
    elif len(sides) == 2 and letters == [0]:
        low, high, opening, closing = "-\\infty", sides[1], "(", ")" if signs[0] == "<" else "]"
    elif len(sides) == 2 and letters == [1]:
        low, high, opening, closing = sides[0], "\\infty", "(" if signs[0] == "<" else "[", ")"
    else:
        return None
    return f"{opening}{low},{high}{closing}"
