"""Errors planted in people's worked steps ("48/2 = 24 clips"), and the verdict that each deserves.

A step tells its arithmetic and little else, so there are three kinds: a wrong result is computational, another
operation is conceptual, and the step of another sub-question has misunderstood this one.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

Pairs = Sequence[tuple[str, str]]
_NUMBER = r"\d{1,9}(?:\.\d{1,6})?"
_RESULT = re.compile(rf"(?<![\d.])(?P<before>=\s{{0,3}}\$?)(?P<value>{_NUMBER})(?![\d.,]\d)")
_BARE = re.compile(rf"(?P<before>\$?)(?P<value>{_NUMBER})")
_OPERATION = re.compile(
    rf"(?<![\d.,/*+-])(?P<left>{_NUMBER})(?P<gap>\s{{0,3}})(?P<sign>[-+*/x])(?P<rest>\s{{0,3}}\$?)(?P<right>{_NUMBER})"
    rf"(?P<equals>\s{{0,3}}=\s{{0,3}}\$?)(?P<value>{_NUMBER})(?![\d.,]\d)"
)


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
    found = _RESULT.search(step) or _BARE.fullmatch(step.strip())
    if found is None:
        return None
    value = float(found["value"])
    wrong = rng.choice([value + slip for slip in (1, -1, 2, -2, 10, -10) if value + slip > 0])
    return f"{found.string[: found.start('value')]}{wrong:g}{found.string[found.end('value') :]}"


def _wrong_operation(pairs: Pairs, index: int, rng: random.Random) -> str | None:
    step = pairs[index][1]
    found = _OPERATION.search(step)
    if found is None:
        return None
    left, right, sign = float(found["left"]), float(found["right"]), found["sign"].replace("x", "*")
    results = {"+": left + right, "-": left - right, "*": left * right, "/": left / right if right else -1.0}
    others = [name for name, value in results.items() if name != sign and value >= 0 and value != results[sign]]
    if not others:
        return None
    other = rng.choice(others)
    made = f"{found['left']}{found['gap']}{other}{found['rest']}{found['right']}{found['equals']}{results[other]:.6g}"
    return f"{step[: found.start()]}{made}{step[found.end() :]}"


def _other_step(pairs: Pairs, index: int, rng: random.Random) -> str | None:
    others = [reply for question, reply in pairs if question != pairs[index][0] and reply != pairs[index][1]]
    return rng.choice(others) if others else None
