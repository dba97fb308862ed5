"""The paper's procedure without its feedback: no attempt is made, and the question alone is decomposed.

The ablation of Juneja et al. (EMNLP 2023) that shows what the decomposer learns from the solver's attempt.
"""

from __future__ import annotations

from rollout.strategies.exchange import Exchange


async def run(exchange: Exchange) -> None:
    """Run one episode. ``decompose_template`` must not mention the attempt; there is none."""
    episode = exchange.episode
    for question in await exchange.decompose():
        episode.turns.append(await exchange.answer(question, episode.turns))
    episode.final = await exchange.solve()
