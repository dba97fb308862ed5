"""Least-to-most prompting: the solver decomposes the question itself, then answers from the first to the whole.

After Zhou et al. (ICLR 2023, arXiv 2205.10625). No decomposer: what prompting alone can do.
"""

from __future__ import annotations

from rollout.episode.contracts import Decomposer, Solver
from rollout.episode.parse_decomposition import parse
from rollout.episode.prompts import Prompts
from rollout.records import Decomposition, Episode, Problem
from rollout.strategies.base import DEFAULTS, Options
from rollout.strategies.exchange import Exchange
from rollout.strategies.votes import gate_closed


async def run(
    problem: Problem, decomposer: Decomposer, solver: Solver, prompts: Prompts, options: Options = DEFAULTS
) -> Episode:
    """Run one episode; the decomposer is not used. The plan is asked for with the length and stops of ``solve``."""
    exchange = Exchange("least_to_most", problem, solver, prompts)
    with exchange.until_failure() as episode:
        if await gate_closed(exchange, options):
            return episode
        plan = await exchange.ask(prompts.plan(problem), "solve")
        parsed = parse(plan, options.limits)
        episode.decomposition = Decomposition(plan, parsed.subquestions, parsed.invalid)
        for question in parsed.subquestions:
            episode.turns.append(await exchange.answer(question, episode.turns))
        episode.final = await exchange.solve()
    return exchange.episode
