"""The paper's procedure: attempt, decompose with the attempt in view, answer in sequence, answer the whole.

After Juneja et al. (EMNLP 2023), section 3; sub-questions are answered with the earlier ones and their answers
in view.
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
    """Run one episode."""
    exchange = Exchange("daslam", problem, solver, prompts)
    with exchange.until_failure() as episode:
        if await gate_closed(exchange, options):
            return episode
        episode.initial = await exchange.solve()
        for question in await exchange.decompose(decomposer, episode.initial.text):
            episode.turns.append(await exchange.answer(question, episode.turns))
        episode.final = await exchange.solve()
    return exchange.episode
