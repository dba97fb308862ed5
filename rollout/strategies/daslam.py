"""The paper's procedure: attempt, decompose with the attempt in view, answer in sequence, answer the whole.

After Juneja et al. (EMNLP 2023), section 3; sub-questions are answered with the earlier ones and their answers
in view.
"""

from __future__ import annotations

from rollout.strategies.exchange import Exchange


async def run(exchange: Exchange) -> None:
    """Run one episode."""
    episode = exchange.episode
    episode.initial = await exchange.solve()
    for question in await exchange.decompose(episode.initial.text):
        episode.turns.append(await exchange.answer(question, episode.turns))
    episode.final = await exchange.solve()
