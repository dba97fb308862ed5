"""The solver alone: one attempt at the whole question."""

from __future__ import annotations

from rollout.prompts import Prompts
from rollout.records import Attempt, Episode, Problem
from rollout.strategies.base import Decomposer, Solver


async def run(problem: Problem, decomposer: Decomposer, solver: Solver, prompts: Prompts) -> Episode:
    """Ask the question once; the decomposer is not used."""
    reply = await solver.ask(prompts.solve(problem, []), purpose="solve")
    return Episode(
        problem=problem,
        strategy="direct",
        final=Attempt(reply.text),
        solver_tokens=reply.tokens,
    )
