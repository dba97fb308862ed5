"""Answers: how one is read from a solver's text, and when two are the same.

The rules are tried in a fixed order and the one that fired is reported, so a surprising reward can be traced.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from rollout.records import Problem

_NUMBER = r"[-+]?\$?\d[\d,]*(?:\.\d+)?(?:\s*/\s*\d+(?:\.\d+)?)?|[-+]?\.\d+"
_ALTERNATIVES = re.compile(r"\b(?:or|either)\b|/\s*or\b", re.IGNORECASE)
_REFUSAL = re.compile(
    r"\b(?:cannot|can't|can not|could not|couldn't|unable to|impossible to)\s+(?:be\s+)?"
    r"(?:tell|told|say|answer|answered|determine|determined|know|known|solve|solved)[^.?!\n]*[.?!]?\s*$",
    re.IGNORECASE,
)
_BOOLEAN = {"yes": True, "true": True, "no": False, "false": False}
RELATIVE_TOLERANCE = 1e-6
JEEBENCH_TOLERANCE = 0.01


@dataclass(frozen=True)
class Extracted:
    """An answer and the rule that found it; ``answer`` is None where no rule fired."""

    answer: str | None
    rule: str


def last_boxed(text: str) -> str | None:
    r"""The content of the last ``\boxed{...}`` with balanced braces."""
    for match in reversed(list(re.finditer(r"\\boxed\s*\{", text))):
        depth = 1
        for index in range(match.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[index], 0)
            if depth == 0:
                return text[match.end() : index].strip()
    return None


def extract(text: str, answer_type: str = "number") -> Extracted:
    """Find the final answer in ``text``.

    Order: ``#### x``, the last balanced ``\\boxed{}``, ``[[Answer: x]]``, "the answer is x", then the last
    number, letter or yes/no, by ``answer_type``. A text that marks no answer and ends in saying that it cannot
    be told gives none (rule ``refused``).
    """
    marked = re.findall(r"####\s*([^\n]+)", text)
    if marked:
        return Extracted(_clean(marked[-1]), "hashes")
    boxed = last_boxed(text)
    if boxed is not None:
        return Extracted(boxed, "boxed")
    bracketed = re.findall(r"\[\[\s*answer:\s*(.*?)\]\]", text, re.IGNORECASE | re.DOTALL)
    if bracketed:
        return Extracted(bracketed[-1].strip(), "brackets")
    stated = re.findall(r"answer\s+is:?\s*([^\n]+)", text, re.IGNORECASE)
    if stated:
        found = _fallback(stated[-1], answer_type, first=True)
        if found is not None:
            return Extracted(found, "answer_is")
    if _REFUSAL.search(text):
        return Extracted(None, "refused")
    found = _fallback(text, answer_type, first=False)
    return Extracted(found, "last" if found is not None else "none")


def _clean(text: str) -> str:
    return text.strip().rstrip(".").strip()


def _fallback(text: str, answer_type: str, *, first: bool) -> str | None:
    """The first or last value of the answer type in a text; several alternatives at once are kept as they
    stand, so that they equal nothing."""
    if answer_type == "boolean":
        found = re.findall(r"\b(yes|no|true|false)\b", text, re.IGNORECASE)
    elif answer_type == "choice":
        found = re.findall(r"\(([A-Za-z])\)|\b([A-Z])\b", text)
        found = [a or b for a, b in found]
    elif answer_type == "multi_choice":
        found = ["".join(run) for run in re.findall(r"\b([A-D]{1,4})\b", text)]
    elif answer_type in ("number", "integer", "numeric"):
        if re.search(rf"(?:{_NUMBER})\s+or\s+(?:{_NUMBER})[^\d]*$", text):
            return _clean(text.splitlines()[-1])
        found = re.findall(_NUMBER, text)
    else:
        found = [_clean(line) for line in text.splitlines() if line.strip()]
    if not found:
        return None
    return _clean(found[0] if first else found[-1])


def parse_number(text: str) -> Decimal | None:
    """The number a text states: currency, thousands separators, a unit and a percent sign removed.

    None where there is no number or more than one.
    """
    text = text.replace("−", "-").replace("\\$", "").replace("\\%", "%").replace("\\,", "").replace("$", "")
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text.strip())
    latex = re.search(r"\\[dt]?frac\s*(?:\{([-\d.]+)\}|(\d))\s*(?:\{([-\d.]+)\}|(\d))", text)
    if latex:
        sign = "-" if text[: latex.start()].strip() == "-" else ""
        text = f"{sign}{latex[1] or latex[2]}/{latex[3] or latex[4]}"
    if _ALTERNATIVES.search(text):
        return None
    found = re.findall(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:\s*/\s*\d+(?:\.\d+)?)?", text)
    if len(found) != 1:
        return None
    top, _, bottom = found[0].replace(" ", "").partition("/")
    try:
        value = Decimal(top) / Decimal(bottom) if bottom else Decimal(top)
    except (InvalidOperation, ZeroDivisionError):
        return None
    return value if value.is_finite() else None


def _numbers_equal(gold: str, found: str, tolerance: float, *, relative: bool) -> bool:
    left, right = parse_number(gold), parse_number(found)
    if left is None or right is None:
        return False
    bound = Decimal(str(tolerance)) * (max(abs(left), abs(right)) if relative else 1)
    return abs(left - right) <= bound


def _letter(text: str, choices: dict[str, str] | list[str] | None) -> str | None:
    """The option letter a text names, directly or by an option's exact value."""
    match = re.fullmatch(r"\(?\s*([A-Za-z])\s*\)?\.?", text.strip())
    if match:
        return match[1].upper()
    if not choices:
        return None
    options = choices if isinstance(choices, dict) else dict(zip("ABCDEFGHIJ", choices, strict=False))
    same = [
        letter.upper()
        for letter, value in options.items()
        if _plain(value) == _plain(text) or _numbers_equal(value, text, RELATIVE_TOLERANCE, relative=True)
    ]
    return same[0] if len(same) == 1 else None


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"^\(?[A-Za-z]\)\s*", "", text.strip())).lower().rstrip(".")


