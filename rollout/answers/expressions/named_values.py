r"""Statements such as ``x = 5``, ``\angle ABC = 72^\circ``, ``P(even) = 3/6 = 1/2``: a name and its value.

A name is the thing whose value is given: a variable, a function of its argument, an angle, a segment, a probability, a
word. ``2x = 10`` and ``x^2 = 9`` name nothing: they are equations.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rollout.answers.expressions.shapes import split_with_separators

MAX_NAME = 100
_RELATION = r"=|\\(?:approx|in)(?![A-Za-z])"
_INEQUALITY = r"[<>]|\\(?:le|ge|ne)(?![A-Za-z])"
_GREEK = r"\\(?!pi(?![a-z])|infty|frac|sqrt|cdot|pm|sin|cos|tan|cot|sec|csc|log|ln|exp|emptyset)[A-Za-z]+"
_LETTERS = rf"(?:[A-Za-z]+|{_GREEK}|\\(?:overline|overrightarrow|widehat|vec|hat|bar)(?:\{{\w{{1,3}}\}}| ?\w))"
_VARIABLE = rf"{_LETTERS}(?:_(?:\w|\{{[^{{}}]{{1,20}}\}}))?'{{0,3}}"
_ANGLE = r"m?\\angle ?(?:[A-Z]{1,3}|\{?[A-Z]{1,3}\}?|[0-9]|[a-z])"
_POINTS = r"[A-Z]{2}"
_INSIDE = r"(?:[^()]|\([^()]{1,40}\)){1,60}"
# A function's argument is anything where the letter is one of functions, and no product: x(x+1) = 6 is an equation.
_FUNCTION = (
    rf"(?:[fghpqA-Z]|\\[a-z]+|Pr|\\Pr|Var|Cov|\\mathbb\{{[PE]\}})(?:_\w|\^\{{-1\}}|\^\w)?'{{0,3}}[(\[]{_INSIDE}[)\]]"
    rf"|{_VARIABLE}\((?:-?\w{{1,9}}|\\[a-z]+)(?:,(?:-?\w{{1,9}}|\\[a-z]+)){{0,3}}\)|\([a-z]\\circ ?[a-z]\)\({_INSIDE}\)"
)
_RATIO = (
    rf"\\frac\{{{_POINTS}\}}\{{{_POINTS}\}}|{_POINTS}[/:]{_POINTS}"
    r"|\\frac\{\\?[a-z]+\}\{\\?[a-z]+\}|\\frac\{d\w?\}\{d\w\}|[a-z][/:][a-z]"
)
# The value of sin 30°, of log_2 8, of a limit, a sum or an integral.
_OPERATION = (
    r"\\(?:sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|log|ln)(?![a-z])(?:[^=+()-]|\([^()]{1,40}\)){1,40}"
    r"|\\(?:lim|int|sum|prod|max|min)(?![a-z]).{1,90}"
    r"|\\begin\{[bp]matrix\}[A-Za-z_⏎&]{1,40}\\end\{[bp]matrix\}"
)
_NAME = re.compile(
    rf"{_VARIABLE}|\(?{_FUNCTION}\)?|{_ANGLE}|{_RATIO}|{_OPERATION}"
    rf"|\|[A-Za-z]{{1,2}}\||\|?\\overline\{{{_POINTS}\}}\|?|\\triangle ?[A-Z]{{3}}|\[[A-Z]{{3,6}}\]"
    rf"|\({_VARIABLE}(?:,{_VARIABLE}){{1,5}}\)"
    rf"|⟦[^⟦⟧]{{1,60}}⟧[A-Z]{{0,4}}(?:\([^()]{{0,40}}\))?|[A-Za-z]+(?: [A-Za-z]+){{1,6}}"
)
_NO_NAME = {"answer", "final answer", "result", "value", "ans", "solution", "solutions"}


@dataclass(frozen=True)
class Statement:
    r"""A text, its name if it has one, and its parts, each with the sign before it: ``=``, ``\approx``, ``\in``."""

    text: str
    name: str | None
    parts: tuple[tuple[str, str], ...]
    is_equation: bool = False


def read_statement(text: str) -> Statement:
    """Read one item of a tidy text: ``x = 5`` is 5 with the name x."""
    parts = [(relation, piece) for piece, relation in split_with_separators(text, _RELATION)]
    if any(len(split_with_separators(piece, _INEQUALITY)) > 1 for _, piece in parts):
        return Statement(text, None, (("", text),))
    name = None
    is_equation = any(relation == "=" for relation, _ in parts)
    if len(parts) > 1:
        if (name := name_of(parts[0][1])) is not None:
            parts = parts[1:]
        elif parts[-1][0] == "=" and (name := name_of(parts[-1][1])) is not None:
            parts = parts[:-1]
        elif not parts[0][1]:
            parts = parts[1:]
    return Statement(text, name or None, tuple(parts), is_equation)


def name_of(text: str) -> str | None:
    """Return a name in one spelling; "" for a word that names nothing ("answer"); None if the text is not a name."""
    if len(text) > MAX_NAME or not _NAME.fullmatch(text):
        return None
    name = re.sub(r"[⟦⟧{}\s]|\\overline", " ", text).strip()
    name = re.sub(r"\s+", " ", name.replace("m\\angle", "\\angle"))
    if re.search(r"[A-Za-z]{3}", name) and not re.search(r"[A-Z]{2}|[\\(]", name):
        name = re.sub(r"^(?:the|our) ", "", name.lower())
    if name in _NO_NAME:
        return ""
    # The segment AB is the segment BA, and the angle ABC the angle CBA.
    if points := re.fullmatch(r"\|? ?([A-Z])([A-Z]) ?\|?", name):
        return "".join(sorted(points.groups()))
    if points := re.fullmatch(r"\\angle ?([A-Z])([A-Z])([A-Z])", name):
        return "\\angle " + min("".join(points.groups()), "".join(reversed(points.groups())))
    return re.sub(r"\\angle ?", r"\\angle ", name)
