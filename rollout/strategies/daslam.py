"""The paper's procedure: attempt, decompose with the attempt in view, answer in sequence, answer the whole.

After Juneja et al. (EMNLP 2023), section 3; sub-questions are answered with the earlier ones and their answers
in view.
"""

from __future__ import annotations

from rollout.prompts import Prompts
from rollout.records import Attempt, Episode, Problem, Turn
from rollout.strategies.base import Decomposer, Solver, SolverFailure


async def run(problem: Problem, decomposer: Decomposer, solver: Solver, prompts: Prompts) -> Episode:
    """Run one episode. A solver failure ends it early, with its name as the outcome and what there was so far."""
    episode = Episode(problem=problem, strategy="daslam")
    try:
        reply = await solver.ask(prompts.solve(problem, []), purpose="solve")
        episode.solver_tokens += reply.tokens
        episode.initial = Attempt(reply.text)

        episode.decomposition, episode.policy = await decomposer.decompose(problem, reply.text)

        for question in episode.decomposition.subquestions:
            reply = await solver.ask(prompts.subquestion(problem, episode.turns, question), purpose="subquestion")
            episode.solver_tokens += reply.tokens
            episode.turns.append(Turn(question, reply.text))

        reply = await solver.ask(prompts.solve(problem, episode.turns), purpose="solve")
        episode.solver_tokens += reply.tokens
        episode.final = Attempt(reply.text)
    except SolverFailure as failure:
        episode.outcome = failure.outcome
    return episode
