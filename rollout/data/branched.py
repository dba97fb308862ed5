"""Generated word problems of branched quantities: what can be worked out is more than may be asked for.

A story tells of thirteen or fourteen people. Two or three of their numbers are given, the others follow one from
another in chains. One chain of two to six steps leads to the quantity that is asked for. Others lead nowhere: they
begin at given quantities and at needed ones, and have from a third of the needed chain's steps to all of them. So
nothing but the question tells what is needed, and who asks for everything has asked too often too soon.

Relations are told so that a model of the shipped size can copy them, however many there are: each relation of a story
has a verb of its own, the person referred to comes right after it, "Tom leads Amy by 2", and the number right after
that person. Each word is then one look-up away from the last three (``rollout.data.look_ups``), and the verb alone
tells what comes next: with the same verb in several relations, a model takes one for the other. No two relations with
the same sign begin with the same quantity, and every quantity is a number of two digits.

Invariants: a (seed, index, steps) triple always gives the same problem; the gold answer equals no other number in the
text or the solution.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from rollout.data.generated import ITEMS, LARGEST, NAMES, clause, derive, of_split, tell
from rollout.data.graph import SIGNS, SUBQUESTION, Quantity
from rollout.data.look_ups import restated_by_look_ups, words
from rollout.records import Problem

# How each kind of quantity is told, a story's relations each in another way.
GIVEN = "{x} owns {v} {i}"
FORMS = {
    "more": (
        "{x} leads {y} by {k}",
        "{x} exceeds {y} by {k}",
        "{x} tops {y} by {k}",
        "{x} beats {y} by {k}",
        "{x} outdoes {y} by {k}",
    ),
    "fewer": (
        "{x} trails {y} by {k}",
        "{x} lags {y} by {k}",
        "{x} follows {y} by {k}",
        "{x} undercuts {y} by {k}",
    ),
    "times 2": ("{x} doubles {y}'s number",),
    "times 3": ("{x} triples {y}'s number",),
    "times 4": ("{x} quadruples {y}'s number",),
    "half": ("{x} halves {y}'s number",),
    "together": (
        "{x} matches {y} and {z} together",
        "{x} equals {y} and {z} combined",
        "{x} totals {y} and {z} together",
    ),
}
VERBS = {told.split()[1] for told in (GIVEN, *itertools.chain(*FORMS.values()))}
ASK = (SUBQUESTION, "What number of {i} does {x} have?")
SMALLEST = 10
LARGEST_GIVEN = 60
# Of a whole story: people, and relations among them.
PEOPLE = (13, 14)
RELATIONS = (11, 12)
# Share of the chains that lead nowhere which begin at a given quantity; the others begin at a needed one, in the first
# half of its chain. More of these, or later ones, and asking for everything in turn comes to the answer more often.
ON_GIVEN = 0.7
TRIES = 12


@dataclass
class _Story:
    """Quantities that are told so far, and names and forms that are left. ``add`` keeps the rules on values, signs and
    verbs."""

    rng: random.Random
    item: str
    names: list[str]
    forms: dict[str, list[str]]
    told: list[Quantity] = field(default_factory=list)

    def give(self) -> None:
        """Tell a number."""
        values = {quantity.value for quantity in self.told}
        free = [value for value in range(SMALLEST, LARGEST_GIVEN + 1) if value not in values]
        self._tell(Quantity(self.names.pop(), self.rng.choice(free)), GIVEN)

    def add(self, base: Quantity, pool: Sequence[Quantity]) -> Quantity | None:
        """Tell a quantity that follows from ``base``, and return it; None if none was found in some draws."""
        values = {quantity.value for quantity in self.told}
        begun = {_beginning(quantity) for quantity in self.told if quantity.op != "given"}
        for _ in range(TRIES):
            quantity = derive(self.rng, self.names[-1], base, pool)
            if quantity is None or not SMALLEST <= quantity.value <= LARGEST or quantity.value in values:
                continue
            if (left := self.forms[_kind(quantity)]) and _beginning(quantity) not in begun:
                self.names.pop()
                return self._tell(quantity, left.pop())
        return None

    def _tell(self, quantity: Quantity, form: str) -> Quantity:
        self.told.append(replace(quantity, clause=clause(quantity, self.item, {quantity.op: form}, {})))
        return self.told[-1]


def _kind(quantity: Quantity) -> str:
    """Return the kind of a relation in ``FORMS``."""
    return f"times {quantity.k}" if quantity.op == "times" else quantity.op


def _beginning(quantity: Quantity) -> tuple[str, str]:
    """Return what a computation begins with: its first operand and its sign."""
    return quantity.operands[0], SIGNS[quantity.op]


def _draw(
    rng: random.Random, item: str, steps: int, relations: int, given: int
) -> tuple[list[Quantity], list[Quantity]] | None:
    """Return the quantities that lead to the answer, in order, and the others; None to draw again."""
    forms = {kind: rng.sample(told, len(told)) for kind, told in FORMS.items()}
    story = _Story(rng, item, rng.sample(NAMES, len(NAMES)), forms)
    for _ in range(given):
        story.give()
    numbers = list(story.told)
    chain = [numbers[0]]
    for _ in range(steps):
        quantity = story.add(chain[-1], [*numbers, *chain])
        if quantity is None:
            return None
        chain.append(quantity)
    left = relations - steps
    while left:
        on_given = steps == 1 or rng.random() < ON_GIVEN
        last = rng.choice(numbers if on_given else chain[1 : 1 + max(1, steps // 2)])
        shortest = max(1, steps // 3)
        longest = max(shortest, min(steps, left // 2))  # so that there are several
        for _ in range(min(left, rng.randint(shortest, longest))):
            branch = story.add(last, [*numbers, *chain[:-1]])
            if branch is None:
                return None
            last, left = branch, left - 1
    needed = chain[1:]
    used = {name for quantity in needed for name in quantity.operands}
    needed = [*(quantity for quantity in numbers if quantity.name in used), *needed]
    return needed, [quantity for quantity in story.told if quantity not in needed]


def make_problem(
    seed: int, index: int, steps: int, people: tuple[int, int] = PEOPLE, relations: tuple[int, int] = RELATIONS
) -> Problem:
    """Return the problem of this seed, index and number of steps (1 or more), of at least and at most so many people
    and relations among them; these are ``steps`` or more."""
    rng = random.Random(f"branched {seed} {index} {steps} {people} {relations}")
    while True:
        told_relative = max(steps, rng.randint(*relations))
        item = rng.choice(ITEMS)
        drawn = _draw(rng, item, steps, told_relative, max(2, rng.randint(*people) - told_relative))
        if drawn is None:
            continue
        needed, others = drawn
        problem = tell(rng, "branched", f"branched-{seed}-{steps}-{index}", item, needed, others, ASK)
        told = words(problem.question)
        clauses = [words(quantity.clause) for quantity in (*needed, *others)]
        # A name that a text begins with is another token than the same name after a space.
        if told[0] not in NAMES and restated_by_look_ups(told, clauses, VERBS):
            return problem


def generate(
    seed: int,
    split: str,
    steps_weights: dict[int, float],
    people: tuple[int, int] = PEOPLE,
    relations: tuple[int, int] = RELATIONS,
) -> Iterator[Problem]:
    """Yield without end problems of one split (``train`` or ``held_out``) without repeats of a text. The numbers of
    steps take turns by their weights, so that the first few problems are like all."""

    def of_steps(steps: int) -> Iterator[Problem]:
        return of_split((make_problem(seed, index, steps, people, relations) for index in itertools.count()), split)

    streams = {steps: of_steps(steps) for steps, weight in steps_weights.items() if weight}
    yielded = dict.fromkeys(streams, 0)
    while True:
        due = min(streams, key=lambda steps: (yielded[steps] + 0.5) / steps_weights[steps])
        yielded[due] += 1
        yield next(streams[due])
