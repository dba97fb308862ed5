"""A decomposition for its own sake: nothing of it is put to the solver, so that it costs no more than it must.

For judging decompositions, and for sampling them where no answer is looked at. It answers nothing, so nobody is
evaluated or trained with it.
"""

from __future__ import annotations

from rollout.episode.contracts import Decomposer, Solver
from rollout.episode.prompts import Prompts
from rollout.records import Episode, Problem
from rollout.strategies.base import DEFAULTS, Options
from rollout.strategies.exchange import Exchange


async def run(
    problem: Problem, decomposer: Decomposer, solver: Solver, prompts: Prompts, options: Options = DEFAULTS
) -> Episode:
    """Run one episode up to its decomposition; the attempt is made where the decomposer is shown it."""
    exchange = Exchange("plan_only", problem, solver, prompts)
    with exchange.until_failure() as episode:
        if prompts.read_attempt:
            episode.initial = await exchange.solve()
        await exchange.decompose(decomposer, episode.initial.text if episode.initial else "")
    return exchange.episode
