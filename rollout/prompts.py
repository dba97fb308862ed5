"""Prompts: from a problem and what was said so far to the text a model reads.

Templates are configuration (conf/strategy, conf/solver); the defaults here are those of the tiny models.
Fields: ``{question}`` the whole question, ``{ask}`` its last sentence, ``{attempt}`` the solver's initial
attempt, ``{turns}`` the earlier sub-questions and answers, each written with the ``turn`` template.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rollout.records import Problem, Turn


def last_sentence(text: str) -> str:
    """The last sentence of a text, where questions keep what they ask."""
    return re.split(r"(?<=[.?!])\s+", text.strip())[-1]


@dataclass(frozen=True)
class Prompts:
    """The four texts of an episode."""

    decompose_template: str = "{question}\nFirst attempt: {attempt}\nSub-questions:\n"
    turn_template: str = "\nQ: {question}\nA: {answer}"
    subquestion_template: str = "{question}{turns}\nQ: {subquestion}\nA:"
    solve_template: str = "{question}{turns}\nQ: Solve step by step: {ask}\nA:"

    def _turns(self, turns: Sequence[Turn]) -> str:
        return "".join(self.turn_template.format(question=turn.question, answer=turn.text.strip()) for turn in turns)

    def decompose(self, problem: Problem, attempt: str) -> str:
        """What the decomposer reads: the question and the solver's initial attempt."""
        return self.decompose_template.format(question=problem.question, attempt=" ".join(attempt.split()))

    def subquestion(self, problem: Problem, turns: Sequence[Turn], subquestion: str) -> str:
        """What the solver reads for one sub-question, earlier ones in view."""
        return self.subquestion_template.format(
            question=problem.question, turns=self._turns(turns), subquestion=subquestion
        )

    def solve(self, problem: Problem, turns: Sequence[Turn]) -> str:
        """What the solver reads for the whole problem; without turns this is the initial attempt."""
        return self.solve_template.format(
            question=problem.question, turns=self._turns(turns), ask=last_sentence(problem.question)
        )
