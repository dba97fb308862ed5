r"""Arithmetic operations in running text, in order of appearance, without false hits.

The text is read as tokens: numbers, single-letter variables, brackets, signs, LaTeX commands and words. A sign
counts between two operands ("20 + 3", "x - 1", "3 pens + 4 pens"), a word where a number follows ("times 4",
"half of 10"), a LaTeX command always. So the hyphen of "two-step", the "sin" of "using", the dash in "20 pens -
all red" and a date are none. Nothing is computed here, and no equals sign is needed: ``equations`` does and needs both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_SIGNS = {"+": "add", "-": "subtract", "−": "subtract", "–": "subtract", "^": "power", "√": "root"}
_SIGNS |= {"*": "multiply", "×": "multiply", "·": "multiply", "⋅": "multiply", "/": "divide", "÷": "divide"}
_LATEX = {"times": "multiply", "cdot": "multiply", "div": "divide", "sqrt": "root", "binom": "choose"}
_LATEX |= dict.fromkeys(("frac", "dfrac", "tfrac"), "divide")
_LATEX |= {"sin": "sine", "cos": "cosine", "tan": "tangent", "log": "logarithm", "ln": "logarithm"}
# Words stand before their second operand: "3 times 4", "double 5", "half of 10", "add 3 to 4".
_WORDS = {"plus": "add", "add": "add", "adding": "add", "minus": "subtract", "subtract": "subtract"}
_WORDS |= {"subtracting": "subtract", "times": "multiply", "multiply": "multiply", "multiplying": "multiply"}
_WORDS |= {"twice": "multiply", "double": "multiply", "triple": "multiply", "half": "divide", "divide": "divide"}
_WORDS |= {"dividing": "divide"}
_PHRASES = {("multiplied", "by"): "multiply", ("divided", "by"): "divide", ("square", "root"): "root"}
_PHRASES |= {("sum", "of"): "add", ("product", "of"): "multiply", ("difference", "between"): "subtract"}
_AFTER = {"squared": "power", "cubed": "power"}
_FILLERS = {"of", "the", "by"}
# How far a rule looks for an operand: brackets, minus signs and words beyond this belong to something else.
_REACH = 4

_TOKEN = re.compile(
    r"(?P<date>\d{1,4}([-/.])\d{1,2}\2\d{1,4}(?!\d))"
    r"|(?P<degree>\^\s*\{?\s*\\circ\s*\}?|\^?°)"
    r"|(?P<number>(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?%?)"
    r"|\\(?P<latex>[A-Za-z]+)"
    r"|(?P<word>[^\W\d_]+)"
    r"|(?P<sign>\*\*|[-+*×·⋅/÷^−–√])"
    r"|(?P<open>[({\[])|(?P<close>[)}\]])"
    r"|(?P<gap>\\[,;:! ]|[$\s]+)"
    r"|(?P<other>.)",
    re.DOTALL,
)
# LaTeX commands that are letters to compute with, and those that only shape what they hold.
_SYMBOLS = {"pi", "alpha", "beta", "gamma", "theta", "lambda", "mu", "phi", "omega"}
_SHAPES = {"left", "right", "big", "bigl", "bigr", "displaystyle", "quad", "qquad"}

Token = tuple[str, str, bool]


def _tokens(text: str) -> list[Token]:
    """Return ``(kind, text in lower case, gap before it)`` of each token.

    Kinds are number, variable, word, latex, sign, open, close and other.
    """
    found: list[Token] = []
    gap = False
    for match in _TOKEN.finditer(text):
        kind, value = match.lastgroup or "other", match[0].lower()
        if kind == "gap" or (kind == "latex" and value[1:] in _SHAPES):
            gap = True
            continue
        if kind == "degree":
            continue
        if kind == "latex":
            value = value[1:]
            kind = "variable" if value in _SYMBOLS else "latex"
        elif kind == "date":
            kind = "word"
        elif kind == "word" and len(value) == 1:
            kind = "variable"
        found.append((kind, value, gap))
        gap = False
    # "3 x 4" multiplies; the x of "3x + 2" is something to compute with.
    for index, (kind, value, gap) in enumerate(found):
        following = index + 1 + (_kind(found, index + 1) == "open")
        if kind == "variable" and value == "x" and _kind(found, following) == "number":
            found[index] = ("sign", "×", gap)
    return found


def operations(text: str) -> list[str]:
    """Return the names of the operations in ``text``, in order: add, subtract, multiply, divide, power, root, ..."""
    tokens = _tokens(text)
    found = []
    for index, (kind, value, _) in enumerate(tokens):
        name = None
        if kind == "sign":
            name = _sign(tokens, index)
        elif kind == "latex":
            name = _LATEX.get(value)
        elif kind == "word":
            name = _word(tokens, index)
        elif _touches(tokens, index) or _part_of(tokens, index):
            name = "multiply"
        if name:
            found.append(name)
    return found


def _kind(tokens: Sequence[Token], index: int) -> str:
    return tokens[index][0] if 0 <= index < len(tokens) else "end"


def _text(tokens: Sequence[Token], index: int) -> str:
    return tokens[index][1] if 0 <= index < len(tokens) else ""


def _gap(tokens: Sequence[Token], index: int) -> bool:
    return tokens[index][2] if 0 <= index < len(tokens) else True


def _number_at(tokens: Sequence[Token], index: int) -> bool:
    """Return whether a number begins here, brackets and a minus before it allowed."""
    for ahead in range(index, index + _REACH):
        if _kind(tokens, ahead) == "number":
            return True
        if _kind(tokens, ahead) != "open" and _text(tokens, ahead) not in ("-", "−"):
            return False
    return False


def _operand_starts(tokens: Sequence[Token], index: int) -> bool:
    kind = _kind(tokens, index)
    return kind in ("number", "variable", "open", "latex") or _number_at(tokens, index) or _text(tokens, index) == "√"


def _sign(tokens: Sequence[Token], index: int) -> str | None:
    """Return the operation of a sign, if it stands between operands."""
    _, sign, gap = tokens[index]
    name = "power" if sign == "**" else _SIGNS[sign]
    if not _operand_starts(tokens, index + 1):
        return None
    if name == "root":
        return name
    before, after = _kind(tokens, index - 1), _kind(tokens, index + 1)
    even = gap == _gap(tokens, index + 1)
    if before == "variable":
        hyphen = name == "subtract" and not gap and _names(tokens, index)
        return name if even and not hyphen else None
    if before == "number" and after == "variable":
        return name if even else None
    if before in ("number", "close"):
        return name
    if before == "word" and gap and even:
        return name if _number_at(tokens, index + 1) and _number_with_unit(tokens, index - 1) else None
    return None


def _names(tokens: Sequence[Token], index: int) -> bool:
    """Return whether a hyphen after a letter belongs to a name: "vitamin B-12", but not "so x-5 = 0" nor "(x-5)"."""
    goes_on = _kind(tokens, index + 2) == "sign" or _text(tokens, index + 2) in ("=", "<", ">")
    return _kind(tokens, index - 2) == "word" and _gap(tokens, index - 1) and not goes_on


def _number_with_unit(tokens: Sequence[Token], index: int) -> bool:
    """Return whether a number and its unit of up to three words ("pens", "points/question", "per hour") end here."""
    for back in range(index, index - _REACH, -1):
        if _kind(tokens, back) == "number":
            return True
        if _kind(tokens, back) not in ("word", "variable") and _text(tokens, back) != "/":
            return False
    return False


def _word(tokens: Sequence[Token], index: int) -> str | None:
    """Return the operation of a word or phrase, if a number follows ("times 4") or, for "squared", is before it."""
    word = _text(tokens, index)
    if word in _AFTER:
        return _AFTER[word] if _kind(tokens, index - 1) in ("number", "variable", "close") else None
    after = index + 1
    name = _WORDS.get(word)
    if name is None and (word, _text(tokens, after)) in _PHRASES:
        name, after = _PHRASES[word, _text(tokens, after)], after + 1
    if name is None:
        return None
    for _ in range(_REACH):
        after += _text(tokens, after) in _FILLERS
    return name if _number_at(tokens, after) else None


def _touches(tokens: Sequence[Token], index: int) -> bool:
    """Return whether a bracket multiplies what stands right before it: "3(4 + 5)", "(2)(3)"."""
    before = _kind(tokens, index - 1)
    inside = _text(tokens, index) == "(" and _kind(tokens, index + 1) == "number"
    return inside and not _gap(tokens, index) and before in ("number", "close")


def _part_of(tokens: Sequence[Token], index: int) -> bool:
    """Return whether a percentage of a number is taken here: "5% of 20", "5% of the 20"."""
    percent = _kind(tokens, index) == "number" and _text(tokens, index).endswith("%")
    return percent and _text(tokens, index + 1) == "of" and any(_number_at(tokens, index + ahead) for ahead in (2, 3))


def longest_common_subsequence(left: Sequence[str], right: Sequence[str]) -> int:
    """Return the length of the longest common subsequence; by bits, so a long text costs one big integer a token.

    After Hyyrö (2004): bit j of ``row`` is 0 where the length grows at ``right[j]``.
    """
    positions: dict[str, int] = {}
    for index, item in enumerate(right):
        positions[item] = positions.get(item, 0) | 1 << index
    everything = (1 << len(right)) - 1
    row = everything
    for item in left:
        matches = row & positions.get(item, 0)
        row = ((row + matches) | (row - matches)) & everything
    return len(right) - row.bit_count()


def aligned(left: Sequence[str], right: Sequence[str]) -> list[tuple[str | None, str | None]]:
    """Return both sequences side by side along one longest common subsequence; None where one has no counterpart."""
    rows = [[0] * (len(right) + 1)]
    for a in left:
        row = [0]
        for index, b in enumerate(right):
            row.append(rows[-1][index] + 1 if a == b else max(row[-1], rows[-1][index + 1]))
        rows.append(row)
    pairs: list[tuple[str | None, str | None]] = []
    i, j = len(left), len(right)
    while i or j:
        if i and j and left[i - 1] == right[j - 1]:
            i, j = i - 1, j - 1
            pairs.append((left[i], right[j]))
        elif j and (not i or rows[i][j - 1] >= rows[i - 1][j]):
            j -= 1
            pairs.append((None, right[j]))
        else:
            i -= 1
            pairs.append((left[i], None))
    return pairs[::-1]
