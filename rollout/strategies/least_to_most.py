"""Least-to-most prompting: the solver decomposes the question itself, then answers from the first to the whole.

After Zhou et al. (ICLR 2023, arXiv 2205.10625). No decomposer: what prompting alone can do.
"""

from __future__ import annotations

from rollout.answers.marks import without_thinking
from rollout.episode.parse_decomposition import parse
from rollout.records import Decomposition
from rollout.strategies.exchange import Exchange


async def run(exchange: Exchange) -> None:
    """Run one episode; the decomposer is not used. The decomposition is asked for with the length and stops of
    ``solve``."""
    episode = exchange.episode
    text = await exchange.ask(exchange.prompts.decompose_alone(exchange.problem), "solve")
    parsed = parse(without_thinking(text), exchange.settings)
    episode.decomposition = Decomposition(text, parsed.subquestions, parsed.invalid)
    for question in parsed.subquestions:
        episode.turns.append(await exchange.answer(question, episode.turns))
    episode.final = await exchange.solve()
