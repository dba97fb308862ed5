"""A decomposition for its own sake: nothing of it is put to the solver, so that it costs no more than it must.

For judging decompositions, and for sampling them where no answer is looked at. It answers nothing, so nobody is
evaluated or trained with it.
"""

from __future__ import annotations

from rollout.strategies.exchange import Exchange


async def run(exchange: Exchange) -> None:
    """Run one episode up to its decomposition; the attempt is made where the decomposer is shown it."""
    episode = exchange.episode
    if exchange.prompts.read_attempt:
        episode.initial = await exchange.solve()
    await exchange.decompose(episode.initial.text if episode.initial else "")
