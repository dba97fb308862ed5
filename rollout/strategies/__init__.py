"""Strategies by name. Adding one is one file here, one file in conf/strategy and its name in the schema.

A strategy is an async function of one ``Exchange`` that returns nothing. It reads ``exchange.problem`` and
``exchange.settings`` (the group ``strategy``), asks the roles through the exchange, which counts, and puts
what it gets into ``exchange.episode``. It neither catches the solver's failures nor knows the gate: ``run_strategy``
does both.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import import_module

from conf.schema import strategy as schema
from conf.schema.own_parts import find_part
from rollout.episode.contracts import Decomposer, Solver, SolverFailure, Writer
from rollout.episode.prompts import Prompts
from rollout.records import Episode, Problem
from rollout.strategies import decompose_only
from rollout.strategies.exchange import Exchange
from rollout.strategies.votes import gate_closed

STRATEGIES: dict[str, Callable[[Exchange], Awaitable[None]]] = {
    name: import_module(f"rollout.strategies.{name}").run for name in schema.STRATEGIES
}

# Not among them, since it answers nothing; a job may name it all the same.
DECOMPOSE_ONLY = "decompose_only"


async def run_strategy(
    name: str, problem: Problem, decomposer: Decomposer | Writer, solver: Solver, prompts: Prompts,
    verifier: Solver | None = None,
) -> Episode:  # fmt: skip
    """Run one episode and return it. A role's failure ends it early: its name is the outcome, and what there was so far
    stays. Raises whatever else went wrong."""
    strategy = find_part(name, STRATEGIES | {DECOMPOSE_ONLY: decompose_only.run})
    exchange = Exchange(name, problem, decomposer, solver, prompts, verifier)
    try:
        if name in (*schema.UNGATED, DECOMPOSE_ONLY) or not await gate_closed(exchange):
            await strategy(exchange)
    except SolverFailure as failure:
        exchange.episode.outcome = failure.outcome
    return exchange.close()
