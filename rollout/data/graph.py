"""The graph behind a generated word problem: its quantities and how each follows from others.

It knows the answers, the order in which they can be worked out, and whether a decomposition is right, without a model.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from conf.schema.data import GENERATORS
from rollout.records import Problem

SUBQUESTION = "How many {i} does {x} have?"
CANNOT_TELL = "I cannot tell."
SIGNS = {"more": "+", "fewer": "-", "times": "*", "half": "/", "together": "+"}


@dataclass(frozen=True)
class Quantity:
    """Hold the number of things that ``name`` has, given or computed from ``operands`` by ``op`` and ``k``, and how the
    text tells it."""

    name: str
    value: int
    op: str = "given"
    k: int = 0
    operands: tuple[str, ...] = ()
    clause: str = ""


def arithmetic(quantity: Quantity, values: dict[str, int], item: str) -> str:
    """Return a quantity's computation and value: "12 + 10 = 22. Eva owns 22 pens."; a given one's value alone."""
    stated = f"{quantity.name} owns {quantity.value} {item}."
    if quantity.op == "given":
        return stated
    left = values[quantity.operands[0]]
    right = values[quantity.operands[1]] if quantity.op == "together" else quantity.k
    return f"{left} {SIGNS[quantity.op]} {right} = {quantity.value}. {stated}"


def has_graph(problem: Problem) -> bool:
    """Return whether a problem was generated, so that its graph is known."""
    return problem.source in GENERATORS and "quantities" in problem.meta


class Graph:
    """The generator's own view of a problem, rebuilt from ``Problem.meta``."""

    def __init__(self, problem: Problem) -> None:
        meta: dict[str, Any] = problem.meta
        self.item: str = meta["item"]
        self.target: str = meta["target"]
        self.needed: list[str] = meta["needed"]
        rows = (Quantity(*row) for row in meta["quantities"])
        self.quantities = {row.name: replace(row, operands=tuple(row.operands)) for row in rows}
        self.values = {name: quantity.value for name, quantity in self.quantities.items()}

    @property
    def given(self) -> set[str]:
        """Return the names whose number the text states."""
        return {name for name, quantity in self.quantities.items() if quantity.op == "given"}

    @property
    def derivable(self) -> list[str]:
        """Return the names whose number has to be worked out, in the order of the quantities."""
        return [name for name in self.quantities if name not in self.given]

    def line(self, name: str) -> str:
        """Return the computation of one quantity and its value."""
        return arithmetic(self.quantities[name], self.values, self.item)

    def reply(self, name: str, known: set[str]) -> str:
        """Return a careful answer to "how many does ``name`` have?" by one who knows the values of ``known``: the value
        if it is among them; else how it is told, its operands' values and the computation; or that it cannot be
        told."""
        quantity = self.quantities[name]
        if name in known:
            return f"{name} owns {quantity.value} {self.item}."
        said = [f"{quantity.clause}."]
        for operand in quantity.operands:
            if operand not in known:
                return " ".join([*said, f"{operand} is unknown.", CANNOT_TELL])
            said.append(f"{operand} owns {self.values[operand]}.")
        return " ".join([*said, self.line(name)])

    def in_view(self, name: str, known: set[str]) -> bool:
        """Return whether ``name`` is one step away: given, or all its operands known."""
        return set(self.quantities[name].operands) <= known

    def leading_to(self, name: str) -> list[str]:
        """Return what has to be worked out to tell ``name``, in an order in which it can be, itself last."""
        found: list[str] = []

        def visit(one: str) -> None:
            for operand in self.quantities[one].operands:
                visit(operand)
            if one not in self.given and one not in found:
                found.append(one)

        visit(name)
        return found

    def concepts(self) -> str:
        """Return in words the operations that the question needs, each once, in the order of the steps."""
        words = {
            "more": "addition",
            "fewer": "subtraction",
            "times": "multiplication",
            "half": "halving",
            "together": "sum",
        }
        return ", ".join(dict.fromkeys(words[self.quantities[name].op] for name in self.needed))

    def ask(self, name: str) -> str:
        """Return the sub-question that asks for ``name``."""
        return SUBQUESTION.format(i=self.item, x=name)

    def asked_name(self, question: str) -> str | None:
        """Return whom a sub-question asks about: the one name of this problem in it; None if none or several."""
        found = [name for name in self.quantities if re.search(rf"\b{name}\b", question)]
        return found[0] if len(found) == 1 and self.item in question else None

    def check_decomposition(self, subquestions: Sequence[str]) -> dict[str, bool]:
        """Judge a decomposition by the graph alone.

        ``solves``: after it, the target is one step away. ``ordered``: every question could be answered when
        it was asked. ``repeats``: some quantity was asked twice. ``needless``: some quantity asked is not on
        the way (given ones, distractors, the target itself). ``right``: solves, ordered, no repeats, and no
        question that asks for nothing in the problem.
        """
        known = set(self.given)
        names = [self.asked_name(question) for question in subquestions]
        ordered = True
        for name in names:
            if name is not None and self.in_view(name, known):
                known.add(name)
            else:
                ordered = False
        solves = self.in_view(self.target, known)
        repeats = len(set(names)) < len(names)
        needless = any(name not in self.needed[:-1] for name in names)
        return {
            "solves": solves,
            "ordered": ordered,
            "repeats": repeats,
            "needless": needless,
            "right": solves and ordered and not repeats,
        }

    def filler_plan(self, rng: random.Random) -> list[str]:
        """Return as many sub-questions as the gold ones that establish too little: given facts, repeats, reversals.
        Raises ValueError if there is no gold one: nothing can be too little."""
        gold = self.needed[:-1]
        if not gold:
            raise ValueError("a problem of one step has no filler sub-questions")
        while True:
            kind = rng.choice(("given", "repeat", "shuffled"))
            if kind == "given":
                names = [rng.choice(sorted(self.given)) for _ in gold]
            elif kind == "repeat":
                names = [rng.choice([gold[0], *sorted(self.given)])] * len(gold)
            else:
                names = rng.sample(gold, len(gold))
            asked = [self.ask(name) for name in names]
            if not self.check_decomposition(asked)["solves"]:
                return asked


def imperfect_decomposition(
    problem: Problem, rng: random.Random, drop: float, swap: float, redundant: float
) -> list[str]:
    """Return a decomposition as an automatic teacher might write it: each gold sub-question is dropped with probability
    ``drop``, the rest put in random order with probability ``swap``, and with probability ``redundant`` one
    needless question (given fact, distractor, repeat) is put in, as it is when nothing else is left."""
    graph = Graph(problem)
    names = [name for name in graph.needed[:-1] if rng.random() >= drop]
    if rng.random() < swap:
        rng.shuffle(names)
    if rng.random() < redundant or not names:
        needless = [name for name in graph.quantities if name not in graph.needed]
        names.insert(rng.randint(0, len(names)), rng.choice(needless + names))
    return [graph.ask(name) for name in names]
