"""Generated word problems of chained quantities: the embedded default task.

A problem names a few people who each hold a number of one thing. Some numbers are given, the others are
told relative to another person's ("Tom has 2 more than Amy."). What is owned comes before what refers to
it; otherwise facts are shuffled, and some of them lead nowhere. A problem of n steps needs n computed
quantities; the last is the one asked for, the n - 1 before it are the gold sub-questions, and only one
order of them can be answered one at a time.

Invariants: a (seed, index) pair always gives the same problem; the split is a property of the question's
text, so train and held-out can never share a question; the gold answer equals no other number in the text
or the solution, so it cannot be hit by repeating one.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rollout.records import Problem

NAMES = (
    "Amy", "Tom", "Max", "Eva", "Ben", "Zoe", "Sam", "Lily",
    "Jack", "Nora", "Paul", "Rosa", "Alan", "Jane", "Mark", "Lucy",
    "Adam", "Ella", "Kate", "Luke", "Anna", "Oscar", "Emma", "Henry",
)  # fmt: skip
ITEMS = ("pens", "cups", "coins", "books", "shells", "stamps", "marbles", "apples", "ribbons", "cards")
ASIDES = (
    "{x} likes music.",
    "{x} lives near the sea.",
    "{x} is eight years old.",
    "It was a sunny day.",
    "{x} and {y} are friends.",
    "{x} walks to school.",
)
# A number is owned, a relation is had: "Amy owns 9 pens.", "Tom has 2 more than Amy.". The words that tell a relation
# stand right before whom it refers to, and no two relations of a problem are of one kind, so that a model of the
# shipped size can keep them apart. A problem keeps to one of the two wordings.
GIVEN = "{x} owns {v} {i}"
MORE = ("{x} has {k} more than {y}", "{x} has {k} more than {y} does")
FEWER = ("{x} has {k} fewer than {y}", "{x} has {k} fewer than {y} does")
TIMES = ("{x} has {w} what {y} holds", "{x} has {w} what {y} does")
HALF = ("{x} has half what {y} holds", "{x} has half what {y} does")
TOGETHER = ("{x} has what {y} and {z} hold together", "{x} has what {y} and {z} do together")
OPENINGS = ("", "", "", "By now ", "We know that ", "It is said that ", "At the end of the day ", "As it happens, ")
ASK = ("How many {i} does {x} have?", "What is the number of {i} that {x} has?")
SUBQUESTION = "How many {i} does {x} have?"
TIMES_WORDS = {2: "twice", 3: "three times", 4: "four times"}
CANNOT_TELL = "I cannot tell."
LARGEST = 99
HELD_OUT_SHARE = 0.1


@dataclass(frozen=True)
class Quantity:
    """How many things ``name`` holds: given, or computed from ``operands`` by ``op`` and ``k``; and how the text
    tells it."""

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
    sign = {"more": "+", "fewer": "-", "times": "*", "half": "/", "together": "+"}[quantity.op]
    return f"{left} {sign} {right} = {quantity.value}. {stated}"


def _derive(rng: random.Random, name: str, base: Quantity, pool: Sequence[Quantity]) -> Quantity | None:
    """Return a quantity told relative to ``base`` (and, for ``together``, one of ``pool``), or None if out of range."""
    op = rng.choices(("more", "fewer", "times", "half", "together"), (30, 25, 18, 9, 18))[0]
    if op == "together":
        others = [other for other in pool if other.name != base.name]
        if not others:
            return None
        other = rng.choice(others)
        operands = (base.name, other.name) if rng.random() < 0.5 else (other.name, base.name)
        quantity = Quantity(name, base.value + other.value, op, 0, operands)
    else:
        if op == "half" and base.value % 2:
            return None
        k = 2 if op == "half" else rng.choice((2, 2, 3, 4)) if op == "times" else rng.randint(2, 9)
        value = {"more": base.value + k, "fewer": base.value - k, "times": base.value * k, "half": base.value // k}[op]
        quantity = Quantity(name, value, op, k, (base.name,))
    return quantity if 2 <= quantity.value <= LARGEST else None


def _clause(wording: int, quantity: Quantity, item: str) -> str:
    forms = {"more": MORE, "fewer": FEWER, "times": TIMES, "half": HALF, "together": TOGETHER}
    form = GIVEN if quantity.op == "given" else forms[quantity.op][wording]
    y, z = (*quantity.operands, "", "")[:2]
    times = TIMES_WORDS.get(quantity.k, "")
    return form.format(x=quantity.name, y=y, z=z, v=quantity.value, k=quantity.k, w=times, i=item)


def _draw(rng: random.Random, steps: int) -> tuple[list[Quantity], list[Quantity], str] | None:
    """Return quantities on the way to the answer (given ones first), distractors, the item; None to draw again."""
    names = rng.sample(NAMES, steps + 5)
    item = rng.choice(ITEMS)
    first, spare = (Quantity(names.pop(), rng.randint(3, 40)) for _ in range(2))
    chain = [first]
    for _ in range(steps):
        quantity = _derive(rng, names.pop(), chain[-1], [*chain, spare])
        if quantity is None:
            return None
        chain.append(quantity)
    derived = chain[1:]
    needed = [first, spare] if any(spare.name in quantity.operands for quantity in derived) else [first]
    distractors: list[Quantity] = []
    for _ in range(rng.choice((0, 1, 1, 2))):
        name = names.pop()
        if rng.random() < 0.4:
            distractors.append(Quantity(name, rng.randint(3, 40)))
            continue
        told = [*needed, *derived]
        quantity = _derive(rng, name, rng.choice(told), told)
        if quantity is None:
            return None
        distractors.append(quantity)
    every = [*needed, *derived, *distractors]
    numbers = [q.value for q in every] + [q.k for q in every if q.op in ("more", "fewer", "times", "half")]
    values = [q.value for q in every]
    kinds = [(q.op, q.k if q.op == "times" else 0) for q in every if q.op != "given"]
    repeated = len(set(values)) < len(values) or len(set(kinds)) < len(kinds)
    if repeated or numbers.count(derived[-1].value) > 1:
        return None
    return [*needed, *derived], distractors, item


def make_problem(seed: int, index: int, steps: int) -> Problem:
    """Return the problem of this seed, index and number of steps (1 or more)."""
    rng = random.Random(f"chained {seed} {index} {steps}")
    while (drawn := _draw(rng, steps)) is None:
        pass
    needed, distractors, item = drawn
    wording = rng.randrange(2)
    every = [replace(quantity, clause=_clause(wording, quantity, item)) for quantity in (*needed, *distractors)]
    rng.shuffle(every)
    # What is owned is told before what refers to it, else in any order. Told in any order whatever, a causal model of
    # the shipped size cannot tell where to begin: of four steps, half of its decompositions began in the wrong place.
    every.sort(key=lambda quantity: quantity.op != "given")
    sentences = [f"{rng.choice(OPENINGS)}{quantity.clause}." for quantity in every]
    if rng.random() < 0.3:
        x, y = rng.sample([quantity.name for quantity in every], 2)
        sentences.insert(rng.randint(0, len(sentences)), rng.choice(ASIDES).format(x=x, y=y))
    derived = [quantity for quantity in needed if quantity.op != "given"]
    target = derived[-1]
    ask = rng.choice(ASK).format(i=item, x=target.name)
    values = {quantity.name: quantity.value for quantity in every}
    return Problem(
        id=f"chained-{seed}-{steps}-{index}",
        question=" ".join([*sentences, ask]),
        answer=str(target.value),
        answer_type="number",
        solution="\n".join(arithmetic(quantity, values, item) for quantity in derived),
        subquestions=[SUBQUESTION.format(i=item, x=quantity.name) for quantity in derived[:-1]],
        source="chained",
        meta={
            "steps": steps,
            "item": item,
            "target": target.name,
            "ask": ask,
            "quantities": [[q.name, q.value, q.op, q.k, list(q.operands), q.clause] for q in every],
            "needed": [q.name for q in derived],
        },
    )


def is_held_out(question: str) -> bool:
    """Return whether a question is held out: a fixed share of all texts, by hash, is so for ever."""
    digest = hashlib.sha256(question.encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 < HELD_OUT_SHARE


def generate(seed: int, split: str, steps_weights: dict[int, float]) -> Iterator[Problem]:
    """Yield without end problems of one split (``train`` or ``held_out``) without repeats of a text."""
    rng = random.Random(f"chained steps {seed} {split}")
    steps, weights = list(steps_weights), list(steps_weights.values())
    seen: set[str] = set()
    for index in itertools.count():
        problem = make_problem(seed, index, rng.choices(steps, weights)[0])
        if is_held_out(problem.question) == (split == "held_out") and problem.question not in seen:
            seen.add(problem.question)
            yield problem


# -- what the graph knows: answers, the right order, whether a decomposition is right --------------------------------


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
        """Return as many sub-questions as the gold ones that establish too little: given facts, repeats, reversals."""
        gold = self.needed[:-1]
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


class Chained:
    """The embedded task. ``steps`` and ``eval_steps`` weigh the number of reasoning steps."""

    def __init__(self, steps: dict[int, float], eval_steps: dict[int, float]) -> None:
        self._steps, self._eval_steps = steps, eval_steps
        self.report: dict[str, int] = {}
        self.rows: Sequence[Problem] = ()

    def train(self, seed: int) -> Iterator[Problem]:
        """Yield fresh problems, none twice."""
        return generate(seed + 1_000, "train", self._steps)

    def held_out(self, count: int) -> list[Problem]:
        """Return the evaluation set, one and the same whatever the run's seed."""
        return list(itertools.islice(generate(0, "held_out", self._eval_steps), count))

    def is_held_out(self, question: str) -> bool:
        """Return whether a question is held out, by a hash of the text."""
        return is_held_out(question)

    def imperfect_decomposition(
        self, problem: Problem, rng: random.Random, drop: float, swap: float, redundant: float
    ) -> list[str]:
        """Return what the function of this name makes."""
        return imperfect_decomposition(problem, rng, drop, swap, redundant)
