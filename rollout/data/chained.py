"""Generated word problems of chained quantities.

A problem names a few people who each hold a number of one thing. Some numbers are given, the others are
told relative to another person's ("Tom has 2 more than Amy."). What is owned comes before what refers to
it; otherwise facts are shuffled, and some of them lead nowhere. A problem of n steps needs n computed
quantities; the last is the one asked for, the n - 1 before it are the gold sub-questions, and only one
order of them can be answered one at a time.

Invariants: a (seed, index) pair always gives the same problem; the gold answer equals no other number in the text
or the solution, so it cannot be hit by repeating one.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace

from rollout.data.generated import ITEMS, NAMES, clause, derive, of_split, tell
from rollout.data.graph import SUBQUESTION, Quantity
from rollout.records import Problem

# A number is owned, a relation is had: "Amy owns 9 pens.", "Tom has 2 more than Amy.". The words that tell a relation
# stand right before whom it refers to, and no two relations of a problem are of one kind, so that a model of the
# shipped size can keep them apart. A problem keeps to one of the two wordings.
GIVEN = "{x} owns {v} {i}"
MORE = ("{x} has {k} more than {y}", "{x} has {k} more than {y} does")
FEWER = ("{x} has {k} fewer than {y}", "{x} has {k} fewer than {y} does")
TIMES = ("{x} has {w} what {y} holds", "{x} has {w} what {y} does")
HALF = ("{x} has half what {y} holds", "{x} has half what {y} does")
TOGETHER = ("{x} has what {y} and {z} hold together", "{x} has what {y} and {z} do together")
ASK = (SUBQUESTION, "What is the number of {i} that {x} has?")
TIMES_WORDS = {2: "twice", 3: "three times", 4: "four times"}


def _forms(wording: int) -> dict[str, str]:
    told = {"more": MORE, "fewer": FEWER, "times": TIMES, "half": HALF, "together": TOGETHER}
    return {"given": GIVEN} | {op: forms[wording] for op, forms in told.items()}


def _draw(rng: random.Random, steps: int) -> tuple[list[Quantity], list[Quantity], str] | None:
    """Return quantities on the way to the answer (given ones first), distractors, the item; None to draw again."""
    names = rng.sample(NAMES, steps + 5)
    item = rng.choice(ITEMS)
    first, spare = (Quantity(names.pop(), rng.randint(3, 40)) for _ in range(2))
    chain = [first]
    for _ in range(steps):
        quantity = derive(rng, names.pop(), chain[-1], [*chain, spare])
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
        quantity = derive(rng, name, rng.choice(told), told)
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
    forms = _forms(rng.randrange(2))
    needed, distractors = (
        [replace(quantity, clause=clause(quantity, item, forms, TIMES_WORDS)) for quantity in quantities]
        for quantities in (needed, distractors)
    )
    return tell(rng, "chained", f"chained-{seed}-{steps}-{index}", item, needed, distractors, ASK)


def generate(seed: int, split: str, steps_weights: dict[int, float]) -> Iterator[Problem]:
    """Yield without end problems of one split (``train`` or ``held_out``) without repeats of a text."""
    rng = random.Random(f"chained steps {seed} {split}")
    steps, weights = list(steps_weights), list(steps_weights.values())
    drawn = (make_problem(seed, index, rng.choices(steps, weights)[0]) for index in itertools.count())
    return of_split(drawn, split)
