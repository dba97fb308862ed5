"""The paper's procedure with sub-questions that do not see each other: all are answered at once.

What is lost against ``daslam`` is what the sub-questions owe to each other's answers.
"""

from __future__ import annotations

from rollout.strategies.exchange import Exchange


async def run(exchange: Exchange) -> None:
    """Run one episode."""
    episode = exchange.episode
    episode.initial = await exchange.solve()
    questions = await exchange.decompose(episode.initial.text)
    await exchange.answer_at_once([exchange.answer(question, []) for question in questions])
    episode.final = await exchange.solve()
