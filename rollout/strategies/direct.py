"""The solver alone: one attempt at the whole question."""

from __future__ import annotations

from rollout.episode.contracts import Decomposer, Solver
from rollout.episode.prompts import Prompts
from rollout.records import Episode, Problem
from rollout.strategies.base import DEFAULTS, Options
from rollout.strategies.exchange import Exchange


async def run(
    problem: Problem, decomposer: Decomposer, solver: Solver, prompts: Prompts, options: Options = DEFAULTS
) -> Episode:
    """Ask the question once; the decomposer is not used."""
    exchange = Exchange("direct", problem, solver, prompts)
    with exchange.until_failure() as episode:
        episode.final = await exchange.solve()
    return exchange.episode
