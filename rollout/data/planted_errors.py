"""Replies to sub-questions of the embedded task with an error of a known kind in them, and the verdict each deserves.

The kinds are those that the task's own verifier tells apart (``rollout.solvers.program_verifier``), which agrees with
every verdict here. Which replies came before is up to the caller: ``known`` are the names whose number they tell.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from rollout.data.generated import LARGEST, NAMES
from rollout.data.graph import CANNOT_TELL, SIGNS, Graph, Quantity

# How far a wrong number is from the right one: a slip in counting, or in one digit.
SLIPS = (1, -1, 2, -2, 3, -3, 10, -10, 20)
SHARE_RIGHT = 0.4


@dataclass(frozen=True)
class Judged:
    """A reply to a sub-question, its ``verdict`` (a class of ``rollout.episode.verdict``), and the reply of one who
    makes no mistake."""

    question: str
    reply: str
    verdict: str
    right: str


Planter = Callable[[Graph, set[str], random.Random], Judged | None]


def _ready(graph: Graph, known: set[str]) -> list[str]:
    """Return the names that are one step away."""
    return [name for name in graph.quantities if name not in known and graph.in_view(name, known)]


def _one(names: list[str], rng: random.Random) -> str | None:
    return rng.choice(names) if names else None


def _judged(graph: Graph, known: set[str], name: str, reply: str, verdict: str) -> Judged:
    return Judged(graph.ask(name), reply, verdict, graph.reply(name, known))


def _slipped(value: int, rng: random.Random) -> int:
    return rng.choice([value + slip for slip in SLIPS if value + slip >= 0])


def _computed(graph: Graph, name: str) -> tuple[Quantity, str, int, str, int]:
    """Return a quantity, the beginning of a reply that restates how it is told, and its computation."""
    quantity = graph.quantities[name]
    facts = " ".join(f"{operand} owns {graph.values[operand]}." for operand in quantity.operands)
    right = graph.values[quantity.operands[1]] if quantity.op == "together" else quantity.k
    return quantity, f"{quantity.clause}. {facts}", graph.values[quantity.operands[0]], SIGNS[quantity.op], right


def _reckoned(graph: Graph, name: str, head: str, computation: str, result: int, stated: int | None = None) -> str:
    """Return a reply that computes and states its result, or another number."""
    return f"{head} {computation} = {result}. {name} owns {result if stated is None else stated} {graph.item}."


def _result(left: int, sign: str, right: int) -> int:
    return {"+": left + right, "-": left - right, "*": left * right, "/": left // max(1, right)}[sign]


def _right(graph: Graph, known: set[str], rng: random.Random) -> Judged | None:
    name = _one([name for name in _ready(graph, known) if name in graph.needed], rng)
    return None if name is None else _judged(graph, known, name, graph.reply(name, known), "no_mistake")


def _needless(graph: Graph, known: set[str], rng: random.Random) -> Judged | None:
    """Answer a sub-question that helps nobody: what it asks for is told, was asked before or leads nowhere."""
    name = _one([*sorted(known), *(name for name in _ready(graph, known) if name not in graph.needed)], rng)
    return None if name is None else _judged(graph, known, name, graph.reply(name, known), "no_mistake")


def _wrong_arithmetic(graph: Graph, known: set[str], rng: random.Random) -> Judged | None:
    name = _one(_ready(graph, known), rng)
    if name is None:
        return None
    quantity, head, left, sign, right = _computed(graph, name)
    wrong = _slipped(quantity.value, rng)
    reply = _reckoned(graph, name, head, f"{left} {sign} {right}", wrong)
    return _judged(graph, known, name, reply, "computational")


def _wrong_copy(graph: Graph, known: set[str], rng: random.Random) -> Judged | None:
    """Copy a number wrongly that stands in view."""
    name = _one(sorted(known), rng)
    if name is None:
        return None
    wrong = _slipped(graph.values[name], rng)
    return _judged(graph, known, name, f"{name} owns {wrong} {graph.item}.", "computational")


def _wrong_quantity(graph: Graph, known: set[str], rng: random.Random) -> Judged | None:
    """Restate the right facts, and compute with another number."""
    name = _one(_ready(graph, known), rng)
    if name is None:
        return None
    quantity, head, left, sign, right = _computed(graph, name)
    others = [graph.values[other] for other in sorted(known) if other not in quantity.operands]
    if quantity.op != "together" and (not others or rng.random() < 0.5):
        used = left, rng.choice([k for k in range(2, 10) if k != right])
    elif others:
        other = rng.choice(others)
        used = (other, right) if rng.random() < 0.5 or quantity.op != "together" else (left, other)
    else:
        return None
    result = _result(used[0], sign, used[1])
    if result < 0 or set(used) == {left, right}:
        return None
    reply = _reckoned(graph, name, head, f"{used[0]} {sign} {used[1]}", result)
    return _judged(graph, known, name, reply, "conceptual")


def _wrong_operation(graph: Graph, known: set[str], rng: random.Random) -> Judged | None:
    name = _one(_ready(graph, known), rng)
    if name is None:
        return None
    _, head, left, sign, right = _computed(graph, name)
    wrong = rng.choice([other for other in "+-*/" if other != sign])
    result = _result(left, wrong, right)
    if not 0 <= result <= 9 * LARGEST:
        return None
    reply = _reckoned(graph, name, head, f"{left} {wrong} {right}", result)
    return _judged(graph, known, name, reply, "conceptual")


def _too_early(graph: Graph, known: set[str], rng: random.Random) -> Judged | None:
    """Ask for what cannot be told yet; the reply admits it, or guesses."""
    name = _one([name for name in graph.quantities if name not in known and not graph.in_view(name, known)], rng)
    if name is None:
        return None
    if rng.random() < 0.7:
        return _judged(graph, known, name, graph.reply(name, known), "procedural")
    guess = _slipped(graph.values[name], rng)
    reply = f"{graph.quantities[name].clause}. {name} owns {guess} {graph.item}."
    return _judged(graph, known, name, reply, "procedural")


def _other_person(graph: Graph, known: set[str], rng: random.Random) -> Judged | None:
    """Reply to another question."""
    name = _one(_ready(graph, known), rng)
    if name is None:
        return None
    in_view = {*known, *_ready(graph, known)} - {name, *graph.quantities[name].operands}
    other = _one(sorted(in_view), rng)
    return None if other is None else _judged(graph, known, name, graph.reply(other, known), "misunderstood")


def _stranger(graph: Graph, known: set[str], rng: random.Random) -> Judged:
    """Ask about somebody of whom the problem says nothing."""
    name = rng.choice([name for name in NAMES if name not in graph.quantities])
    said = graph.reply(rng.choice(sorted(known)), known) if rng.random() < 0.5 else CANNOT_TELL
    return Judged(graph.ask(name), said, "misunderstood", CANNOT_TELL)


def _gives_up(graph: Graph, known: set[str], rng: random.Random) -> Judged | None:
    """Decline to tell what can be told."""
    name = _one(_ready(graph, known), rng)
    if name is None:
        return None
    quantity = graph.quantities[name]
    reply = f"{quantity.clause}. {quantity.operands[0]} is unknown. {CANNOT_TELL}"
    return _judged(graph, known, name, reply, "first_step")


def _wrong_fact(graph: Graph, known: set[str], rng: random.Random) -> Judged | None:
    """Restate a number wrongly, and reckon with it."""
    name = _one(_ready(graph, known), rng)
    if name is None:
        return None
    quantity, _, left, sign, right = _computed(graph, name)
    values = {operand: graph.values[operand] for operand in quantity.operands}
    wrong = rng.choice(quantity.operands)
    others = [graph.values[other] for other in sorted(known) if other not in quantity.operands]
    values[wrong] = rng.choice(others) if others and rng.random() < 0.5 else _slipped(values[wrong], rng)
    left = values[quantity.operands[0]]
    right = values[quantity.operands[1]] if quantity.op == "together" else right
    result = _result(left, sign, right)
    if result < 0 or values[wrong] == graph.values[wrong]:
        return None
    facts = " ".join(f"{operand} owns {value}." for operand, value in values.items())
    reply = _reckoned(graph, name, f"{quantity.clause}. {facts}", f"{left} {sign} {right}", result)
    return _judged(graph, known, name, reply, "first_step")


def _wrong_statement(graph: Graph, known: set[str], rng: random.Random) -> Judged | None:
    """Compute rightly, and state another number."""
    name = _one(_ready(graph, known), rng)
    if name is None:
        return None
    quantity, head, left, sign, right = _computed(graph, name)
    wrong = _slipped(quantity.value, rng)
    reply = _reckoned(graph, name, head, f"{left} {sign} {right}", quantity.value, wrong)
    return _judged(graph, known, name, reply, "last_step")


# Replies without a mistake, and each kind of error that is planted.
RIGHT: dict[str, Planter] = {"right": _right, "needless sub-question": _needless}
WRONG: dict[str, Planter] = {
    "wrong arithmetic": _wrong_arithmetic, "number copied wrongly": _wrong_copy,
    "other quantity": _wrong_quantity, "other operation": _wrong_operation,
    "sub-question too early": _too_early,
    "reply about another": _other_person, "sub-question about a stranger": _stranger,
    "answer not attempted": _gives_up, "fact restated wrongly": _wrong_fact,
    "other number stated": _wrong_statement,
}  # fmt: skip
KINDS: dict[str, Planter] = RIGHT | WRONG


def plant(graph: Graph, known: set[str], rng: random.Random, kind: str | None = None) -> Judged | None:
    """Return a reply of a ``kind`` of ``KINDS``, or of one drawn at random; None where this kind cannot be."""
    if kind is None:
        kind = rng.choice(list(RIGHT if rng.random() < SHARE_RIGHT else WRONG))
    return KINDS[kind](graph, known, rng)
