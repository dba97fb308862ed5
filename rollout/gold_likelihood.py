"""The frozen solver's log-probabilities of the gold answer over an episode, for ``rewards=solver_likelihood``.

Invariant: they are asked for once the policy has written its last token of the episode, and nothing that they are made
of is put into the episode but the numbers. So no prompt that the policy reads can hold the gold answer.
"""

from __future__ import annotations

import math

from rollout.episode.contracts import Likelihood, LikelihoodSolver, SolverFailure
from rollout.episode.limits import EpisodeBudget
from rollout.episode.prompts import Prompts
from rollout.records import TRAINED_ON, Episode
from rollout.strategies.exchange import as_shown, together


async def record_gold_logprobs(
    episode: Episode, prompts: Prompts, solver: LikelihoodSolver, budget: EpisodeBudget
) -> None:
    """Put the log-probability of the gold answer with the first 0, 1, ..., n turns in view into an episode of n turns,
    and what the solver read for it into its account.

    Prompts grow with each turn: the first that is too long ends the list. Any other failure of the solver leaves it
    empty and becomes the episode's outcome. Episodes that are not trained on, or have no turn, are left alone, and so
    are those whose problem has no gold solution where that is what is scored.
    """
    if not episode.turns or episode.outcome not in TRAINED_ON or not prompts.can_score(episode.problem):
        return
    shown = as_shown(episode.turns)
    asked = [prompts.gold(episode.problem, shown[:count], episode.concepts) for count in range(len(shown) + 1)]
    found: list[Likelihood | None] = []
    try:
        await together([_likelihood(solver, budget, prompt, answer) for prompt, answer in asked], found)
    except SolverFailure as failure:
        episode.outcome = failure.outcome
        return
    finally:
        episode.solver_prompt_tokens += sum(one.prompt_tokens for one in found if one is not None)
    fitting = found[: found.index(None)] if None in found else found
    episode.gold_logprobs = [one.logprob for one in fitting if one is not None]


async def _likelihood(solver: LikelihoodSolver, budget: EpisodeBudget, prompt: str, answer: str) -> Likelihood | None:
    """Return the log-probability of the answer; None if the prompt is too long. Raises SolverFailure, and ValueError
    for a value that is no number."""
    try:
        found = await budget.in_time(solver.log_likelihood(prompt, answer))
    except SolverFailure as failure:
        if failure.outcome != "prompt_too_long":
            raise
        return None
    if not math.isfinite(found.logprob):
        raise ValueError(f"the solver's log-probability of the gold answer must be finite, found {found.logprob}")
    return found
