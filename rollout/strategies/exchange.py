"""The moves strategies are made of. Every reply comes in here, so none is left out of the episode's account.

A strategy asks roles, and does not know who plays them: the policy, or a frozen backend. A record keeps a reply as it
came; what is put into a prompt is the reply without its thinking.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from rollout.answers.extract import extract
from rollout.answers.marks import without_thinking
from rollout.episode.call_ledger import CallLedger
from rollout.episode.contracts import Decomposer, Prompt, Reply, Role, Solver, SolverFailure, Writer
from rollout.episode.parse_decomposition import parse
from rollout.episode.parse_monolith import parse_monolith
from rollout.episode.prompts import Prompts
from rollout.episode.verdict import read_verdict
from rollout.records import Attempt, Decomposition, Episode, Problem, Turn

Result = TypeVar("Result")


class Exchange:
    """One episode in the making: the problem, the group ``strategy`` with its prompts, and the episode to fill in.

    Replies to sub-questions are judged wherever there is a verifier; what follows from a verdict is the strategy's.
    """

    def __init__(
        self, strategy: str, problem: Problem, decomposer: Decomposer | Writer, solver: Solver, prompts: Prompts,
        verifier: Solver | None = None,
    ) -> None:  # fmt: skip
        self.episode = Episode(problem=problem, strategy=strategy)
        self.problem, self.prompts, self.settings = problem, prompts, prompts.strategy
        self._decomposer, self._solver, self._verifier = decomposer, solver, verifier
        self._ledger = CallLedger(self.episode)
        self._wrote: int | None = None  # the place of the policy call that wrote the sub-questions asked now

    @property
    def writes(self) -> bool:
        """Whether the decomposer can be asked for one text after another, and does not have all sub-questions."""
        return isinstance(self._decomposer, Writer)

    async def ask(self, prompt: str, purpose: str, sample: int = 0) -> str:
        """Return the solver's text; its tokens are added to the episode's account."""
        return (await self._said("solver", self._solver, prompt, purpose, sample))[0].text

    async def solve(self) -> Attempt:
        """Ask the whole question with the concepts and turns so far in view; return the solver's answer."""
        shown = as_shown(self.episode.turns)
        return Attempt(await self.ask(self.prompts.solve(self.problem, shown, self.episode.concepts), "solve"))

    async def draw(self, sample: int) -> Attempt:
        """Return the solver's ``sample``-th independent attempt at the whole question, and the answer found in it."""
        text = await self.ask(self.prompts.solve(self.problem, []), "solve", sample)
        return Attempt(text, extract(text, self.problem.answer_type, self.problem.choices).answer)

    async def decompose(self, attempt: str = "") -> list[str]:
        """Return the decomposer's sub-questions."""
        episode, shown = self.episode, without_thinking(attempt)
        if not isinstance(self._decomposer, Writer):
            place = self._ledger.begin()
            episode.decomposition, call = await self._decomposer.decompose(self.problem, shown)
            self._wrote = self._ledger.put(place, call)
            episode.decomposer_tokens += len(call.token_ids) if call else 0
            return episode.decomposition.subquestions
        reply = await self.write(self.prompts.decompose(self.problem, shown), "decompose")
        if reply is None:
            episode.decomposition = Decomposition("", [], invalid="prompt_too_long")
            return []
        parsed = parse(reply.text, self.settings, truncated=reply.truncated or reply.cut)
        episode.decomposition = Decomposition(reply.text, parsed.subquestions, parsed.invalid, parsed.numbers)
        return parsed.subquestions

    async def decompose_alone(self) -> list[str]:
        """Have the solver write the sub-questions itself, with the length and stops of ``solve``; return them."""
        prompt = self.prompts.decompose_alone(self.problem)
        reply, self._wrote = await self._said("solver", self._solver, prompt, "decompose_alone")
        parsed = parse(without_thinking(reply.text), self.settings, truncated=reply.truncated or reply.cut)
        self.episode.decomposition = Decomposition(reply.text, parsed.subquestions, parsed.invalid, parsed.numbers)
        return parsed.subquestions

    async def write(self, prompt: Prompt, purpose: str) -> Reply | None:
        """Return the decomposer's text; None if the prompt is too long for it, which ends the decomposition and not the
        episode."""
        assert isinstance(self._decomposer, Writer)
        try:
            reply, self._wrote = await self._said("decomposer", self._decomposer.role, prompt, purpose)
        except SolverFailure as failure:
            if failure.outcome != "prompt_too_long":
                raise
            return None
        return reply

    async def whole(self) -> None:
        """Have the solver write sub-questions, answers and the final answer at once, and take the text apart."""
        episode = self.episode
        reply, place = await self._said("solver", self._solver, self.prompts.whole(self.problem), "whole")
        parsed = parse_monolith(reply.text, self.settings, truncated=reply.truncated or reply.cut)
        questions = [question for question, _ in parsed.pairs]
        episode.decomposition = Decomposition(reply.text, questions, parsed.invalid)
        episode.turns = [Turn(question, text, call=place, answer_call=place) for question, text in parsed.pairs]
        episode.final = Attempt(parsed.final)

    async def answer(self, question: str, earlier: Sequence[Turn], asked: str | None = None, sample: int = 0) -> Turn:
        """Answer one sub-question with the ``earlier`` turns in view; ``asked`` is put instead of it if given, and
        ``sample`` above 0 is an independent draw. Where there is a verifier the reply is judged."""
        shown = as_shown(earlier)
        prompt = self.prompts.subquestion(self.problem, shown, asked or question, self.episode.concepts)
        wrote = self._wrote
        reply, place = await self._said("solver", self._solver, prompt, "subquestion", sample)
        turn = Turn(question, reply.text, asked=asked, call=wrote, answer_call=place)
        return await self._judged(turn, shown)

    async def answer_at_once(self, answers: Sequence[Coroutine[Any, Any, Turn]]) -> None:
        """Answer all sub-questions at once; the turns are the episode's, in this order, with one that was answered and
        could not be judged. Raises as ``together`` does."""
        turns, found = self.episode.turns, dict[int, Turn]()
        before = len(turns)

        async def at_its_place(place: int, answer: Coroutine[Any, Any, Turn]) -> None:
            try:
                found[place] = await answer
            except SolverFailure:
                if len(turns) > before:  # kept there just now, because nobody judged it
                    found[place] = turns.pop()
                raise

        try:
            await together([at_its_place(*one) for one in enumerate(answers)], [])
        finally:
            turns += [found[place] for place in sorted(found)]

    def refuse(self, turn: Turn) -> None:
        """Keep a turn whose sub-question is to be written again; it is not among the episode's turns."""
        self._ledger.drop_ends(turn.call)
        self.episode.refused.append(turn)

    def close(self) -> Episode:
        """Complete the episode's account; return the episode."""
        self._ledger.close()
        return self.episode

    async def _judged(self, turn: Turn, earlier: Sequence[Turn]) -> Turn:
        """Return a turn with the verifier's verdict, where there is a verifier."""
        if self._verifier is None:
            return turn
        prompt = self.prompts.verify(self.problem, earlier, *as_shown([turn]))
        try:
            reply, _ = await self._said("verifier", self._verifier, prompt, "verify")
        except SolverFailure:
            self.episode.turns.append(turn)  # what was answered is kept, though nobody judged it
            raise
        turn.verdict_text = reply.text
        turn.verdicts = read_verdict(without_thinking(reply.text))
        return turn

    async def _said(
        self, name: str, role: Role | Solver, prompt: Any, purpose: str, sample: int = 0
    ) -> tuple[Reply, int | None]:
        """Return a role's reply, and its place in the account if the policy spoke."""
        place = self._ledger.begin()
        reply = await role.ask(prompt, purpose=purpose, sample=sample)
        self._ledger.count(name, reply)
        return reply, self._ledger.put(place, reply.call)


def as_shown(turns: Sequence[Turn]) -> list[Turn]:
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
