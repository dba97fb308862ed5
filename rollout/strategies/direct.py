"""The solver alone: one attempt at the whole question."""

from __future__ import annotations

from rollout.strategies.exchange import Exchange


async def run(exchange: Exchange) -> None:
    """Ask the question once; the decomposer is not used."""
    exchange.episode.final = await exchange.solve()
