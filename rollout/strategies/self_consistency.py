"""The solver alone, several times: the answer that most of its independent draws agree on.

After Wang et al. (ICLR 2023, arXiv 2203.11171). With a token budget it costs what another strategy costs, which
makes the comparison with that one fair.
"""

from __future__ import annotations

from rollout.strategies.exchange import Exchange, together
from rollout.strategies.votes import majority

# A solver whose replies are empty, or that counts no tokens, would never use a budget up.
MAX_DRAWS = 100


async def run(exchange: Exchange) -> None:
    """Draw, then vote; the decomposer is not used. ``samples`` draws are made at once. With a budget they are
    made one after another, as long as one more of the mean length so far would fit; there is always one."""
    settings, episode = exchange.settings, exchange.episode
    if settings.token_budget is None:
        await together([exchange.draw(sample) for sample in range(1, (settings.samples or 1) + 1)], episode.draws)
    else:
        episode.draws.append(await exchange.draw(1))
        while (count := len(episode.draws)) < MAX_DRAWS:
            if episode.solver_tokens * (count + 1) / count > settings.token_budget:
                break
            episode.draws.append(await exchange.draw(count + 1))
    episode.final = majority(episode.draws, exchange.problem.answer_type)
