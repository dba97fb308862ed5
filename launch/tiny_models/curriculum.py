"""The order in which the tiny models read: which texts, of which problems, for which share of their training.

Each stage builds on the one before: bare look-ups first, then relations, short problems and the whole task. Without the
first two, a model of this size guesses among the numbers of a text for most of its training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from launch.tiny_models import texts
from launch.tiny_models.role_texts import branched_monolith_pieces, monolith_pieces, verifier_pieces
from launch.tiny_models.texts import Pieces, solver_pieces
from rollout.data import branched, chained
from rollout.records import Problem

# Yields problems of the train split without end, from a seed.
Draw = Callable[[int], Iterator[Problem]]
# Share of the steps (of 1.0: all that are left), texts, rows a batch, problems.
Stage = tuple[float, Pieces, int, Draw]
# Share of the steps (of 1.0: all that are left), highest learning rate, stages.
Cycle = tuple[float, float, list[Stage]]

BATCH = 16
LEARNING_RATE = 3e-3
# The solver of the branched task that shares nothing with the other one.
INDEPENDENT = "independent_solver"
# Models that go on from the shipped solver, and what they read.
CONTINUED: dict[str, Pieces] = {"verifier": verifier_pieces, "monolith": monolith_pieces}


def from_nothing(kind: str, data: str) -> bool:
    """Return whether a model begins from nothing. Those of another task begin from the shipped ones of the first, whose
    look-ups are formed: begun from nothing, with twice as many people in a text, they did not form in the whole
    training. The independent solver reads texts of the first task for as long as that takes."""
    return kind == INDEPENDENT or (kind not in CONTINUED and data == "chained")


def chained_problems(steps: dict[int, float]) -> Draw:
    """Return the draw of chained problems with these weights of numbers of steps."""
    return lambda seed: chained.generate(seed, "train", steps)


def branched_problems(
    steps: dict[int, float], people: tuple[int, int] = branched.PEOPLE, relations: tuple[int, int] = branched.RELATIONS
) -> Draw:
    """Return the draw of branched problems with these weights of numbers of steps, of so many people and relations."""
    return lambda seed: branched.generate(seed, "train", steps, people, relations)


WHOLE: dict[str, Draw] = {
    "chained": chained_problems({1: 0.2, 2: 0.3, 3: 0.3, 4: 0.2}),
    "branched": branched_problems({2: 0.2, 3: 0.2, 4: 0.2, 5: 0.2, 6: 0.2}),
}
SHORT: dict[str, Draw] = {
    "chained": chained_problems({1: 0.6, 2: 0.4}),
    "branched": branched_problems({1: 0.6, 2: 0.4}, people=(4, 6), relations=(2, 4)),
}
MIDDLE = branched_problems({1: 0.1, 2: 0.3, 3: 0.3, 4: 0.3}, people=(7, 10), relations=(5, 7))
# Of few steps, the first and the last tell themselves, and hardly anything is left to learn what follows from what.
LONG = chained_problems({2: 0.1, 3: 0.2, 4: 0.3, 5: 0.4})
ASKING = chained_problems({1: 0.1, 2: 0.2, 3: 0.35, 4: 0.35})
# Share of the independent solver's steps in which it reads chained problems.
FORMING = 0.45
# Share of a branched base's steps in which it learns what leads to one person.
LEADING = 0.485
# Tokens of the longest text: a branched story is twice as long as a chained one, and has more turns.
POSITIONS = {"chained": 512, "branched": 768}


def cycles(kind: str, data: str = "chained") -> list[Cycle]:
    """Return what a model of a ``kind`` reads to learn the task ``data``. The ``solver`` and the ``decomposer`` base
    begin from nothing; the others go on from the shipped solver, with short problems and the whole task."""
    if kind in CONTINUED:
        pieces = branched_monolith_pieces if data == "branched" else CONTINUED[kind]
        stages: list[Stage] = [(0.2, pieces, BATCH, SHORT[data]), (1.0, pieces, BATCH, WHOLE[data])]
        return [(1.0, LEARNING_RATE * 2 / 3, stages)]
    rate = LEARNING_RATE if from_nothing(kind, data) else LEARNING_RATE * 2 / 3
    if kind == "solver":
        return [(1.0, rate, solver_stages(data))]
    if kind == INDEPENDENT:
        formed, whole = ([
            (share, texts.independent_pieces if pieces is solver_pieces else pieces, size, draw)
            for share, pieces, size, draw in solver_stages(task)
        ] for task in ("chained", data))  # fmt: skip
        return [(FORMING, rate, formed), (1.0, LEARNING_RATE * 2 / 3, whole)]
    again: list[Stage] = [
        (0.6, texts.listing_pieces, 2 * BATCH, LONG if data == "chained" else WHOLE[data]),
        (1.0, texts.asking_pieces, 2 * BATCH, ASKING if data == "chained" else WHOLE[data]),
    ]
    # Two more cycles on long problems. After the first one, lists have the right ends and their middle in any order,
    # and it stays so however long the base reads the same: 0.55 of its lists of four chained steps were right after it,
    # 0.78 and 0.97 after the others.
    again_rate = LEARNING_RATE * 2 / 3
    if data == "chained":
        return [(0.8, rate, base_stages(data)), (0.1, again_rate, again), (1.0, again_rate, again)]
    # What leads to one person of many has to be found first: in forward order, the model has to follow relations back
    # by as many steps as there are, before it writes a word.
    leading: list[Stage] = [
        (0.6, texts.leading_pieces, BATCH * 3 // 2, WHOLE[data]),
        (1.0, texts.everything_or_one_pieces, BATCH * 3 // 2, WHOLE[data]),
    ]
    before = 1.0 - LEADING
    return [
        (0.8 * before, rate, base_stages(data)),
        (0.1 * before, again_rate, again),
        (0.1 * before, again_rate, again),
        (0.55 * LEADING, again_rate, leading),
        (1.0, again_rate, leading),
    ]


def solver_stages(data: str) -> list[Stage]:
    """Return the stages of the solver of a task."""
    short, whole = SHORT[data], WHOLE[data]
    if data == "chained":
        return [
            (0.1, texts.fact_pieces, BATCH // 2, short),
            (0.1, texts.relation_pieces, BATCH // 2, short),
            (0.15, solver_pieces, BATCH // 2, short),
            (1.0, solver_pieces, BATCH, whole),
        ]
    return [
        (0.02, texts.fact_pieces, BATCH // 2, short),
        (0.08, texts.relation_pieces, BATCH // 2, short),
        (0.1, texts.relation_pieces, BATCH // 2, whole),
        (0.1, solver_pieces, BATCH // 2, short),
        (0.15, solver_pieces, BATCH // 2, MIDDLE),
        (1.0, solver_pieces, BATCH, whole),
    ]


def base_stages(data: str) -> list[Stage]:
    """Return the stages of the first cycle of a task's base."""
    short, whole = SHORT[data], WHOLE[data]
    if data == "chained":
        return [
            (0.1, texts.fact_pieces, BATCH // 2, short),
            (0.1, texts.relation_pieces, BATCH // 2, short),
            (0.1, texts.dependent_pieces, BATCH, short),
            (0.1, texts.ordering_pieces, BATCH, short),
            (0.3, texts.ordering_pieces, 2 * BATCH, whole),
            # The form that a decomposition has comes last: begun with it, the order was not learned in the same time.
            (1.0, texts.asking_pieces, 2 * BATCH, whole),
        ]
    return [
        (0.02, texts.fact_pieces, BATCH // 2, short),
        (0.05, texts.relation_pieces, BATCH // 2, short),
        (0.08, texts.relation_pieces, BATCH // 2, whole),
        (0.08, texts.dependent_pieces, BATCH, short),
        (0.08, texts.ordering_pieces, BATCH, short),
        (0.1, texts.ordering_pieces, BATCH, MIDDLE),
        (0.35, texts.ordering_pieces, 2 * BATCH, whole),
        (1.0, texts.asking_pieces, 2 * BATCH, whole),
    ]
