r"""Give one spelling to mathematics that is written in many ways: LaTeX, Unicode signs, plain text such as ``sqrt(3)``.

Nothing here knows the value of an expression: ``tidy`` gives texts that differ only in spelling the same form. In that
form words stand between ⟦ and ⟧.
"""

from __future__ import annotations

import re
from functools import lru_cache

from rollout.answers.numbers_and_options import plain, untexted

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_SIGNS = str.maketrans(
    {"≤": "\\le ", "≥": "\\ge ", "≠": "\\ne ", "∞": "\\infty ", "∪": "\\cup ", "∩": "\\cap ", "∈": "\\in ",
     "∅": "\\emptyset ", "·": "\\cdot ", "⋅": "\\cdot ", "∙": "\\cdot ", "×": "\\cdot ", "∗": "*", "÷": "/",
     "≈": "\\approx ", "≃": "\\approx ", "±": "\\pm ", "∠": "\\angle ", "△": "\\triangle ", "′": "'", "º": "°",
     "π": "\\pi ", "α": "\\alpha ", "β": "\\beta ", "γ": "\\gamma ", "δ": "\\delta ", "θ": "\\theta ",
     "λ": "\\lambda ", "μ": "\\mu ", "ρ": "\\rho ", "σ": "\\sigma ", "φ": "\\phi ", "ω": "\\omega "}
)  # fmt: skip
_SYNONYMS = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "leq": "le", "leqslant": "le", "geq": "ge", "geqslant": "ge",
    "neq": "ne", "times": "cdot", "ast": "cdot", "simeq": "approx", "sim": "approx", "doteq": "approx",
    "dbinom": "binom", "tbinom": "binom", "varnothing": "emptyset", "varphi": "phi",
    "measuredangle": "angle", "lbrack": "[", "rbrack": "]", "lbrace": "{", "rbrace": "}", "div": "/", "lvert": "|",
    "rvert": "|", "vert": "|", "mid": "|", "colon": ":", "dots": "…", "ldots": "…", "cdots": "…", "degree": "°",
    "textnormal": "text", "textbf": "text", "textit": "text", "textrm": "text", "mathrm": "text", "mbox": "text",
    "lt": "<", "gt": ">", "displaystyle": " ", "boxed": " ", "iff": ",",
}  # fmt: skip
_BARE = {"[", "]", "/", "|", ":", "…", "°", "<", ">", " ", ","}
_SYNONYM = re.compile(rf"\\({'|'.join(_SYNONYMS)})(?![A-Za-z])")
_WORDS = {"pi", "theta", "alpha", "beta", "gamma", "lambda", "phi", "omega", "sigma", "mu"} | {
    "sin", "cos", "tan", "cot", "csc", "arcsin", "arccos", "arctan", "log", "ln", "exp", "gcd", "lcm", "angle",
}  # fmt: skip
# "sec" needs an argument: 5 sec is a time.
_PLAIN_WORD = re.compile(r"(?<![A-Za-z\\])(?:sec(?=\s?[(a-z\\])|infinity|inf|oo|(?!sec)[a-z]{2,6})(?![A-Za-z])")
_CALL = re.compile(r"(?<![A-Za-z\\])(?:sqrt|cbrt|abs)\s?\(|\\sqrt\s?(?:\[\w\])?\s?\(|\^\s?\(|[()]")
_OPENING = {"sqrt": r"\sqrt{", "cbrt": r"\sqrt[3]{", "abs": "|", "^": "^{"}
_ROOT_SIGN = re.compile(r"([√∛])\s?(?:(\d+(?:\.\d+)?|[A-Za-z])|(?=[({\\]))")


@lru_cache(maxsize=4096)
def tidy(text: str) -> str:
    """Give one spelling to what LaTeX and plain text write in many ways; words are put between ⟦ and ⟧."""
    text = plain(text).replace("\\$", "⟦dollar⟧").replace("$", "").replace("\\%", "%").replace("\n", " ")
    text = re.sub(r"\\[()\[\]]", " ", text.replace("\\\\", "⏎"))
    text = _from_unicode(text)
    text = _SYNONYM.sub(lambda match: _synonym(_SYNONYMS[match[1]]), text)
    text = re.sub(r"\\text\s?\{([^{}]*)\}", r"⟦\1⟧", text)
    text = re.sub(r"(?<=[\d})])\s*(?:⟦\s*percent\s*⟧|percent\b)", "%", text)
    # "The area is 12" in a box is 12.
    text = re.sub(r"^\s*⟦[^⟦⟧]{0,80}\b(?:is|are|equals)[\s:]*⟧", "", text)
    text = re.sub(r"⟦(?:[\s,]|\\[,;:! ])*(?:and|or)(?:[\s,]|\\[,;:! ])*⟧|\b(?:and|or)\b", ",", text)
    text = re.sub(r"⟦([^⟦⟧A-Za-z]*)⟧", r"\1", text)
    text = re.sub(r",(?:\s*[,⟦]\s*[,⟧])+|,(?:\s*,)+|⟦[\s,]+⟧", ",", text)
    text = re.sub(r"\\v?phantom\s?(?:\{[^{}]*\}|.)", " ", text)
    text = _from_plain(untexted(text))
    text = _braces(text)
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"(?<![A-Za-z0-9])\s+|\s+(?![A-Za-z0-9])|(?<=\d)\s+(?=[A-Za-z])", "", text.strip())
    return text.rstrip(".,;")


