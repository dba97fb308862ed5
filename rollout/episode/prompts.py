"""Prompts: from a problem and what was said so far to the text a model reads.

Templates are configuration (conf/strategy). Their fields: ``{question}`` the whole question with its options, if it has
any, ``{ask}`` the sentence with its last question mark, ``{attempt}`` the solver's initial attempt, ``{turns}`` the
earlier sub-questions and answers, each written with the ``turn`` template, ``{concepts}`` the concepts that the
decomposer wrote, in the ``solve_concepts`` template. The prompts of a decomposer that writes one text after another
(``concepts``, ``next``) are given in pieces: what it wrote stays as it wrote it.

Worked examples come before a prompt, in the prompt's own template and with its reply, wherever they hold that reply:
in ``plan`` their sub-questions, in ``decompose`` the same after their attempt, in ``subquestion`` their last
sub-answer, in ``solve`` their solution.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from string import Formatter

from conf.schema.config import Config
from conf.schema.model import model_path
from conf.schema.solver import VllmSolver
from conf.schema.strategy import Strategy
from rollout.episode.chat_format import Chat, model_chat
from rollout.episode.contracts import Prompt, Written, text_of
from rollout.episode.sentences import asking_sentence
from rollout.options import with_options
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
    verifier_chat: Chat | None = None

    @classmethod
    def of(cls, config: Config) -> Prompts:
        """Return a configuration's prompts, in the chat formats of the models that have one."""
        strategy, plays = config.strategy, config.policy.plays
        if strategy.chat == "never":
            return cls(strategy)
        arguments = json.dumps(strategy.chat_arguments, sort_keys=True)
        policy = _read_chat(config.decomposer_path, arguments)
        solver, verifier = (
            _read_chat(model_path(role.path), arguments) if isinstance(role, VllmSolver) else None
            for role in (config.solver, config.verifier)
        )
        decomposer = solver if plays == "solver" else policy
        return cls(strategy, decomposer, policy if config.policy.solves else solver, verifier)

    @property
    def read_attempt(self) -> bool:
        """Whether the decomposer is shown the solver's attempt."""
        strategy = self.strategy
        return "{attempt" in (strategy.next_template if strategy.writes_lines else strategy.decompose_template)

    def decompose(self, problem: Problem, attempt: str) -> str:
        """Return what the decomposer reads: the question and the solver's initial attempt."""
        shown = [
            (self._decompose(example.question, example.attempt), "\n".join(example.subquestions))
            for example in self.strategy.examples
            if example.attempt is not None and example.subquestions
        ]
        return _framed(self.decomposer_chat, shown, self._decompose(_shown(problem), attempt))

    def decompose_alone(self, problem: Problem) -> str:
        """Return what the solver reads where it has to decompose the question itself."""
        write, examples = self.strategy.plan_template.format, self.strategy.examples
        planned = [example for example in examples if example.subquestions]
        shown = [(write(question=example.question), "\n".join(example.subquestions)) for example in planned]
        return _framed(self.solver_chat, shown, write(question=_shown(problem)))

    def subquestion(
        self, problem: Problem, turns: Sequence[Turn], subquestion: str, concepts: str | None = None
    ) -> str:
        """Return what the solver reads for one sub-question, earlier ones in view."""
        shown = [
            (self._subquestion(example.question, earlier, last.question), last.text)
            for example in self.strategy.examples
            if example.subanswers
            for *earlier, last in [list(map(Turn, example.subquestions, example.subanswers))]
        ]
        return _framed(self.solver_chat, shown, self._subquestion(_shown(problem), turns, subquestion, concepts))

    def solve(self, problem: Problem, turns: Sequence[Turn], concepts: str | None = None) -> str:
        """Return what the solver reads for the whole problem; without turns this is the initial attempt."""
        solved = [(example.question, example.solution) for example in self.strategy.examples]
        shown = [(self._solve(question, ()), solution) for question, solution in solved if solution is not None]
        prompt = self._solve(_shown(problem), turns, concepts, asking_sentence(problem.question))
        return _framed(self.solver_chat, shown, prompt)

    def can_score(self, problem: Problem) -> bool:
        """Return whether the problem has the gold texts that ``gold`` shows."""
        return problem.solution is not None or not any(
            name == "solution" for _, name, _, _ in Formatter().parse(self.strategy.gold_template)
        )

    def gold(self, problem: Problem, turns: Sequence[Turn], concepts: str | None = None) -> tuple[str, str]:
        """Return the prompt of ``solve`` with the words before the gold answer or solution; and that, with the white
        space before it and the words after it, to be scored as its continuation. For the frozen solver alone."""
        written = {"answer": Written(problem.answer), "solution": Written(problem.solution or "")}
        pieces = _filled(self.strategy.gold_template, **written)
        place = next(index for index, piece in enumerate(pieces) if isinstance(piece, Written))
        prompt = self.solve(problem, turns, concepts)
        prompt += ("" if prompt[-1:].isspace() else " ") + text_of(tuple(pieces[:place]))
        before = prompt.rstrip()
        return before, prompt[len(before) :] + text_of(tuple(pieces[place:]))

    def whole(self, problem: Problem) -> str:
        """Return what is read by whoever writes sub-questions, answers and the final answer at once."""
        return _framed(self.solver_chat, (), self.strategy.monolith_template.format(question=_shown(problem)))

    def verify(self, problem: Problem, turns: Sequence[Turn], turn: Turn) -> str:
        """Return what the verifier reads of a reply, with the earlier turns in view: never a gold answer."""
        text = self.strategy.verify_template.format(
            question=_shown(problem),
            turns=self._turns(turns),
            subquestion=turn.asked or turn.question,
            reply=" ".join(turn.text.split()),
        )
        return _framed(self.verifier_chat, (), text)

    def concepts(self, problem: Problem, attempt: str) -> Prompt:
        """Return what the decomposer reads that is to write the concepts which a question needs."""
        write, shown = self.strategy.concepts_template.format, " ".join(attempt.split())
        return self._in_pieces([write(question=_shown(problem), attempt=shown)])

    def next(
        self, problem: Problem, attempt: str, concepts: Written | None = None,
        pairs: Sequence[tuple[Written, Turn]] = (), refused: Sequence[tuple[Written, Turn]] = (),
    ) -> Prompt:  # fmt: skip
        """Return what the decomposer reads that is to write the next sub-question: the answered ones as it wrote them,
        and last those that are to be written again."""
        settings = self.strategy
        write, again = settings.next_turn_template, settings.refused_template
        shown_turns = [_filled(write, question=own, answer=" ".join(turn.text.split())) for own, turn in pairs]
        shown_turns += [_filled(again, question=own, verdicts=", ".join(turn.verdicts)) for own, turn in refused]
        shown = [] if concepts is None else _filled(settings.next_concepts_template, concepts=concepts)
        return self._in_pieces(
            _filled(
                settings.next_template, question=_shown(problem), attempt=" ".join(attempt.split()), concepts=shown,
                turns=[piece for pieces in shown_turns for piece in pieces],
            )
        )  # fmt: skip

    def _in_pieces(self, pieces: Sequence[str | Written]) -> Prompt:
        """Return a decomposer's prompt; where it has a chat format, as one message."""
        return self.decomposer_chat.frame(text_of(tuple(pieces))) if self.decomposer_chat else tuple(pieces)

    def _decompose(self, question: str, attempt: str) -> str:
        return self.strategy.decompose_template.format(question=question, attempt=" ".join(attempt.split()))

    def _subquestion(self, question: str, turns: Sequence[Turn], subquestion: str, concepts: str | None = None) -> str:
        return self.strategy.subquestion_template.format(
            question=question, turns=self._turns(turns), subquestion=subquestion, concepts=self._concepts(concepts)
        )

    def _solve(self, question: str, turns: Sequence[Turn], concepts: str | None = None, ask: str | None = None) -> str:
        return self.strategy.solve_template.format(
            question=question,
            turns=self._turns(turns),
            ask=asking_sentence(question) if ask is None else ask,
            concepts=self._concepts(concepts),
        )

    def _concepts(self, concepts: str | None) -> str:
        return "" if concepts is None else self.strategy.solve_concepts_template.format(concepts=concepts)

    def _turns(self, turns: Sequence[Turn]) -> str:
        write = self.strategy.turn_template.format
        return "".join(write(question=turn.asked or turn.question, answer=turn.text.strip()) for turn in turns)


def _shown(problem: Problem) -> str:
    return with_options(problem.question, problem.choices, problem.answer_type)


def _framed(chat: Chat | None, shown: Sequence[tuple[str, str]], prompt: str) -> str:
    """Join worked examples, each (prompt, reply), and the prompt; as one message where the model has a chat format."""
    examples = "".join(f"{asked}{'' if asked[-1:].isspace() else ' '}{reply}\n\n" for asked, reply in shown)
    return chat.frame(examples + prompt) if chat else examples + prompt


def _filled(template: str, **values: str | Written | Sequence[str | Written]) -> list[str | Written]:
    """Return a template's pieces: its own texts, and what stands in its fields."""
    found: list[str | Written] = []
    for text, name, _, _ in Formatter().parse(template):
        value = values.get(name or "", "")
        found += [text, *([value] if isinstance(value, str | Written) else value)]
    return [piece for piece in found if piece != ""]
