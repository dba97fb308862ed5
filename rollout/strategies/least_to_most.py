"""Least-to-most prompting: the solver decomposes the question itself, then answers from the first to the whole.

After Zhou et al. (ICLR 2023, arXiv 2205.10625). No decomposer: what prompting alone can do.
"""

from __future__ import annotations

from rollout.strategies.exchange import Exchange


async def run(exchange: Exchange) -> None:
    """Run one episode; the decomposer is not used."""
    episode = exchange.episode
    for question in await exchange.decompose_alone():
        episode.turns.append(await exchange.answer(question, episode.turns))
    episode.final = await exchange.solve()
