"""The paper's procedure with sub-questions that do not see each other: all are answered at once.

What is lost against ``daslam`` is what the sub-questions owe to each other's answers.
"""

from __future__ import annotations

from rollout.episode.contracts import Decomposer, Solver
from rollout.episode.prompts import Prompts
from rollout.records import Episode, Problem
from rollout.strategies.base import DEFAULTS, Options
from rollout.strategies.exchange import Exchange, together
from rollout.strategies.votes import gate_closed


async def run(
    problem: Problem, decomposer: Decomposer, solver: Solver, prompts: Prompts, options: Options = DEFAULTS
) -> Episode:
    """Run one episode."""
    exchange = Exchange("independent", problem, solver, prompts)
    with exchange.until_failure() as episode:
        if await gate_closed(exchange, options):
            return episode
        episode.initial = await exchange.solve()
        questions = await exchange.decompose(decomposer, episode.initial.text)
        await together([exchange.answer(question, []) for question in questions], episode.turns)
        episode.final = await exchange.solve()
    return exchange.episode