def _synonym(name: str) -> str:
    return name if name in _BARE else f"\\{name}" + ("" if name in "{}" else " ")


def _from_unicode(text: str) -> str:
    """Write Unicode's signs as LaTeX: ``x²``, ``√3``, ``≤``."""
    text = text.replace("...", "…")
    if text.isascii():
        return text
    text = re.sub("[⁰¹²³⁴-⁹⁺⁻ⁿ]+", lambda match: f"^{{{match[0].translate(_SUPERSCRIPTS)}}}", text)
    text = re.sub("[₀-₉]+", lambda match: f"_{{{match[0].translate(_SUBSCRIPTS)}}}", text)
    text = _ROOT_SIGN.sub(
        lambda match: ("\\sqrt" if match[1] == "√" else "\\sqrt[3]") + (f"{{{match[2]}}}" if match[2] else ""), text
    )
    return text.translate(_SIGNS)


def _from_plain(text: str) -> str:
    """Write plain text's operators, functions and constants as LaTeX, outside of words."""
    text = re.sub(r"(?<=[\w)}\]])(\s?)\*\*\1(?=[\w({\\-])", "^", text).replace("**", " ")
    text = re.sub(r"(?<=[\w)}\]|!°])\s?\*\s?(?=[\w(\\|√-])", r"\\cdot ", text)
    text = text.replace("<=", "\\le ").replace(">=", "\\ge ").replace("==", "=")
    text = re.sub(r"(?<=[A-Za-z\s])!=", r"\\ne ", text)
    text = re.sub(r"(?<![A-Za-z\\])(sqrt|cbrt)\s?(\d+|[A-Za-z](?![A-Za-z]))", r"\1(\2)", text)
    text = _calls(text)
    parts = re.split(r"(⟦[^⟦⟧]*⟧)", text)
    return "".join(part if part.startswith("⟦") else _PLAIN_WORD.sub(_command, part) for part in parts)


def _command(match: re.Match[str]) -> str:
    word = match[0]
    if word in ("infinity", "inf", "oo"):
        return "\\infty "
    return f"\\{word} " if word in _WORDS or word == "sec" else word


def _calls(text: str) -> str:
    """Write ``sqrt(x)``, ``cbrt(x)``, ``abs(x)`` and ``^(x)`` with LaTeX's brackets."""
    pieces: list[str] = []
    opened: list[int] = []
    done = 0
    for match in _CALL.finditer(text):
        pieces += [text[done : match.start()], match[0]]
        done = match.end()
        if match[0] != ")":
            opened.append(len(pieces) - 1)
        elif opened and pieces[at := opened.pop()] != "(":
            name = pieces[at][:-1].strip()
            pieces[at] = _OPENING.get(name) or name + "{"
            pieces[-1] = "|" if name == "abs" else "}"
    return "".join(pieces) + text[done:]


def _braces(text: str) -> str:
    """Write fractions, roots, degrees and exponents with braces in one way."""
    text = re.sub(r"\\frac\s?(\d)\s?(\d)", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\frac\s?(\d)\s?\{", r"\\frac{\1}{", text)
    text = re.sub(r"(\\frac\s?\{[^{}]*\})\s?(\w)", r"\1{\2}", text)
    text = re.sub(r"\\sqrt\s?(\w)", r"\\sqrt{\1}", text)
    text = re.sub(r"\^\s?(?:\{\s?\\circ\s?\}|\\circ(?![A-Za-z])|\{\s?°\s?\}|°)", "°", text)
    text = re.sub(r"([_^])\s?\{\s?(\w)\s?\}(?!\w)", r"\1\2", text)
    text = re.sub(r"\^\s?(-?\d{2,}|-[\dA-Za-z])", r"^{\1}", text)
    text = re.sub(r"\\log\s?_\s?(?:\{\s?(\w{1,9})\s?\}|(\w))\s?(?:\((\w+)\))?", r"\\log_{\1\2}\3", text)
    # 3*x is 3x, but 1/2*x is not 1/2x.
    factor = r"((?<![/\d.^_A-Za-z\\])\d+|(?<![/^_A-Za-z\\])[A-Za-z])"
    return re.sub(factor + r" ?\\cdot ?(?=[A-Za-z\\])(?!\\cdot)", _juxtaposed, text)


def _juxtaposed(match: re.Match[str]) -> str:
    return match[1] if match[1].isdecimal() else f"{match[1]} "
