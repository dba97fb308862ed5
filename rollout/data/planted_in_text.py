"""Errors planted in people's worked steps ("48/2 = 24 clips"), and the verdict that each deserves.

A step tells its arithmetic and little else, so there are three kinds: a wrong result is computational, another
operation is conceptual, and the step of another sub-question has misunderstood this one. Nothing else of a step becomes
wrong: the arithmetic of another operation holds. So an operation or a result that is part of a longer computation is
left alone.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal

from rollout.answers.annotations import PLACES, computed

Pairs = Sequence[tuple[str, str]]
# A number with its separators is one token: the atomic groups give back none of its digits.
_NUMBER = r"(?<![\w.,])(?>(?>\d{1,3}(?:,\d{3})+|\d{1,9})(?:\.\d{1,6})?|\.\d{1,6})(?!\d|[.,]\d)"
_RESULT = re.compile(rf"=\s{{0,3}}\$?(?P<value>{_NUMBER})")
_BARE = re.compile(rf"\$?(?P<value>{_NUMBER})")
_OPERATION = re.compile(
    rf"(?P<left>{_NUMBER})(?P<gap>\s{{0,3}})(?P<sign>[-+*/x])(?P<rest>\s{{0,3}}\$?)(?P<right>(?<=[-+*/x\s$]){_NUMBER})"
    rf"(?P<equals>\s{{0,3}}=\s{{0,3}}\$?)(?P<value>{_NUMBER})"
)
# What computes: not the hyphen of "two-step", nor the stroke of "miles/hour".
_SIGN = (
    r"(?:[+*×·⋅÷−–]|[-/](?![^\W\d_])|(?<![^\W\d_])x(?![^\W\d_])"
    r"|\b(?:plus|minus|times|divided by|multiplied by)\s\$?[\d.(])"
)
_COMPUTES = re.compile(_SIGN)
_SHARE = re.compile(r"\s?(?:%|of\b)")
_CLAUSE_END = re.compile(r"[.,;:?!](?=\s)|\n")
_GOES_ON = re.compile(rf"[^\d.,;:?!\n]{{0,60}}?(?:{_SIGN}|=|\bequals\b)")
_ARITHMETIC = re.compile(r"[\d.,+\-*/() $]+\Z")
# So many characters before an equation are looked at.
_SEEN = 200
# A result may be rounded so far; what is further off is not the operation's.
_ROUNDED = Decimal("0.01")


def plant_in_step(pairs: Pairs, index: int, rng: random.Random) -> tuple[str, str] | None:
    """Return a wrong reply to sub-question ``index`` of worked pairs, and its verdict; None where none can be made."""
    makers: list[tuple[str, Callable[[Pairs, int, random.Random], str | None]]] = [
        ("computational", _wrong_result), ("conceptual", _wrong_operation), ("misunderstood", _other_step),
    ]  # fmt: skip
    rng.shuffle(makers)
    for verdict, make in makers:
        if (reply := make(pairs, index, rng)) is not None:
            return reply, verdict
    return None


def _wrong_result(pairs: Pairs, index: int, rng: random.Random) -> str | None:
    step = pairs[index][1]
    stated = list(_ending(_RESULT, step))
    computing = [each for each in stated if _COMPUTES.search(_sides(step[: each.start()])[-1])]
    found = next(iter(computing or stated), None) or _BARE.fullmatch(step.strip())
    if found is None:
        return None
    value, right = _value(found["value"]), _right(found.string[: found.start()])
    wrong = [value + slip for slip in (1, -1, 2, -2, 10, -10) if value + slip > 0 and value + slip != right]
    other, text = _like(rng.choice(wrong), found), found.string
    return f"{text[: found.start('value')]}{other}{text[found.end('value') :]}"


def _right(before: str) -> Decimal | None:
    """Return the value of the arithmetic that a text ends in; None where it cannot be computed."""
    arithmetic = _ARITHMETIC.search(before[-_SEEN:])
    text = computed(arithmetic[0].replace("$", "")) if arithmetic else None
    return None if text is None else Decimal(text)


def _wrong_operation(pairs: Pairs, index: int, rng: random.Random) -> str | None:
    step = pairs[index][1]
    for found in _ending(_OPERATION, step):
        if _within_another(step[: found.start()]):
            continue
        left, right, said = (_value(found[name]) for name in ("left", "right", "value"))
        worth = {"+": left + right, "-": left - right, "*": left * right}
        if right:
            worth["/"] = left / right
        done = worth.pop(found["sign"].replace("x", "*"), None)
        if done is None or abs(said - done) > _ROUNDED * max(Decimal(1), done):
            continue
        others = [
            (sign, value) for sign, value in worth.items() if _is_written_out(value) and value not in (done, said)
        ]
        if others:
            sign, value = rng.choice(others)
            made = f"{found['left']}{found['gap']}{sign}{found['rest']}{found['right']}{found['equals']}"
            return f"{step[: found.start()]}{made}{_like(value.normalize(), found)}{step[found.end() :]}"
    return None


def _ending(pattern: re.Pattern[str], step: str) -> Iterator[re.Match[str]]:
    """Yield what a pattern finds in a step, if no computation goes on from there."""
    return (found for found in pattern.finditer(step) if not _GOES_ON.match(step, found.end()))


def _within_another(before: str) -> bool:
    """Return whether the operation after a text is a part of a longer one: of a chain, of a share of something, or of
    an equation that computes on its other side too."""
    *sides, here = _sides(before)
    since = re.split(r"\d", here)[-1]
    return bool(
        _COMPUTES.search(since) or _SHARE.match(since) or (since == here and sides and _COMPUTES.search(sides[-1]))
    )


def _sides(before: str) -> list[str]:
    """Return the sides of the equation that a text is in at its end."""
    return _CLAUSE_END.split(before[-_SEEN:])[-1].split("=")


def _is_written_out(value: Decimal) -> bool:
    """Return whether a value can stand in a step as it is, without a sign and without being rounded."""
    return value >= 0 and value == round(value, PLACES)


def _value(number: str) -> Decimal:
    return Decimal(number.replace(",", ""))


def _like(value: Decimal, found: re.Match[str]) -> str:
    """Return a value as a person writes it: with thousands separators where what was ``found`` has some."""
    return f"{value:,f}" if "," in found[0] else f"{value:f}"


def _other_step(pairs: Pairs, index: int, rng: random.Random) -> str | None:
    others = [reply for question, reply in pairs if question != pairs[index][0] and reply != pairs[index][1]]
    return rng.choice(others) if others else None
