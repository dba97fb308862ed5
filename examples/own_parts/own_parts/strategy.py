"""A strategy of one's own: as DaSLaM's, but the final answer is the majority of three draws."""

from __future__ import annotations

from rollout.answers.extract import extract
from rollout.records import Attempt
from rollout.strategies.exchange import Exchange
from rollout.strategies.votes import majority

DRAWS = 3


async def voted(exchange: Exchange) -> None:
    """Run one episode."""
    episode, problem = exchange.episode, exchange.problem
    episode.initial = await exchange.solve()
    for question in await exchange.decompose(episode.initial.text):
        episode.turns.append(await exchange.answer(question, episode.turns))
    prompt = exchange.prompts.solve(problem, episode.turns)
    texts = [await exchange.ask(prompt, "solve", sample) for sample in range(1, DRAWS + 1)]
    episode.draws = [Attempt(text, extract(text, problem.answer_type, problem.choices).answer) for text in texts]
    episode.final = majority(episode.draws, problem.answer_type)
