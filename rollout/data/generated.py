"""The common part of generated word problems: their words, how they are told, and their two splits.

Invariants: the split is a property of the question's text, so train and held-out can never share a question; a problem
follows from its seed, index and number of steps alone.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Sequence

from rollout.data.graph import SUBQUESTION, Quantity, arithmetic, imperfect_decomposition
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
OPENINGS = ("", "", "", "By now ", "We know that ", "It is said that ", "At the end of the day ", "As it happens, ")
LARGEST = 99
HELD_OUT_SHARE = 0.1
# Yields problems without end, from a seed, a split and the weights of numbers of steps.
Generate = Callable[[int, str, dict[int, float]], Iterator[Problem]]


def derive(rng: random.Random, name: str, base: Quantity, pool: Sequence[Quantity]) -> Quantity | None:
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


def clause(quantity: Quantity, item: str, forms: dict[str, str], times: dict[int, str]) -> str:
    """Return how a quantity is told: by the form of its kind, with the word for a multiple."""
    y, z = (*quantity.operands, "", "")[:2]
    word = times.get(quantity.k, "")
    form = forms[quantity.op]
    return form.format(x=quantity.name, y=y, z=z, v=quantity.value, k=quantity.k, w=word, i=item)


def tell(
    rng: random.Random, source: str, name: str, item: str,
    needed: Sequence[Quantity], others: Sequence[Quantity], asks: Sequence[str],
) -> Problem:  # fmt: skip
    """Return the problem ``name`` of a source: the clauses of all quantities as a story, and a question, in one of the
    forms ``asks``, for the last of the ``needed`` ones, which are in the order in which they can be worked out."""
    every = [*needed, *others]
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
    ask = rng.choice(asks).format(i=item, x=target.name)
    values = {quantity.name: quantity.value for quantity in every}
    return Problem(
        id=name,
        question=" ".join([*sentences, ask]),
        answer=str(target.value),
        answer_type="number",
        solution="\n".join(arithmetic(quantity, values, item) for quantity in derived),
        subquestions=[SUBQUESTION.format(i=item, x=quantity.name) for quantity in derived[:-1]],
        source=source,
        meta={
            "steps": len(derived),
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


def of_split(problems: Iterable[Problem], split: str) -> Iterator[Problem]:
    """Yield those of one split (``train`` or ``held_out``), without repeats of a text."""
    seen: set[str] = set()
    for problem in problems:
        if is_held_out(problem.question) == (split == "held_out") and problem.question not in seen:
            seen.add(problem.question)
            yield problem


class Generated:
    """A generated data set. ``steps`` and ``eval_steps`` weigh the number of reasoning steps."""

    def __init__(self, generate: Generate, steps: dict[int, float], eval_steps: dict[int, float]) -> None:
        self._generate, self._steps, self._eval_steps = generate, steps, eval_steps
        self.report: dict[str, int] = {}
        self.rows: Sequence[Problem] = ()

    def train(self, seed: int) -> Iterator[Problem]:
        """Yield fresh problems, none twice."""
        return self._generate(seed + 1_000, "train", self._steps)

    def held_out(self, count: int) -> list[Problem]:
        """Return the evaluation set, one and the same whatever the run's seed."""
        return list(itertools.islice(self._generate(0, "held_out", self._eval_steps), count))

    def is_held_out(self, question: str) -> bool:
        """Return whether a question is held out, by a hash of the text."""
        return is_held_out(question)

    def imperfect_decomposition(
        self, problem: Problem, rng: random.Random, drop: float, swap: float, redundant: float
    ) -> list[str]:
        """Return what the function of this name makes."""
        return imperfect_decomposition(problem, rng, drop, swap, redundant)
