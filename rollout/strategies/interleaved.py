"""Attempt, then sub-question by sub-question, each written with the answers so far in view.

LM2 without concepts and without a verifier's say: the control for writing all sub-questions first.
"""

from __future__ import annotations

from rollout.strategies.dialogue import Dialogue
from rollout.strategies.exchange import Exchange


async def run(exchange: Exchange) -> None:
    """Run one episode."""
    episode, decomposer = exchange.episode, Dialogue(exchange)
    episode.initial = await exchange.solve()
    while (question := await decomposer.next_subquestion()) is not None:
        decomposer.accept(await exchange.answer(question, episode.turns))
    episode.final = await exchange.solve()
