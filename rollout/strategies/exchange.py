"""The moves strategies are made of. Every reply comes in here, so none is left out of the episode's account.

A record keeps a reply as it came; what is put into a prompt is the reply without its thinking.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from rollout.answers.extract import extract
from rollout.answers.marks import without_thinking
from rollout.episode.contracts import Decomposer, Solver, SolverFailure
from rollout.episode.prompts import Prompts
from rollout.records import Attempt, Episode, Problem, Turn

Result = TypeVar("Result")


class Exchange:
    """One episode in the making: the problem, the group ``strategy`` with its prompts, and the episode to fill in."""

    def __init__(
        self, strategy: str, problem: Problem, decomposer: Decomposer, solver: Solver, prompts: Prompts
    ) -> None:
        self.episode = Episode(problem=problem, strategy=strategy)
        self.problem, self.prompts, self.settings = problem, prompts, prompts.strategy
        self._decomposer, self._solver = decomposer, solver

    async def ask(self, prompt: str, purpose: str, sample: int = 0) -> str:
        """Return the solver's text; its tokens are added to the episode's account."""
        reply = await self._solver.ask(prompt, purpose=purpose, sample=sample)
        self.episode.solver_tokens += reply.tokens
        self.episode.solver_prompt_tokens += reply.prompt_tokens
        return reply.text

    async def solve(self) -> Attempt:
        """Ask the whole question with the turns so far in view; return the solver's answer."""
        return Attempt(await self.ask(self.prompts.solve(self.problem, _as_shown(self.episode.turns)), "solve"))

    async def draw(self, sample: int) -> Attempt:
        """Return the solver's ``sample``-th independent attempt at the whole question, and the answer found in it."""
        text = await self.ask(self.prompts.solve(self.problem, []), "solve", sample)
        return Attempt(text, extract(text, self.problem.answer_type, self.problem.choices).answer)

    async def decompose(self, attempt: str = "") -> list[str]:
        """Return the decomposer's sub-questions."""
        episode = self.episode
        episode.decomposition, call = await self._decomposer.decompose(self.problem, without_thinking(attempt))
        if call is not None:
            episode.calls.append(call)
            episode.decomposer_tokens += len(call.token_ids)
            episode.policy_tokens += len(call.token_ids)
        return episode.decomposition.subquestions

    async def answer(self, question: str, earlier: Sequence[Turn], asked: str | None = None) -> Turn:
        """Answer one sub-question with the ``earlier`` turns in view; ``asked`` is put instead of it if given."""
        prompt = self.prompts.subquestion(self.problem, _as_shown(earlier), asked or question)
        return Turn(question, await self.ask(prompt, "subquestion"), asked=asked)


def _as_shown(turns: Sequence[Turn]) -> list[Turn]:
    """Return turns as a prompt shows them: without the thinking before each reply."""
    return [replace(turn, text=without_thinking(turn.text)) for turn in turns]


async def together(work: Sequence[Coroutine[Any, Any, Result]], results: list[Result]) -> None:
    """Run coroutines at once; what they return is put into ``results`` in their order.

    The first failure cancels the others and is raised once they have ended; the results there are by then stay. An
    error that is not the solver's comes before a solver failure: such an episode is tried again, not counted.
    """
    tasks: list[asyncio.Task[Result]] = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks += [group.create_task(coroutine) for coroutine in work]
    except ExceptionGroup as failures:
        raise min(failures.exceptions, key=lambda error: isinstance(error, SolverFailure)) from None
    finally:
        results += [task.result() for task in tasks if not task.cancelled() and task.exception() is None]
