"""Make the training texts of the tiny verifier and monolith: stage 1's examples for their roles, over and over.

Both go on from the tiny solver, whose one skill they need. The verifier also meets sub-questions that come too early or
help nobody, after turns that are drawn like the solver's. The monolith learns what solver and decomposer's base know
together: it asks for everything that can be worked out, in turn, and has never seen a decomposition; the branched one
also asks for what leads to a person that is named.
"""

from __future__ import annotations

import random

from launch.tiny_models.texts import END, NAMING_HEADINGS, PROMPTS, Piece, in_turn, random_turns
from rollout.data.graph import Graph
from rollout.data.planted_errors import Judged, plant
from rollout.data.worked import SolverView, worked
from rollout.records import Problem, Turn
from trainer.stages.role_examples import monolith_example, verifier_example

TRIES = 20


def judged_reply(
    problem: Problem, rng: random.Random, kind: str | None = None, most: int = 7
) -> tuple[list[Turn], Judged]:
    """Return earlier turns, ``most`` at most, and a reply to judge after them, of a kind if one is given. Raises
    RuntimeError for a kind that the problem cannot have."""
    for _ in range(TRIES):
        view, turns = SolverView(Graph(problem)), list[Turn]()
        for name in random_turns(problem, view.graph, rng)[: rng.randint(0, most)]:
            turns.append(Turn(view.graph.ask(name), view.answer(name)))
        judged = plant(view.graph, view.known, rng, kind)
        if judged is not None:
            return turns, judged
    raise RuntimeError(f"no reply of kind {kind!r} in {TRIES} tries on problem {problem.id}")


def verifier_pieces(problem: Problem, rng: random.Random) -> list[Piece]:
    """Write a reply and its verdict."""
    turns, judged = judged_reply(problem, rng)
    prompt, verdict = verifier_example(PROMPTS, problem, turns, judged)
    return [(prompt, False), (f"{verdict}{END}", True)]


def monolith_pieces(problem: Problem, rng: random.Random) -> list[Piece]:
    """Write a problem, everything else that can be worked out asked and answered in turn, and the final answer."""
    graph = Graph(problem)
    solution = worked(problem, [graph.ask(name) for name in in_turn(graph, rng) if name != graph.target])
    assert solution is not None
    prompt, text = monolith_example(PROMPTS, problem, solution)
    return [(prompt, False), (f"{text}{END}", True)]


def branched_monolith_pieces(problem: Problem, rng: random.Random) -> list[Piece]:
    """Write what the branched task's solver and base know together: everything that can be worked out, asked and
    answered in turn, or, under a heading that names one of the people, what leads to that one. There is no final answer
    under a heading, whose person need not be the one that the problem asks for."""
    if rng.random() < 0.4:
        return monolith_pieces(problem, rng)
    graph = Graph(problem)
    view, name = SolverView(graph), rng.choice(graph.derivable)
    pairs = "\n".join(f"Q: {graph.ask(other)}\nA: {view.answer(other)}" for other in graph.leading_to(name))
    heading = rng.choice(NAMING_HEADINGS).format(x=name)
    return [(f"{PROMPTS.whole(problem)}{heading}:\n", False), (f"{pairs}{END}", True)]
