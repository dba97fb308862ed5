"""The paper's procedure without its feedback: no attempt is made, and the question alone is decomposed.

The ablation of Juneja et al. (EMNLP 2023) that shows what the decomposer learns from the solver's attempt.
"""

from __future__ import annotations

from rollout.episode.contracts import Decomposer, Solver
from rollout.episode.prompts import Prompts
from rollout.records import Episode, Problem
from rollout.strategies.base import DEFAULTS, Options
from rollout.strategies.exchange import Exchange
from rollout.strategies.votes import gate_closed


async def run(
    problem: Problem, decomposer: Decomposer, solver: Solver, prompts: Prompts, options: Options = DEFAULTS
) -> Episode:
    """Run one episode. ``prompts.decompose_template`` must not mention the attempt; there is none."""
    exchange = Exchange("daslam_no_feedback", problem, solver, prompts)
    with exchange.until_failure() as episode:
        if await gate_closed(exchange, options):
            return episode
        for question in await exchange.decompose(decomposer):
            episode.turns.append(await exchange.answer(question, episode.turns))
        episode.final = await exchange.solve()
    return exchange.episode
