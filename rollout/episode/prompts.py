"""Prompts: from a problem and what was said so far to the text a model reads.

Templates are configuration (conf/strategy). Their fields: ``{question}`` the whole question, ``{ask}`` the sentence
with its last question mark, ``{attempt}`` the solver's initial attempt, ``{turns}`` the earlier sub-questions and
answers, each written with the ``turn`` template.

Worked examples come before a prompt, in the prompt's own template and with its reply, wherever they hold that reply:
in ``plan`` their sub-questions, in ``decompose`` the same after their attempt, in ``subquestion`` their last
sub-answer, in ``solve`` their solution.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from conf.schema.config import Config
from conf.schema.model import model_path
from conf.schema.solver import VllmSolver
from conf.schema.strategy import Strategy
from rollout.episode.chat_format import Chat, model_chat
from rollout.episode.sentences import asking_sentence
from rollout.records import Problem, Turn


@cache
def _read_chat(path: str, arguments: str) -> Chat | None:
    """Return a model's chat format, read once: a tokenizer takes a second to load, and every episode asks."""
    return model_chat(path, json.loads(arguments))


@dataclass(frozen=True)
class Prompts:
    """The texts of an episode, in the words of a configured strategy. The chat frames are None for models that read
    plain text."""

    strategy: Strategy
    decomposer_chat: Chat | None = None
    solver_chat: Chat | None = None

    @classmethod
    def of(cls, config: Config) -> Prompts:
        """Return a configuration's prompts, in the chat formats of the models that have one."""
        strategy, solver = config.strategy, config.solver
        if strategy.chat == "never":
            return cls(strategy)
        arguments = json.dumps(strategy.chat_arguments, sort_keys=True)
        solver_chat = _read_chat(model_path(solver.path), arguments) if isinstance(solver, VllmSolver) else None
        return cls(strategy, _read_chat(config.decomposer_path, arguments), solver_chat)

    @property
    def read_attempt(self) -> bool:
        """Whether the decomposer is shown the solver's attempt."""
        return "{attempt" in self.strategy.decompose_template

    def decompose(self, problem: Problem, attempt: str) -> str:
        """Return what the decomposer reads: the question and the solver's initial attempt."""
        shown = [
            (self._decompose(example.question, example.attempt), "\n".join(example.subquestions))
            for example in self.strategy.examples
            if example.attempt is not None and example.subquestions
        ]
        return _framed(self.decomposer_chat, shown, self._decompose(problem.question, attempt))

    def decompose_alone(self, problem: Problem) -> str:
        """Return what the solver reads where it has to decompose the question itself."""
        write, examples = self.strategy.plan_template.format, self.strategy.examples
        planned = [example for example in examples if example.subquestions]
        shown = [(write(question=example.question), "\n".join(example.subquestions)) for example in planned]
        return _framed(self.solver_chat, shown, write(question=problem.question))

    def subquestion(self, problem: Problem, turns: Sequence[Turn], subquestion: str) -> str:
        """Return what the solver reads for one sub-question, earlier ones in view."""
        shown = [
            (self._subquestion(example.question, earlier, last.question), last.text)
            for example in self.strategy.examples
            if example.subanswers
            for *earlier, last in [list(map(Turn, example.subquestions, example.subanswers))]
        ]
        return _framed(self.solver_chat, shown, self._subquestion(problem.question, turns, subquestion))

    def solve(self, problem: Problem, turns: Sequence[Turn]) -> str:
        """Return what the solver reads for the whole problem; without turns this is the initial attempt."""
        solved = [(example.question, example.solution) for example in self.strategy.examples]
        shown = [(self._solve(question, ()), solution) for question, solution in solved if solution is not None]
        return _framed(self.solver_chat, shown, self._solve(problem.question, turns))

    def _decompose(self, question: str, attempt: str) -> str:
        return self.strategy.decompose_template.format(question=question, attempt=" ".join(attempt.split()))

    def _subquestion(self, question: str, turns: Sequence[Turn], subquestion: str) -> str:
        template = self.strategy.subquestion_template
        return template.format(question=question, turns=self._turns(turns), subquestion=subquestion)

    def _solve(self, question: str, turns: Sequence[Turn]) -> str:
        template = self.strategy.solve_template
        return template.format(question=question, turns=self._turns(turns), ask=asking_sentence(question))

    def _turns(self, turns: Sequence[Turn]) -> str:
        write = self.strategy.turn_template.format
        return "".join(write(question=turn.asked or turn.question, answer=turn.text.strip()) for turn in turns)


def _framed(chat: Chat | None, shown: Sequence[tuple[str, str]], prompt: str) -> str:
    """Join worked examples, each (prompt, reply), and the prompt; as one message where the model has a chat format."""
    examples = "".join(f"{asked}{'' if asked[-1:].isspace() else ' '}{reply}\n\n" for asked, reply in shown)
    return chat.frame(examples + prompt) if chat else examples + prompt
