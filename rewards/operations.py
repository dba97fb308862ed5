"""Arithmetic operations in running text, in order of appearance, without false hits.

An operator counts only between numbers, as a LaTeX command, or as a word that a number follows: "20 + 3",
"\\times", "times 4"; never the hyphen of "two-step" or the "sin" of "using".
"""

from __future__ import annotations

import re

_LEFT = r"(?<=[\d)%])\s*"
_RIGHT = r"\s*(?=[-(]?\s*\$?\d|\()"
_SIGNS = {"+": "add", "-": "subtract", "−": "subtract", "*": "multiply", "x": "multiply", "×": "multiply"}
_SIGNS |= {"/": "divide", "÷": "divide", "^": "power"}
_WORDS = {
    "plus": "add",
    "minus": "subtract",
    "times": "multiply",
    "multiplied by": "multiply",
    "divided by": "divide",
}
_LATEX = {"times": "multiply", "cdot": "multiply", "div": "divide", "frac": "divide", "dfrac": "divide"}
_LATEX |= {"tfrac": "divide", "sqrt": "root", "sin": "sine", "cos": "cosine", "tan": "tangent", "log": "logarithm"}
_OPERATION = re.compile(
    rf"{_LEFT}(?P<sign>[-+*x×−/÷^]){_RIGHT}"
    rf"|\b(?P<word>{'|'.join(_WORDS)})\s+(?=[-(]?\$?\d)"
    rf"|\\(?P<latex>{'|'.join(_LATEX)})(?![A-Za-z])"
)


def operations(text: str) -> list[str]:
    """Names of the operations in ``text``, in order: add, subtract, multiply, divide, power, ..."""
    found = []
    for match in _OPERATION.finditer(text):
        if match["sign"]:
            found.append(_SIGNS[match["sign"]])
        elif match["word"]:
            found.append(_WORDS[match["word"]])
        else:
            found.append(_LATEX[match["latex"]])
    return found


def longest_common_subsequence(left: list[str], right: list[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(right) + 1)
    for a in left:
        previous = 0
        for index, b in enumerate(right, 1):
            previous, row[index] = row[index], previous + 1 if a == b else max(row[index], row[index - 1])
    return row[-1]