def _math_equal(gold: str, found: str) -> bool:
    """Equivalence by math-verify, gold first."""
    from math_verify import parse, verify

    # The library's own time-outs use signals and so the main thread only; the reward actor limits time instead.
    left, right = (parse(f"${text}$", parsing_timeout=None) for text in (gold, found))
    return bool(verify(left, right, timeout_seconds=None))


def score(problem: Problem, answer: str | None) -> float:
    """How right ``answer`` is for ``problem``: 0 or 1, or a partial mark in JEEBench's multiple choice.

    Raises ValueError for an unknown answer type.
    """
    if answer is None or not answer.strip():
        return 0.0
    gold, kind = problem.answer, problem.answer_type
    if kind == "number":
        return float(_numbers_equal(gold, answer, RELATIVE_TOLERANCE, relative=True))
    if kind in ("integer", "numeric"):
        return float(_numbers_equal(gold, answer, JEEBENCH_TOLERANCE, relative=False))
    if kind == "boolean":
        truth = [_BOOLEAN.get(text.strip().lower()) for text in (gold, answer)]
        return float(truth[0] is not None and truth[0] == truth[1])
    if kind == "choice":
        letters = [_letter(text, problem.choices) for text in (gold, answer)]
        return float(letters[0] is not None and letters[0] == letters[1])
    if kind == "multi_choice":
        want, have = set(re.findall("[A-D]", gold.upper())), set(re.findall("[A-D]", answer.upper()))
        if not have or not have <= want:
            return 0.0
        return 1.0 if have == want else 0.25 * len(have)
    if kind == "expression":
        return float(_plain(gold) == _plain(answer) or _math_equal(gold, answer))
    if kind == "text":
        return float(_plain(gold) == _plain(answer))
    raise ValueError(f"unknown answer type {kind!r}")
