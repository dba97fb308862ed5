"""Prompts: from a problem and what was said so far to the text a model reads.

Templates are configuration (conf/strategy); the defaults here are those of the tiny models. Fields: ``{question}``
the whole question, ``{ask}`` its last sentence, ``{attempt}`` the solver's initial attempt, ``{turns}`` the earlier
sub-questions and answers, each written with the ``turn`` template.

Worked examples come before a prompt, in the prompt's own template and with its reply, wherever they hold that reply:
in ``plan`` their sub-questions, in ``decompose`` the same after their attempt, in ``subquestion`` their last
sub-answer, in ``solve`` their solution.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rollout.episode.chat_format import Chat
from rollout.records import Problem, Turn


def last_sentence(text: str) -> str:
    """The last sentence of a text, where questions keep what they ask."""
    return re.split(r"(?<=[.?!])\s+", text.strip())[-1]


@dataclass(frozen=True)
class Example:
    """A worked example; ``subanswers`` are the sub-questions', one each or none at all."""

    question: str
    subquestions: tuple[str, ...] = ()
    subanswers: tuple[str, ...] = ()
    attempt: str | None = None
    solution: str | None = None

    @property
    def turns(self) -> list[Turn]:
        """Its sub-questions with their answers."""
        return [Turn(*pair) for pair in zip(self.subquestions, self.subanswers, strict=False)]


@dataclass(frozen=True)
class Prompts:
    """The texts of an episode. The chat frames are None for models that read plain text."""

    decompose_template: str = "{question}\nFirst attempt: {attempt}\nSub-questions:\n"
    turn_template: str = "\nQ: {question}\nA: {answer}"
    subquestion_template: str = "{question}{turns}\nQ: {subquestion}\nA:"
    solve_template: str = "{question}{turns}\nQ: Solve step by step: {ask}\nA:"
    plan_template: str = "{question}\nSub-questions:\n"
    examples: tuple[Example, ...] = ()
    decomposer_chat: Chat | None = None
    solver_chat: Chat | None = None

    @property
    def read_attempt(self) -> bool:
        """Whether the decomposer is shown the solver's attempt."""
        return "{attempt" in self.decompose_template

    def decompose(self, problem: Problem, attempt: str) -> str:
        """What the decomposer reads: the question and the solver's initial attempt."""
        shown = [
            (self._decompose(example.question, example.attempt), "\n".join(example.subquestions))
            for example in self.examples
            if example.attempt is not None and example.subquestions
        ]
        return _framed(self.decomposer_chat, shown, self._decompose(problem.question, attempt))

    def plan(self, problem: Problem) -> str:
        """What the solver reads where it has to decompose the question itself."""
        shown = [
            (self._plan(example.question), "\n".join(example.subquestions))
            for example in self.examples
            if example.subquestions
        ]
        return _framed(self.solver_chat, shown, self._plan(problem.question))

    def subquestion(self, problem: Problem, turns: Sequence[Turn], subquestion: str) -> str:
        """What the solver reads for one sub-question, earlier ones in view."""
        shown = [
            (self._subquestion(example.question, earlier, last.question), last.text)
            for example in self.examples
            if example.turns
            for *earlier, last in [example.turns]
        ]
        return _framed(self.solver_chat, shown, self._subquestion(problem.question, turns, subquestion))

    def solve(self, problem: Problem, turns: Sequence[Turn]) -> str:
        """What the solver reads for the whole problem; without turns this is the initial attempt."""
        shown = [
            (self._solve(example.question, ()), example.solution)
            for example in self.examples
            if example.solution is not None
        ]
        return _framed(self.solver_chat, shown, self._solve(problem.question, turns))

    def _decompose(self, question: str, attempt: str) -> str:
        return self.decompose_template.format(question=question, attempt=" ".join(attempt.split()))

    def _plan(self, question: str) -> str:
        return self.plan_template.format(question=question)

    def _subquestion(self, question: str, turns: Sequence[Turn], subquestion: str) -> str:
        return self.subquestion_template.format(question=question, turns=self._turns(turns), subquestion=subquestion)

    def _solve(self, question: str, turns: Sequence[Turn]) -> str:
        return self.solve_template.format(question=question, turns=self._turns(turns), ask=last_sentence(question))

    def _turns(self, turns: Sequence[Turn]) -> str:
        return "".join(
            self.turn_template.format(question=turn.asked or turn.question, answer=turn.text.strip()) for turn in turns
        )


def _framed(chat: Chat | None, shown: Sequence[tuple[str, str]], prompt: str) -> str:
    """Worked examples, each (prompt, reply), then the prompt; as one message where the model has a chat format."""
    examples = "".join(f"{asked}{'' if asked[-1:].isspace() else ' '}{reply}\n\n" for asked, reply in shown)
    return chat.frame(examples + prompt) if chat else examples + prompt
